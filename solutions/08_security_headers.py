# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3 (ipykernel)
#     language: python
#     name: python3
# ---

# %% [markdown]
# # 8 · Content Security Policy and headers
#
# *What may a browser do with what you sent?* You deface a page, poison a link, forge a log. Then you say no.
#
# Everything happens in the **Larkspur Library**. It runs in this notebook, on 127.0.0.1 only, insecure on
# purpose.
#
# | beat | what you do |
# |---|---|
# | See | which answer goes past which middleware |
# | Break | six attacks on the flawed library |
# | Fix | exercises 8.1 to 8.4 |
# | Prove | the same attacks on your code |
# | Apply | the checklist for your own app |
#
# Two hours and a half. `check` runs the very checks that a grader runs.

# %%
from lab_app.jupyter import check, hint, progress, serve

# %% [markdown]
# ## See
#
# A header is an order to the browser. `nosniff`: believe the content type. `Content-Security-Policy`: run these scripts
# and no others. The browser obeys only if the header is there, and it is there only if the answer came past the code
# that adds it.
#
# ```mermaid
# flowchart LR
#     B[Browser] --> E
#     subgraph app["your FastAPI app"]
#         E["answers exceptions<br>with 500"] --> T["host check"] --> H["your middleware<br>adds headers"] -->
#         R["routes, 404, 422"]
#     end
# ```
#
# The way back is the same way. What `E` and `T` answer themselves never meets your middleware. Starlette puts `E`
# outside of everything that you add
# ([its documentation](https://starlette.dev/middleware/)).

# %% [markdown]
# This is how checklists add the headers. Short, and copied into thousands of apps.

# %%
# INSECURE: the checklist's own code. A crash goes out bare, and the policy lets an attacker's script run.
from fastapi import FastAPI, Request

app = FastAPI()


@app.middleware("http")
async def add_security_headers(request: Request, call_next):
    response = await call_next(request)
    response.headers["X-Content-Type-Options"] = "nosniff"
    response.headers["X-XSS-Protection"] = "1; mode=block"
    response.headers["Strict-Transport-Security"] = "max-age=31536000; includeSubDomains"
    response.headers["Content-Security-Policy"] = "default-src 'self' 'unsafe-inline'"
    return response


# %%
@app.get("/boom")
def boom():
    raise RuntimeError("The shelf collapsed.")


sample = serve(app, "sample")
for path in ("/openapi.json", "/nowhere", "/boom"):
    answer = sample.get(path)
    print(answer.status_code, path, answer.headers.get("x-content-type-options", "no nosniff"), sep="   ")

# %% [markdown]
# The 500 is bare. And error answers are where a visitor's own text comes back.
#
# ## Break
#
# Start the flawed library. The link opens its API in a new tab. You play Mallory; Ada is a member who reads reviews.

# %%
from lab_app.larkspur.headers import app as flawed_app

larkspur = serve(flawed_app, "larkspur")
larkspur

# %% [markdown]
# ### 1 · Deface a page
#
# Anybody may write a review. Write one that is a script
# ([CWE-79](https://cwe.mitre.org/data/definitions/79.html)). Each attack is a function that returns what it got, or
# None; later you run the same functions against your own code. This one believes what the page and its policy say. The
# frame below shows what a browser does.

# %%
from lab_app.larkspur.database import change, rows

DEFACE = """<script>document.body.innerHTML =
  "<h1 style='color:crimson'>Closed. Send your books to Mallory.</h1>"</script>"""

member = rows("SELECT min(id) AS id FROM members")[0]["id"]
review = "INSERT INTO reviews (book_id, member_id, body) VALUES (1, :member, :body)"
change(review, member=member, body="A winter on another planet.")
change(review, member=member, body=DEFACE)


def deface(target):
    """Attack 1: the script, as it stands in the page of every reader."""
    page = target.get("/reviews/1", params={"name": "Ada"}).text
    return DEFACE if DEFACE in page else None


deface(larkspur)


# %%
from IPython.display import IFrame
from starlette.applications import Starlette
from starlette.responses import Response
from starlette.routing import Route


