# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3 (ipykernel)
#     language: python
#     name: python3
# ---

# %% [markdown]
# # 10 · Logging, monitoring, audit
#
# *Would you notice?* You forge a log, read it, vanish from it. Then you write one that can be believed, and an alarm.
#
# Everything happens in the **Larkspur Library**: members, books, staff. It runs inside this notebook, on 127.0.0.1
# only, and it is insecure on purpose.
#
# | beat | what you do |
# |---|---|
# | See | what a log is for |
# | Break | five attacks on the flawed library |
# | Fix | exercises 10.1 to 10.5 |
# | Prove | the same attacks on your code |
# | Apply | the checklist for your own app |
#
# About four hours. `check` runs the very checks that a grader runs.

# %%
from lab_app.jupyter import check, hint, progress, serve

# %% [markdown]
# ## See
#
# A log answers four questions about every event: when, where, who, what
# ([ASVS 5.0 16.2.1](https://github.com/OWASP/ASVS/blob/master/5.0/en/0x25-V16-Security-Logging-and-Error-Handling.md)).
# Somebody reads it at three in the morning, or a program does.
#
# ```mermaid
# flowchart LR
#     R[request] --> A[your app] --> L[(log)]
#     A --> C{too many?} -- yes --> W[webhook] --> P[somebody's phone]
#     M[Mallory] -. writes lines of her own .-> L
#     M -. reads secrets .-> L
#     M -. leaves no line .-> A
# ```
#
# So it must hold every event, nothing that did not happen, and no secret. And what matters must reach a person
# ([OWASP A09:2025](https://owasp.org/Top10/2025/A09_2025-Security_Logging_and_Alerting_Failures/)).

# %% [markdown]
# This is how checklists log. Short, and in thousands of apps.

# %%
# INSECURE: the checklist's own code. Any text becomes a line, secrets included, and a crash leaves half of a pair.
import logging

from fastapi import FastAPI, Request

logging.basicConfig(format="%(asctime)s - %(levelname)s - %(message)s", level=logging.INFO, force=True)
logging.getLogger("httpx").setLevel(logging.WARNING)
sample = FastAPI()


@sample.middleware("http")
async def log_requests(request: Request, call_next):
    logging.info(f"Request: {request.method} {request.url}")
    response = await call_next(request)
    logging.info(f"Response: {response.status_code}")
    return response


# %%
@sample.get("/boom")
def boom():
    raise RuntimeError("The shelf collapsed.")


tried = serve(sample, "sample")
for path in ("/docs?access_token=eyJhbGciOi", "/boom"):
    print(tried.get(path).status_code, path)
logging.getLogger().setLevel(logging.WARNING)

# %% [markdown]
# A token stands in the first line. `/boom` has a request and no response: the one event that you would look for is
# the one that the log does not tell.
#
# ## Break
#
# Start the flawed library. The link opens its API in a new tab. You play Mallory; Ada is a member, Grace is on the
# staff. Each attack returns what it got, or None.

# %%
from lab_app.larkspur.monitoring import app as flawed_app

larkspur = serve(flawed_app, "larkspur")
larkspur

# %%
import os
import pathlib
import secrets
import time


def logged(act):
    """What the log file grew by while something happened, as soon as it is written."""
    path = pathlib.Path(os.environ["LOG_FILE"])
    before = path.stat().st_size if path.exists() else 0
    act()
    until = time.monotonic() + 2
    while time.monotonic() < until and not (path.exists() and path.stat().st_size > before):
        time.sleep(0.02)
    return path.read_bytes()[before:].decode(errors="replace") if path.exists() else ""


# %% [markdown]
# ### 1 · Write a line of your own
#
# A user name may hold a line end. Then one event becomes two lines, and the second is yours to write
# ([CWE-117](https://cwe.mitre.org/data/definitions/117.html), ASVS 5.0 16.4.1).


# %%
def try_login(target, name, password="a wrong password", **headers):
    return target.post("/token", data={"username": name, "password": password}, headers=headers)


def forge_a_line(target):
    """Attack 1: a line in the log about a login that never happened."""
    forged = f"2026-01-01 03:00:00 INFO login of grace {secrets.token_hex(4)}"
    lines = logged(lambda: try_login(target, f"mallory\n{forged}")).split("\n")
    return next((line for line in lines if line.startswith(forged)), None)


forge_a_line(larkspur)

# %% [markdown]
# ### 2 · Read a secret
#
# Ada follows the link from her e-mail and types a new password. Whoever may read the log, or a backup of it, or the
# screen of the search tool that it is copied into, has both
# ([CWE-532](https://cwe.mitre.org/data/definitions/532.html), ASVS 5.0 16.2.5).


# %%
def read_a_secret(target):
    """Attack 2: the token or the new password of somebody who resets a password."""
    token, password = secrets.token_hex(8), f"seven geese {secrets.token_hex(4)}"
    body = {"account": {"username": "ada", "password": password}}
    text = logged(lambda: target.post(f"/reset/{token}", json=body))
    return [secret for secret in (token, password) if secret in text] or None


read_a_secret(larkspur)

# %% [markdown]
# ### 3 · Leave no trace
#
# A request that crashes the app never comes back through the middleware. Try a thousand payloads; the log shows
# only those that did no harm (CWE-778, ASVS 5.0 16.3.4).


# %%
def leave_no_trace(target):
    """Attack 3: a crash that no line of the log tells of."""
    text = logged(lambda: target.get("/boom?shelf=B2"))
    return "no line with a 500" if "500" not in text else None


leave_no_trace(larkspur)

# %% [markdown]
# ### 4 · Be somebody else
#
# `X-Forwarded-For` is a header. Anybody sends it. Without a proxy in front that overwrites it, the log names whom you
# choose ([CWE-348](https://cwe.mitre.org/data/definitions/348.html)).


# %%
def blame_somebody(target):
    """Attack 4: the log names an address that had nothing to do with it."""
    address = "203.0.113.9"
    text = logged(lambda: try_login(target, "ada", **{"X-Forwarded-For": address}))
    return address if address in text else None


