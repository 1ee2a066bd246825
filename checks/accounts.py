"""People who register, log in and ask who they are."""

import httpx

from checks.attacks import bearer
from lab_app.harness import App
from lab_app.harness.draw import Draw


def me(api: httpx.Client, token: str) -> httpx.Response:
    """Ask who the bearer of a token is."""
    return api.get("/members/me", headers=bearer(token))


def newcomer(draw: Draw) -> dict[str, str]:
    """Somebody who may register."""
    return {"username": draw.username(), "email": draw.email(), "password": draw.passphrase()}


def log_in(api: httpx.Client, username: str, password: str) -> httpx.Response:
    """The OAuth2 password form of 1.2."""
    return api.post("/token", data={"grant_type": "password", "username": username, "password": password})


def settled(app: App) -> None:
    """Wait for whoever is still writing: a write of ours queues behind theirs."""
    app.sql("UPDATE members SET role = role WHERE id < 0")
