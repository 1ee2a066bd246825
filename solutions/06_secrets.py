# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3 (ipykernel)
#     language: python
#     name: python3
# ---

# %% [markdown]
# # 6 · Secrets and settings
#
# *Where are the keys, and who has seen them?* You find secrets that nobody meant to give out, then you write an app
# that keeps its own and a scanner that finds the rest.
#
# It all happens in the **Larkspur Library**, inside this notebook, on 127.0.0.1 only, insecure on purpose.
#
# | beat | what you do |
# |---|---|
# | See | follow a secret through its day |
# | Break | six attacks on the flawed library |
# | Fix | exercises 6.1 to 6.4 |
# | Prove | the same attacks on your code |
# | Apply | the checklist for your own app |
#
# About two hours. The last part needs `git`.

# %%
from lab_app.jupyter import check, hint, progress, serve

# %% [markdown]
# ## See
#
# A secret is born in a vault, or in somebody's terminal. From there it travels, and every stop is a place to lose it.
#
# ```mermaid
# flowchart LR
#     V[vault] --> E[environment or .env]
#     E --> S[settings object]
#     S --> A[app]
#     S -. repr, dump .-> L[log, stdout]
#     A -. traceback, /config .-> B[answer]
#     E -. start-up error .-> L
#     V -. hard-coded .-> G[git history]
# ```
#
# The dotted lines are leaks. Each of them is somebody's convenience: a default, a debug page, a helpful error.

# %% [markdown]
# Checklists say: no secret in the code, use pydantic's settings, use `SecretStr`. Their code is like this.

# %%
# INSECURE: the checklist's own code; it starts without a secret, and nobody notices.
import os

from pydantic import SecretStr
from pydantic_settings import BaseSettings


class Settings(BaseSettings):
    SECRET_KEY: SecretStr = SecretStr("your-secret-key")
    SQLALCHEMY_DATABASE_URL: str = "postgresql://user:password@localhost/larkspur"


settings = Settings()
settings

# %% [markdown]
# `SecretStr` keeps the key out of `repr`, and so out of most logs. That is good, and it is not enough. `SECRET_KEY` is
# not set in this notebook, and the app would start all the same, with a key that stands in every word list (CWE-1394).
# And nobody called the database's password a secret, so it is shown.
#
# ## Break
#
# Start the flawed library.

# %%
from lab_app.larkspur.secrets import app as flawed_app

larkspur = serve(flawed_app, "larkspur")
larkspur

# %% [markdown]
# ### 1 · Start without a key
#
# A variable is forgotten in a deployment. Nothing breaks: the default takes over, and you can sign tokens for
# everybody, as in notebook 1 (CWE-1188, CWE-1394; ASVS 5.0 13.3.1). Each attack is a function that returns what it got,
# or None. This one takes the function that loads the settings.

# %%
from lab_app.larkspur.secrets.settings import load_settings as careless_settings


def start_without_a_key(load_settings):
    """Attack 1: the key that the app uses when it was given none."""
    key = os.environ.pop("JWT_SECRET")
    try:
        return load_settings()["JWT_SECRET"]
    except (Exception, SystemExit):
        return None
    finally:
        os.environ["JWT_SECRET"] = key


start_without_a_key(careless_settings)

# %% [markdown]
# ### 2 · Read the error of a start
#
# Somebody cut the key in half while pasting it. Larkspur refuses to start, and that is good. But read the log of the
# platform, which half the company may read (CWE-209, CWE-532; ASVS 5.0 16.2.5).

# %%
import traceback


def read_the_failed_start(load_settings):
    """Attack 2: the line of the traceback that shows the key it refused."""
    key, half = os.environ["JWT_SECRET"], os.environ["JWT_SECRET"][:30]
    os.environ["JWT_SECRET"] = half
    try:
        load_settings()
    except (Exception, SystemExit):
        shown = [line.strip() for line in traceback.format_exc().splitlines() if half[:8] in line]
        return shown[0] if shown else None
    finally:
        os.environ["JWT_SECRET"] = key


read_the_failed_start(careless_settings)

# %% [markdown]
# The field is a `SecretStr`. Pydantic still prints the *input*, of what it refuses and even of what stands beside it,
# before there is any `SecretStr` ([pydantic-settings #256](https://github.com/pydantic/pydantic-settings/issues/256)).
# One option stops that: `hide_input_in_errors`.
#
# ### 3 · Ask for the configuration
#
# Someone wanted to see which database staging uses, and returned the settings. All of them (CWE-200).