blame_somebody(larkspur)

# %% [markdown]
# ### 5 · Guess in silence
#
# Here is the inbox of whoever is on call. Larkspur knows its address and never writes to it. Guess as often as you
# like (CWE-778; [OWASP A09:2025](https://owasp.org/Top10/2025/A09_2025-Security_Logging_and_Alerting_Failures/)).

# %%
from lab_app.jupyter.services.inbox import inbox


def guess_in_silence(target, guesses=12):
    """Attack 5: how often you may guess before anybody is told."""
    inbox.clear()
    for n in range(guesses):
        try_login(target, "ada", f"guess number {n}")
    return None if inbox.eventually(lambda: inbox.alerts, seconds=2) else f"{guesses} guesses, no alert"


guess_in_silence(larkspur)

# %% [markdown]
# Five attacks, and nobody is any the wiser. Now write a log that is.
#
# ## Fix
#
# Each exercise is one cell. Run it, then run its `check`. What a cell needs from outside stands in environment
# variables: `DATABASE_URL`, `JWT_SECRET`, `JWT_ISSUER`, `JWT_AUDIENCE`, `LOG_FILE`, and for 10.4 those set below. They
# have other values when you are graded; so read them, and never write them into the code.
#
# The database has `members(id, username, email, password_hash, role, disabled)`; the seeded hashes are bcrypt. Use any
# library you like. Errors are FastAPI's shape, `{"detail": …}`, where you write them. A crash (5xx) is never a fix,
# but for `/boom`, which has to.

# %%
import os

from lab_app.jupyter.services.redis import server as redis_server

os.environ.update(REDIS_URL=redis_server.url, ALERT_WEBHOOK_URL=inbox.url, RATE_LIMIT="20")

# %% [markdown]
# In 10.1–10.4 one JSON object a line goes to `LOG_FILE`. Keys: `time` (or `timestamp`, `ts`, `at`; UTC, ISO 8601),
# `event`, `username` (or `user`), `ip`, `request_id`; others are free. The address is that of the connection. Only
# `LOG_FILE` is judged. `POST /token` takes the OAuth2 form (seeded members) → 200 `{"access_token", "token_type"}` or
# 401.

# %% [markdown]
# ### Exercise 10.1 · One event, one line
#
# `POST /token`; `GET /boom` raises an exception whose text holds the query string; unknown paths 404.
#
# Exactly one line a request, whatever its outcome, with `method`, `path`, `status`.
#
# CR, LF, U+2028, ESC, NUL, 1 MB in username, path, header or exception text: every line parses, the count is right,
# nothing raw below U+0020 or of U+0085, U+2028, U+2029, no line over 8 KiB.

# %% exercise="10.1" role="starter"
# Exercise 10.1 — One event, one line (INSECURE: this is the code to mend)
import os
from datetime import UTC, datetime
from typing import Annotated

from fastapi import Depends, FastAPI, HTTPException, Request
from fastapi.security import OAuth2PasswordRequestForm
from passlib.hash import bcrypt
from sqlalchemy import create_engine, text

app = FastAPI()
engine = create_engine(os.environ["DATABASE_URL"])


def log(**fields):
    words = ", ".join(f'"{key}": "{value}"' for key, value in fields.items())
    with open(os.environ["LOG_FILE"], "a") as file:
        file.write(f'{{"time": "{datetime.now(UTC).isoformat()}", {words}}}\n')


@app.middleware("http")
async def log_requests(request: Request, call_next):
    response = await call_next(request)
    log(event="request", method=request.method, path=request.url.path, status=response.status_code)
    return response


@app.post("/token")
def log_in(form: Annotated[OAuth2PasswordRequestForm, Depends()]):
    with engine.connect() as connection:
        query = text("SELECT password_hash FROM members WHERE username = :name AND NOT disabled")
        stored = connection.execute(query, {"name": form.username}).scalar()
    if not stored or not bcrypt.verify(form.password, stored):
        log(event="authn_login_fail", username=form.username)
        raise HTTPException(401, "Wrong name or password.")
    return {"access_token": "a token would stand here", "token_type": "bearer"}


@app.get("/boom")
def boom(request: Request):
    raise RuntimeError(f"The shelf collapsed under {request.url.query}")


# %% exercise="10.1" role="solution"
# Exercise 10.1 — One event, one line
import json
import os
import secrets
import threading
from datetime import UTC, datetime
from typing import Annotated

from fastapi import Depends, FastAPI, HTTPException, Request
from fastapi.security import OAuth2PasswordRequestForm
from passlib.hash import bcrypt
from sqlalchemy import create_engine, text

MOST = 100  # characters of a text; escaped, one takes up to 12 bytes
api = FastAPI()
engine = create_engine(os.environ["DATABASE_URL"])
lock = threading.Lock()


def log(**fields) -> None:
    short = {key: value[:MOST] if isinstance(value, str) else value for key, value in fields.items()}
    line = json.dumps({"time": datetime.now(UTC).isoformat()} | short)  # escapes all that is not ASCII
    with lock, open(os.environ["LOG_FILE"], "a", encoding="ascii") as file:
        file.write(line + "\n")


def right(password: str, stored: str | None) -> bool:
    return bool(stored) and "\0" not in password and bcrypt.verify(password, stored)  # bcrypt takes no NUL


@api.post("/token")
def log_in(request: Request, form: Annotated[OAuth2PasswordRequestForm, Depends()]) -> dict:
    request.scope["username"] = form.username
    with engine.connect() as connection:
        query = text("SELECT password_hash FROM members WHERE username = :name AND NOT disabled")
        stored = connection.execute(query, {"name": form.username}).scalar()
    if not right(form.password, stored):
        raise HTTPException(401, "Wrong name or password.", headers={"WWW-Authenticate": "Bearer"})
    return {"access_token": secrets.token_urlsafe(32), "token_type": "bearer"}


@api.get("/boom")
def boom(request: Request) -> None:
    raise RuntimeError(f"The shelf collapsed under {request.url.query}")


