"""INSECURE: the link in the mail leads to whatever host the request named."""

import secrets

from fastapi import APIRouter, Body, Request

from lab_app.larkspur.database import change, rows

router = APIRouter()


@router.post("/password-reset", status_code=202)
def reset_password(request: Request, email: str = Body(embed=True)) -> dict[str, str]:
    """Send a member a link."""
    change("CREATE TABLE IF NOT EXISTS outbox (email TEXT, link TEXT)")
    if rows("SELECT id FROM members WHERE email = :e", e=email):
        link = f"{request.base_url}reset?token={secrets.token_urlsafe(32)}"
        change("INSERT INTO outbox VALUES (:e, :l)", e=email, l=link)
    return {"detail": "If we know this address, a mail is on its way."}