# %%
WATCHED = ("JWT_SECRET", "API_SECRET_KEY")


def secrets_in(text):
    return [name for name in WATCHED if os.environ.get(name, "?") in text] or None


def read_the_config(target):
    """Attack 3: the secrets that GET /config shows."""
    return secrets_in(target.get("/config").text)


read_the_config(larkspur)

# %% [markdown]
# ### 4 · Make it crash
#
# Larkspur runs with `debug=True`, so an error shows its traceback to whoever caused it (CWE-489, CWE-209; ASVS 5.0
# 13.4.2, 16.5.1). And this exception carries a key in its message.


# %%
def read_the_crash(target):
    """Attack 4: the secrets, or else the traceback, that an error shows to a browser."""
    page = target.get("/boom", headers={"Accept": "text/html"}).text
    return secrets_in(page) or ("the traceback" if "Traceback" in page else None)


read_the_crash(larkspur)

# %% [markdown]
# Without debug mode the page would be clean. The message would still be on stderr, because uvicorn prints what it
# catches, and stderr is the log of a container.
#
# ### 5 · Bring your own key
#
# Keys are rotated, so a token names its key in the header `kid`
# ([RFC 7515 §4.1.4](https://www.rfc-editor.org/rfc/rfc7515#section-4.1.4)). Larkspur keeps a file for each. But the
# header is read *before* the signature is verified: it is what a stranger wrote
# ([RFC 8725 §3.10](https://www.rfc-editor.org/rfc/rfc8725#section-3.10), CWE-22). Which file is empty on every machine?

# %%
import time

import jose.jwt


def bring_your_own_key(target):
    """Attack 5: Grace's page, with a token that was signed with nothing."""
    now = int(time.time())
    claims = {"sub": "grace", "iat": now, "exp": now + 600}
    claims |= {"iss": os.environ["JWT_ISSUER"], "aud": os.environ["JWT_AUDIENCE"]}
    token = jose.jwt.encode(claims, "", "HS256", {"kid": f"../../../../../../{os.devnull}"})
    answer = target.get("/members/me", headers={"Authorization": f"Bearer {token}"})
    return answer.json() if answer.status_code == 200 else None


bring_your_own_key(larkspur)

# %% [markdown]
# ### 6 · Read yesterday's code
#
# Larkspur's repository has no secret in it. A commit says so, and a scan agrees.

# %%
from lab_app.larkspur.secrets.repository import git, leaky_repository
from lab_app.larkspur.secrets.repository import scan as careless_scan

repository = leaky_repository()
print(git(repository, "log", "--oneline"))
careless_scan(repository)

# %% [markdown]
# Git forgets nothing. Everybody who cloned the repository has the commit before "Remove secret" (CWE-540, CWE-798).

# %%
print(git(repository, "log", "-p", "--format=%h %s", "-S", "JWT_SECRET = ", "--", "settings.py"))


# %%
def slip_past(scan):
    """Attack 6: the file with a key in its history that a scanner did not notice."""
    return None if scan(repository) else "settings.py"


slip_past(careless_scan)

# %% [markdown]
# How does a scanner know a secret? Secrets are random, and randomness can be measured: Shannon's entropy, in bits a
# character. Guess where a checksum will be, then run this.

# %%
import math
import secrets
import uuid
from collections import Counter

import matplotlib.pyplot as plt


def entropy(text):
    return -sum(n / len(text) * math.log2(n / len(text)) for n in Counter(text).values())


kinds = {
    "placeholders": ["changeme", "your-secret-key", "your-secret-key-change-in-production", "x" * 40],
    "UUIDs": [str(uuid.uuid4()) for _ in range(12)],
    "SHA-256 sums": [secrets.token_hex(32) for _ in range(12)],
    "secrets, token_hex": [secrets.token_hex(n) for n in range(8, 34, 2)],
    "secrets, token_urlsafe": [secrets.token_urlsafe(n) for n in range(8, 34, 2)],
}

# %%
figure, axis = plt.subplots(figsize=(7, 3.2))
for (kind, texts), marker in zip(kinds.items(), "sv^.o", strict=True):
    axis.plot([len(text) for text in texts], [entropy(text) for text in texts], marker, alpha=0.6, label=kind)
