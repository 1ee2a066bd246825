"""INSECURE on purpose: section 2 of the Larkspur Library, put together."""

from pathlib import Path

from fastapi import FastAPI

from lab_app.larkspur import home
from lab_app.larkspur.https import address, login, transport

app = FastAPI(title="Larkspur Library", description="INSECURE on purpose. Break it.")
for part in (home, login, address, transport):
    app.include_router(part.router)
app.middleware("http")(transport.ask_for_https)

careless_conf = Path(__file__).with_name("careless.conf").read_text(encoding="utf-8")
