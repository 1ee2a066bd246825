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


# %% exercise="1.3" role="starter"
# Exercise 1.3 — Refresh, log out, change password (INSECURE: this is the code to mend)
import os
import time

import jwt
from fastapi import Body, Depends, FastAPI, HTTPException
from fastapi.security import OAuth2PasswordBearer, OAuth2PasswordRequestForm
from passlib.hash import argon2
from sqlalchemy import create_engine, text

app = FastAPI()
engine = create_engine(os.environ["DATABASE_URL"])
passwords = argon2.using(type="ID", rounds=2, memory_cost=19456, parallelism=1)
NAMES = {"iss": os.environ["JWT_ISSUER"], "aud": os.environ["JWT_AUDIENCE"]}
logged_out = set()


def sql(query: str, **values) -> list:
    with engine.begin() as db:
        result = db.execute(text(query), values)
        return result.all() if result.returns_rows else []


def tokens_for(username: str) -> dict:
    claims = {"sub": username, "iat": int(time.time()), **NAMES}
    access, refresh = ({**claims, "exp": claims["iat"] + life} for life in (1800, 86400 * 30))
    key = os.environ["JWT_SECRET"]
    return {"access_token": jwt.encode(access, key), "refresh_token": jwt.encode(refresh, key)}


def username_of(token: str = Depends(OAuth2PasswordBearer("token"))) -> str:
    try:
        key, name = os.environ["JWT_SECRET"], NAMES["aud"]
        return jwt.decode(token, key, algorithms=["HS256"], audience=name)["sub"]
    except jwt.InvalidTokenError as error:
        raise HTTPException(401, "Log in, please.", {"WWW-Authenticate": "Bearer"}) from error


@app.post("/register", status_code=201)
def register(username: str = Body(), email: str = Body(), password: str = Body()):
    insert = "INSERT INTO members (username, email, password_hash) VALUES (:u, :e, :p) RETURNING id"
    [[id_]] = sql(insert, u=username, e=email, p=passwords.hash(password))
    return {"id": id_, "username": username, "email": email}


@app.post("/token")
def log_in(form: OAuth2PasswordRequestForm = Depends()):
    found = sql("SELECT password_hash FROM members WHERE username = :u", u=form.username)
    if not found or not passwords.verify(form.password, found[0].password_hash):
        raise HTTPException(401, "Wrong username or password.")
    return {**tokens_for(form.username), "token_type": "bearer", "expires_in": 1800}


@app.get("/members/me")
def read_me(username: str = Depends(username_of)):
    return sql("SELECT username, email FROM members WHERE username = :u", u=username)[0]._asdict()


@app.post("/refresh")
def refresh(refresh_token: str = Body(embed=True)):
    if refresh_token in logged_out:
        raise HTTPException(401, "You have logged out.")
    return tokens_for(username_of(refresh_token))


@app.post("/logout", status_code=204)
def log_out(refresh_token: str = Body(embed=True)):
    logged_out.add(refresh_token)


@app.post("/password", status_code=204)
def change_password(new: str = Body(embed=True), username: str = Depends(username_of)):
    hashed = passwords.hash(new)
    sql("UPDATE members SET password_hash = :p WHERE username = :u", p=hashed, u=username)


# %% exercise="1.3" role="solution"
# Exercise 1.3 — Refresh, log out, change password
import os
import time
from typing import Annotated

import jwt
from fastapi import Body, Depends, FastAPI, HTTPException
from fastapi.responses import JSONResponse
from fastapi.security import OAuth2PasswordBearer, OAuth2PasswordRequestForm
from passlib.context import CryptContext
from sqlalchemy import create_engine, text

app = FastAPI()
engine = create_engine(os.environ["DATABASE_URL"])
passwords = CryptContext(["argon2", "bcrypt"], argon2__rounds=2, argon2__memory_cost=19456)
KEY, ISS, AUD = (os.environ[name] for name in ("JWT_SECRET", "JWT_ISSUER", "JWT_AUDIENCE"))
NEEDED = {"require": ["sub", "exp", "iat", "iss", "aud", "kind"]}
LIVES = {"access": 600, "refresh": 864000}
Password = Annotated[str, Body(min_length=15, max_length=128)]
REFUSED = HTTPException(401, "Log in, please.", {"WWW-Authenticate": "Bearer"})


def sql(query: str, **values) -> list:
    with engine.begin() as db:
        result = db.execute(text(query), values)
        return result.all() if result.returns_rows else []


