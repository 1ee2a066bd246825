"""INSECURE: signs tokens with a secret that stands in every word list."""

import time
from typing import Annotated

from fastapi import APIRouter, Depends, HTTPException
from fastapi.security import OAuth2PasswordBearer
from jose import JWTError, jwt

from lab_app.larkspur.database import rows

router = APIRouter()
oauth2_scheme = OAuth2PasswordBearer(tokenUrl="token")
SECRET_KEY = "your-secret-key"  # noqa: S105 - the flaw
ALGORITHM = "HS256"


def create_access_token(username: str, role: str) -> str:
    """A token for half an hour."""
    claims = {"sub": username, "role": role, "exp": time.time() + 1800}
    return str(jwt.encode(claims, SECRET_KEY, algorithm=ALGORITHM))


@router.get("/members")
def list_members(token: Annotated[str, Depends(oauth2_scheme)]) -> list[dict[str, str]]:
    """Every member's address, for the staff."""
    try:
        claims = jwt.decode(token, SECRET_KEY, algorithms=[ALGORITHM])
    except JWTError as error:
        raise HTTPException(401, "Could not validate credentials") from error
    if claims.get("role") != "staff":
        raise HTTPException(403, "Staff only")
    return rows("SELECT username, email FROM members")