axis.set(xlabel="characters", ylabel="bits of entropy a character", title="What looks like a secret?")
axis.legend(loc="lower right", fontsize="small")
figure.tight_layout()

# %% [markdown]
# A checksum looks just like a secret, because it is as random. Long placeholders and UUIDs come close. So randomness
# alone cries wolf, and so does a name alone: `JWT_SECRET = os.environ["JWT_SECRET"]` is as it should be. A good scanner
# wants both, or a prefix such as `ghp_` that was made to be recognised.
#
# Six leaks. Now close them.
#
# ## Fix
#
# Each exercise is one cell. Run it, then run its `check`. What a cell needs from outside stands in environment
# variables. Beside the usual ones, these exist for this notebook; when you are graded they have other values.

# %%
os.environ.update(
    API_SECRET_KEY=secrets.token_urlsafe(32),
    ENVIRONMENT="development",
    JWT_SECRET_PREVIOUS=secrets.token_hex(32),
)

# %% [markdown]
# ### Exercise 6.1 · Refuse to start
#
# `load_settings() -> dict` (keys as the variables) reads `JWT_SECRET`, `API_SECRET_KEY`, `DATABASE_URL`.
#
# - Missing, empty, blank, < 32 bytes, placeholder (`changeme`, `your-secret-key`, …), one repeated character, or two
#   equal secrets → an exception that names the variable and never its value.
# - The environment wins over `.env`; `.env` is read from the working directory and from no parent.
# - Length and placeholders concern the two secrets.
#
# A placeholder is one in any case, and stays one when it is repeated or padded until it is long enough. The exception
# is all that Python prints of it, with those that it was raised from. Servers run `python -O`.

# %% exercise="6.1" role="starter"
# Exercise 6.1 — Refuse to start (INSECURE: this is the code to mend)
import os

from dotenv import load_dotenv


def load_settings() -> dict:
    load_dotenv(override=True)
    return {
        "JWT_SECRET": os.getenv("JWT_SECRET", "your-secret-key"),
        "API_SECRET_KEY": os.getenv("API_SECRET_KEY", "changeme"),
        "DATABASE_URL": os.getenv("DATABASE_URL", "sqlite:///larkspur.db"),
    }


# %% exercise="6.1" role="solution"
# Exercise 6.1 — Refuse to start
import os

from dotenv import dotenv_values

SECRETS = ("JWT_SECRET", "API_SECRET_KEY")
PLACEHOLDERS = ("changeme", "change-me", "replace-me", "your-secret", "your-api-key", "secret-key-here", "example")
SHORTEST = 32  # bytes: HS256 wants a key as long as its hash


class BadSetting(Exception):
    """Names the variable and what is wrong, and never quotes the value."""

    def __init__(self, name: str, trouble: str) -> None:
        super().__init__(f"{name} {trouble}. Set it and start again.")


def weakness(secret: str) -> str:
    if len(secret.encode()) < SHORTEST:
        return f"is shorter than {SHORTEST} bytes"
    if len(set(secret)) == 1:
        return "is one character over and over"
    if any(word in secret.lower() for word in PLACEHOLDERS):
        return "is a placeholder"
    return ""


def load_settings() -> dict:
    # The path keeps dotenv from climbing to the folders above. What is set wins over what is in the file.
    given = {**dotenv_values(".env", interpolate=False), **os.environ}
    settings = {name: given.get(name) or "" for name in (*SECRETS, "DATABASE_URL")}
    for name, value in settings.items():
        if not value.strip():
            raise BadSetting(name, "is missing or empty")
        if name in SECRETS and (trouble := weakness(value)):
            raise BadSetting(name, trouble)
    if settings["JWT_SECRET"] == settings["API_SECRET_KEY"]:
        raise BadSetting("API_SECRET_KEY", "is the same as JWT_SECRET; each has its own purpose")
    return settings


# %%
check("6.1")

# %% [markdown]
# Stuck? `hint("6.1")` gives one hint at a time, for what failed.
#
# ### Exercise 6.2 · Keep them in
#
# Env as in 6.1 plus `ENVIRONMENT` (any may be given a bad value). `app` with
#
# - `GET /config` → `{"database", "environment"}` (no credentials),
# - `GET /boom` → generic 500.
#
# Scanned for every secret: all bodies, headers, `/openapi.json`, `LOG_FILE`, stdout and stderr, `repr` of settings,
# the start-up error for a bad value.

