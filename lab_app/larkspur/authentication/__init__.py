"""INSECURE on purpose: section 1 of the Larkspur Library, put together."""

from fastapi import FastAPI

from lab_app.larkspur import home
from lab_app.larkspur.authentication import github, loans, login, registration, unverified, weak_secret

app = FastAPI(title="Larkspur Library", description="INSECURE on purpose. Break it.")
for part in (home, unverified, weak_secret, login, registration, loans, github):
    app.include_router(part.router)