sql("CREATE TABLE IF NOT EXISTS sessions (sid TEXT PRIMARY KEY, username TEXT, newest TEXT)")


def pair(username: str, sid: str, newest: str) -> JSONResponse:
    now = int(time.time())
    about = {"sub": username, "sid": sid, "jti": newest, "iat": now, "iss": ISS, "aud": AUD}
    tokens = {"token_type": "bearer", "expires_in": LIVES["access"]}
    for kind, life in LIVES.items():
        tokens[f"{kind}_token"] = jwt.encode({**about, "exp": now + life, "kind": kind}, KEY)
    return JSONResponse(tokens, headers={"Cache-Control": "no-store"})


def verified(kind: str, token: str) -> dict:
    try:
        claims = jwt.decode(token, KEY, ["HS256"], audience=AUD, issuer=ISS, options=NEEDED)
    except (jwt.InvalidTokenError, ValueError, TypeError, OverflowError, RecursionError) as error:
        raise REFUSED from error
    if claims["kind"] != kind:
        raise REFUSED
    return claims


def current(token: str = Depends(OAuth2PasswordBearer("token"))):
    query = "SELECT * FROM members JOIN sessions USING (username) WHERE sid = :s AND NOT disabled"
    if found := sql(query, s=verified("access", token)["sid"]):
        return found[0]
    raise REFUSED


@app.post("/register", status_code=201)
def register(password: Password, username: str = Body(), email: str = Body()):
    insert = "INSERT OR IGNORE INTO members (username, email, password_hash) VALUES (:u, :e, :p)"
    added = sql(f"{insert} RETURNING id", u=username, e=email, p=passwords.hash(password))
    if not added:
        raise HTTPException(409, "That name or address is taken.")
    return {"id": added[0].id, "username": username, "email": email}


@app.post("/token")
def log_in(form: OAuth2PasswordRequestForm = Depends()):
    query = "SELECT password_hash FROM members WHERE username = :u AND NOT disabled"
    known = sql(query, u=form.username)
    if not passwords.verify(form.password, known[0].password_hash if known else None):
        raise REFUSED
    sid, newest = os.urandom(16).hex(), os.urandom(16).hex()
    sql("INSERT INTO sessions VALUES (:s, :u, :n)", s=sid, u=form.username, n=newest)
    return pair(form.username, sid, newest)


@app.get("/members/me")
def read_me(member=Depends(current)):
    return {"username": member.username, "email": member.email}


@app.post("/refresh")
def refresh(refresh_token: str = Body(embed=True)):
    claims, newest = verified("refresh", refresh_token), os.urandom(16).hex()
    turn = "UPDATE sessions SET newest = :n WHERE sid = :s AND newest = :old RETURNING sid"
    if not sql(turn, n=newest, s=claims["sid"], old=claims["jti"]):
        sql("DELETE FROM sessions WHERE sid = :s", s=claims["sid"])
        raise REFUSED
    return pair(claims["sub"], claims["sid"], newest)


@app.post("/logout", status_code=204)
def log_out(refresh_token: str = Body(embed=True)):
    sql("DELETE FROM sessions WHERE sid = :s", s=verified("refresh", refresh_token)["sid"])


@app.post("/password", status_code=204)
def change_password(new: Password, old: str = Body(), member=Depends(current)):
    if not passwords.verify(old, member.password_hash):
        raise HTTPException(403, "That is not your password.")
    sql("DELETE FROM sessions WHERE username = :u", u=member.username)
    change = "UPDATE members SET password_hash = :p WHERE username = :u"
    sql(change, p=passwords.hash(new), u=member.username)


# %% exercise="1.4" role="starter"
# Exercise 1.4 — Whose loan is it? (INSECURE: this is the code to mend)
import os

import jwt
from fastapi import Body, Depends, FastAPI, HTTPException
from fastapi.security import OAuth2PasswordBearer
from sqlalchemy import create_engine, text

app = FastAPI()
engine = create_engine(os.environ["DATABASE_URL"])
RULES = {"issuer": os.environ["JWT_ISSUER"], "audience": os.environ["JWT_AUDIENCE"]}


def sql(query: str, **values) -> list:
    with engine.begin() as db:
        result = db.execute(text(query), values)
        return result.mappings().all() if result.returns_rows else []


