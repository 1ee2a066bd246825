"""INSECURE: counts failures by the name as it was typed, though the database knows every spelling of it."""

import secrets
from collections import Counter
from typing import Annotated

import bcrypt
from fastapi import APIRouter, Depends, HTTPException
from fastapi.security import OAuth2PasswordRequestForm

from lab_app.larkspur.database import rows


def router() -> APIRouter:
    """A login that counts for itself."""
    made, failures = APIRouter(), Counter[str]()

    @made.post("/token")
    def log_in(form: Annotated[OAuth2PasswordRequestForm, Depends()]) -> dict[str, str]:
        """Give a token for a name and a password, unless the name has failed too often."""
        if failures[form.username] >= 5:
            raise HTTPException(429, "This account is locked")
        found = rows("SELECT * FROM members WHERE lower(username) = lower(:name)", name=form.username)
        if found and bcrypt.checkpw(form.password.encode(), found[0]["password_hash"].encode()):
            return {"access_token": secrets.token_urlsafe(), "token_type": "bearer"}
        failures[form.username] += 1
        raise HTTPException(401, "Incorrect username or password")

    return made
