"""INSECURE: pastes the visitor's name into the SQL."""

import bcrypt
from fastapi import APIRouter, HTTPException
from pydantic import BaseModel

from lab_app.larkspur.database import rows

router = APIRouter()


class Credentials(BaseModel):
    """Who somebody claims to be."""

    username: str
    password: str


@router.post("/login")
def log_in(who: Credentials) -> dict[str, str]:
    """Compare a password with the stored hash."""
    found = rows(f"SELECT username, password_hash FROM members WHERE username = '{who.username}'")  # noqa: S608 - the flaw
    if not found or not bcrypt.checkpw(who.password.encode(), found[0]["password_hash"].encode()):
        raise HTTPException(401, "Incorrect username or password")
    return {"welcome": found[0]["username"]}