def in_a_frame(target, path, name):
    """A page with its own policy, but for what would keep it out of this frame."""

    def pass_on(request):
        answer = target.get(str(request.url).removeprefix(str(request.base_url).rstrip("/")))
        policy = answer.headers.get("content-security-policy", "").split(";")
        kept = ";".join(part for part in policy if "frame-ancestors" not in part)
        headers = {"content-security-policy": kept, "content-type": answer.headers["content-type"]}
        return Response(answer.content, answer.status_code, headers)

    return IFrame(serve(Starlette(routes=[Route("/{path:path}", pass_on)]), name).url + path, 720, 230)


# %%
in_a_frame(larkspur, "/reviews/1?name=Ada", "Larkspur in a frame")

# %% [markdown]
# Mallory's words, under the library's address. Her script could as well have read what Ada reads, and sent what Ada
# sends. The policy was there. It says `'unsafe-inline'`, which is: run whatever stands in the page.
#
# ### 2 · Send Ada a link
#
# The page greets its visitor by `?name=`. Nothing needs to be stored; the script travels in the link.

# %%
from urllib.parse import quote


def reflect(target):
    """Attack 2: a link to the library's own address that runs a script there, for whoever clicks."""
    page = target.get("/reviews/2", params={"name": DEFACE}).text
    return f"{target.url}/reviews/2?name={quote(DEFACE)[:40]}…" if DEFACE in page else None


reflect(larkspur)

# %% [markdown]
# ### 3 · Look for the bare answer
#
# Ask for everything, and note what lacks what (ASVS 5.0
# [3.4.3, 3.4.4 and 3.4.6](https://github.com/OWASP/ASVS/blob/master/5.0/en/0x12-V3-Web-Frontend-Security.md) name
# no exception). `frame-ancestors` has no substitute: `X-Frame-Options` is obsolete.

# %%
WANTED = {
    "nosniff": lambda headers: headers.get("x-content-type-options") == "nosniff",
    "a policy": lambda headers: "content-security-policy" in headers,
    "no frames": lambda headers: "frame-ancestors" in headers.get("content-security-policy", ""),
    "referrer": lambda headers: "referrer-policy" in headers,
    "old filter off": lambda headers: headers.get("x-xss-protection", "0") == "0",
    "http, no HSTS": lambda headers: "strict-transport-security" not in headers,
}
ASKED = [("GET", "/openapi.json"), ("GET", "/nowhere"), ("PATCH", "/boom"), ("GET", "/boom")]


def survey(target):
    answers = [target.request(*asked) for asked in ASKED]
    return {
        f"{answer.status_code} {answer.request.url.path}": [test(answer.headers) for test in WANTED.values()]
        for answer in answers
    }


# %%
import matplotlib.pyplot as plt


def draw_survey(found, title):
    figure, axis = plt.subplots(figsize=(7.5, 2.2))
    axis.imshow(list(found.values()), cmap="RdYlGn", vmin=-0.3, vmax=1.3, aspect="auto")
    axis.set(xticks=range(len(WANTED)), yticks=range(len(found)), title=title)
    axis.set_xticklabels(WANTED)
    axis.set_yticklabels(found)
    for row, tests in enumerate(found.values()):
        for column, good in enumerate(tests):
            axis.text(column, row, "✓" if good else "✗", ha="center", va="center", fontsize=9)
    figure.tight_layout()


draw_survey(survey(larkspur), "What Larkspur's answers say to a browser")


# %%
def find_a_bare_answer(target):
    """Attack 3: an answer with which a browser may do as it likes."""
    bare = [answer for answer, tests in survey(target).items() if not tests[0] or not tests[1]]
    return bare or None


find_a_bare_answer(larkspur)

# %% [markdown]
# ### 4 · Get Ada's password link
#
# "I forgot my password", says Mallory, giving Ada's address. But she also chooses the `Host` header, and the library
# builds the link from it. The mail is genuine. The link is Mallory's
# ([OWASP Forgot Password Cheat Sheet](https://cheatsheetseries.owasp.org/cheatsheets/Forgot_Password_Cheat_Sheet.html),
# CWE-640).