async def app(scope, receive, send):
    """Around everything, so that a crash comes by here too."""
    if scope["type"] != "http":
        return await api(scope, receive, send)
    status, error = 500, ""

    async def sending(message):
        nonlocal status
        if message["type"] == "http.response.start":
            status = message["status"]
        await send(message)

    try:
        await api(scope, receive, sending)
    except Exception as raised:
        error = f"{type(raised).__name__}: {raised}"
        raise
    finally:
        about = {"method": scope["method"], "path": scope["path"], "status": status, "ip": scope["client"][0]}
        log(event="request", **about, username=scope.get("username", ""), error=error)


# %%
check("10.1")

# %% [markdown]
# ### Exercise 10.2 · No secrets in the log
#
# `POST /token`; `POST /reset/{token}` JSON `{"account": {"username": str, "password": str, …}, …}` → 200 or 422; `GET`
# and `POST /boom` raise an exception whose text holds headers, cookies, query and body.
#
# Password, token, `Authorization`, cookie, `?token=` and `?access_token=`, the token in `/reset/…` (also where no route
# matches), secrets under any spelling of `password`, `secret`, `token`, `api_key`, `old`, `new` nested in JSON, broken
# bodies, 422s, exception arguments: in no line, in no encoding. Method, the path's words, status and username stay.

# %% exercise="10.2" role="starter"
# Exercise 10.2 — No secrets in the log (INSECURE: this is the code to mend)
import json
import os
from datetime import UTC, datetime
from typing import Annotated

from fastapi import Body, Depends, FastAPI, HTTPException, Request
from fastapi.security import OAuth2PasswordRequestForm
from passlib.hash import bcrypt
from sqlalchemy import create_engine, text

app = FastAPI()
engine = create_engine(os.environ["DATABASE_URL"])
SECRET = {"password"}


def log(**fields):
    with open(os.environ["LOG_FILE"], "a") as file:
        file.write(json.dumps({"time": datetime.now(UTC).isoformat()} | fields) + "\n")


@app.middleware("http")
async def log_requests(request: Request, call_next):
    about = {"method": request.method, "path": str(request.url), "ip": request.client.host}
    try:
        response = await call_next(request)
    except Exception as error:
        log(event="crash", status=500, error=repr(error), **about)
        raise
    log(event="request", status=response.status_code, **about)
    return response


@app.post("/token")
def log_in(form: Annotated[OAuth2PasswordRequestForm, Depends()]):
    with engine.connect() as connection:
        query = text("SELECT password_hash FROM members WHERE username = :name AND NOT disabled")
        stored = connection.execute(query, {"name": form.username}).scalar()
    log(event="login", username=form.username, password="***")
    if not stored or not bcrypt.verify(form.password, stored):
        raise HTTPException(401, "Wrong name or password.")
    return {"access_token": "a token would stand here", "token_type": "bearer"}


@app.post("/reset/{token}")
def reset(token: str, body: Annotated[dict, Body()]):
    log(event="reset", body={key: "***" if key in SECRET else value for key, value in body.items()})
    return {"detail": "Your password was changed."}


@app.api_route("/boom", methods=["GET", "POST"])
async def boom(request: Request):
    raise RuntimeError(f"{request.headers} {request.cookies} {request.url.query} {await request.body()!r}")


# %% exercise="10.2" role="solution"
# Exercise 10.2 — No secrets in the log
import json
import os
import secrets
import threading
from datetime import UTC, datetime
from typing import Annotated

from fastapi import Depends, FastAPI, HTTPException, Request
from fastapi.security import OAuth2PasswordRequestForm
from passlib.hash import bcrypt
from pydantic import BaseModel
from sqlalchemy import create_engine, text

WORDS = {"token", "reset", "boom"}  # what a path of ours may say; everything else in it may be a secret
api = FastAPI()
engine = create_engine(os.environ["DATABASE_URL"])
lock = threading.Lock()


class Account(BaseModel):
    username: str
    password: str


class Reset(BaseModel):
    account: Account


def log(**fields) -> None:
    line = json.dumps({"time": datetime.now(UTC).isoformat()} | fields)
    with lock, open(os.environ["LOG_FILE"], "a", encoding="ascii") as file:
        file.write(line + "\n")


def right(password: str, stored: str | None) -> bool:
    return bool(stored) and "\0" not in password and bcrypt.verify(password, stored)  # bcrypt takes no NUL


@api.post("/token")
def log_in(request: Request, form: Annotated[OAuth2PasswordRequestForm, Depends()]) -> dict:
    request.scope["username"] = form.username
    with engine.connect() as connection:
        query = text("SELECT password_hash FROM members WHERE username = :name AND NOT disabled")
        stored = connection.execute(query, {"name": form.username}).scalar()
    if not right(form.password, stored):
        raise HTTPException(401, "Wrong name or password.", headers={"WWW-Authenticate": "Bearer"})
    return {"access_token": secrets.token_urlsafe(32), "token_type": "bearer"}


@api.post("/reset/{token}")
def reset(request: Request, token: str, body: Reset) -> dict:
    request.scope["username"] = body.account.username
    return {"detail": "Your password was changed."}


@api.api_route("/boom", methods=["GET", "POST"])
async def boom(request: Request) -> None:
    raise RuntimeError(f"{request.headers} {request.cookies} {request.url.query} {await request.body()!r}")


async def app(scope, receive, send):
    """Logs what we know to be harmless, and nothing else: no query, no header, no body, no exception's text."""
    if scope["type"] != "http":
        return await api(scope, receive, send)
    status = 500

    async def sending(message):
        nonlocal status
        if message["type"] == "http.response.start":
            status = message["status"]
        await send(message)

    error = ""
    try:
        await api(scope, receive, sending)
    except Exception as raised:
        error = type(raised).__name__
        raise
    finally:
        path = "/".join(part if part in WORDS else "…" for part in scope["path"].split("/")[1:8])
        about = {"method": scope["method"], "path": f"/{path}", "status": status, "ip": scope["client"][0]}
        log(event="request", **about, username=scope.get("username", "")[:100], error=error)


# %%
check("10.2")