# %% [markdown]
# What that means:
#
# - The secrets are `JWT_SECRET`, `API_SECRET_KEY` and the password in `DATABASE_URL`. No part of them may show, in no
#   encoding: base64, percent-encoded, backwards.
# - `ENVIRONMENT` is `development` or `production`, `DATABASE_URL` any address, with a password or without. Nobody
#   connects to it here.
# - `repr` of settings: of what your cell calls `settings`, if there is such a thing, or of any `BaseSettings`.
# - Generic: no traceback, in a browser neither, and in development neither.
# - Which bad values the app refuses is up to you. What it says about them is not.

# %% exercise="6.2" role="starter"
# Exercise 6.2 — Keep them in (INSECURE: this is the code to mend)
import logging
import os

from fastapi import FastAPI
from pydantic_settings import BaseSettings


class Settings(BaseSettings):
    JWT_SECRET: str
    API_SECRET_KEY: str
    DATABASE_URL: str
    ENVIRONMENT: str


settings = Settings()
logging.basicConfig(filename=os.environ["LOG_FILE"], level=logging.INFO)
logging.info("started with %s", settings)
app = FastAPI(debug=True)


@app.get("/config")
def config():
    return {"database": settings.DATABASE_URL, "environment": settings.ENVIRONMENT}


@app.get("/boom")
def boom():
    raise ConnectionError(f"cannot connect to {settings.DATABASE_URL}")


# %% exercise="6.2" role="solution"
# Exercise 6.2 — Keep them in
import logging
import os
from typing import Annotated, Literal
from urllib.parse import urlsplit

from fastapi import FastAPI
from pydantic import Field, SecretStr
from pydantic_settings import BaseSettings, SettingsConfigDict

Secret = Annotated[SecretStr, Field(min_length=32)]


class Settings(BaseSettings):
    # SecretStr guards repr and str. What a ValidationError prints, only this line guards.
    model_config = SettingsConfigDict(hide_input_in_errors=True, env_file=".env")
    JWT_SECRET: Secret
    API_SECRET_KEY: Secret
    DATABASE_URL: Annotated[SecretStr, Field(min_length=1)]
    ENVIRONMENT: Literal["development", "staging", "production"]

    def database(self) -> str:
        """Where the database is, built from what may be seen."""
        address = urlsplit(self.DATABASE_URL.get_secret_value())
        path = address.path.rpartition("@")[2]  # in an address without //, all of it seems to be a path
        return f"{address.hostname or 'this machine'}{path}"


settings = Settings()
logging.basicConfig(filename=os.environ["LOG_FILE"], level=logging.INFO)
logging.info("started in %s", settings.ENVIRONMENT)
app = FastAPI()


@app.get("/config")
def config() -> dict[str, str]:
    return {"database": settings.database(), "environment": settings.ENVIRONMENT}


@app.get("/boom")
def boom() -> None:
    raise ConnectionError("cannot connect to the database")


# %%
check("6.2")

# %% [markdown]
# ### Exercise 6.3 · Rotate without an outage
#
# Keys are changed because they may be known to somebody, or because it is Tuesday. If that logs everybody out, nobody
# does it. So for a while there are two.
#
# ```mermaid
# sequenceDiagram
#     participant O as operator
#     participant L as Larkspur
#     participant A as Ada's app
#     A->>L: POST /token
#     L-->>A: token, kid = name of K1
#     O->>L: restart: JWT_SECRET=K2, JWT_SECRET_PREVIOUS=K1
#     A->>L: GET /members/me with the old token
#     L-->>A: 200, K1 is still known
#     Note over O,L: when the last token of K1 has expired
#     O->>L: restart: JWT_SECRET=K2
#     A->>L: GET /members/me with the old token
#     L-->>A: 401
# ```

# %% [markdown]
# `JWT_SECRET`, `JWT_SECRET_PREVIOUS` (may be unset), `GET /members/me`, `POST /token`.
#
# - `POST /token` takes the OAuth2 form (seeded members, bcrypt) → 200 `{"access_token", "token_type"}` or 401. Tokens
#   and `GET /members/me` are those of 1.1: HS256, with `sub`, `exp`, `iat`, `iss`, `aud`, and 401 for whoever is
#   unknown or disabled.
# - New tokens carry `kid` and the new key; old ones live until they expire.
# - Unknown, missing or path-like `kid` → 401.
# - An empty previous key is no key; after the previous key is removed its tokens die.

