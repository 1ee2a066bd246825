"""INSECURE on purpose: section 4 of the Larkspur Library, put together."""

from fastapi import FastAPI

from lab_app.larkspur import home
from lab_app.larkspur.input_validation import names, orders, passwords, profiles, reviews

app = FastAPI(title="Larkspur Library", description="INSECURE on purpose. Break it.")
for part in (home, names, passwords, profiles, orders, reviews):
    app.include_router(part.router)