# %% [markdown]
# ### Exercise 10.3 · One id per request
#
# `GET /books/{book_id}` → 200 or 404, `GET /boom` raises.
#
# `X-Request-ID` on every answer, 500 too; a client's own is kept only if all of it is `[A-Za-z0-9_-]{8,64}`; every line
# written during a request has it as `request_id`, at least one line a request, also under 50 concurrent ones and from
# worker threads; an unhandled exception's traceback is in the log and not in the body.

# %% exercise="10.3" role="starter"
# Exercise 10.3 — One id per request (INSECURE: this is the code to mend)
import json
import os
import uuid
from datetime import UTC, datetime

from fastapi import FastAPI, HTTPException, Request
from sqlalchemy import create_engine, text

app = FastAPI()
engine = create_engine(os.environ["DATABASE_URL"])
current = {"request_id": ""}


def log(event, **fields):
    line = {"time": datetime.now(UTC).isoformat(), "event": event, **current, **fields}
    with open(os.environ["LOG_FILE"], "a") as file:
        file.write(json.dumps(line) + "\n")


@app.middleware("http")
async def identify(request: Request, call_next):
    current["request_id"] = request.headers.get("X-Request-ID") or str(uuid.uuid4())
    response = await call_next(request)
    response.headers["X-Request-ID"] = current["request_id"]
    return response


@app.get("/books/{book_id}")
def read_book(book_id: int):
    log("book_read", book=book_id)
    with engine.connect() as connection:
        query = text("SELECT id, title, author FROM books WHERE id = :id")
        book = connection.execute(query, {"id": book_id}).mappings().first()
    if book is None:
        log("book_missing", book=book_id)
        raise HTTPException(404, "No such book.")
    return dict(book)


@app.get("/boom")
def boom():
    raise RuntimeError("The shelf collapsed.")


# %% exercise="10.3" role="solution"
# Exercise 10.3 — One id per request
import json
import logging
import os
import re
import secrets
from contextvars import ContextVar
from datetime import UTC, datetime

from fastapi import FastAPI, HTTPException
from fastapi import Path as InPath
from sqlalchemy import create_engine, text
from starlette.datastructures import Headers, MutableHeaders

api = FastAPI()
engine = create_engine(os.environ["DATABASE_URL"])
request_id: ContextVar[str] = ContextVar("request_id", default="")  # each task has its own; threads take a copy along


class JsonLine(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        fields = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(),
            "level": record.levelname,
            "event": record.getMessage(),
            "request_id": request_id.get(),
        }
        if record.exc_info:
            fields["traceback"] = self.formatException(record.exc_info)
        return json.dumps(fields)


handler = logging.FileHandler(os.environ["LOG_FILE"], encoding="ascii")
handler.setFormatter(JsonLine())
log = logging.getLogger("larkspur.books")
log.setLevel(logging.INFO)
log.handlers, log.propagate = [handler], False


@api.get("/books/{book_id}")
def read_book(book_id: int = InPath(ge=1, le=2**62)) -> dict:
    log.info("book_read")
    with engine.connect() as connection:
        query = text("SELECT id, title, author FROM books WHERE id = :id")
        book = connection.execute(query, {"id": book_id}).mappings().first()
    if book is None:
        raise HTTPException(404, "No such book.")
    return dict(book)


@api.get("/boom")
def boom() -> None:
    raise RuntimeError("The shelf collapsed.")


async def app(scope, receive, send):
    """Around everything, so that a 500 has an id too."""
    if scope["type"] != "http":
        return await api(scope, receive, send)
    given = ",".join(Headers(scope=scope).getlist("x-request-id"))
    request_id.set(given if re.fullmatch(r"[A-Za-z0-9_-]{8,64}", given) else secrets.token_hex(16))

    async def sending(message):
        if message["type"] == "http.response.start":
            MutableHeaders(scope=message)["X-Request-ID"] = request_id.get()
        await send(message)

    try:
        await api(scope, receive, sending)
        log.info("request_done")
    except Exception:  # Starlette has sent its 500 through `sending` by now
        log.exception("unhandled_exception")


# %%
check("10.3")

# %% [markdown]
# ### Exercise 10.4 · Events and alerts
#
# `POST /token`; `GET /members` with bearer (a token as in 1.1) → 200 staff, 401 or 403 others; `GET /search?q=` (at
# most 100 characters, else 422), limited to `RATE_LIMIT` a minute and address → 429; env `REDIS_URL`,
# `ALERT_WEBHOOK_URL`.
#
# One line for each `authn_login_success`, `authn_login_fail`, `authz_fail` (a 401 or 403 outside `/token`),
# `excess_rate_limit_exceeded`, `input_validation_fail` (a 422, at `/token` too). They are words of
# [OWASP's logging vocabulary](https://cheatsheetseries.owasp.org/cheatsheets/Logging_Vocabulary_Cheat_Sheet.html).

# %% [markdown]
# The webhook gets `POST {"rule", "subject", "count", "first", "last"}` once per rule and subject in 60 s (a retry may
# repeat it): ≥ 5 failures of one account in 60 s (subject: the account), ≥ 20 accounts failing from one address
# (subject: the address), a success after ≥ 5 failures of that account (subject: the account). Rule names are one's own;
# `subject` holds no character that could hurt a reader.
#
# Silent below; a webhook that is slow or down neither slows nor fails requests, and the alert arrives once it is back;
# two instances count together; a forged `X-Forwarded-For` frames nobody (uvicorn's own `proxy_headers` is off);
# spellings of an account that differ in case count together.

# %% exercise="10.4" role="starter"
# Exercise 10.4 — Events and alerts (INSECURE: this is the code to mend)
import json
import os
from collections import Counter
from datetime import UTC, datetime
from typing import Annotated

import httpx
import jwt
from fastapi import Depends, FastAPI, Header, HTTPException, Request
from fastapi.security import OAuth2PasswordRequestForm
from passlib.hash import bcrypt
from sqlalchemy import create_engine, text

app = FastAPI()
engine = create_engine(os.environ["DATABASE_URL"])
failures = Counter()