# %% [markdown]
# How you name your keys is up to you. But what was called *current* yesterday is the previous one today, so a name
# must belong to the key and not to its place. And it stands in every token, so it must not give the key away.

# %% exercise="6.3" role="starter"
# Exercise 6.3 — Rotate without an outage (INSECURE: this is the code to mend)
import os
import tempfile
import time
from pathlib import Path

from fastapi import Depends, FastAPI, HTTPException
from fastapi.security import OAuth2PasswordBearer, OAuth2PasswordRequestForm
from jose import JWTError, jwt
from passlib.hash import bcrypt
from sqlalchemy import create_engine, text

app = FastAPI()
engine = create_engine(os.environ["DATABASE_URL"])
NAMES = {"iss": os.environ["JWT_ISSUER"], "aud": os.environ["JWT_AUDIENCE"]}
folder = Path(tempfile.mkdtemp())
(folder / "current").write_text(os.environ["JWT_SECRET"])
(folder / "previous").write_text(os.environ.get("JWT_SECRET_PREVIOUS", ""))


def find(username: str) -> dict | None:
    with engine.connect() as connection:
        query = text("SELECT * FROM members WHERE username = :name AND NOT disabled")
        return connection.execute(query, {"name": username}).mappings().first()


@app.post("/token")
def log_in(form: OAuth2PasswordRequestForm = Depends()):
    member = find(form.username)
    if not member or not bcrypt.verify(form.password, member["password_hash"]):
        raise HTTPException(401, "Wrong name or password.")
    now = int(time.time())
    claims = {"sub": member["username"], "iat": now, "exp": now + 1800, **NAMES}
    key = (folder / "current").read_text()
    token = jwt.encode(claims, key, algorithm="HS256", headers={"kid": "current"})
    return {"access_token": token, "token_type": "bearer"}


@app.get("/members/me")
def read_me(token: str = Depends(OAuth2PasswordBearer("token"))):
    try:
        kid = jwt.get_unverified_header(token).get("kid", "previous")
        key = (folder / kid).read_text()
        claims = jwt.decode(token, key, algorithms=["HS256"], audience=NAMES["aud"], issuer=NAMES["iss"])
    except JWTError as error:
        raise HTTPException(401, "Log in, please.") from error
    member = find(claims["sub"])
    return {"username": member["username"], "email": member["email"]}


# %% exercise="6.3" role="solution"
# Exercise 6.3 — Rotate without an outage
import hashlib
import os
import time

import bcrypt
import jwt
from fastapi import Depends, FastAPI, HTTPException
from fastapi.security import OAuth2PasswordBearer, OAuth2PasswordRequestForm
from sqlalchemy import RowMapping, create_engine, text

app = FastAPI()
engine = create_engine(os.environ["DATABASE_URL"])
ISSUER, AUDIENCE = os.environ["JWT_ISSUER"], os.environ["JWT_AUDIENCE"]
NEEDED = {"require": ["sub", "exp", "iat", "iss", "aud"]}
REFUSED = HTTPException(401, "Log in, please.", {"WWW-Authenticate": "Bearer"})
NOBODYS_HASH = bcrypt.hashpw(os.urandom(16), bcrypt.gensalt(4))


def name_of(key: str) -> str:
    # Made from the key, a key keeps its name when it becomes the previous one. A digest does not give it away.
    return hashlib.sha256(key.encode()).hexdigest()[:16]


NEWEST = os.environ["JWT_SECRET"]
KEYS = {name_of(key): key for key in (NEWEST, os.environ.get("JWT_SECRET_PREVIOUS")) if key}


def find(username: str) -> RowMapping | None:
    with engine.connect() as connection:
        query = text("SELECT * FROM members WHERE username = :name AND NOT disabled")
        return connection.execute(query, {"name": username}).mappings().first()


def claims_of(token: str) -> dict:
    try:
        key = KEYS.get(jwt.get_unverified_header(token).get("kid"))
        if key is None:
            raise REFUSED
        return jwt.decode(token, key, ["HS256"], audience=AUDIENCE, issuer=ISSUER, options=NEEDED)
    except (jwt.InvalidTokenError, ValueError, TypeError, OverflowError, RecursionError) as error:
        raise REFUSED from error