# %%
ada = rows("SELECT email FROM members WHERE username = 'ada'")[0]["email"]


def stored_texts():
    """Every text in the tables that are not the library's four."""
    names = [row["name"] for row in rows("SELECT name FROM sqlite_master WHERE type = 'table'")]
    own = set(names) - {"members", "books", "loans", "reviews"}
    return [str(value) for name in own for row in rows(f'SELECT * FROM "{name}"') for value in row.values()]


def poison_the_link(target):
    """Attack 4: the link that Ada is sent, if it leads to Mallory."""
    target.post("/password-reset", json={"email": ada}, headers={"Host": "mallory.example"})
    found = [text for text in stored_texts() if "mallory.example" in text]
    change("DROP TABLE IF EXISTS outbox")
    return found[0] if found else None


poison_the_link(larkspur)

# %% [markdown]
# ### 5 · Forge the log
#
# Browsers report what a policy has blocked, and anybody else may report too. A line end in a report begins a new line,
# and what the new line says is Mallory's choice (CWE-117, ASVS 5.0 16.4.1).

# %%
import os
import pathlib


def forge_the_log(target):
    """Attack 5: a line of the log that nobody but Mallory wrote."""
    log, forged = pathlib.Path(os.environ["LOG_FILE"]), "INFO grace logged in from 10.0.0.7"
    report = {"csp-report": {"blocked-uri": f"inline\n{forged}"}}
    target.post("/csp-report", json=report, headers={"Content-Type": "application/csp-report"})
    found = [line for line in (log.read_text().splitlines() if log.exists() else []) if line == forged]
    log.unlink(missing_ok=True)
    return found[0] if found else None


forge_the_log(larkspur)

# %% [markdown]
# ### 6 · Read the map
#
# `/docs` shows every route to everybody, with a form for each (ASVS 5.0 13.4.5). And whose code runs on that page? Look
# at where FastAPI's own one loads its scripts from (ASVS 5.0 3.6.1, CWE-829).

# %%
import re


def strangers_in_the_docs(target):
    """Attack 6: the hosts whose code runs on your documentation page."""
    answer = target.get("/docs")
    loaded = re.findall(r"(?:src|href)=\"https?://([^/\"]+)", answer.text) if answer.status_code == 200 else []
    return sorted(set(loaded)) or None


strangers_in_the_docs(larkspur)

# %% [markdown]
# Six orders that were never given. Now give them.
#
# ## Fix
#
# Each exercise is one cell. Run it, then run its `check`. What a cell needs from outside stands in environment
# variables: `DATABASE_URL`, `JWT_SECRET`, `JWT_ISSUER`, `JWT_AUDIENCE`, `LOG_FILE`, `PUBLIC_BASE_URL`, and those below.
# When you are graded they have other values; so read them, and never write them into the code.
#
# Use any library you like. Errors are FastAPI's shape, `{"detail": …}`. A crash (5xx) is never a fix.

# %%
import os

os.environ.update(ENVIRONMENT="development")
os.environ.pop("ALLOWED_HOSTS", None)  # 8.1: any host, as long as nobody says otherwise

# %% [markdown]
# ### Exercise 8.1 · On every answer
#
# Routes: `GET /members/me` (bearer, 1.1's tokens), `GET` and `HEAD /books/{book_id}` with an ETag (304 on
# `If-None-Match`), `GET /old-books` → 308, `GET /boom` raises. Env `ALLOWED_HOSTS` (comma separated, `*.` allowed;
# unset: any).
#
# 200, 304, 404, 405, 422, 500, HEAD, redirect, host refusal: all carry
#
# - `X-Content-Type-Options: nosniff`,
# - `Content-Security-Policy` with `default-src 'none'; frame-ancestors 'none'` for JSON,
# - `Referrer-Policy`,
# - `X-XSS-Protection` absent or `0`,
# - HSTS over https only,
# - `Cache-Control: no-store` on `/members/me`;
#
# one value each.

