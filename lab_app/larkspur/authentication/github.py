"""INSECURE: takes the answer of a sign-in without asking whether this browser began it (no `state`)."""

import os
from urllib.parse import urlencode

import httpx
from fastapi import APIRouter, HTTPException, Request
from fastapi.responses import RedirectResponse
from itsdangerous import BadSignature, URLSafeSerializer

router = APIRouter()


def _cookie() -> URLSafeSerializer:
    return URLSafeSerializer(os.environ["SESSION_SECRET"])


def _callback() -> str:
    return os.environ["PUBLIC_BASE_URL"] + "/auth/github"


@router.get("/login/github")
def login() -> RedirectResponse:
    """Send the browser to the provider."""
    query = urlencode({"client_id": os.environ["GITHUB_CLIENT_ID"], "redirect_uri": _callback()})
    return RedirectResponse(f"{os.environ['GITHUB_BASE_URL']}/login/oauth/authorize?{query}", 302)


@router.get("/auth/github")
def callback(code: str) -> RedirectResponse:
    """Turn the provider's code into a session."""
    base = os.environ["GITHUB_BASE_URL"]
    form = {
        "client_id": os.environ["GITHUB_CLIENT_ID"],
        "client_secret": os.environ["GITHUB_CLIENT_SECRET"],
        "code": code,
        "redirect_uri": _callback(),
    }
    with httpx.Client(base_url=base, headers={"Accept": "application/json"}) as github:
        token = github.post("/login/oauth/access_token", data=form).json()["access_token"]
        user = github.get("/user", headers={"Authorization": f"Bearer {token}"}).json()
    answer = RedirectResponse("/", 302)
    answer.set_cookie("session", _cookie().dumps({"id": user["id"], "login": user["login"]}), httponly=True)
    return answer


@router.get("/me")
def me(request: Request) -> dict[str, object]:
    """Who is signed in?"""
    try:
        return dict(_cookie().loads(request.cookies["session"]))
    except (BadSignature, KeyError) as error:
        raise HTTPException(401, "Nobody is signed in") from error