def member_named(name):
    with engine.connect() as connection:
        query = text("SELECT * FROM members WHERE username = :name AND NOT disabled")
        return connection.execute(query, {"name": name}).mappings().first()


def log(event, request, username=""):
    ip = request.headers.get("X-Forwarded-For", request.client.host)
    line = {"time": datetime.now(UTC).isoformat(), "event": event, "username": username, "ip": ip}
    with open(os.environ["LOG_FILE"], "a") as file:
        file.write(json.dumps(line) + "\n")


@app.post("/token")
def log_in(request: Request, form: Annotated[OAuth2PasswordRequestForm, Depends()]):
    member = member_named(form.username)
    if not member or not bcrypt.verify(form.password, member["password_hash"]):
        log("authn_login_fail", request, form.username)
        failures[form.username] += 1
        if failures[form.username] >= 5:
            alert = {"rule": "many failures", "subject": form.username, "count": failures[form.username]}
            httpx.post(os.environ["ALERT_WEBHOOK_URL"], json=alert)
        raise HTTPException(401, "Wrong name or password.")
    log("authn_login_success", request, form.username)
    return {"access_token": "a token would stand here", "token_type": "bearer"}


@app.get("/members")
def list_members(authorization: Annotated[str, Header()] = ""):
    claims = jwt.decode(authorization.removeprefix("Bearer "), options={"verify_signature": False})
    if member_named(claims["sub"])["role"] != "staff":
        raise HTTPException(403, "Staff only.")
    return []


@app.get("/search")
def search(q: str = ""):
    return []


# %% exercise="10.4" role="solution"
# Exercise 10.4 — Events and alerts
import json
import os
import re
import secrets
import threading
import time
from datetime import UTC, datetime
from typing import Annotated

import httpx
import jwt
import redis
from fastapi import Depends, FastAPI, HTTPException, Query, Request
from fastapi.security import HTTPBearer, OAuth2PasswordRequestForm
from passlib.hash import bcrypt
from sqlalchemy import create_engine, text

ISSUER, AUDIENCE = os.environ["JWT_ISSUER"], os.environ["JWT_AUDIENCE"]
SECRET, LIMIT, MINUTE = os.environ["JWT_SECRET"], int(os.environ["RATE_LIMIT"]), 60
EVENTS = {401: "authz_fail", 403: "authz_fail", 422: "input_validation_fail", 429: "excess_rate_limit_exceeded"}
app = FastAPI()
engine = create_engine(os.environ["DATABASE_URL"])
store = redis.Redis.from_url(os.environ["REDIS_URL"], decode_responses=True)
lock = threading.Lock()


def utc(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).isoformat()


def log(event: str, request: Request, username: str = "") -> None:
    line = json.dumps({"time": utc(time.time()), "event": event, "username": username[:100], "ip": request.client.host})
    with lock, open(os.environ["LOG_FILE"], "a", encoding="ascii") as file:
        file.write(line + "\n")


def times(key: str, what: str = "") -> list[float]:
    """When things happened within the last minute; `what` happens now."""
    now, pipe = time.time(), store.pipeline()
    pipe.zremrangebyscore(key, 0, now - MINUTE)
    if what:
        pipe.zadd(key, {what: now})
    pipe.expire(key, MINUTE)
    return [when for _, when in pipe.zrange(key, 0, -1, withscores=True).execute()[-1]]


def alert(rule: str, subject: str, least: int, seen: list[float]) -> None:
    subject = re.sub(r"[^A-Za-z0-9_.:@-]", "?", subject)[:100]
    if len(seen) >= least and store.set(f"alerted:{rule}:{subject}", 1, nx=True, ex=MINUTE):
        about = {"rule": rule, "subject": subject, "count": len(seen), "first": utc(seen[0]), "last": utc(seen[-1])}
        store.rpush("alerts", json.dumps(about))


def deliver() -> None:
    """Posts what stands in the queue, whoever put it there, and puts back what nobody took."""
    while True:
        try:
            if queued := store.blpop(["alerts"], timeout=1):
                try:
                    httpx.post(os.environ["ALERT_WEBHOOK_URL"], content=queued[1], timeout=5).raise_for_status()
                except httpx.HTTPError:
                    store.lpush("alerts", queued[1])
                    time.sleep(0.2)
        except redis.RedisError:
            time.sleep(0.2)


threading.Thread(target=deliver, daemon=True).start()


def member_named(name: str) -> dict | None:
    with engine.connect() as connection:
        query = text("SELECT * FROM members WHERE username = :name AND NOT disabled")
        return connection.execute(query, {"name": name}).mappings().first()


@app.middleware("http")
async def note(request: Request, call_next):
    response = await call_next(request)
    if (event := EVENTS.get(response.status_code)) and (event, request.url.path) != ("authz_fail", "/token"):
        log(event, request)
    return response


@app.post("/token")
def log_in(request: Request, form: Annotated[OAuth2PasswordRequestForm, Depends()]) -> dict:
    account, address, member = form.username.casefold(), request.client.host, member_named(form.username)
    if not member or "\0" in form.password or not bcrypt.verify(form.password, member["password_hash"]):
        log("authn_login_fail", request, form.username)
        alert("guessing", account, 5, times(f"failed:{account}", secrets.token_hex(8)))
        alert("spraying", address, 20, times(f"tried:{address}", account))
        raise HTTPException(401, "Wrong name or password.", headers={"WWW-Authenticate": "Bearer"})
    log("authn_login_success", request, form.username)
    alert("guessed", account, 5, times(f"failed:{account}"))
    now = int(time.time())
    claims = {"sub": form.username, "iat": now, "exp": now + 900, "iss": ISSUER, "aud": AUDIENCE}
    return {"access_token": jwt.encode(claims, SECRET, "HS256"), "token_type": "bearer"}


