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


# %% exercise="1.2" role="starter"
# Exercise 1.2 — Register and log in (INSECURE: this is the code to mend)
import hashlib
import os
from datetime import datetime, timedelta

from fastapi import Depends, FastAPI, HTTPException, Request
from fastapi.security import OAuth2PasswordBearer, OAuth2PasswordRequestForm
from jose import JWTError, jwt
from sqlalchemy import create_engine, text

app = FastAPI()
engine = create_engine(os.environ["DATABASE_URL"])
oauth2_scheme = OAuth2PasswordBearer(tokenUrl="token")
KEY, NAMES = os.environ["JWT_SECRET"], {"iss": "larkspur", "aud": "larkspur-api"}


def find(username: str) -> dict | None:
    with engine.connect() as connection:
        query = text("SELECT * FROM members WHERE username = :name")
        return connection.execute(query, {"name": username}).mappings().first()


@app.post("/register", status_code=201)
async def register(request: Request):
    body = await request.json()
    if find(body["username"]):
        raise HTTPException(409, "This name is taken.")
    body["password_hash"] = hashlib.sha256(body.pop("password").encode()).hexdigest()
    with engine.begin() as connection:
        names, values = ", ".join(body), ", ".join(f":{name}" for name in body)
        connection.execute(text(f"INSERT INTO members ({names}) VALUES ({values})"), body)
    return dict(find(body["username"]))


@app.post("/token")
async def log_in(form: OAuth2PasswordRequestForm = Depends()):
    member = find(form.username)
    if member is None:
        raise HTTPException(401, "There is no such member.")
    if hashlib.sha256(form.password.encode()).hexdigest() != member["password_hash"]:
        raise HTTPException(401, "The password is wrong.")
    times = {"iat": datetime.now(), "exp": datetime.now() + timedelta(hours=12)}
    token = jwt.encode({"sub": form.username, **NAMES, **times}, KEY)
    return {"access_token": token, "token_type": "bearer", "expires_in": 12 * 3600}


@app.get("/members/me")
def read_me(token: str = Depends(oauth2_scheme)):
    try:
        member = find(jwt.decode(token, KEY, audience=NAMES["aud"])["sub"])
    except JWTError:
        raise HTTPException(401, "Log in, please.")
    return {"username": member["username"], "email": member["email"]}


@app.get("/health")
def health():
    return {"status": "ok"}


# %% exercise="1.2" role="solution"
# Exercise 1.2 — Register and log in
import os
import secrets
import time

import jwt
from fastapi import Depends, FastAPI, HTTPException, Response
from fastapi.security import OAuth2PasswordBearer, OAuth2PasswordRequestForm
from pwdlib import PasswordHash
from pwdlib.hashers.argon2 import Argon2Hasher
from pwdlib.hashers.bcrypt import BcryptHasher
from pydantic import BaseModel, EmailStr, Field
from sqlalchemy import create_engine, text
from sqlalchemy.exc import IntegrityError

app = FastAPI()
engine = create_engine(os.environ["DATABASE_URL"])
oauth2_scheme = OAuth2PasswordBearer(tokenUrl="token")
argon2id = Argon2Hasher(time_cost=2, memory_cost=19_456, parallelism=1)
passwords = PasswordHash((argon2id, BcryptHasher()))
# Verified when there is no such member, so that a failure always takes as long.
NOBODYS_HASH = passwords.hash(secrets.token_hex())
KEY, LIFETIME = os.environ["JWT_SECRET"], 15 * 60
NAMES = {"iss": os.environ["JWT_ISSUER"], "aud": os.environ["JWT_AUDIENCE"]}
INSERT = "INSERT INTO members (username, email, password_hash) VALUES (:name, :email, :hash)"


class Newcomer(BaseModel):
    username: str
    email: EmailStr
    password: str = Field(min_length=15, max_length=128)


def find(username: str) -> dict:
    with engine.connect() as connection:
        query = text("SELECT * FROM members WHERE username = :name AND NOT disabled")
        return dict(connection.execute(query, {"name": username}).mappings().first() or {})


@app.post("/register", status_code=201)
def register(newcomer: Newcomer) -> dict:
    name, email, hash_ = newcomer.username, newcomer.email, passwords.hash(newcomer.password)
    try:
        with engine.begin() as connection:
            row = connection.execute(text(INSERT), {"name": name, "email": email, "hash": hash_})
    except IntegrityError as error:
        raise HTTPException(409, "This name or e-mail is taken.") from error
    return {"id": row.lastrowid, "username": name, "email": email}


@app.post("/token")
def log_in(response: Response, form: OAuth2PasswordRequestForm = Depends()) -> dict:
    member = find(form.username)
    good = passwords.verify(form.password, member.get("password_hash", NOBODYS_HASH))
    if not member or not good:
        raise HTTPException(401, "Wrong name or password.", {"WWW-Authenticate": "Bearer"})
    response.headers["Cache-Control"] = "no-store"
    now = int(time.time())
    claims = {"sub": member["username"], "iat": now, "exp": now + LIFETIME, **NAMES}
    token = jwt.encode(claims, KEY, algorithm="HS256")
    return {"access_token": token, "token_type": "bearer", "expires_in": LIFETIME}


@app.get("/members/me")
def read_me(token: str = Depends(oauth2_scheme)) -> dict:
    names = {"issuer": NAMES["iss"], "audience": NAMES["aud"]}
    must = {"require": ["sub", "exp", "iat", "iss", "aud"]}
    try:
        claims = jwt.decode(token, KEY, algorithms=["HS256"], options=must, **names)
        member = find(claims["sub"])
        return {"username": member["username"], "email": member["email"]}
    except (jwt.InvalidTokenError, KeyError) as error:
        refused = {"WWW-Authenticate": "Bearer"}
        raise HTTPException(401, "Log in, please.", refused) from error


@app.get("/health")
async def health() -> dict:
    return {"status": "ok"}