# %% [markdown]
# Whether a request came over https is in `scope["scheme"]`. Over http a browser must ignore HSTS, since anybody on the
# way could have written it ([RFC 6797 §8.1](https://www.rfc-editor.org/rfc/rfc6797#section-8.1)); so it must not be
# sent there (§7.2). Of an `X-Forwarded-Proto` your server makes that scheme, if it came from a proxy that it trusts; to
# an app it is only what a client wrote.
#
# The old XSS filter could be turned against safe pages
# ([OWASP](https://cheatsheetseries.owasp.org/cheatsheets/HTTP_Headers_Cheat_Sheet.html)).

# %% exercise="8.1" role="starter"
# Exercise 8.1 — On every answer (INSECURE: this is the code to mend)
import os

import jwt
from fastapi import Depends, FastAPI, HTTPException, Request
from fastapi.responses import RedirectResponse
from fastapi.security import OAuth2PasswordBearer
from sqlalchemy import create_engine, text
from starlette.middleware.trustedhost import TrustedHostMiddleware

app = FastAPI()
engine = create_engine(os.environ["DATABASE_URL"])
RULES = {"issuer": os.environ["JWT_ISSUER"], "audience": os.environ["JWT_AUDIENCE"]}


@app.middleware("http")
async def add_security_headers(request: Request, call_next):
    response = await call_next(request)
    response.headers["X-Content-Type-Options"] = "nosniff"
    response.headers["X-Frame-Options"] = "DENY"
    response.headers["X-XSS-Protection"] = "1; mode=block"
    response.headers["Strict-Transport-Security"] = "max-age=31536000; includeSubDomains"
    response.headers["Content-Security-Policy"] = "default-src 'self'"
    return response


app.add_middleware(TrustedHostMiddleware, allowed_hosts=os.environ.get("ALLOWED_HOSTS", "*").split(","))


def one(query: str, **values):
    with engine.connect() as db:
        return db.execute(text(query), values).mappings().first()


@app.get("/members/me")
def read_me(token: str = Depends(OAuth2PasswordBearer("token"))):
    try:
        name = jwt.decode(token, os.environ["JWT_SECRET"], algorithms=["HS256"], **RULES)["sub"]
    except jwt.InvalidTokenError as error:
        raise HTTPException(401, "Log in, please.", {"WWW-Authenticate": "Bearer"}) from error
    return one("SELECT username, email FROM members WHERE username = :u AND NOT disabled", u=name)


@app.get("/books/{book_id}")
def read_book(book_id: int):
    return one("SELECT * FROM books WHERE id = :id", id=book_id)


@app.get("/old-books")
def old_books():
    return RedirectResponse("/books/1", 308)


@app.get("/boom")
def boom():
    raise RuntimeError("The shelf collapsed.")


# %% exercise="8.1" role="solution"
# Exercise 8.1 — On every answer
import hashlib
import json
import os
from typing import Annotated

import jwt
from fastapi import Depends, FastAPI, Header, HTTPException, Path, Response
from fastapi.responses import RedirectResponse
from fastapi.security import OAuth2PasswordBearer
from sqlalchemy import create_engine, text
from starlette.datastructures import MutableHeaders
from starlette.middleware.trustedhost import TrustedHostMiddleware

HEADERS = {
    "X-Content-Type-Options": "nosniff",
    "Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'",
    "Referrer-Policy": "no-referrer",
}
RULES = {"issuer": os.environ["JWT_ISSUER"], "audience": os.environ["JWT_AUDIENCE"]}
NEEDED = {"require": ["sub", "exp", "iat", "iss", "aud"]}
BROKEN = (jwt.InvalidTokenError, ValueError, TypeError, OverflowError, RecursionError)
REFUSED = HTTPException(401, "Log in, please.", {"WWW-Authenticate": "Bearer"})

api = FastAPI()
engine = create_engine(os.environ["DATABASE_URL"])
if hosts := [host.strip() for host in os.environ.get("ALLOWED_HOSTS", "").split(",") if host.strip()]:
    api.add_middleware(TrustedHostMiddleware, allowed_hosts=hosts)


