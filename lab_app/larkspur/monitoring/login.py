"""INSECURE: writes the name into the log as it came, and nobody is told however often somebody guesses."""

from typing import Annotated

from fastapi import APIRouter, Depends, HTTPException
from fastapi.security import OAuth2PasswordRequestForm
from passlib.hash import bcrypt

from lab_app.larkspur.database import rows
from lab_app.larkspur.monitoring.log import logger

router = APIRouter()


@router.post("/token")
def log_in(form: Annotated[OAuth2PasswordRequestForm, Depends()]) -> dict[str, str]:
    """Swap a name and a password for a token."""
    found = rows("SELECT password_hash FROM members WHERE username = :name", name=form.username)
    if not found or not bcrypt.verify(form.password, found[0]["password_hash"]):
        logger.warning(f"login failed for {form.username}")
        raise HTTPException(401, "Incorrect username or password")
    logger.info(f"login of {form.username}")
    return {"access_token": "a token would stand here", "token_type": "bearer"}
