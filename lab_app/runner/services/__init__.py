"""What an answer may talk to besides its database, played on loopback."""