def claims_of(token: str = Depends(OAuth2PasswordBearer("token"))) -> dict:
    try:
        return jwt.decode(token, os.environ["JWT_SECRET"], algorithms=["HS256"], **RULES)
    except jwt.InvalidTokenError as error:
        raise HTTPException(401, "Log in, please.", {"WWW-Authenticate": "Bearer"}) from error


@app.get("/loans/{id_}")
def read_loan(id_: int, claims: dict = Depends(claims_of)):
    loans = sql("SELECT * FROM loans WHERE id = :id", id=id_)
    if not loans:
        raise HTTPException(404, "No such loan.")
    return loans[0]


@app.post("/loans/{id_}/renew")
def renew(id_: int, claims: dict = Depends(claims_of)):
    sql("UPDATE loans SET due_on = date(due_on, '+14 days') WHERE id = :id", id=id_)
    return read_loan(id_, claims)


@app.get("/members")
def list_members(claims: dict = Depends(claims_of)):
    if claims.get("role") != "staff":
        raise HTTPException(403, "For staff only.")
    return sql("SELECT username, email, role FROM members")


@app.patch("/members/{username}")
def change_member(username: str, body: dict = Body(), claims: dict = Depends(claims_of)):
    for field, value in body.items():
        sql(f"UPDATE members SET {field} = :v WHERE username = :u", v=value, u=username)
    return {"username": username}


# %% exercise="1.4" role="solution"
# Exercise 1.4 — Whose loan is it?
import os
from typing import Annotated

import jwt
from fastapi import Body, Depends, FastAPI, HTTPException
from fastapi.security import OAuth2PasswordBearer
from sqlalchemy import RowMapping, create_engine, text

app = FastAPI()
engine = create_engine(os.environ["DATABASE_URL"])
RULES = {"issuer": os.environ["JWT_ISSUER"], "audience": os.environ["JWT_AUDIENCE"]}
NEEDED = {"require": ["sub", "exp", "iat", "iss", "aud"]}
BROKEN = (jwt.InvalidTokenError, ValueError, TypeError, OverflowError, RecursionError)
REFUSED = HTTPException(401, "Log in, please.", {"WWW-Authenticate": "Bearer"})
BIGGEST_ID = 2**63 - 1


def sql(query: str, **values) -> list[RowMapping]:
    with engine.begin() as db:
        result = db.execute(text(query), values)
        return list(result.mappings()) if result.returns_rows else []


def current(token: str = Depends(OAuth2PasswordBearer("token"))) -> RowMapping:
    try:
        key = os.environ["JWT_SECRET"]
        name = jwt.decode(token, key, algorithms=["HS256"], options=NEEDED, **RULES)["sub"]
    except BROKEN as error:
        raise REFUSED from error
    found = sql("SELECT * FROM members WHERE username = :u AND NOT disabled", u=name)
    if not found:
        raise REFUSED
    return found[0]


Current = Annotated[RowMapping, Depends(current)]


def staff(member: Current) -> None:
    if member["role"] != "staff":
        raise HTTPException(403, "For staff only.")


def loan_of(id_: int, member: Current) -> RowMapping:
    found = sql("SELECT * FROM loans WHERE id = :id", id=id_) if abs(id_) <= BIGGEST_ID else []
    if found and (found[0]["member_id"] == member["id"] or member["role"] == "staff"):
        return found[0]
    raise HTTPException(404, "You have no such loan.")


Loan = Annotated[RowMapping, Depends(loan_of)]


@app.get("/loans/{id_}")
def read_loan(loan: Loan):
    return loan


@app.post("/loans/{id_}/renew")
def renew(loan: Loan):
    later = "UPDATE loans SET due_on = date(due_on, '+14 days') WHERE id = :id RETURNING *"
    return sql(later, id=loan["id"])[0]


@app.get("/members", dependencies=[Depends(staff)])
def list_members():
    return sql("SELECT username, email, role FROM members ORDER BY username")


@app.patch("/members/{username}")
def change_email(username: str, email: Annotated[str, Body(embed=True)], member: Current):
    if username != member["username"] and member["role"] != "staff":
        raise HTTPException(403, "That is not you.")
    if not sql("SELECT id FROM members WHERE username = :u", u=username):
        raise HTTPException(404, "No such member.")
    change = "UPDATE OR IGNORE members SET email = :e WHERE username = :u RETURNING username, email"
    if changed := sql(change, e=email, u=username):
        return changed[0]
    raise HTTPException(409, "That address is taken.")