@app.get("/members")
def list_members(credentials=Depends(HTTPBearer())) -> list:
    try:
        claims = jwt.decode(credentials.credentials, SECRET, ["HS256"], audience=AUDIENCE, issuer=ISSUER)
        member = member_named(claims["sub"])
    except (jwt.InvalidTokenError, KeyError) as error:
        raise HTTPException(401, "Log in, please.", headers={"WWW-Authenticate": "Bearer"}) from error
    if not member or member["role"] != "staff":
        raise HTTPException(403, "Staff only.")
    return []


@app.get("/search")
def search(request: Request, q: Annotated[str, Query(max_length=100)] = "") -> list:
    if len(times(f"searched:{request.client.host}", secrets.token_hex(8))) > LIMIT:
        raise HTTPException(429, "Slower, please.", headers={"Retry-After": str(MINUTE)})
    return []


# %%
check("10.4")

# %% [markdown]
# ### First by hand
#
# An audit is the checklist, line by line, on one app. Do it on Larkspur: the link stands above, and the checklists are
# under Apply in notebooks 1 to 10. Copy the table and fill in a row for each line that does not hold.
#
# | section | where | what I sent | what came back | CWE | how bad |
# |---|---|---|---|---|---|
# | 10 | `POST /token` | a name with a line end | a line of my own in the log | CWE-117 | high |
# | 10 | | | | | |
# | 5 | | | | | |

# %% [markdown]
# Then a second table, for an app of your own. A row without the third and fourth column is a rumour
# ([WSTG, Reporting](https://github.com/OWASP/wstg/blob/master/document/5-Reporting/01-Reporting_Structure.md)).

# %% [markdown]
# ### Exercise 10.5 · The audit
#
# `audit(base_url: str, source: str, requirements: str) -> {"findings": [{"section": 1–10, "where", "cwe", "severity",
# "evidence": {"request", "response"}}]}`; `where` is `METHOD /path` as in the OpenAPI document, or `requirements.txt:
# name==version`. Sections 9 and 10 need no HTTP evidence.
#
# Graded on apps with one seeded flaw each, clean twins (public API with `*` and no credentials; docs on in
# development; bearer API without CSRF defence) and one app with many: recall, precision, and evidence that replays.

# %% [markdown]
# Every app is written anew from small parts; paths, parameters and values are drawn. All have `GET /openapi.json`;
# `POST /register` and `POST /token` as in 1.2 (names of `a-z0-9`); `GET /members/me`; `PATCH /members/me` JSON
# `{"email"}`; `POST /loans` JSON `{"book_id": 1}` → 201 `{"id", "book_id"}`; `GET /loans/{…}` → 200 for the owner, else
# 404; and some `GET` routes that need no token. `source` is the text of the app that runs at `base_url`; `requirements`
# that of its lock file.
#
# Nobody gives you an account: register two. An audit has 15 seconds. For section 9 ask `OSV_URL`, as in 9.2.

# %% [markdown]
# What may be seeded, by the notebook that is its section; anything else is a false alarm:
#
# - 1: tokens without signature, somebody else's loan, a login that tells who exists
# - 2: an address that anybody can write
# - 3: any origin with credentials
# - 4: a role in a profile's body
# - 5: twelve guesses and no 429
# - 6: the signing key in a route
# - 7: SQL in a search
# - 8: a tag given back in a page, a page without the headers
# - 9: a pin with an advisory
# - 10: a password in the log, a traceback for the client

# %% [markdown]
# TLS ends in front of these apps; 409 for a name that is taken is right, as in 1.2.

# %% [markdown]
# A flaw of the whole app may be reported at any of its routes. `cwe` is any that fits, `severity` a word of yours.
#
# `request` is `{"method", "path", "headers", "body"}`, the path with its query, or the same as the text of an HTTP
# request; `response` is `{"status", "headers", "body"}`, or the text of a response, or of its body. Headers and body
# may be left out, and a part of a response's body will do, letter for letter.
#
# It replays if the request, sent again, gets that response, and the app would answer otherwise were just that flaw
# mended. For a limit it is sent a dozen times. A minute passes first, so that earlier guesses are forgotten.

# %% [markdown]
# The score:
#
# - *recall* = seeded flaws that a finding names by `where` and `section` (and a CWE that fits) ÷ seeded flaws
# - *precision* = findings that name a seeded flaw ÷ findings (1 without findings)
# - *proven* = seeded flaws that HTTP shows (all but the pin and the log) with a finding whose evidence replays ÷ those
#
# Passed is: one flaw: recall 1, precision ≥ 0.5, for each of fourteen apps. Clean, and each twin: no findings. Ten
# flaws: recall ≥ 0.8, precision ≥ 0.9. Twelve flaws that HTTP shows: proven ≥ 0.8.

# %%
from lab_app.harness.draw import Draw
from lab_app.jupyter.services.advisories import url as osv_url
from lab_app.larkspur.audited import FLAWS, Audited, words

os.environ.update(OSV_URL=osv_url)
one = Audited(words(Draw(secrets.token_hex())), ["sql"]).start()
print(one.url, one.requirements, one.source[-1500:], sep="\n\n")

# %% exercise="10.5" role="starter"
# Exercise 10.5 — The audit (INSECURE: this is the code to mend)
import httpx

HEADERS = {
    "content-security-policy": "CWE-1021",
    "strict-transport-security": "CWE-319",
    "x-content-type-options": "CWE-430",
    "x-xss-protection": "CWE-79",
    "permissions-policy": "CWE-693",
}


def audit(base_url: str, source: str, requirements: str) -> dict:
    findings = []

    def found(section, where, cwe):
        findings.append({"section": section, "where": where, "cwe": cwe, "severity": "high"})

    for path, methods in httpx.get(f"{base_url}/openapi.json").json()["paths"].items():
        if "get" not in methods:
            continue
        answer = httpx.get(base_url + path, headers={"Origin": "https://evil.example"})
        for header, cwe in HEADERS.items():
            if header not in answer.headers:
                found(8, f"GET {path}", cwe)
        if "access-control-allow-origin" in answer.headers:
            found(3, f"GET {path}", "CWE-942")
    if httpx.get(f"{base_url}/docs").status_code == 200:
        found(6, "GET /docs", "CWE-200")
    return {"findings": findings}


