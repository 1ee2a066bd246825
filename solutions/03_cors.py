# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3 (ipykernel)
#     language: python
#     name: python3
# ---

# %% [markdown]
# # 3 · CORS
#
# *Which pages may read your answers?* Your own browser is the victim today: it runs the library's frontend and
# Mallory's page side by side, and tells you what it let each of them do.
#
# | beat | what you do |
# |---|---|
# | See | two pages, one API, and what a browser refuses |
# | Break | seven attacks on five editions of the library |
# | Fix | exercises 3.1 to 3.4 |
# | Prove | the same attacks, and the same two pages, on your code |
# | Apply | the checklist for your own app |
#
# About two hours. Everything runs on 127.0.0.1, and Larkspur is insecure on purpose.

# %%
from lab_app.jupyter import check, hint, progress, serve

# %% [markdown]
# ## See
#
# An **origin** is scheme, host and port ([RFC 6454 §4](https://www.rfc-editor.org/rfc/rfc6454#section-4)). Pages of
# one origin may *send* to another, as they always could: images, forms, links. They may not *read* what comes back,
# unless the API says so. How it says so is called CORS, and it is enforced by the browser, not by you.
#
# ```mermaid
# sequenceDiagram
#     participant P as Page of https://app.larkspur.example
#     participant B as Browser
#     participant A as API
#     P->>B: fetch(PUT /profile)
#     B->>A: OPTIONS /profile, Origin, Access-Control-Request-Method: PUT
#     A-->>B: Access-Control-Allow-Origin, -Methods, -Headers
#     B->>A: PUT /profile, Origin
#     A-->>B: 200, Access-Control-Allow-Origin
#     B-->>P: the answer
# ```

# %% [markdown]
# The OPTIONS is a **preflight**. A browser asks first whenever a page wants what no form could send: a PUT, a JSON
# body, a header of its own ([Fetch Standard §3.3](https://fetch.spec.whatwg.org/#http-cors-protocol)). What a form
# could send goes out unasked.
#
# Here is Larkspur before anybody had heard of CORS. Its profile asks nobody to log in, for it trusts whoever is inside
# the building. You are inside. So is your browser, and every page that it shows.

# %%
from lab_app.jupyter.services import pages
from lab_app.larkspur import cors

larkspur = serve(cors.closed, "larkspur")
pages.show(larkspur)

# %% [markdown]
# Two origins, for their ports differ. Neither may read a thing: `TypeError: Failed to fetch` is all a page learns. The
# reason stands in your browser's console (F12).
#
# Now look at the right column. GET and POST *were executed*; a review has been written by a page that was refused.
# Only the PUT was held back, because its preflight failed. CORS protects answers. It does not protect actions.

# %% [markdown]
# The frontend must work, so somebody pastes what the checklist says. It has stars where it should have names.

# %%
# INSECURE: the checklist's own code, with the stars that people put in until it works.
from fastapi import FastAPI
from fastapi.middleware.cors import CORSMiddleware

pasted = FastAPI()
pasted.add_middleware(
    CORSMiddleware,
    allow_origins=["*"],
    allow_credentials=True,
    allow_methods=["*"],
    allow_headers=["*"],
)

# %% [markdown]
# ## Break
#
# That is the library's first edition. Look at your browser again.

# %%
first = serve(cors.wildcard, "first edition")
pages.show(first)

# %% [markdown]
# ### 1 · Read it from anywhere
#
# The frontend works, and so does Mallory's page: she has read Ada's profile and changed her address. A real `*` would
# have been refused here, since a browser takes no star where credentials go along
# ([Fetch §3.3.5](https://fetch.spec.whatwg.org/#cors-protocol-and-credentials)). So Starlette helps: it repeats
# whatever Origin came (CWE-942, ASVS 5.0 3.4.2).
#
# Other origins than these two need no page. This is a browser's own rule, in three lines:


# %%
def page_reads(target, origin):
    """What a page of `origin` gets to read of /profile, with credentials; None if the browser keeps it."""
    answer = target.get("/profile", headers={"Origin": origin})
    allows = (answer.headers.get(f"access-control-allow-{what}") for what in ("origin", "credentials"))
    return answer.json() if tuple(allows) == (origin, "true") else None


def read_from_anywhere(target):
    """Attack 1: Ada's profile, as a page that has nothing to do with the library."""
    return page_reads(target, "https://evil.example")


read_from_anywhere(first)

# %% [markdown]
# ### 2 · Read it from nowhere
#
# A sandboxed frame has the origin `null` ([RFC 6454 §7.3](https://www.rfc-editor.org/rfc/rfc6454#section-7.3)), and
# everybody can make one: `<iframe sandbox="allow-scripts" srcdoc="…">`. Who repeats every Origin repeats this one, and
# so do all who put `null` on their list "for local files".


# %%
def read_from_nowhere(target):
    """Attack 2: Ada's profile, from a sandboxed frame or with an empty Origin."""
    return page_reads(target, "null") or page_reads(target, "")


read_from_nowhere(first)

# %% [markdown]
# ### 3 · Buy a name
#
# The second edition names its frontend. But `allow_origins="https://app.larkspur.com"` is a string where a list
# belongs. Python asks `origin in allow_origins`, and `in` on a string looks for a *part* of it (CWE-187).


# %%
def read_from_lookalike(target):
    """Attack 3: which part of the frontend's name is enough."""
    for origin in ("https://app.larkspur.co", "https://app.lark", "https://a"):
        if page_reads(target, origin):
            return origin
    return None


second = serve(cors.substring, "second edition")
read_from_lookalike(second)

# %% [markdown]
# `.co` is a country, and its names are for sale.
#
# ### 4 · Be a preview
#
# Every pull request gets a frontend of its own, so the third edition has a pattern:
# `https://pr-.*.preview.larkspur.example`. In a pattern a dot is *any* character (CWE-625). Mallory buys
# `preview-larkspur.example`.


# %%
def read_from_fake_preview(target):
    """Attack 4: an origin of Mallory's that passes for a preview."""
    for origin in (
        "https://pr-1.preview-larkspur.example",
        "https://pr-1.preview.larkspur.example.evil.example",
        "https://evil.example/https://pr-1.preview.larkspur.example",
        "https://pr-evil.preview.larkspur.example",
    ):
        if page_reads(target, origin):
            return origin
    return None


third = serve(cors.previews, "third edition")
read_from_fake_preview(third)

# %% [markdown]
# Who may read what, so far:

# %%
import matplotlib.pyplot as plt

ORIGINS = [
    "https://app.larkspur.example",
    "https://app.larkspur.com",
    "https://app.larkspur.co",
    "https://pr-7.preview.larkspur.example",
    "https://pr-1.preview-larkspur.example",
    "https://evil.example",
    "null",
]
EDITIONS = {"none": larkspur, "first": first, "second": second, "third": third}
reads = [[page_reads(api, origin) is not None for api in EDITIONS.values()] for origin in ORIGINS]

# %%
figure, axis = plt.subplots(figsize=(7, 3))
for row, line in enumerate(reads):
    for column, read in enumerate(line):
        ours = row in (0, 1, 3)
        colour = ("#2e7d32" if ours else "#c62828") if read else "#dddddd"
        axis.scatter(column, row, s=260, marker="s" if read else "_", color=colour)
axis.set(xticks=range(len(EDITIONS)), xticklabels=EDITIONS, yticks=range(len(ORIGINS)), yticklabels=ORIGINS)
axis.set(xlim=(-0.6, 3.6), ylim=(6.6, -0.6), xlabel="edition")
axis.set_title("Pages that read Ada's profile (red: not ours)")
figure.tight_layout()

# %% [markdown]
# ### 5 · Blind the frontend
#
# The fourth edition asks for a token, in a middleware. It was added last, so it stands outermost. A preflight never
# carries a token (Fetch §3.3.5): it gets a 401, and no request ever follows. No attacker is needed. Whoever cannot
# read an error shows "check your network".


