"""The FastAPI Security Workbook: teach, attack and grade."""
