"""INSECURE on purpose: section 7 of the Larkspur Library, put together."""

from fastapi import FastAPI

from lab_app.larkspur import home
from lab_app.larkspur.sql_injection import catalogue, login, report

app = FastAPI(title="Larkspur Library", description="INSECURE on purpose. Break it.")
for part in (home, login, catalogue, report):
    app.include_router(part.router)