# %%
FRONTEND = "https://app.larkspur.example"
TOKEN = {"Authorization": "Bearer of-ada"}


def blind_frontend(target):
    """Attack 5: the answers that the library's own frontend cannot read."""
    asked = {"Access-Control-Request-Method": "GET", "Access-Control-Request-Headers": "authorization"}
    answers = {"preflight": target.options("/profile", headers={"Origin": FRONTEND} | asked)}
    answers["no token"] = target.get("/profile", headers={"Origin": FRONTEND})
    answers["no such path"] = target.get("/nowhere", headers={"Origin": FRONTEND} | TOKEN)
    answers["a crash"] = target.get("/boom", headers={"Origin": FRONTEND} | TOKEN)
    unread = {what: answer.status_code for what, answer in answers.items() if not may_read(answer)}
    return unread or None


def may_read(answer):
    return answer.headers.get("access-control-allow-origin") == FRONTEND


fourth = serve(cors.layers, "fourth edition")
blind_frontend(fourth)

# %% [markdown]
# The crash has a cause of its own: Starlette answers unhandled exceptions *outside* of everything that
# `add_middleware` adds.
#
# ```mermaid
# flowchart LR
#     B[Browser] --> E[ServerErrorMiddleware<br>answers 500] --> T[authenticate<br>answers 401]
#     T --> C[CORSMiddleware<br>adds headers] --> R[Routes]
# ```
#
# What answers to the left of CORS answers without it.

# %% [markdown]
# ### 6 · Take her loan
#
# The fifth edition has CORS in perfect order, for this frontend and no other. Ada logs in and gets a cookie. From now
# on her browser adds it to whatever goes to the API, also when Mallory's page sends it.
#
# Click from left to right: sign in as Ada, then claim your tote bag.

# %%
fifth = serve(cors.forgeable(pages.origins(pages.frontend)), "fifth edition")
pages.show(fifth, "transfer")

# %%
from lab_app.larkspur.database import change, rows

WHOSE = "SELECT username FROM members JOIN loans ON members.id = member_id WHERE loans.id = :loan"
GIVE = "UPDATE loans SET member_id = (SELECT id FROM members WHERE username = 'ada') WHERE id = :loan"


def owner():
    """Whose loan Ada's loan is."""
    return rows(WHOSE, loan=pages.LOAN)[0]["username"]


owner()

# %% [markdown]
# Mallory's page read `Failed to fetch`, and the loan is hers (CWE-352). It had sent JSON under the name of
# `text/plain`. A form can do that, so there was no preflight, and nobody asked who wrote the request.
#
# `SameSite` would not have helped: to a cookie these two pages are one **site**, for sites have no ports. Neighbours
# such as `blog.larkspur.example` are one site too. The same again without a click:


# %%
import json

LOOT = {"to": "mallory", "loan_id": pages.LOAN}


def as_ada(target):
    """Ada's browser, after a login on the frontend; her loan is hers again."""
    change(GIVE, loan=pages.LOAN)
    browser = target.browser()
    browser.post("/login", json=pages.ADA, headers={"Origin": pages.origins(pages.frontend)[0]})
    return browser


# %%
def take_the_loan(target):
    """Attack 6: whose Ada's loan is after she has seen a page of Mallory's, if not hers."""
    headers = {"Origin": "https://blog.larkspur.example", "Content-Type": "text/plain"}
    as_ada(target).post("/transfer", content=json.dumps(LOOT), headers=headers)
    return owner() if owner() != "ada" else None


take_the_loan(fifth)

# %% [markdown]
# And worse: the edition also takes a GET. A link in any mail will do, or `<img src="…/transfer?to=mallory&loan_id=…">`
# on any page of the same site (ASVS 5.0 3.5.3).


# %%
def take_it_by_image(target):
    """Attack 7: whose Ada's loan is after she has seen a picture, if not hers."""
    as_ada(target).get("/transfer", params=LOOT)
    return owner() if owner() != "ada" else None


take_it_by_image(fifth)

