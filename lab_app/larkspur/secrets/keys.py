"""INSECURE: lets the token say which file its key is in."""

import os
import tempfile
from pathlib import Path
from typing import Annotated

from fastapi import APIRouter, Depends, HTTPException
from fastapi.security import OAuth2PasswordBearer
from jose import JWTError, jwt

from lab_app.larkspur.database import rows

router = APIRouter()
oauth2_scheme = OAuth2PasswordBearer(tokenUrl="token")
folder = Path(tempfile.mkdtemp(prefix="larkspur-keys-"))


@router.get("/members/me")
def read_me(token: Annotated[str, Depends(oauth2_scheme)]) -> dict[str, str]:
    """Who am I?"""
    (folder / "current").write_text(os.environ["JWT_SECRET"])
    try:
        key = (folder / jwt.get_unverified_header(token)["kid"]).read_text()
        claims = jwt.decode(token, key, algorithms=["HS256"], options={"verify_aud": False})
    except (JWTError, KeyError, OSError) as error:
        raise HTTPException(401, "Could not validate credentials") from error
    found = rows("SELECT username, email FROM members WHERE username = :name", name=claims["sub"])
    if not found:
        raise HTTPException(401, "Could not validate credentials")
    return found[0]
