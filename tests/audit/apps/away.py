"""Sends everybody elsewhere, whoever they are."""

from fastapi import FastAPI
from fastapi.responses import RedirectResponse

app = FastAPI()


@app.get("/{path:path}")
def anything(path: str, next: str = "http://192.0.2.1/") -> RedirectResponse:
    return RedirectResponse(next)


@app.post("/login")
def login() -> RedirectResponse:
    return RedirectResponse("http://192.0.2.1/login", 307)