# %% [markdown]
# Seven ways to get a list, a pattern, an order or a cookie wrong. Now get them right.
#
# ## Fix
#
# Each exercise is one cell. Run it, then run its `check`. What a cell needs from outside stands in environment
# variables: `DATABASE_URL`, `JWT_SECRET`, `JWT_ISSUER`, `JWT_AUDIENCE`, `LOG_FILE`, `PUBLIC_BASE_URL`, and here
# `FRONTEND_ORIGINS`: origins, comma separated; spaces and trailing commas happen. They are set here and, with other
# values, when you are graded; so read them, and never write them into the code.
#
# Use any library you like, and no library at all if you prefer. Errors are FastAPI's shape, `{"detail": …}`. A crash
# (5xx) is never a fix.

# %%
import os

frontends = [*pages.origins(pages.frontend), "https://app.larkspur.example"]
os.environ.update(FRONTEND_ORIGINS=", ".join(frontends) + " ,")
os.environ["FRONTEND_ORIGINS"]

# %% [markdown]
# ### Exercise 3.1 · A frontend on another domain
#
# `GET /profile`, `PUT /profile`, `DELETE /profile` → 200 (or 204), no credentials needed here. Bodies are free.
#
# - All origins in `FRONTEND_ORIGINS` get the exact `Access-Control-Allow-Origin`, `…-Allow-Credentials: true`,
#   `Vary: Origin`.
# - Preflight allows GET, PUT, DELETE and `Authorization`, `Content-Type`; max-age ≤ 7200; `X-Request-ID` is exposed.
# - Nobody else is allowed: evil, `null`, http, another port, upper case, trailing slash, sub- and super-domain, `.co`
#   for `.com`, an empty origin. Nor PATCH, nor unlisted headers in a preflight. Unset variable → nobody is allowed.
#
# This is the checklist's second exercise. A refused preflight is judged by its lists, not by its status.

# %% exercise="3.1" role="starter"
# Exercise 3.1 — A frontend on another domain (INSECURE: this is the code to mend)
from fastapi import Body, FastAPI
from fastapi.middleware.cors import CORSMiddleware

app = FastAPI()
app.add_middleware(
    CORSMiddleware,
    allow_origins=["*"],
    allow_credentials=True,
    allow_methods=["*"],
    allow_headers=["*"],
    max_age=86400,
)
profile = {"username": "ada", "email": "ada@mail.example"}


@app.get("/profile")
def read_profile():
    return profile


@app.put("/profile")
def change_profile(body: dict = Body()):
    profile.update(body)
    return profile


@app.delete("/profile")
def delete_profile():
    profile.clear()
    return profile


# %% exercise="3.1" role="solution"
# Exercise 3.1 — A frontend on another domain
import os

from fastapi import Body, FastAPI
from fastapi.middleware.cors import CORSMiddleware

app = FastAPI()
origins = [origin.strip() for origin in os.environ.get("FRONTEND_ORIGINS", "").split(",")]
app.add_middleware(
    CORSMiddleware,
    # A list: in a string, `in` would look for a part. No empty origin, which a trailing comma would add.
    allow_origins=[origin for origin in origins if origin],
    allow_credentials=True,
    allow_methods=["GET", "PUT", "DELETE"],
    allow_headers=["Authorization", "Content-Type"],
    expose_headers=["X-Request-ID"],
    max_age=600,
)
profile = {"username": "ada", "email": "ada@mail.example"}


@app.get("/profile")
def read_profile() -> dict:
    return profile


@app.put("/profile")
def change_profile(body: dict = Body()) -> dict:
    profile.update(body)
    return profile


@app.delete("/profile")
def delete_profile() -> dict:
    profile.clear()
    return profile


# %%
check("3.1")

# %% [markdown]
# Stuck? `hint("3.1")` gives one hint at a time, for what failed.
#
# ### Exercise 3.2 · Preview deployments
#
# As 3.1 (the `FRONTEND_ORIGINS` too), `GET /profile`, and `https://pr-<digits>.preview.larkspur.example` are allowed,
# nothing else. Preflights are as in 3.1, too: no PATCH, no unlisted headers, max-age ≤ 7200.
#
# "Nothing else" is meant: no name around that one, no other character where it has a dot, no letters after `pr-`, no
# http, no port. Digits are `0` to `9`.

