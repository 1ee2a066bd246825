"""INSECURE on purpose: the text of a small app, and of each of its parts a clean and a flawed variant.

What begins with a dollar is a part, or a word that is drawn for each app.
"""

BASE = '''"""$title"""

import html
import logging
import os
import secrets
import sqlite3
import threading
import time
import traceback
from collections import defaultdict
from typing import Annotated

import jwt
from argon2 import PasswordHasher
from argon2.exceptions import VerifyMismatchError
from fastapi import Depends, FastAPI, Form, HTTPException, Path, Query, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.middleware.cors import CORSMiddleware
from fastapi.responses import HTMLResponse, JSONResponse
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer, OAuth2PasswordRequestForm
from pydantic import BaseModel, ConfigDict, Field

SECRET = os.environ["JWT_SECRET"]
log = logging.getLogger("$logger")
hasher = PasswordHasher(memory_cost=int(os.environ["ARGON2_KIB"]))
nobody = hasher.hash(secrets.token_hex())
tried, counting = defaultdict(list), threading.Lock()
app = FastAPI(title="$title", redoc_url=None, docs_url=$docs)
app.add_middleware(CORSMiddleware, $cors, allow_methods=["GET", "POST", "PATCH"])
db = sqlite3.connect(":memory:", check_same_thread=False, isolation_level=None)
db.executescript("""
CREATE TABLE members (
    id INTEGER PRIMARY KEY, username TEXT UNIQUE, email TEXT, password_hash TEXT, role TEXT DEFAULT 'member'
);
CREATE TABLE books (id INTEGER PRIMARY KEY, title TEXT);
CREATE TABLE loans (id INTEGER PRIMARY KEY, member_id INTEGER, book_id INTEGER);
INSERT INTO books (title) VALUES ('$book'), ('$other_book'), ('Solaris'), ('Kindred');
INSERT INTO loans VALUES ($first_loan, 0, 1);
""")
Id = Annotated[int, Path(ge=1, le=2**31)]
Email = Annotated[str, Field(pattern=r"^[a-z0-9.]+@[a-z0-9.]+$$", max_length=100)]


class NewMember(BaseModel):
    username: str = Field(pattern="^[a-z0-9]{3,40}$$")
    email: Email
    password: str = Field(min_length=15, max_length=128)


class NewLoan(BaseModel):
    book_id: int = Field(ge=1, le=4)

$headers
@app.exception_handler(RequestValidationError)
def refuse(request: Request, error: RequestValidationError):
    return JSONResponse({"detail": "Invalid input."}, 422)


def right(stored: str, password: str) -> bool:
    try:
        return hasher.verify(stored, password)
    except VerifyMismatchError:
        return False


def reader(bearer: Annotated[HTTPAuthorizationCredentials, Depends(HTTPBearer())]) -> dict:
    try:
        claims = $signature
    except jwt.InvalidTokenError:
        raise HTTPException(401, "Log in, please.", headers={"WWW-Authenticate": "Bearer"})
    query = "SELECT id, username, email, role FROM members WHERE username = ?"
    row = db.execute(query, (str(claims.get("sub")),)).fetchone()
    if not row:
        raise HTTPException(401, "Log in, please.", headers={"WWW-Authenticate": "Bearer"})
    return dict(zip(("id", "username", "email", "role"), row))


Reader = Annotated[dict, Depends(reader)]


@app.post("/register", status_code=201)
def register(body: NewMember):
    row = (body.username, body.email, hasher.hash(body.password))
    try:
        added = db.execute("INSERT INTO members (username, email, password_hash) VALUES (?, ?, ?)", row)
    except sqlite3.IntegrityError:
        raise HTTPException(409, "That name is taken.")
    return {"id": added.lastrowid, "username": body.username, "email": body.email}


@app.post("/token")
def log_in(response: Response, form: Annotated[OAuth2PasswordRequestForm, Depends()]):
    now, name = int(time.time()), form.username[:40]
$guesses
    row = db.execute("SELECT password_hash FROM members WHERE username = ?", (name,)).fetchone()
$names
    tried.pop(name, None)
$log
    response.headers["Cache-Control"] = "no-store"
    token = jwt.encode({"sub": name, "iat": now, "exp": now + 900}, SECRET, "HS256")
    return {"access_token": token, "token_type": "bearer", "expires_in": 900}


@app.get("/members/me")
def read_me(me: Reader):
    return me


$role


@app.post("/loans", status_code=201)
def borrow(body: NewLoan, me: Reader):
    added = db.execute("INSERT INTO loans (member_id, book_id) VALUES (?, ?)", (me["id"], body.book_id))
    return {"id": added.lastrowid, "book_id": body.book_id}


@app.get("/loans/{$loan_id}")
def read_loan($loan_id: Id, me: Reader):
$loan
    if not row:
        raise HTTPException(404, "No such loan.")
    return {"id": row[0], "book_id": row[1]}


@app.get("$search")
def search($term: Annotated[str, Query(max_length=100)] = ""):
$sql
    return [{"id": row[0], "title": row[1]} for row in rows]


@app.get("$page", response_class=HTMLResponse)
def page($guest: Annotated[str, Query(max_length=100)] = "reader"):
    return f"<!doctype html><title>$title</title><h1>$greeting, {$html}!</h1>"


@app.get("$shelves/{code}")
def read_shelf(code: str):
    try:
        return {"shelf": int(code[:9]) % $shelf_count}
    except ValueError:
        raise HTTPException(404, $traceback)


@app.get("$whoami")
def whoami(request: Request):
    return {"client": $proxy}


@app.get("$settings")
def read_settings():
    return {"name": "$title", "version": "$version"$settings_shown}
$form'''