class SecurityHeaders:
    """Around the whole app, so that nothing leaves without them."""

    def __init__(self, app):
        self.app = app

    async def __call__(self, scope, receive, send):
        async def send_with_headers(message):
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                headers.update(HEADERS)
                if scope["scheme"] == "https":
                    headers["Strict-Transport-Security"] = "max-age=31536000; includeSubDomains"
            await send(message)

        await self.app(scope, receive, send_with_headers)


def one(query: str, **values):
    with engine.connect() as db:
        return db.execute(text(query), values).mappings().first()


def member(token: str = Depends(OAuth2PasswordBearer("token"))):
    try:
        key = os.environ["JWT_SECRET"]
        name = jwt.decode(token, key, algorithms=["HS256"], options=NEEDED, **RULES)["sub"]
    except BROKEN as error:
        raise REFUSED from error
    if found := one("SELECT username, email FROM members WHERE username = :u AND NOT disabled", u=name):
        return found
    raise REFUSED


@api.get("/members/me")
def read_me(response: Response, me=Depends(member)):
    response.headers["Cache-Control"] = "no-store"
    return me


@api.head("/books/{book_id}", include_in_schema=False)
@api.get("/books/{book_id}")
def read_book(book_id: Annotated[int, Path(lt=2**63)], if_none_match: str = Header("")):
    book = one("SELECT * FROM books WHERE id = :id", id=book_id)
    if book is None:
        raise HTTPException(404, "No such book.")
    body = json.dumps(dict(book)).encode()
    tag = f'"{hashlib.sha256(body).hexdigest()}"'
    if tag in if_none_match:
        return Response(status_code=304, headers={"ETag": tag})
    return Response(body, media_type="application/json", headers={"ETag": tag})


@api.get("/old-books")
def old_books():
    return RedirectResponse("/books/1", 308)


@api.get("/boom")
def boom():
    raise RuntimeError("The shelf collapsed.")


app = SecurityHeaders(api)


# %%
check("8.1")

# %% [markdown]
# Stuck? `hint("8.1")` gives one hint at a time, for what failed.
#
# ### Exercise 8.2 · A page with a nonce
#
# `GET /reviews/{book_id}?name=` → HTML: it greets `name` and shows the reviews of the book.
#
# - The page's own script runs and shows it by setting a `data-…` attribute on `<html>` or `<body>`.
# - A nonce of ≥ 128 bits per response, in header and own script only.
# - No `unsafe-inline`, `unsafe-eval`, `data:`; `object-src`, `base-uri` `'none'`; `form-action`, `frame-ancestors`.
# - Stored XSS in reviews and `?name=` is inert in a real browser while the page's own script runs.
#
# Right too: hashes; `'self'`; strict-dynamic.

# %% [markdown]
# Two walls, in this order. **Escape** first: what a visitor sent is text, and stays text. The policy is
# "not intended as a first line of defense" ([CSP3](https://www.w3.org/TR/CSP3/#intro)): it stops scripts, while a
# form that asks for a password comes through. **Then the policy**, for the day when somebody forgets to escape. The
# checks try that day too.
#
# A **nonce** is a password between your header and your script tag. It must be new each time
# ([CSP3](https://www.w3.org/TR/CSP3/#security-nonces)).
#
# If Chromium is installed, the checks open your page in it. Otherwise those checks are skipped, and count neither way.

# %% exercise="8.2" role="starter"
# Exercise 8.2 — A page with a nonce (INSECURE: this is the code to mend)
import os

from fastapi import FastAPI
from fastapi.responses import HTMLResponse
from sqlalchemy import create_engine, text

app = FastAPI()
engine = create_engine(os.environ["DATABASE_URL"])
POLICY = "default-src 'self' 'unsafe-inline'"


@app.get("/reviews/{book_id}")
def read_reviews(book_id: int, name: str = "visitor"):
    with engine.connect() as db:
        query = text("SELECT body FROM reviews WHERE book_id = :id ORDER BY id")
        bodies = db.execute(query, {"id": book_id}).scalars().all()
    reviews = "".join(f"<li>{body}</li>" for body in bodies)
    page = f"""<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>Reviews</title></head>
<body><h1>Hello, {name}</h1>
<ul>{reviews}</ul>
<script>document.body.dataset.reviews = document.querySelectorAll("li").length</script>
</body></html>"""
    return HTMLResponse(page, headers={"Content-Security-Policy": POLICY})