# %% exercise="3.2" role="starter"
# Exercise 3.2 — Preview deployments (INSECURE: this is the code to mend)
import os
import re

from fastapi import FastAPI, Request

app = FastAPI()
previews = re.compile("https://pr-[0-9]+.preview.larkspur.example")


@app.middleware("http")
async def cors(request: Request, call_next):
    answer = await call_next(request)
    origin = request.headers.get("Origin", "")
    if origin in os.environ.get("FRONTEND_ORIGINS", "") or previews.match(origin):
        answer.headers["Access-Control-Allow-Origin"] = origin
        answer.headers["Access-Control-Allow-Credentials"] = "true"
    return answer


@app.get("/profile")
def read_profile():
    return {"username": "ada", "email": "ada@mail.example"}


# %% exercise="3.2" role="solution"
# Exercise 3.2 — Preview deployments
import os

from fastapi import FastAPI
from fastapi.middleware.cors import CORSMiddleware

app = FastAPI()
origins = [origin.strip() for origin in os.environ.get("FRONTEND_ORIGINS", "").split(",")]
app.add_middleware(
    CORSMiddleware,
    allow_origins=[origin for origin in origins if origin],
    # Starlette matches the whole origin. Own code would need re.fullmatch.
    allow_origin_regex=r"https://pr-[0-9]+\.preview\.larkspur\.example",
    allow_credentials=True,
    allow_methods=["GET"],
    allow_headers=["Authorization", "Content-Type"],
    expose_headers=["X-Request-ID"],
    max_age=600,
)


@app.get("/profile")
def read_profile() -> dict:
    return {"username": "ada", "email": "ada@mail.example"}


# %%
check("3.2")

# %% [markdown]
# ### Exercise 3.3 · Errors and order
#
# - `GET /profile?page=<int>` needs a bearer token in `Authorization`, as in 1.1: HS256, signed with `JWT_SECRET`, with
#   `sub`, `exp`, `iat`, `iss` = `JWT_ISSUER`, `aud` = `JWT_AUDIENCE`.
# - `GET /boom` raises.
# - 401, 404, 422 (`page=x`) and 500 answers carry CORS headers for allowed origins and none for others.
# - Preflight needs no token.
#
# Allowed is what `FRONTEND_ORIGINS` lists, as in 3.1. What a profile holds is up to you.

# %% exercise="3.3" role="starter"
# Exercise 3.3 — Errors and order (INSECURE: this is the code to mend)
import os

import jwt
from fastapi import FastAPI, Request
from fastapi.middleware.cors import CORSMiddleware
from fastapi.responses import JSONResponse

app = FastAPI()
origins = [origin.strip() for origin in os.environ.get("FRONTEND_ORIGINS", "").split(",")]
app.add_middleware(
    CORSMiddleware,
    allow_origins=[origin for origin in origins if origin],
    allow_credentials=True,
    allow_methods=["GET"],
    allow_headers=["Authorization", "Content-Type"],
)
RULES = {"issuer": os.environ["JWT_ISSUER"], "audience": os.environ["JWT_AUDIENCE"]}
NEEDED = {"require": ["sub", "exp", "iat", "iss", "aud"]}


@app.middleware("http")
async def authenticate(request: Request, call_next):
    token = request.headers.get("Authorization", "").removeprefix("Bearer ")
    try:
        key = os.environ["JWT_SECRET"]
        request.state.claims = jwt.decode(token, key, algorithms=["HS256"], options=NEEDED, **RULES)
    except jwt.InvalidTokenError:
        return JSONResponse({"detail": "Log in, please."}, 401, {"WWW-Authenticate": "Bearer"})
    return await call_next(request)


@app.get("/profile")
def read_profile(request: Request, page: int):
    return {"username": request.state.claims["sub"], "page": page}


@app.get("/boom")
def boom():
    raise RuntimeError("the shelf is empty")


