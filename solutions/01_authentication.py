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


# %% exercise="1.5" role="starter"
# Exercise 1.5 — Sign in with GitHub (INSECURE: this is the code to mend)
import os

from authlib.integrations.starlette_client import OAuth
from fastapi import FastAPI, HTTPException, Request
from fastapi.responses import RedirectResponse
from starlette.middleware.sessions import SessionMiddleware

GITHUB = os.environ["GITHUB_BASE_URL"]

app = FastAPI()
app.add_middleware(SessionMiddleware, secret_key="change-me", same_site="none")
oauth = OAuth()
oauth.register(
    "github",
    client_id=os.environ["GITHUB_CLIENT_ID"],
    client_secret=os.environ["GITHUB_CLIENT_SECRET"],
    authorize_url=f"{GITHUB}/login/oauth/authorize",
    access_token_url=f"{GITHUB}/login/oauth/access_token",
    api_base_url=GITHUB,
    client_kwargs={"scope": "user:email"},
)
accounts: dict[str, dict] = {}


@app.get("/login/github")
async def log_in(request: Request, next: str = "/"):
    request.session["next"] = next
    return await oauth.github.authorize_redirect(request, str(request.url_for("come_back")))


@app.get("/auth/github")
async def come_back(request: Request):
    token = await oauth.github.authorize_access_token(request)
    user = (await oauth.github.get("/user", token=token)).json()
    account = accounts.setdefault(user["login"], {"id": user["id"], "login": user["login"]})
    request.session["user"] = account["login"]
    request.session["token"] = token["access_token"]
    return RedirectResponse(request.session.pop("next", "/"), 303)


@app.get("/me")
def read_me(request: Request):
    if "user" not in request.session:
        raise HTTPException(401, "Sign in first.")
    return accounts[request.session["user"]]


# %% exercise="1.5" role="solution"
# Exercise 1.5 — Sign in with GitHub
import base64
import hashlib
import os
import re
import secrets
from urllib.parse import urlencode

import httpx
from fastapi import FastAPI, HTTPException, Request
from fastapi.responses import RedirectResponse
from starlette.middleware.sessions import SessionMiddleware

GITHUB = os.environ["GITHUB_BASE_URL"]
CLIENT_ID, CLIENT_SECRET = os.environ["GITHUB_CLIENT_ID"], os.environ["GITHUB_CLIENT_SECRET"]
PUBLIC = os.environ["PUBLIC_BASE_URL"]
CALLBACK = f"{PUBLIC}/auth/github"

app = FastAPI()
# The session is a signed cookie: whoever holds it can read it, so it carries no secret of ours.
app.add_middleware(
    SessionMiddleware,
    secret_key=os.environ["SESSION_SECRET"],
    same_site="lax",
    https_only=PUBLIC.startswith("https://"),
)


def on_this_site(path: str) -> str:
    return path if re.fullmatch(r"/(?![/\\])[!-~]*", path) else "/"


@app.get("/login/github")
def log_in(request: Request, next: str = "/") -> RedirectResponse:
    state, verifier = secrets.token_urlsafe(32), secrets.token_urlsafe(48)
    request.session["attempt"] = {"state": state, "verifier": verifier, "next": on_this_site(next)}
    digest = hashlib.sha256(verifier.encode()).digest()
    query = {
        "client_id": CLIENT_ID,
        "redirect_uri": CALLBACK,
        "state": state,
        "code_challenge": base64.urlsafe_b64encode(digest).rstrip(b"=").decode(),
        "code_challenge_method": "S256",
    }
    return RedirectResponse(f"{GITHUB}/login/oauth/authorize?{urlencode(query)}", 302)


def github_user(code: str, verifier: str) -> dict:
    form = {"client_id": CLIENT_ID, "client_secret": CLIENT_SECRET, "redirect_uri": CALLBACK}
    form |= {"code": code, "code_verifier": verifier}
    try:
        with httpx.Client(base_url=GITHUB, timeout=5, headers={"Accept": "application/json"}) as github:
            answer = github.post("/login/oauth/access_token", data=form).raise_for_status().json()
            if "error" in answer:
                raise HTTPException(400, "GitHub does not know this code.")
            token = {"Authorization": f"Bearer {answer['access_token']}"}
            user = github.get("/user", headers=token).raise_for_status().json()
            return {"id": int(user["id"]), "login": str(user["login"])}
    except (httpx.HTTPError, ValueError, KeyError, TypeError) as error:
        raise HTTPException(502, "GitHub is in trouble. Try again later.") from error


@app.get("/auth/github")
def come_back(request: Request, state: str, code: str = "") -> RedirectResponse:
    attempt = request.session.pop("attempt", {"state": ""})
    if not attempt["state"] or not secrets.compare_digest(state.encode(), attempt["state"].encode()):
        raise HTTPException(400, "This sign-in did not begin in this browser.")
    if not code:
        raise HTTPException(400, "GitHub did not let you in.")
    user = github_user(code, attempt["verifier"])
    request.session.clear()
    request.session["user"] = user
    return RedirectResponse(attempt["next"], 303)


@app.get("/me")
def read_me(request: Request) -> dict:
    if "user" not in request.session:
        raise HTTPException(401, "Sign in first.")
    return request.session["user"]