@app.post("/token")
def log_in(form: OAuth2PasswordRequestForm = Depends()) -> dict:
    member = find(form.username)
    stored = member["password_hash"].encode() if member else NOBODYS_HASH
    if not bcrypt.checkpw(form.password.encode(), stored) or member is None:
        raise REFUSED
    now = int(time.time())
    claims = {"sub": member["username"], "iat": now, "exp": now + 900, "iss": ISSUER, "aud": AUDIENCE}
    token = jwt.encode(claims, NEWEST, algorithm="HS256", headers={"kid": name_of(NEWEST)})
    return {"access_token": token, "token_type": "bearer"}


@app.get("/members/me")
def read_me(token: str = Depends(OAuth2PasswordBearer("token"))) -> dict:
    member = find(claims_of(token)["sub"])
    if member is None:
        raise REFUSED
    return {"username": member["username"], "email": member["email"]}


# %%
check("6.3")

# %% [markdown]
# ### Exercise 6.4 · Find the leak
#
# `scan(repository: str) -> list[{"file", "line", "commit", "rule"}]` over a git repository: working tree (`commit`
# null; untracked files too, ignored ones not judged), every commit that a ref reaches (full hash), files deleted since,
# notebook outputs, base64.
#
# To be found: private key blocks, `ghp_…` and `AKIA…` style keys, high-entropy values assigned to names such as
# `JWT_SECRET`, `password`, `api_key`. One finding per secret and file is enough. Decoys (placeholders, UUIDs,
# checksums) must not be reported; values never appear in the result. A well-kept scanner may be used.

# %% [markdown]
# Paths count from the root of the repository, lines from 1. `git` is on the PATH, and `subprocess.run(["git", …])` is
# the plain way to ask it. Some words it knows: `rev-list --all`, `ls-tree -r -z`, `cat-file`, `ls-files -z --cached
# --others --exclude-standard`. Repositories hold pictures too, and text that is not UTF-8.

# %% exercise="6.4" role="starter"
# Exercise 6.4 — Find the leak (INSECURE: this is the code to mend)
import re
from pathlib import Path


def scan(repository: str) -> list[dict]:
    findings = []
    for path in Path(repository).rglob("*.py"):
        for number, line in enumerate(path.read_text().splitlines(), start=1):
            if re.search(r"(secret|password|api_key)\s*=", line, re.IGNORECASE):
                findings.append({"file": str(path), "line": number, "commit": None, "rule": line})
    return findings


# %% exercise="6.4" role="solution"
# Exercise 6.4 — Find the leak
import base64
import math
import re
import subprocess
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

MARKS = {
    "private key": re.compile(r"-----BEGIN (?:[A-Z0-9]+ )*PRIVATE KEY-----"),
    "GitHub token": re.compile(r"gh[pousr]_[A-Za-z0-9]{36}"),
    "AWS access key": re.compile(r"(?:AKIA|ASIA)[A-Z0-9]{16}"),
}
# A name, = or :, a value. In a notebook quotes are escaped, so a backslash may stand before each.
ASSIGNED = re.compile(
    r"""(?:secret|passw(?:or)?d|api[_-]?key|token)[\w-]*\\?["']?\s*[:=]\s*\\?["']?([^\s"'\\,;)}]{20,})""", re.IGNORECASE
)
PLACEHOLDER = re.compile(r"your|change|example|placeholder|replace|xxxx|[<>${}]", re.IGNORECASE)
UUID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", re.IGNORECASE)
BASE64 = re.compile(r"[A-Za-z0-9+/_-]{24,}")


def surprise(value: str) -> float:
    """Bits of entropy a character: below 3 for words, about 4 for random hex digits, 5 for random base64."""
    shares = (count / len(value) for count in Counter(value).values())
    return -sum(share * math.log2(share) for share in shares)


def random_looking(value: str) -> bool:
    return surprise(value) > 3 and not PLACEHOLDER.search(value) and not UUID.fullmatch(value)


def rules_broken(line: str, encoded: bool = True) -> Iterator[str]:
    yield from (rule for rule, mark in MARKS.items() if mark.search(line))
    if any(random_looking(value) for value in ASSIGNED.findall(line)):
        yield "assigned secret"
    for piece in BASE64.findall(line) if encoded else ():
        inner = base64.b64decode(piece + "A" * (-len(piece) % 4), altchars="-_")
        yield from (f"{rule} in base64" for rule in rules_broken(inner.decode("latin-1"), encoded=False))