# %% exercise="10.5" role="solution"
# Exercise 10.5 — The audit
import os
import re
import secrets
from contextlib import suppress
from functools import partial
from urllib.parse import quote

import httpx
import jwt

ORIGIN, ADDRESS, TAG = "https://mallory.example", "203.0.113.77", "<i>audited"
ALWAYS, NEVER = "x' OR '1'='1", secrets.token_hex(8)


def finding(section: int, cwe: int, severity: str, where: str, answer: httpx.Response | None = None) -> dict:
    request, response = "", ""
    if answer is not None:
        sent = answer.request
        request = {"method": sent.method, "path": sent.url.raw_path.decode(), "headers": dict(sent.headers)}
        request["body"] = sent.content.decode()
        response = {"status": answer.status_code, "headers": dict(answer.headers), "body": answer.text}
    about = {"section": section, "where": where, "cwe": f"CWE-{cwe}", "severity": severity}
    return about | {"evidence": {"request": request, "response": response}}


def guess(http, name: str, password: str = "a wrong password") -> httpx.Response:
    return http.post("/token", data={"username": name, "password": password})


def person(http) -> tuple[str, dict]:
    name, password = f"audit{secrets.token_hex(6)}", secrets.token_hex(12)
    http.post("/register", json={"username": name, "email": f"{name}@audit.example", "password": password})
    return name, {"Authorization": f"Bearer {guess(http, name, password).json()['access_token']}"}


def members(http, paths):
    (name, ada), (_, eve) = person(http), person(http)
    forged = jwt.encode({"sub": name, "exp": 2**31}, None, "none")
    answer = http.get("/members/me", headers={"Authorization": f"Bearer {forged}"})
    yield answer.is_success, 1, 347, "critical", "GET /members/me", answer
    loan = http.post("/loans", json={"book_id": 1}, headers=ada).json()["id"]
    answer = http.get(f"/loans/{loan}", headers=eve)
    yield answer.is_success, 1, 639, "high", f"GET {next(path for path in paths if '/loans/{' in path)}", answer
    answer = http.patch("/members/me", json={"email": "eve@audit.example", "role": "staff"}, headers=eve)
    yield answer.is_success and '"staff"' in answer.text, 4, 915, "critical", "PATCH /members/me", answer


def login(http, paths):
    name, _ = person(http)
    wrong, unknown = guess(http, name), guess(http, NEVER)
    yield wrong.text != unknown.text, 1, 204, "medium", "POST /token", unknown
    guesses = [guess(http, name) for _ in range(12)]
    yield all(each.status_code != 429 for each in guesses), 5, 307, "high", "POST /token", guesses[-1]


def get(http, path: str, about: dict, value: str, **headers) -> httpx.Response:
    asked = {each["name"]: value for each in about.get("parameters", []) if each["in"] == "query"}
    return http.get(re.sub("{.*?}", quote(value), path), params=asked, headers=headers)


def open_routes(http, paths):
    for path in [path for path in paths if "get" in paths[path]]:
        where, ask = f"GET {path}", partial(get, http, path, paths[path]["get"])
        plain, tag, always = ask("7", Origin=ORIGIN, **{"X-Forwarded-For": ADDRESS}), ask(TAG), ask(ALWAYS)
        headers, page = plain.headers, "html" in plain.headers.get("content-type", "")
        trusts = headers.get("access-control-allow-origin") if "access-control-allow-credentials" in headers else ""
        more = not page and always.is_success and len(always.text) > len(ask(NEVER).text) + len(ALWAYS)
        yield trusts == ORIGIN, 3, 942, "high", where, plain
        yield ADDRESS in plain.text, 2, 348, "medium", where, plain
        yield re.search(r'(secret|key)\w*":\s*"\S{16,}"', plain.text), 6, 200, "critical", where, plain
        yield page and "content-security-policy" not in headers, 8, 1021, "low", where, plain
        yield page and TAG in tag.text, 8, 79, "high", where, tag
        yield more or always.status_code == 500, 7, 89, "critical", where, always
        yield "Traceback (most" in tag.text, 10, 209, "low", where, tag


def audit(base_url: str, source: str, requirements: str) -> dict:
    findings = []
    with httpx.Client(base_url=base_url, timeout=15) as http:
        paths = http.get("/openapi.json").json()["paths"]
        for look in (members, login, open_routes):
            with suppress(httpx.HTTPError, LookupError, ValueError):
                for bad, *about in look(http, paths):
                    findings += [finding(*about)] if bad else []
        for name, version in re.findall(r"(?m)^([\w.-]+)==([\w.]+)", requirements):
            query = {"package": {"name": name, "ecosystem": "PyPI"}, "version": version}
            if http.post(os.environ["OSV_URL"], json=query).json().get("vulns"):
                findings.append(finding(9, 1395, "medium", f"requirements.txt: {name}=={version}"))
    for match in re.finditer(r"\blog\w*\.\w+\(.*password", source):
        method, path = re.findall(r'@app\.(\w+)\("([^"]+)"', source[: match.start()])[-1]
        findings.append(finding(10, 532, "high", f"{method.upper()} {path}"))
    return {"findings": findings}


# %%
check("10.5")

# %% [markdown]
# ## Prove
#
# Mallory's own five attacks, on Larkspur and on your code. `serve("10.1")` serves the cell of that exercise as you last
# ran it. A crash is no defence, but in attack 3, where crashing is the attack.

# %%
rounds = [
    (forge_a_line, "10.1"),
    (read_a_secret, "10.2"),
    (leave_no_trace, "10.1"),
    (blame_somebody, "10.4"),
    (guess_in_silence, "10.4"),
]


def outcome(attack, target):
    before = target.crashes
    got_in = attack(target)
    crashed = target.crashes > before and attack is not leave_no_trace
    return "CRASHED" if crashed else "got in" if got_in else "blocked"


print(f"{'attack':20}{'on Larkspur':14}on yours")
for attack, number in rounds:
    print(f"{attack.__name__:20}{outcome(attack, larkspur):14}{outcome(attack, serve(number, 'yours'))}")