# %% exercise="8.2" role="solution"
# Exercise 8.2 — A page with a nonce
import os
import secrets
from typing import Annotated

from fastapi import FastAPI, Path
from fastapi.responses import HTMLResponse
from jinja2 import Environment
from sqlalchemy import create_engine, text

app = FastAPI()
engine = create_engine(os.environ["DATABASE_URL"])
POLICY = (
    "default-src 'none'; script-src 'nonce-{nonce}'; object-src 'none'; base-uri 'none'; "
    "form-action 'none'; frame-ancestors 'none'"
)
PAGE = Environment(autoescape=True).from_string("""<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>Reviews</title></head>
<body><h1>Hello, {{ name }}</h1>
<ul>{% for body in bodies %}<li>{{ body }}</li>{% endfor %}</ul>
<script nonce="{{ nonce }}">document.body.dataset.reviews = document.querySelectorAll("li").length</script>
</body></html>""")


@app.get("/reviews/{book_id}")
def read_reviews(book_id: Annotated[int, Path(lt=2**63)], name: str = "visitor"):
    with engine.connect() as db:
        query = text("SELECT body FROM reviews WHERE book_id = :id ORDER BY id")
        bodies = db.execute(query, {"id": book_id}).scalars().all()
    nonce = secrets.token_urlsafe(16)
    page = PAGE.render(name=name, bodies=bodies, nonce=nonce)
    return HTMLResponse(page, headers={"Content-Security-Policy": POLICY.format(nonce=nonce)})


# %%
check("8.2")

# %% [markdown]
# ### Exercise 8.3 · Hosts
#
# Env `ALLOWED_HOSTS` (comma separated, `*.` allowed), `PUBLIC_BASE_URL`.
#
# `POST /password-reset` `{"email"}` → 202, known or not; for a known one a row in a table of one's own whose text
# column holds the link, beginning with `PUBLIC_BASE_URL`.
#
# - Forged `Host`, `X-Forwarded-Host` and duplicates are refused (4xx) or harmless, user info and port junk harmless.
# - `*.larkspur.example` does not match `evillarkspur.example`.

# %% [markdown]
# HTTP lets a client write anything into `Host`
# ([RFC 9110 §7.2](https://www.rfc-editor.org/rfc/rfc9110#section-7.2) warns of it). What goes out by mail must
# therefore come from your own settings.

# %%
os.environ.update(ALLOWED_HOSTS="larkspur.example,*.larkspur.example,127.0.0.1")

# %% exercise="8.3" role="starter"
# Exercise 8.3 — Hosts (INSECURE: this is the code to mend)
import os
import secrets

from fastapi import Body, FastAPI, HTTPException, Request
from sqlalchemy import create_engine, text

app = FastAPI()
engine = create_engine(os.environ["DATABASE_URL"])
ALLOWED = [host.replace("*.", "") for host in os.environ["ALLOWED_HOSTS"].split(",")]

with engine.begin() as db:
    db.execute(text("CREATE TABLE IF NOT EXISTS resets (member_id INTEGER, link TEXT)"))


@app.post("/password-reset", status_code=202)
def reset_password(request: Request, email: str = Body(embed=True)):
    host = request.headers.get("x-forwarded-host") or request.headers["host"]
    if not any(host.split(":")[0].endswith(allowed) for allowed in ALLOWED):
        raise HTTPException(400, "Who are you talking to?")
    link = f"https://{host}/reset?token={secrets.token_urlsafe(32)}"
    with engine.begin() as db:
        member = db.execute(text("SELECT id FROM members WHERE email = :e"), {"e": email}).scalar()
        if member is None:
            raise HTTPException(404, "No such member.")
        db.execute(text("INSERT INTO resets VALUES (:m, :l)"), {"m": member, "l": link})
    return {"detail": "A mail is on its way."}


# %% exercise="8.3" role="solution"
# Exercise 8.3 — Hosts
import os
import secrets

from fastapi import Body, FastAPI
from sqlalchemy import create_engine, text
from starlette.middleware.trustedhost import TrustedHostMiddleware

