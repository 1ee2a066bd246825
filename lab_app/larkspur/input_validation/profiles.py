"""INSECURE: writes whatever fields the visitor sends into the row of the member."""

from typing import Any

from fastapi import APIRouter, Body, HTTPException

from lab_app.larkspur.database import change, rows

router = APIRouter()
COLUMNS = {"username", "email", "password_hash", "role", "disabled"}


@router.patch("/members/{username}")
def change_profile(username: str, body: dict[str, Any] = Body()) -> dict[str, Any]:  # noqa: B008 - FastAPI's own way
    """Change what is known of a member."""
    if not rows("SELECT id FROM members WHERE username = :name", name=username):
        raise HTTPException(404, "There is no such member")
    for field in sorted(COLUMNS & body.keys()):
        change(f"UPDATE members SET {field} = :v WHERE username = :name", v=body[field], name=username)  # noqa: S608
    return body