# %% exercise="3.3" role="solution"
# Exercise 3.3 — Errors and order
import os

import jwt
from fastapi import Depends, FastAPI, HTTPException
from fastapi.middleware.cors import CORSMiddleware
from fastapi.security import OAuth2PasswordBearer

api = FastAPI()
RULES = {"issuer": os.environ["JWT_ISSUER"], "audience": os.environ["JWT_AUDIENCE"]}
NEEDED = {"require": ["sub", "exp", "iat", "iss", "aud"]}


def current(token: str = Depends(OAuth2PasswordBearer("token"))) -> str:
    try:
        key = os.environ["JWT_SECRET"]
        return jwt.decode(token, key, algorithms=["HS256"], options=NEEDED, **RULES)["sub"]
    except (jwt.InvalidTokenError, ValueError) as error:
        raise HTTPException(401, "Log in, please.", {"WWW-Authenticate": "Bearer"}) from error


@api.get("/profile")
def read_profile(page: int, username: str = Depends(current)) -> dict:
    return {"username": username, "page": page}


@api.get("/boom")
def boom() -> None:
    raise RuntimeError("the shelf is empty")


origins = [origin.strip() for origin in os.environ.get("FRONTEND_ORIGINS", "").split(",")]
# Around the whole app, so that it also sees the 500 that Starlette answers outside of all added middleware.
app = CORSMiddleware(
    api,
    allow_origins=[origin for origin in origins if origin],
    allow_credentials=True,
    allow_methods=["GET"],
    allow_headers=["Authorization", "Content-Type"],
    max_age=600,
)


# %%
check("3.3")

# %% [markdown]
# ### Exercise 3.4 · CORS is no CSRF protection
#
# - `POST /login` `{"username", "password"}` sets a session cookie where the password is right. It says `SameSite`, Lax
#   or Strict: the frontends in `FRONTEND_ORIGINS` are on the API's own site.
# - `POST /transfer` `{"to": username, "loan_id"}` with cookie or bearer moves one's own loan → 200. Bearer clients may
#   send no Origin; their tokens are those of 1.1.
#
# No loan moves for an origin that is not listed, whether it sends JSON, JSON as text/plain, a form or no content type,
# nor for `null`, nor for a cross-site `Sec-Fetch-Site` from an origin that is not listed. GET never changes state.

# %% [markdown]
# The database has `members(id, username, email, password_hash, role, disabled)` and `loans(id, member_id, book_id,
# due_on, returned)`; passwords are hashed with bcrypt. Whose loan it is stands in `member_id`, and that is what the
# checks read. Statuses of refusals are free. To nobody, or with a loan that is not there, nothing moves or crashes.
#
# FastAPI itself once took `text/plain` for JSON (CVE-2021-32677, mended in 0.65.2), and a body without a content type
# until 0.132 ([strict content type](https://fastapi.tiangolo.com/advanced/strict-content-type/)). A model instead of
# `request.body()` spares you both. It stops nobody whose Origin you never looked at.

# %% exercise="3.4" role="starter"
# Exercise 3.4 — CORS is no CSRF protection (INSECURE: this is the code to mend)
import json
import os

import bcrypt
import jwt
from fastapi import Body, FastAPI, HTTPException, Request, Response
from fastapi.middleware.cors import CORSMiddleware
from sqlalchemy import create_engine, text

app = FastAPI()
engine = create_engine(os.environ["DATABASE_URL"])
KEY, NAMES = os.environ["JWT_SECRET"], {"issuer": os.environ["JWT_ISSUER"], "audience": os.environ["JWT_AUDIENCE"]}
origins = [origin.strip() for origin in os.environ.get("FRONTEND_ORIGINS", "").split(",")]
app.add_middleware(
    CORSMiddleware,
    allow_origins=[origin for origin in origins if origin],
    allow_credentials=True,
    allow_methods=["POST"],
    allow_headers=["Authorization", "Content-Type"],
)


def sql(query: str, **values) -> list:
    with engine.begin() as db:
        result = db.execute(text(query), values)
        return result.mappings().all() if result.returns_rows else []