app = FastAPI()
app.add_middleware(
    TrustedHostMiddleware,
    allowed_hosts=[host.strip() for host in os.environ["ALLOWED_HOSTS"].split(",") if host.strip()],
    www_redirect=False,
)
engine = create_engine(os.environ["DATABASE_URL"])

with engine.begin() as db:
    db.execute(text("CREATE TABLE IF NOT EXISTS resets (member_id INTEGER, link TEXT)"))


@app.post("/password-reset", status_code=202)
def reset_password(email: str = Body(embed=True)):
    link = f"{os.environ['PUBLIC_BASE_URL']}/reset?token={secrets.token_urlsafe(32)}"
    with engine.begin() as db:
        member = db.execute(text("SELECT id FROM members WHERE email = :e"), {"e": email}).scalar()
        if member is not None:
            db.execute(text("INSERT INTO resets VALUES (:m, :l)"), {"m": member, "l": link})
    return {"detail": "If we know this address, a mail is on its way."}


# %%
check("8.3")

# %% [markdown]
# ### Exercise 8.4 · Docs and reports
#
# Env `ENVIRONMENT`.
#
# - `/docs` is 404 when it is `production`; in `development` it is an HTML page that lists the API's paths, loading
#   everything from its own origin, under a CSP without `unsafe-inline` for scripts.
# - `POST /csp-report` takes `application/csp-report` and `application/reports+json` → 2xx, over 16 KiB or no JSON →
#   4xx, more than 60 a minute from one address → 429 (20 are always fine), one clean JSON or text line a POST in
#   `LOG_FILE`.

# %% [markdown]
# A line is *clean* if no control character, U+0085, U+2028 or U+2029 stands in it as it was sent. A POST that is
# refused may leave a clean line, or none. The address is that of the connection; headers say what the client likes.
#
# FastAPI's own documentation page loads from a CDN and starts itself by an inline script. You need neither: the paths
# are in `app.openapi()["paths"]`, and a list of them is a page.

# %% exercise="8.4" role="starter"
# Exercise 8.4 — Docs and reports (INSECURE: this is the code to mend)
import os

from fastapi import FastAPI, Request

app = FastAPI(title="Larkspur Library")


@app.middleware("http")
async def add_policy(request: Request, call_next):
    response = await call_next(request)
    response.headers["Content-Security-Policy"] = "default-src 'self' 'unsafe-inline' https://cdn.jsdelivr.net"
    return response


@app.post("/csp-report", status_code=204)
async def take_report(request: Request):
    report = (await request.json())["csp-report"]
    with open(os.environ["LOG_FILE"], "a") as log:
        log.write(f"{request.client.host} blocked {report['blocked-uri']}\n")


# %% exercise="8.4" role="solution"
# Exercise 8.4 — Docs and reports
import json
import os
import time
from collections import defaultdict, deque
from html import escape

from fastapi import FastAPI, HTTPException, Request
from fastapi.responses import HTMLResponse