# %% [markdown]
# Your audit, as you last ran it, on fourteen apps that nobody has seen before: one flaw each, and what you say of it.

# %%
for flaw in FLAWS:
    target = Audited(words(Draw(secrets.token_hex())), [flaw]).start()
    findings = audit(target.url, target.source, target.requirements)["findings"]
    told = sorted({f"{each['section']} {each['cwe']} {each['where']}" for each in findings})
    print(f"{flaw:16}{len(findings):3} findings  {', '.join(told[:2])}{' …' * (len(told) > 2)}")
    target.stop()

# %% [markdown]
# ### Then with the tool
#
# `python3 -m lab_app audit` does by rote what you did by hand: it asks every route as nobody and as two users, sends
# quotes, tags, origins and forged tokens, asks again before it reports, and runs bandit and pip-audit on the source.
# Here on an app with every flaw of the list, next to yours.

# %%
import tempfile
from pathlib import Path

from lab_app.audit.audit import Options
from lab_app.audit.audit import audit as tool

folder = Path(tempfile.mkdtemp())
target = Audited(words(Draw(secrets.token_hex())), FLAWS).start()
files = {folder / "app.py": target.source, folder / "requirements.txt": target.requirements}
for path, content in files.items():
    path.write_text(content)
report = tool(Options(target.url, *files, active=True))
theirs = {(each.weakness.section, each.where) for each in report.findings}
mine = {(each["section"], each["where"]) for each in audit(target.url, *files.values())["findings"]}

# %%
for section, where in sorted(theirs | mine):
    seen_by = ("tool" if (section, where) in theirs else "", "you" if (section, where) in mine else "")
    print(f"{section:3} {where:40} {'{:5} {}'.format(*seen_by)}")
for note in report.notes:
    print("not seen:", note)

# %% [markdown]
# Where the two differ, send the evidence of one of them again: the tool has its blind spots, and so have you.

# %%
found = report.findings[0]
print(found.said, found.evidence.request, found.evidence.response[:600], found.evidence.curl[:600], sep="\n\n")
target.stop()

# %% [markdown]
# And a picture of one bad minute on your 10.4: Mallory guesses Ada's password, then tries one password on everybody.
# Dots are lines of your log, bars are alerts. An alarm that rings for every dot is one that people switch off.

# %%
import json

import matplotlib.pyplot as plt
from datetime import datetime

KINDS = ("authn_login_fail", "authn_login_success", "authz_fail")


def bad_minute(target):
    """Nine guesses at Dora, and one each at 24 others."""
    inbox.clear()
    for n in range(9):
        try_login(target, "dora", f"guess {n}")
    for n in range(24):
        try_login(target, f"member{n}", "password1")
    inbox.eventually(lambda: len(inbox.alerts) >= 2, seconds=3)


# %%
def event_of(line):
    try:
        entry = json.loads(line)
        return entry["event"], datetime.fromisoformat(entry["time"]).timestamp()
    except (ValueError, KeyError, TypeError):
        return "?", 0.0


yours = serve("10.4", "yours")
events = [event_of(line) for line in logged(lambda: bad_minute(yours)).splitlines()]
began = min([when for _, when in events if when], default=0.0)
print(len(events), "lines,", len(inbox.alerts), "alerts")

# %%
figure, axis = plt.subplots(figsize=(7, 2.4))
for row, name in enumerate(KINDS):
    axis.plot([when - began for event, when in events if event == name], [row] * sum(e == name for e, _ in events), "o")
for n, alert in enumerate(inbox.alerts):
    axis.axvline(alert.came - began, color="black", linestyle="--")
    label = f"{alert.body.get('rule')}: {alert.body.get('subject')}"
    axis.text(alert.came - began, 2.6 + 0.5 * n, label, ha="right", fontsize=8)
axis.set(yticks=range(len(KINDS)), yticklabels=KINDS, xlabel="seconds", ylim=(-0.5, 3.8))
axis.set_title("What was logged, and who was told")
figure.tight_layout()

# %% [markdown]
# ## Apply
#
# Your own app, line by line. Copy what you cannot tick into your issue tracker.
#
# - [ ] Every request leaves one line, crashes too (ASVS 5.0 16.3.4, 16.5.4).
# - [ ] Lines are structured, and what strangers send is encoded, not pasted (ASVS 5.0 16.2.4, 16.4.1; CWE-117).
# - [ ] Every line says when (UTC), where, who, what (ASVS 5.0 16.2.1, 16.2.2).
# - [ ] No password, token, cookie or key in any line, by a list of what is allowed (ASVS 5.0 16.2.5; CWE-532).
# - [ ] The address in the log is one that you verified, not a header (CWE-348).

# %% [markdown]
# - [ ] One id joins all lines of a request, and the client gets it with the error (ASVS 5.0 16.2.1).
# - [ ] Errors tell the client nothing but that id (ASVS 5.0 16.5.1).
# - [ ] Logins, refusals and limits are logged as events (ASVS 5.0 16.3.1, 16.3.2, 16.3.3).
# - [ ] Somebody is told when it is many, and only then; a dead webhook stops nobody (ASVS 5.0 16.5.2; CWE-778).
# - [ ] Logs go to another machine, which the app cannot rewrite (ASVS 5.0 16.4.2, 16.4.3).

# %% [markdown]
# ### At last, your own app
#
# Write it into `MINE`: a project folder, `module:app`, or a URL of this machine. Nothing is sent that changes state. In
# a terminal there is more to choose (`python3 -m lab_app audit --help`): `--active`, two users with `--auth`, a
# `--baseline` of what you accept, `--fail-on high` for CI.
#
# What comes is the checklist of all ten notebooks with findings under its lines. No line is ticked. What no tool can
# see, you answer.

# %%
from IPython.display import Markdown

from lab_app.audit.report.markdown import markdown

MINE = ""  # until it is yours, this is the checklist of the app above
if MINE:
    report = tool(Options(MINE))
    Path(f"audit-{report.began:%Y%m%d-%H%M%S}.md").write_text(markdown(report))
Markdown(markdown(report))

# %%
progress()