@app.post("/login")
def log_in(response: Response, username: str = Body(), password: str = Body()):
    found = sql("SELECT * FROM members WHERE username = :u AND NOT disabled", u=username)
    if not found or not bcrypt.checkpw(password.encode(), found[0]["password_hash"].encode()):
        raise HTTPException(401, "Wrong name or password.")
    response.set_cookie("session", jwt.encode({"sub": username}, KEY, "HS256"), httponly=True, samesite=None)
    return {"username": username}


def current(request: Request) -> str:
    token = request.headers.get("Authorization", "").removeprefix("Bearer ")
    try:
        if token:
            return jwt.decode(token, KEY, algorithms=["HS256"], **NAMES)["sub"]
        return jwt.decode(request.cookies["session"], KEY, algorithms=["HS256"])["sub"]
    except (jwt.InvalidTokenError, KeyError) as error:
        raise HTTPException(401, "Log in, please.") from error


@app.api_route("/transfer", methods=["GET", "POST"])
async def transfer(request: Request):
    username, body = current(request), request.query_params or json.loads(await request.body())
    move = "UPDATE loans SET member_id = (SELECT id FROM members WHERE username = :to) WHERE id = :id"
    mine = " AND member_id = (SELECT id FROM members WHERE username = :u)"
    sql(move + mine, to=body["to"], id=body["loan_id"], u=username)
    return {"to": body["to"]}


# %% exercise="3.4" role="solution"
# Exercise 3.4 — CORS is no CSRF protection
import os
import secrets
from typing import Annotated

import bcrypt
import jwt
from fastapi import Body, Depends, FastAPI, HTTPException, Request, Response
from fastapi.middleware.cors import CORSMiddleware
from sqlalchemy import create_engine, text

api = FastAPI()
engine = create_engine(os.environ["DATABASE_URL"])
FRONTENDS = [o.strip() for o in os.environ.get("FRONTEND_ORIGINS", "").split(",") if o.strip()]
RULES = {"issuer": os.environ["JWT_ISSUER"], "audience": os.environ["JWT_AUDIENCE"]}
NEEDED = {"require": ["sub", "exp", "iat", "iss", "aud"]}
REFUSED = HTTPException(401, "Log in, please.", {"WWW-Authenticate": "Bearer"})
HTTPS = os.environ["PUBLIC_BASE_URL"].startswith("https://")
sessions: dict[str, str] = {}


def sql(query: str, **values) -> list:
    with engine.begin() as db:
        result = db.execute(text(query), values)
        return list(result.mappings()) if result.returns_rows else []


def id_of(username: str | None) -> int:
    found = sql("SELECT id FROM members WHERE username = :u AND NOT disabled", u=username)
    if not found:
        raise REFUSED
    return found[0]["id"]


@api.post("/login")
def log_in(response: Response, username: Annotated[str, Body()], password: Annotated[str, Body()]) -> dict:
    found = sql("SELECT password_hash FROM members WHERE username = :u AND NOT disabled", u=username)
    if not found or not bcrypt.checkpw(password.encode(), found[0]["password_hash"].encode()):
        raise HTTPException(401, "Wrong name or password.")
    session = secrets.token_urlsafe(32)
    sessions[session] = username
    response.set_cookie("session", session, httponly=True, samesite="lax", secure=HTTPS)
    return {"username": username}


def current(request: Request) -> int:
    scheme, _, token = request.headers.get("Authorization", "").partition(" ")
    if scheme.lower() == "bearer":  # no browser adds this by itself, so nobody can forge it
        try:
            key = os.environ["JWT_SECRET"]
            return id_of(jwt.decode(token, key, algorithms=["HS256"], options=NEEDED, **RULES)["sub"])
        except (jwt.InvalidTokenError, ValueError) as error:
            raise REFUSED from error
    # A cookie goes along with whatever any page sends, so it counts for our own pages only.
    if request.headers.get("Origin") not in FRONTENDS:
        raise HTTPException(403, "This page may not do that.")
    return id_of(sessions.get(request.cookies.get("session", "")))


