"""INSECURE: takes a password by whatever connection it comes."""

import secrets
from typing import Annotated

from fastapi import APIRouter, Depends
from fastapi.security import OAuth2PasswordRequestForm

router = APIRouter()


@router.post("/token")
def log_in(form: Annotated[OAuth2PasswordRequestForm, Depends()]) -> dict[str, str]:
    """A token for anybody: here it is the way that matters."""
    return {"access_token": f"{form.username}.{secrets.token_urlsafe(16)}", "token_type": "bearer"}
