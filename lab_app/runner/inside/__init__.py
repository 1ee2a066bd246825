"""What runs beside an answer, within the jail. It imports nothing of ours but itself."""