# Each the clean variant, then the flawed one.
PARTS = {
    "headers": (
        """
@app.middleware("http")
async def protect(request: Request, call_next):
    response = await call_next(request)
    response.headers["Content-Security-Policy"] = "default-src 'none'; frame-ancestors 'none'; base-uri 'none'"
    response.headers["X-Content-Type-Options"] = "nosniff"
    response.headers["X-Frame-Options"] = "DENY"
    response.headers["Referrer-Policy"] = "no-referrer"
    return response

""",
        "",
    ),
    "signature": (
        'jwt.decode(bearer.credentials, SECRET, ["HS256"], options={"require": ["sub", "exp"]})',
        'jwt.decode(bearer.credentials, options={"verify_signature": False})',
    ),
    "loan": (
        """    query = "SELECT id, book_id FROM loans WHERE id = ? AND member_id = ?"
    row = db.execute(query, ($loan_id, me["id"])).fetchone()""",
        """    row = db.execute("SELECT id, book_id FROM loans WHERE id = ?", ($loan_id,)).fetchone()""",
    ),
    "names": (
        """    if not right(row[0] if row else nobody, form.password):
        raise HTTPException(401, "$wrong")""",
        """    if not row:
        raise HTTPException(404, "$unknown")
    if not right(row[0], form.password):
        raise HTTPException(401, "$wrong_password")""",
    ),
    "guesses": (
        """    with counting:
        tried[name] = [then for then in tried[name] if then > now - 60]
        if len(tried[name]) >= $most:
            raise HTTPException(429, "Later, please.", headers={"Retry-After": "60"})
        tried[name].append(now)""",
        "",
    ),
    "log": (
        """    log.info("login of %r", name)""",
        """    log.info(f"login of {name!r} with {form.password!r}")""",
    ),
    "role": (
        """class Changes(BaseModel):
    model_config = ConfigDict(extra="forbid")
    email: Email


@app.patch("/members/me")
def change_me(body: Changes, me: Reader):
    db.execute("UPDATE members SET email = ? WHERE id = ?", (body.email, me["id"]))
    return me | {"email": body.email}""",
        """@app.patch("/members/me")
def change_me(body: dict[str, str], me: Reader):
    after = me | body
    query = "UPDATE members SET email = ?, role = ? WHERE id = ?"
    db.execute(query, (after["email"], after["role"], me["id"]))
    return after""",
    ),
    "proxy": (
        "request.client.host",
        'request.headers.get("x-forwarded-for", request.client.host)',
    ),
    "cors": (
        'allow_origins=["https://$frontend.example"], allow_credentials=True',
        'allow_origin_regex=".*", allow_credentials=True',
    ),
    "settings_shown": ("", ', "$secret_name": SECRET'),
    "sql": (
        """    rows = db.execute("SELECT id, title FROM books WHERE title = ?", ($term,)).fetchall()""",
        """    rows = db.execute(f"SELECT id, title FROM books WHERE title = '{$term}'").fetchall()""",
    ),
    "html": ("html.escape($guest)", "$guest"),
    "traceback": ('"No such shelf."', "traceback.format_exc()"),
}

# What looks like a flaw and is none: the part that it stands in for, and its text.
TWINS = {
    "star": ("cors", 'allow_origins=["*"]'),
    "docs": ("docs", '"/docs" if os.environ["ENVIRONMENT"] == "development" else None'),
    "form": (
        "form",
        """

@app.post("/loans/{$loan_id}/notes", status_code=201)
def note($loan_id: Id, text: Annotated[str, Form(max_length=200)], me: Reader):
    mine = db.execute("SELECT id FROM loans WHERE id = ? AND member_id = ?", ($loan_id, me["id"])).fetchone()
    if not mine:
        raise HTTPException(404, "No such loan.")
    return {"note": text}
""",
    ),
}
PLAIN = {"docs": "None", "form": ""}

# Words that each app draws one of.
WORDS = {
    "loan_id": "loan_id id number loan",
    "search": "/books /catalogue /titles /stock",
    "term": "title q wanted term",
    "page": "/welcome /poster /hello /greeting",
    "guest": "name guest to whom",
    "greeting": "Welcome Hello Greetings",
    "shelves": "/shelves /rooms /floors /racks",
    "whoami": "/whoami /address /connection /ip",
    "settings": "/settings /config /about /setup",
    "secret_name": "jwt_secret secret_key signing_secret token_secret",
    "wrong": "Wrong. No. Incorrect.",
    "unknown": "Unknown. Nobody. Unregistered.",
    "wrong_password": "Password? Mistyped. Almost.",
}
# Some of a name that is among the flawed ones too, in a version that is mended: the name alone says nothing.
PINS = (
    *("fastapi==0.165.0", "uvicorn==0.54.0", "argon2-cffi==25.1.0", "pydantic==2.14.3"),
    *("pyjwt==2.15.1", "python-multipart==0.0.34", "urllib3==2.8.0", "h11==0.16.0"),
)
FLAWED_PINS = (
    *("python-jose==3.3.0", "python-jose==3.1.0", "pyjwt==2.3.0", "pyjwt==2.1.0", "python-multipart==0.0.6"),
    *("python-multipart==0.0.5", "urllib3==1.26.4", "urllib3==1.26.12", "h11==0.14.0", "h11==0.12.0"),
)