def git(repository: str, *words: str) -> bytes:
    return subprocess.run(["git", "-C", repository, *words], check=True, capture_output=True).stdout


def names(output: bytes) -> list[str]:
    return [name.decode(errors="replace") for name in output.split(b"\0") if name]


def texts(repository: str) -> Iterator[tuple[str | None, str, bytes]]:
    """Every version of every file: the commit that brought it, its path, its content."""
    for path in names(git(repository, "ls-files", "-z", "--cached", "--others", "--exclude-standard")):
        if (Path(repository) / path).is_file():
            yield None, path, (Path(repository) / path).read_bytes()
    seen = set()
    for commit in git(repository, "rev-list", "--all", "--reverse").decode().split():
        for entry in names(git(repository, "ls-tree", "-r", "-z", commit)):
            about, _, path = entry.partition("\t")
            _, kind, blob = about.split()
            if kind == "blob" and (blob, path) not in seen:
                seen.add((blob, path))
                yield commit, path, git(repository, "cat-file", "blob", blob)


def scan(repository: str) -> list[dict]:
    return [
        {"file": path, "line": number, "commit": commit, "rule": rule}
        for commit, path, content in texts(repository)
        for number, line in enumerate(content.decode("utf-8", "replace").split("\n"), start=1)
        for rule in dict.fromkeys(rules_broken(line))
    ]


# %%
check("6.4")

# %% [markdown]
# ## Prove
#
# The same six attacks, on Larkspur and on yours: `load_settings` and `scan` as you ran them last, the apps served from
# their cells. Run this after any change. A crash is no defence, so an attack that ends in one is shown as what it is.

# %%
mine, rotating = serve("6.2", "yours"), serve("6.3", "rotating")
rounds = [
    (start_without_a_key, careless_settings, load_settings),
    (read_the_failed_start, careless_settings, load_settings),
    (read_the_config, larkspur, mine),
    (read_the_crash, larkspur, mine),
    (bring_your_own_key, larkspur, rotating),
    (slip_past, careless_scan, scan),
]


# %%
def outcome(attack, target):
    if attack(target):
        return "got in"
    return "CRASHED" if getattr(target, "crashes", 0) and target is not mine else "blocked"  # /boom is meant to


print(f"{'attack':24}{'on Larkspur':14}on yours")
for attack, flawed, yours in rounds:
    print(f"{attack.__name__:24}{outcome(attack, flawed):14}{outcome(attack, yours)}")

# %% [markdown]
# ## Apply
#
# Your own app, line by line. Copy what you cannot tick into your issue tracker.
#
# - [ ] Secrets come from a vault or the environment, and are in no source file and no image (ASVS 5.0 13.3.1, CWE-798).
# - [ ] The app does not start without them, nor with a default, a placeholder or fewer than 32 bytes (CWE-1188,
#   CWE-1394, RFC 7518 §3.2).
# - [ ] Each key has one purpose
#   ([OWASP Key Management](https://cheatsheetseries.owasp.org/cheatsheets/Key_Management_Cheat_Sheet.html#key-usage)).
# - [ ] `.env` is for your own machine, is in `.gitignore`, and is read from one named place (CWE-427).

# %% [markdown]
# - [ ] No route gives out a settings object; what is shown is listed field by field (ASVS 5.0 15.3.1, CWE-200).
# - [ ] Debug mode is off in production, and errors are generic (ASVS 5.0 13.4.2, 16.5.1).
# - [ ] Log files, stdout and start-up errors were searched for the real secrets, once, by a test (ASVS 5.0 16.2.5,
#   CWE-532).
# - [ ] Keys have names, two are valid during a rotation, and somebody did one this quarter (ASVS 5.0 13.1.4, 13.3.4).
# - [ ] What a token says of its key is looked up among our own, never in a path or a query (RFC 8725 §3.10, ASVS 5.0
#   9.1.3).

# %% [markdown]
# - [ ] A scanner looks at every commit before it is pushed, and looked at the whole history once (CWE-540).
# - [ ] A secret that was committed is *rotated* first, and removed from the history after that
#   ([OWASP Secrets Management](https://cheatsheetseries.owasp.org/cheatsheets/Secrets_Management_Cheat_Sheet.html)).
# - [ ] `.git` is on no server (ASVS 5.0 13.4.1, CWE-527).
#
# Try your own scanner on a repository of yours: `scan("/path/to/it")`.

# %%
progress()