MOST_BYTES, MOST_A_MINUTE = 16 * 1024, 60
POLICY = "default-src 'none'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
PAGE = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>Larkspur Library</title></head>
<body><h1>Larkspur Library</h1><ul>{}</ul></body></html>"""

app = FastAPI(title="Larkspur Library", docs_url=None, redoc_url=None, openapi_url=None)
recent: dict[str, deque[float]] = defaultdict(deque)

if os.environ["ENVIRONMENT"] == "development":

    @app.get("/docs", include_in_schema=False)
    def docs():
        paths = app.openapi()["paths"].items()
        items = [f"<li>{method.upper()} {escape(path)}</li>" for path, methods in paths for method in methods]
        return HTMLResponse(PAGE.format("".join(items)), headers={"Content-Security-Policy": POLICY})


def slow_down(address: str) -> None:
    now = time.monotonic()
    for known in list(recent):
        while recent[known] and recent[known][0] <= now - 60:
            recent[known].popleft()
        if not recent[known]:
            del recent[known]
    if len(recent[address]) >= MOST_A_MINUTE:
        raise HTTPException(429, "Too many reports.", {"Retry-After": "60"})
    recent[address].append(now)


@app.post("/csp-report", status_code=204)
async def take_report(request: Request) -> None:
    slow_down(request.client.host)
    body = b""
    async for chunk in request.stream():
        body += chunk
        if len(body) > MOST_BYTES:
            raise HTTPException(413, "That is too long for a report.")
    try:
        report = json.loads(body)
    except (ValueError, RecursionError) as error:
        raise HTTPException(400, "That is no JSON.") from error
    line = json.dumps({"time": time.time(), "event": "csp_report", "ip": request.client.host, "report": report})
    with open(os.environ["LOG_FILE"], "a", encoding="utf-8") as log:
        log.write(line + "\n")


# %%
check("8.4")

# %% [markdown]
# ## Prove
#
# Mallory's six attacks again, on Larkspur and on your code. Run this after any change. `serve("8.2")` serves the cell
# of that exercise as you last ran it. A crash is no defence, so an attack that ends in one is shown as what it is; but
# 8.1's
# `/boom` is meant to crash.

# %%
rounds = [
    (deface, "8.2"),
    (reflect, "8.2"),
    (find_a_bare_answer, "8.1"),
    (poison_the_link, "8.3"),
    (forge_the_log, "8.4"),
    (strangers_in_the_docs, "8.4"),
]


def outcome(attack, target):
    before = target.crashes
    got_in = attack(target)
    crashed = target.crashes > before and attack is not find_a_bare_answer
    return "CRASHED" if crashed else "got in" if got_in else "blocked"


# %%
print(f"{'attack':24}{'on Larkspur':14}on yours")
for attack, number in rounds:
    print(f"{attack.__name__:24}{outcome(attack, larkspur):14}{outcome(attack, serve(number, 'yours'))}")

# %% [markdown]
# And the page itself, with Mallory's review still in the database. The frame takes your `frame-ancestors` off, or the
# browser would refuse to draw it: that is what it is for.

# %%
yours = serve("8.2", "yours")
in_a_frame(yours, "/reviews/1?name=Ada", "yours in a frame")

# %%
draw_survey(survey(serve("8.1", "headers")), "What your answers say to a browser")

# %% [markdown]
# ## Apply
#
# Your own app, line by line. Copy what you cannot tick into your issue tracker.
#
# - [ ] *Every* answer has `nosniff` and a policy with `frame-ancestors`: ask for a 404, a 500, a redirect, a wrong host
#   (ASVS 5.0 3.4.3, 3.4.4, 3.4.6).
# - [ ] HSTS for a year, on every https answer and on no other (ASVS 5.0 3.4.1, RFC 6797 §7.2).
# - [ ] A Referrer-Policy keeps addresses that hold secrets from other sites (ASVS 5.0 3.4.5).
# - [ ] Personal answers say `Cache-Control: no-store` (ASVS 5.0 14.3.2).

# %% [markdown]
# - [ ] What visitors sent is escaped where it goes out, for the place where it goes (ASVS 5.0 1.2.1, 1.2.3, 3.2.2).
# - [ ] `script-src` is a nonce or hashes; no `'unsafe-inline'`, no `https:`, no host where anybody publishes;
#   `object-src` and `base-uri` are `'none'` (ASVS 5.0 3.4.3).
# - [ ] Nonces are drawn for every answer, and no cache serves one twice (CSP3 #security-nonces).

# %% [markdown]
# - [ ] Links in mails are built from settings, never from `Host` or `X-Forwarded-Host` (OWASP Forgot Password Cheat
#   Sheet; ASVS 5.0 4.1.3).
# - [ ] The app answers to its own names only (RFC 9110 §7.4).
# - [ ] Documentation is off in production, or behind a login; `/openapi.json` too (ASVS 5.0 13.4.5).
# - [ ] Pages load nothing from hosts of others, or with Subresource Integrity (ASVS 5.0 3.6.1).
# - [ ] The policy reports violations (ASVS 5.0 3.4.7), and the endpoint bounds size and rate and escapes what it logs
#   (ASVS 5.0 16.4.1, 2.4.1).

# %%
progress()