@api.post("/transfer")
def transfer(to: Annotated[str, Body()], loan_id: Annotated[int, Body()], member: Annotated[int, Depends(current)]):
    move = "UPDATE loans SET member_id = :to WHERE id = :id AND member_id = :member RETURNING id"
    if abs(loan_id) >= 2**63 or not sql(move, to=id_of(to), id=loan_id, member=member):
        raise HTTPException(404, "You have no such loan.")
    return {"loan_id": loan_id, "to": to}


app = CORSMiddleware(
    api,
    allow_origins=FRONTENDS,
    allow_credentials=True,
    allow_methods=["POST"],
    allow_headers=["Authorization", "Content-Type"],
)


# %%
check("3.4")

# %% [markdown]
# ## Prove
#
# First in your browser. This is *your* 3.1 as you last ran it. The frontend reads, writes and deletes; Mallory's page
# gets nothing, and what needs a preflight of hers never arrives. Her GET does: CORS protects answers.

# %%
pages.show(serve("3.1", "yours in the browser"), "profile")

# %% [markdown]
# And your 3.4: sign in as Ada, then claim the tote bag. The API hears of it, and moves nothing.

# %%
change(GIVE, loan=pages.LOAN)
pages.show(serve("3.4", "yours with a cookie"), "transfer")

# %% [markdown]
# Now Mallory's seven attacks, on Larkspur's editions and on your code. Run this after any change. `serve("3.1")` serves
# the cell of that exercise as you last ran it. A crash is no defence, so an attack that ends in one is shown as what it
# is; only `/boom` is there to crash.

# %%
rounds = [
    (read_from_anywhere, first, "3.1"),
    (read_from_nowhere, first, "3.1"),
    (read_from_lookalike, second, "3.1"),
    (read_from_fake_preview, third, "3.2"),
    (blind_frontend, fourth, "3.3"),
    (take_the_loan, fifth, "3.4"),
    (take_it_by_image, fifth, "3.4"),
]


# %%
def outcome(attack, target):
    before = target.crashes
    got_in = attack(target)
    crashed = target.crashes > before and attack is not blind_frontend
    return "CRASHED" if crashed else "worked" if got_in else "blocked"


print(f"{'attack':26}{'on Larkspur':14}on yours")
for attack, edition, number in rounds:
    print(f"{attack.__name__:26}{outcome(attack, edition):14}{outcome(attack, serve(number, 'yours'))}")

# %% [markdown]
# ## Apply
#
# Your own app, line by line. Copy what you cannot tick into your issue tracker.
#
# - [ ] Allowed origins are a list of whole origins, compared whole, from the configuration (ASVS 5.0 3.4.2).
# - [ ] No answer repeats an Origin that is not on the list; `*` stands only where everybody may read, without
#   credentials (Fetch §3.3.5).
# - [ ] `null`, http and the empty origin are not on it (RFC 6454 §7.3).
# - [ ] Patterns are anchored at both ends, and their dots are escaped (CWE-777, CWE-625).

# %% [markdown]
# - [ ] Methods and headers are those that the frontend uses, written down; preflights are kept for two hours at most.
# - [ ] `Vary: Origin` on whatever may be cached (RFC 9110 §12.5.5).
# - [ ] CORS stands outside of authentication, and a 401, a 422 and a 500 can be read by the frontend.
# - [ ] Origins of development (`http://localhost:5173`) are not in the configuration of production.

# %% [markdown]
# - [ ] Whatever a cookie authorises asks for a listed `Origin`, an anti-forgery token or a header of one's own
#   (ASVS 5.0 3.5.1).
# - [ ] No such endpoint can be called with what a form can send (ASVS 5.0 3.5.2), and none changes state at a GET
#   (ASVS 5.0 3.5.3).
# - [ ] Session cookies are `SameSite=Lax` or `Strict` and `HttpOnly` (ASVS 5.0 3.3.2, 3.3.4), and no stranger has a
#   page on the site's other hosts.

# %%
progress()
