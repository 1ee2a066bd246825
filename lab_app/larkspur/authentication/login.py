"""INSECURE: an unknown name is refused sooner than a wrong password, so a clock finds out who is a member."""

from typing import Annotated

from fastapi import APIRouter, Depends, HTTPException
from fastapi.security import OAuth2PasswordRequestForm
from passlib.context import CryptContext

from lab_app.larkspur.authentication.weak_secret import create_access_token
from lab_app.larkspur.database import rows

router = APIRouter()
pwd_context = CryptContext(schemes=["bcrypt"], deprecated="auto", bcrypt__rounds=10)


@router.post("/token")
def login(form: Annotated[OAuth2PasswordRequestForm, Depends()]) -> dict[str, str]:
    """Give a token for a name and a password."""
    found = rows("SELECT * FROM members WHERE username = :name", name=form.username)
    if not found or not pwd_context.verify(form.password, found[0]["password_hash"]):
        raise HTTPException(401, "Incorrect username or password")
    token = create_access_token(found[0]["username"], found[0]["role"])
    return {"access_token": token, "token_type": "bearer"}
