# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3 (ipykernel)
#     language: python
#     name: python3
# ---

# %% exercise="1.1" role="starter"
# Exercise 1.1 — Read the token (INSECURE: this is the code to mend)
import os

from fastapi import Depends, FastAPI, HTTPException
from fastapi.security import OAuth2PasswordBearer
from jose import jwt
from sqlalchemy import create_engine, text

app = FastAPI()
engine = create_engine(os.environ["DATABASE_URL"])
oauth2_scheme = OAuth2PasswordBearer(tokenUrl="token")


@app.get("/members/me")
def read_me(token: str = Depends(oauth2_scheme)):
    claims = jwt.get_unverified_claims(token)
    with engine.connect() as connection:
        query = text("SELECT username, email FROM members WHERE username = :name")
        member = connection.execute(query, {"name": claims["sub"]}).mappings().first()
    if member is None:
        raise HTTPException(401, "Who are you?")
    return dict(member)


# %% exercise="1.1" role="solution"
# Exercise 1.1 — Read the token
import os

import jwt
from fastapi import Depends, FastAPI, HTTPException
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer
from sqlalchemy import create_engine, text

app = FastAPI()
engine = create_engine(os.environ["DATABASE_URL"])
bearer = HTTPBearer(auto_error=False)
REQUIRED = ["sub", "exp", "iat", "iss", "aud"]


def claims_of(token: str) -> dict:
    if "crit" in jwt.get_unverified_header(token):
        raise jwt.InvalidTokenError("critical header")
    return jwt.decode(
        token,
        os.environ["JWT_SECRET"],
        algorithms=["HS256"],
        audience=os.environ["JWT_AUDIENCE"],
        issuer=os.environ["JWT_ISSUER"],
        options={"require": REQUIRED},
    )


def current_member(credentials: HTTPAuthorizationCredentials | None = Depends(bearer)) -> dict:
    refused = HTTPException(401, "Log in, please.", headers={"WWW-Authenticate": "Bearer"})
    if credentials is None:
        raise refused
    try:
        name = claims_of(credentials.credentials)["sub"]
    except (jwt.InvalidTokenError, ValueError, TypeError, OverflowError, RecursionError) as error:
        raise refused from error
    with engine.connect() as connection:
        query = text("SELECT username, email FROM members WHERE username = :name AND NOT disabled")
        member = connection.execute(query, {"name": name}).mappings().first()
    if member is None:
        raise refused
    return dict(member)


@app.get("/members/me")
def read_me(member: dict = Depends(current_member)) -> dict:
    return member
