"""INSECURE on purpose: section 10 of the Larkspur Library, put together."""

from fastapi import FastAPI

from lab_app.larkspur import home
from lab_app.larkspur.monitoring import boom, login, requests, reset

app = FastAPI(title="Larkspur Library", description="INSECURE on purpose. Break it.")
requests.log_all(app)
for part in (home, login, reset, boom):
    app.include_router(part.router)
