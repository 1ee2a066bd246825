# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3 (ipykernel)
#     language: python
#     name: python3
# ---

# %% [markdown]
# # 4 · Input validation
#
# *What did they really send?* You break nine inputs, mend four doors, and let the checks prove it.
#
# Everything happens in the **Larkspur Library**: members, books, orders, reviews. It runs inside this notebook, on
# 127.0.0.1 only, and it is insecure on purpose.
#
# | beat | what you do |
# |---|---|
# | See | what a validator says yes to |
# | Break | nine attacks on the flawed library |
# | Fix | exercises 4.1 to 4.4 |
# | Prove | the same attacks on your code |
# | Apply | the checklist for your own app |
#
# About two and a half hours. `check` runs the very checks that a grader runs.

# %%
from lab_app.jupyter import check, hint, progress, serve

# %% [markdown]
# ## See
#
# A request is bytes. On its way to the database it becomes text, then JSON, then values with a type, then something
# that means something. Each step can be lied to.
#
# ```mermaid
# flowchart LR
#     B(bytes) -- "4.4 how many, how fast?" --> J(JSON)
#     J -- "4.3 which fields, which types?" --> T(values)
#     T -- "4.1 which name is this?" --> M(meaning)
#     T -- "4.2 will this do?" --> M
#     M --> D[(database)]
# ```
#
# One rule serves all of them: say what is *good*, and refuse the rest
# ([ASVS 5.0](https://github.com/OWASP/ASVS/tree/v5.0.0) 2.2.1). A list of what is bad is never complete.

# %% [markdown]
# The checklist's code for a new user looks like this. It is from the days of Pydantic 1. Run it.

# %%
# INSECURE: the checklist's own code, for Pydantic 1. History: `regex` is gone, and `validator` is on its way out.
V1 = """
from pydantic import BaseModel, EmailStr, constr, validator

class UserCreate(BaseModel):
    username: constr(min_length=3, max_length=50, regex="^[a-zA-Z0-9_]+$")
    email: EmailStr
    password: str

    @validator("password")
    def strong(cls, v):
        return v
"""
try:
    exec(V1)
except TypeError as error:
    print(error)

# %% [markdown]
# In Pydantic 2 it is `pattern` instead of `regex`, `field_validator` instead of `validator`
# ([migration guide](https://docs.pydantic.dev/latest/migration/)). Later checklists test the name by `isalnum`. This is
# what most apps have now.

# %%
# INSECURE: the checklist's own rules, in Pydantic 2; they ask the wrong questions.
import re

from pydantic import BaseModel, EmailStr, Field, field_validator


class UserCreate(BaseModel):
    username: str = Field(min_length=3, max_length=50)
    email: EmailStr
    password: str = Field(min_length=8)

    @field_validator("username")
    def alphanumeric(cls, value):
        if not value.isalnum():
            raise ValueError("Username must be alphanumeric")
        return value


UserCreate(username="ada", email="ada@mail.example", password="Larkspur2026!!!")

# %% [markdown]
# Ask that model about a few names. All of these are alphanumeric, says Python, because it asks Unicode, and Unicode
# knows a hundred and more scripts.

# %%
import unicodedata

for name in ["ada", "аda", "ａｄａ", "ada²", "٣٤٥", "ⅷⅷⅷ"]:
    taken = UserCreate(username=name, email="ada@mail.example", password="Larkspur2026!!!").username
    odd = {unicodedata.name(character) for character in taken if not character.isascii()}
    print(f"{taken:8}", ", ".join(sorted(odd)) or "plain")

# %% [markdown]
# The second `ada` is not the first. No screen, no mail and no log shows the difference (CWE-1007).
#
# ## Break
#
# Start the flawed library. The link opens its API in a new tab; look around. Its people are *ada*, *mallory*, *dora*
# and, on the staff, *grace*. You play Mallory.

# %%
from lab_app.larkspur.input_validation import app as flawed_app

larkspur = serve(flawed_app, "larkspur")
larkspur

# %% [markdown]
# ### 1 · Become a second Ada
#
# Each attack below is a function that returns what it got, or None. You will run the same functions against your own
# code later.

# %%
import os

from lab_app.larkspur.database import change, rows


def joined_as(target, name):
    """The name that a newcomer got, who leaves again at once."""
    email = f"visitor{os.urandom(4).hex()}@mail.example"
    answer = target.post("/members", json={"username": name, "email": email})
    change("DELETE FROM members WHERE email = :email", email=email)
    return answer.json()["username"] if answer.status_code == 201 else None


def be_a_second_ada(target):
    """Attack 1: a name that looks like Ada's, to the eye. Two of its letters are Cyrillic."""
    return joined_as(target, "аdа")


be_a_second_ada(larkspur)

# %% [markdown]
# ### 2 · Be the admin
#
# `admin` is on the list of reserved names. The list is asked first, and the name made small afterwards (CWE-180:
# *validate before canonicalize*).


# %%
def be_the_admin(target):
    """Attack 2: a name that everybody believes."""
    return joined_as(target, "Admin")


be_the_admin(larkspur)

# %% [markdown]
# ### 3 · Pick the first password of the list
#
# The rules want a capital, a small letter, a digit and a sign. Everybody answers such rules in the same way, so
# guessers begin there. Meanwhile a good passphrase is refused. Since 2025 NIST forbids composition
# rules, and asks for length and a list ([SP 800-63B-4 §3.1.1.2](https://pages.nist.gov/800-63-4/sp800-63b.html#passwordver)).


# %%
def have_a_silly_password(target):
    """Attack 3: a password that is the name of the library, dressed up."""
    wish = {"username": "mallory", "password": "Larkspur2026!!!"}
    return wish["password"] if target.post("/password-strength", json=wish).status_code == 204 else None


wish = {"username": "mallory", "password": "seven purple geese on a pond"}
print("a passphrase:", larkspur.post("/password-strength", json=wish).status_code)
have_a_silly_password(larkspur)

# %% [markdown]
# ### 4 · Read it back
#
# Look at what a refusal says. FastAPI's own 422 repeats the input, and answers are kept: in logs, by proxies and by
# clients, in bug reports (CWE-209).


# %%
def read_the_password_back(target):
    """Attack 4: the refusal, if it holds the password."""
    password = f"geese {os.urandom(3).hex()}"
    answer = target.post("/password-strength", json={"username": "mallory", "password": password})
    return answer.json() if password in answer.text else None


read_the_password_back(larkspur)

# %% [markdown]
# ### 5 · Join the staff
#
# The library writes whatever fields you send into your row
# ([OWASP API3:2023](https://owasp.org/API-Security/editions/2023/en/0xa3-broken-object-property-level-authorization/),
# CWE-915).


# %%
def join_the_staff(target):
    """Attack 5: what the database says of your role, if it is not `member`."""
    target.patch("/members/mallory", json={"role": "staff"})
    found = rows("SELECT username, role FROM members WHERE username = 'mallory'")[0]
    change("UPDATE members SET role = 'member' WHERE username = 'mallory'")
    return found if found["role"] != "member" else None


join_the_staff(larkspur)

# %% [markdown]
# ### 6 · Order `true` copies
#
# A lenient reader makes numbers of texts, of `true`, of `5.0`. The next program in line may read them otherwise, and
# attacks live between two readings (CWE-1287, ASVS 5.0 15.3.5).


# %%
def order_true_copies(target):
    """Attack 6: an order in which no number is one."""
    answer = target.post("/orders", json={"book_id": "1", "copies": True})
    return answer.json() if answer.status_code == 201 else None


order_true_copies(larkspur)

# %% [markdown]
# ### 7 · Crash it with what is no JSON
#
# `NaN` is no JSON ([RFC 8259 §6](https://www.rfc-editor.org/rfc/rfc8259#section-6)), but Python reads it. Pydantic
# refuses it. Then FastAPI tries to repeat it in the refusal, and falls over its own feet. Half a character, `"\ud800"`,
# does the same (RFC 8259 §8.2).


# %%
def crash_it(target):
    """Attack 7: which bodies end in a 500."""
    crashed = []
    for copies in ("NaN", "-Infinity", r'"\ud800"'):
        body = f'{{"book_id": 1, "copies": {copies}}}'
        answer = target.post("/orders", content=body, headers={"Content-Type": "application/json"})
        crashed += [copies] if answer.status_code >= 500 else []
    return crashed or None


crash_it(larkspur)

# %% [markdown]
# ### 8 · Fill the memory
#
# A body in chunks ([RFC 9112 §7.1](https://www.rfc-editor.org/rfc/rfc9112#section-7.1)) does not say how long it is.
# A client library hides how it sends them, so write to the socket yourself. The app runs in this very process, so
# Python can tell what it holds.

# %%
import socket
import tracemalloc
from contextlib import suppress
from urllib.parse import urlsplit

HEAD = b"POST /reviews HTTP/1.1\r\nHost: larkspur.example\r\nContent-Type: application/json\r\n"
MEBIBYTE = 2**20


def connected(target):
    where = urlsplit(target.url)
    return socket.create_connection((where.hostname, where.port), timeout=5)


# %%
def flood(target, megabytes=48):
    """What this process holds more after each megabyte sent, until the app has heard enough."""
    held, chunk = [0], b"100000\r\n" + b" " * MEBIBYTE + b"\r\n"
    tracemalloc.start()
    with connected(target) as line, suppress(OSError):  # it may hang up
        line.sendall(HEAD + b"Transfer-Encoding: chunked\r\n\r\n")
        for _ in range(megabytes):
            line.sendall(chunk)
            held.append(tracemalloc.get_traced_memory()[0] / MEBIBYTE)
        line.sendall(b"0\r\n\r\n")
        line.recv(1000)
    tracemalloc.stop()
    return held


# %%
def fill_the_memory(target):
    """Attack 8: how many megabytes one request made the app hold, if more than a few."""
    held = max(flood(target))
    return f"{held:.0f} MiB" if held > 16 else None


fill_the_memory(larkspur)

# %% [markdown]
# Ten such requests at once, and the kernel ends the process
# ([OWASP API4:2023](https://owasp.org/API-Security/editions/2023/en/0xa4-unrestricted-resource-consumption/),
# CWE-770). Here is one, as a picture.

# %%
import matplotlib.pyplot as plt


def draw(floods):
    figure, axis = plt.subplots(figsize=(7, 2.8))
    for name, held in floods.items():
        axis.plot(range(len(held)), held, marker=".", label=name)
        axis.annotate(name, (len(held) - 1, held[-1]), textcoords="offset points", xytext=(6, -12))
    axis.set(xlabel="MiB sent", ylabel="MiB held", xlim=(0, 60), ylim=(-12, 56))
    axis.set_title("One request, and what the app keeps of it")
    figure.tight_layout()


draw({"Larkspur": flood(larkspur)})

# %% [markdown]
# ### 9 · Hold the line
#
# Announce a thousand bytes, send one, and wait. It costs you nothing. It costs the library a connection, for as long
# as you like (CWE-400).


# %%
def hold_the_line(target, patience=2.5):
    """Attack 9: that the app still waits, after so many seconds."""
    with connected(target) as line:
        line.settimeout(patience)
        line.sendall(HEAD + b"Content-Length: 1000\r\n\r\n{")
        try:
            line.recv(1000)
        except TimeoutError:
            return f"still waiting after {patience} s"
    return None


hold_the_line(larkspur)

# %% [markdown]
# Nine inputs, nine ways in. Now shut them.
#
# ## Fix
#
# Each exercise is one cell. Run it, then run its `check`. What a cell needs from outside stands in environment
# variables: `DATABASE_URL` everywhere, and `BODY_TIMEOUT`, in seconds, in 4.4. They are set here and, with other
# values, when you are graded; so read them, and never write them into the code.
#
# The database has `members(id, username, email, password_hash, role, disabled)`, `books(id, title, author, year,
# shelf)`, `loans(id, member_id, book_id, due_on, returned)` and `reviews(id, book_id, member_id, body)`.
#
# Use any library you like. Errors are FastAPI's shape, `{"detail": …}`. A crash (5xx) is never a fix.

# %%
os.environ.update(BODY_TIMEOUT="1")

# %% [markdown]
# ### Exercise 4.1 · Names and e-mail
#
# `POST /members` `{username, email}` → 201 `{"username", "email"}` as stored, in `members`.
#
# - Username: 3–32 of ASCII `a-z 0-9 _`, case-folded: `Alice` is stored as `alice`. Reserved names (`admin`, `root`,
#   `staff`, `larkspur`) are refused however written.
# - E-mail: bare, and its domain lower case; the local part of an address keeps its case. `"Alice <a@x>"` is refused,
#   or stored as `a@x`.
# - Duplicates after normalisation → 409. Anything else is refused → 422.
#
# `password_hash` may not be null; any text will do here.

# %% [markdown]
# What the checks send: Cyrillic, full width, superscripts, Arabic digits, zero-width, a trailing newline; names that
# are taken, in other capitals.
#
# Two traps. In Python's `re`, `$` also stands before a last `\n` (CWE-625); in Pydantic's `pattern` it does not. And
# with `re.IGNORECASE`, `[a-z]` matches four letters that are not ASCII
# ([`re`](https://docs.python.org/3/library/re.html#re.IGNORECASE)).

# %% exercise="4.1" role="starter"
# Exercise 4.1 — Names and e-mail (INSECURE: this is the code to mend)
import os
import re

from fastapi import FastAPI, HTTPException
from pydantic import BaseModel, Field, field_validator
from sqlalchemy import create_engine, text

app = FastAPI()
engine = create_engine(os.environ["DATABASE_URL"])
RESERVED = {"admin", "root", "staff", "larkspur"}


class Newcomer(BaseModel):
    username: str = Field(min_length=3, max_length=32)
    email: str

    @field_validator("username")
    @classmethod
    def alphanumeric(cls, value: str) -> str:
        if not value.replace("_", "").isalnum() or value in RESERVED:
            raise ValueError("Username must be alphanumeric")
        return value

    @field_validator("email")
    @classmethod
    def address(cls, value: str) -> str:
        if not re.match(r".+@.+\..+$", value):
            raise ValueError("Email must be an address")
        return value


@app.post("/members", status_code=201)
def join(newcomer: Newcomer) -> dict:
    with engine.begin() as db:
        if db.execute(text("SELECT id FROM members WHERE username = :username"), newcomer.model_dump()).first():
            raise HTTPException(409, "This name is taken.")
        member = {"username": newcomer.username.lower(), "email": newcomer.email}
        insert = "INSERT INTO members (username, email, password_hash) VALUES (:username, :email, '')"
        db.execute(text(insert), member)
    return member


# %% exercise="4.1" role="solution"
# Exercise 4.1 — Names and e-mail
import os
from typing import Annotated

from fastapi import FastAPI, HTTPException
from pydantic import AfterValidator, BaseModel, EmailStr, StringConstraints
from sqlalchemy import create_engine, text
from sqlalchemy.exc import IntegrityError

app = FastAPI()
engine = create_engine(os.environ["DATABASE_URL"])
RESERVED = {"admin", "root", "staff", "larkspur"}
INSERT = text("INSERT INTO members (username, email, password_hash) VALUES (:username, :email, '')")


def not_reserved(name: str) -> str:
    if name in RESERVED:
        raise ValueError("this name is reserved")
    return name


# What is allowed, not what is forbidden. Here `$` is the end of the text; in `re` it also stands before a last \n.
Username = Annotated[
    str,
    StringConstraints(pattern="^[A-Za-z0-9_]{3,32}$", to_lower=True),
    AfterValidator(not_reserved),
]


class Newcomer(BaseModel):
    username: Username
    email: EmailStr  # bare, its domain small; the part before the @ keeps its case


@app.post("/members", status_code=201)
def join(newcomer: Newcomer) -> Newcomer:
    try:
        with engine.begin() as db:
            db.execute(INSERT, newcomer.model_dump())
    except IntegrityError as error:
        raise HTTPException(409, "This name or e-mail is taken.") from error
    return newcomer


# %%
check("4.1")

# %% [markdown]
# Stuck? `hint("4.1")` gives one hint at a time, for what failed.
#
# ### Exercise 4.2 · Passwords people can live with
#
# `POST /password-strength` `{username, password}` → 204 or 422.
#
# - 15–128 characters, no composition rule, spaces kept.
# - Refused when on a list of common passwords in any case (the starter carries the list; `passwordpassword`,
#   `123456789012345`, `1234567890123456`, `qwertyuiopasdfgh` are on it).
# - Refused when it is nothing but the username or `larkspur`, in any case: repeated, or with digits and punctuation
#   before, between or after.
# - A passphrase that merely contains a name is fine.
# - No answer repeats the password.

# %% [markdown]
# Where this comes from: NIST SP 800-63B-4 §3.1.1.2. There a password on its own *shall* have 15 characters, each code
# point counts as one, composition rules *shall not* be imposed, and the *entire* password is compared with the list,
# "not substrings or words that might be contained therein".
#
# A regular expression that is put together from a user name needs `re.escape`. Where two of its stars can read the
# same signs, one password keeps your app busy for hours (CWE-1333). You can do without.

# %% exercise="4.2" role="starter"
# Exercise 4.2 — Passwords people can live with (INSECURE: this is the code to mend)
from fastapi import FastAPI
from pydantic import BaseModel, field_validator

app = FastAPI()
COMMON = """
passwordpassword password1234567 passw0rdpassw0rd 123456789012345 1234567890123456 111111111111111
qwertyuiopasdfgh qwertyuiopasdfghjkl 1qaz2wsx3edc4rfv iloveyouiloveyou letmeinletmeinletmein
administrator123 welcomewelcome1 sunshinesunshine footballfootball abcdefghijklmnop
""".split()


class Wish(BaseModel):
    username: str
    password: str

    @field_validator("password")
    @classmethod
    def strong(cls, value: str) -> str:
        value = value.strip()
        if len(value) < 8:
            raise ValueError("Password must be at least 8 characters")
        if not any(c.isupper() for c in value):
            raise ValueError("Password must contain uppercase")
        if not any(c.isdigit() for c in value):
            raise ValueError("Password must contain number")
        if value in COMMON:
            raise ValueError("Password is too common")
        return value


@app.post("/password-strength", status_code=204)
def rate(wish: Wish) -> None:
    pass


# %% exercise="4.2" role="solution"
# Exercise 4.2 — Passwords people can live with
import string

from fastapi import FastAPI, HTTPException, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from pydantic import BaseModel, Field

app = FastAPI()
COMMON = """
passwordpassword password1234567 passw0rdpassw0rd 123456789012345 1234567890123456 111111111111111
qwertyuiopasdfgh qwertyuiopasdfghjkl 1qaz2wsx3edc4rfv iloveyouiloveyou letmeinletmeinletmein
administrator123 welcomewelcome1 sunshinesunshine footballfootball abcdefghijklmnop
""".split()
TRIMMINGS = set(string.digits + string.punctuation)


class Wish(BaseModel):
    username: str
    password: str = Field(min_length=15, max_length=128)


@app.exception_handler(RequestValidationError)
def refuse(request: Request, error: RequestValidationError) -> JSONResponse:
    # `input` and `ctx` hold what was sent, so they stay here.
    faults = [{"loc": fault["loc"], "type": fault["type"]} for fault in error.errors()]
    return JSONResponse({"detail": faults}, 422)


def is_nothing_but(word: str, password: str) -> bool:
    rest = password.replace(word, "")
    return rest != password and TRIMMINGS.issuperset(rest)


@app.post("/password-strength", status_code=204)
def rate(wish: Wish) -> None:
    password = wish.password.casefold()
    if password in COMMON:
        raise HTTPException(422, "Many people use this password, so it is tried first.")
    if any(is_nothing_but(word.casefold(), password) for word in (wish.username, "larkspur")):
        raise HTTPException(422, "A password needs more than a name that everybody knows.")


# %%
check("4.2")

# %% [markdown]
# ### Exercise 4.3 · Strict bodies
#
# - `PATCH /members/{username}` `{"email"?, "display_name"?}` → 200 (404 unknown).
# - `POST /orders` `{"book_id": int, "copies": 1–20}` → 201.
#
# Display names and orders live in tables of your own. Extra fields may be refused or ignored; they (`role`, `id`)
# change nothing in the database. A `null` in PATCH may be refused or ignored, too, and crashes nothing.
#
# `"5"`, `true`, `5.0`, NaN, Infinity, 10**400, lone surrogates, nesting 200 000 deep → 4xx. No 422 repeats a value that
# was sent.

# %% [markdown]
# Why each of these is worth a test:
#
# - A number beyond 64 bits fits into Python and not into SQLite, whose driver raises (ASVS 5.0 1.4.2).
# - A parser that calls itself for each bracket runs out of stack (CWE-674;
#   [RFC 8259 §9](https://www.rfc-editor.org/rfc/rfc8259#section-9) lets you set a limit).
# - A 422 is written by code, too: what cannot be written as JSON or UTF-8 crashes it. Attack 7 was of that kind.
# - Half a character is a `str` to Python, and to Pydantic unless it has a length to measure. SQLite's driver raises.

# %% exercise="4.3" role="starter"
# Exercise 4.3 — Strict bodies (INSECURE: this is the code to mend)
import os

from fastapi import Body, FastAPI, HTTPException, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from pydantic import BaseModel
from sqlalchemy import create_engine, text

app = FastAPI()
engine = create_engine(os.environ["DATABASE_URL"])
with engine.begin() as db:
    db.execute(text("CREATE TABLE IF NOT EXISTS display_names (username TEXT PRIMARY KEY, name TEXT NOT NULL)"))
    db.execute(text("CREATE TABLE IF NOT EXISTS orders (id INTEGER PRIMARY KEY, book_id INTEGER, copies INTEGER)"))


class Order(BaseModel):
    book_id: int
    copies: int


@app.exception_handler(RequestValidationError)
def refuse(request: Request, error: RequestValidationError) -> JSONResponse:
    return JSONResponse({"detail": str(error.errors()), "body": error.body}, 422)


@app.patch("/members/{username}")
def change_profile(username: str, body: dict = Body()) -> dict:
    with engine.begin() as db:
        if not db.execute(text("SELECT id FROM members WHERE username = :u"), {"u": username}).first():
            raise HTTPException(404, "There is no such member.")
        if "display_name" in body:
            put = text("INSERT OR REPLACE INTO display_names VALUES (:u, :n)")
            db.execute(put, {"u": username, "n": body.pop("display_name")})
        for field in body:
            db.execute(text(f"UPDATE members SET {field} = :{field} WHERE username = :u"), {**body, "u": username})
    return body


@app.post("/orders", status_code=201)
def order(wanted: Order) -> Order:
    with engine.begin() as db:
        db.execute(text("INSERT INTO orders (book_id, copies) VALUES (:book_id, :copies)"), wanted.model_dump())
    return wanted


# %% exercise="4.3" role="solution"
# Exercise 4.3 — Strict bodies
import os

from fastapi import FastAPI, HTTPException, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from pydantic import BaseModel, ConfigDict, EmailStr, Field
from sqlalchemy import create_engine, text
from sqlalchemy.exc import IntegrityError

app = FastAPI()
engine = create_engine(os.environ["DATABASE_URL"])
with engine.begin() as db:
    db.execute(text("CREATE TABLE IF NOT EXISTS display_names (username TEXT PRIMARY KEY, name TEXT NOT NULL)"))
    db.execute(text("CREATE TABLE IF NOT EXISTS orders (id INTEGER PRIMARY KEY, book_id INTEGER, copies INTEGER)"))
BIGGEST_ID = 2**63 - 1


class Profile(BaseModel):
    email: EmailStr | None = None
    display_name: str | None = Field(None, min_length=1, max_length=100)


class Order(BaseModel):
    model_config = ConfigDict(strict=True)  # 5, and neither "5" nor 5.0 nor true

    book_id: int = Field(ge=1, le=BIGGEST_ID)
    copies: int = Field(ge=1, le=20)


@app.exception_handler(RequestValidationError)
def refuse(request: Request, error: RequestValidationError) -> JSONResponse:
    # Not `input`, not `ctx`: they hold what was sent, and NaN cannot even be written as JSON.
    faults = [{"loc": fault["loc"], "type": fault["type"]} for fault in error.errors()]
    return JSONResponse({"detail": faults}, 422)


@app.patch("/members/{username}")
def change_profile(username: str, profile: Profile) -> Profile:
    values = {"u": username, "email": profile.email, "name": profile.display_name}
    try:
        with engine.begin() as db:
            if not db.execute(text("SELECT id FROM members WHERE username = :u"), values).first():
                raise HTTPException(404, "There is no such member.")
            if profile.email is not None:
                db.execute(text("UPDATE members SET email = :email WHERE username = :u"), values)
            if profile.display_name is not None:
                db.execute(text("INSERT OR REPLACE INTO display_names VALUES (:u, :name)"), values)
    except IntegrityError as error:
        raise HTTPException(409, "That address is taken.") from error
    return profile


@app.post("/orders", status_code=201)
def order(wanted: Order) -> Order:
    with engine.begin() as db:
        db.execute(text("INSERT INTO orders (book_id, copies) VALUES (:book_id, :copies)"), wanted.model_dump())
    return wanted


# %%
check("4.3")

# %% [markdown]
# ### Exercise 4.4 · No more than 64 KiB
#
# `POST /reviews` `{"book_id", "body"}` → 201, stored for the member with the smallest id.
#
# - Over 65 536 bytes → 413, by declared length or chunked without length (400 is right too when both a length and
#   chunking are declared), and memory does not grow with what is sent.
# - Slow bodies end in 408 or a closed connection within `BODY_TIMEOUT` seconds.
# - A 60 KiB review is stored.
#
# A raw socket sends streaming bodies, chunks and lengths that lie.

# %% [markdown]
# What an app sees of a body is a row of messages:
#
# ```mermaid
# sequenceDiagram
#     participant C as Client
#     participant U as uvicorn
#     participant A as Your app
#     C->>U: POST /reviews, Transfer-Encoding: chunked
#     U->>A: scope (headers)
#     C->>U: chunk
#     U->>A: http.request, body, more_body: true
#     C->>U: chunk
#     U->>A: http.request, body, more_body: true
#     Note over A: 65 537 bytes: stop
#     A-->>C: 413
# ```
#
# With both a length and chunks, the chunks count
# ([RFC 9112 §6.3](https://www.rfc-editor.org/rfc/rfc9112#section-6.3)). An `HTTPException` that is raised in a
# middleware becomes a 500; return a response instead.

# %% exercise="4.4" role="starter"
# Exercise 4.4 — No more than 64 KiB (INSECURE: this is the code to mend)
import os

from fastapi import FastAPI, HTTPException, Request
from pydantic import BaseModel, Field
from sqlalchemy import create_engine, text

app = FastAPI()
engine = create_engine(os.environ["DATABASE_URL"])
LIMIT = 64 * 1024
INSERT = text("INSERT INTO reviews (book_id, member_id, body) SELECT :book_id, min(id), :body FROM members")


class Review(BaseModel):
    book_id: int = Field(ge=1, lt=2**63)
    body: str


@app.middleware("http")
async def limit_body(request: Request, call_next):
    if int(request.headers.get("content-length", 0)) > LIMIT:
        raise HTTPException(413, "Too much.")
    return await call_next(request)


@app.post("/reviews", status_code=201)
def publish(review: Review) -> dict:
    with engine.begin() as db:
        row = db.execute(INSERT, review.model_dump())
    return {"id": row.lastrowid}


# %% exercise="4.4" role="solution"
# Exercise 4.4 — No more than 64 KiB
import asyncio
import os

from fastapi import FastAPI
from fastapi.responses import JSONResponse
from pydantic import BaseModel, Field
from sqlalchemy import create_engine, text
from starlette.datastructures import Headers
from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Message, Receive, Scope, Send

app = FastAPI()
engine = create_engine(os.environ["DATABASE_URL"])
LIMIT, BODY_TIMEOUT = 64 * 1024, float(os.environ["BODY_TIMEOUT"])
INSERT = text("INSERT INTO reviews (book_id, member_id, body) SELECT :book_id, min(id), :body FROM members")


class TooMuch(Exception):
    pass


async def whole_body(scope: Scope, receive: Receive) -> bytes:
    if int(Headers(scope=scope).get("content-length", 0)) > LIMIT:  # what is announced need not be read
        raise TooMuch
    body, more = bytearray(), True
    while more:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise ClientDisconnect
        body += message.get("body", b"")
        if len(body) > LIMIT:  # what was not announced is counted
            raise TooMuch
        more = message.get("more_body", False)
    return bytes(body)


class LimitBody:
    """Has the whole body before the app sees any of it: LIMIT bytes at most, in BODY_TIMEOUT seconds at most."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return await self.app(scope, receive, send)
        try:
            async with asyncio.timeout(BODY_TIMEOUT):  # for all of it: a timeout per chunk never ends
                messages = [{"type": "http.request", "body": await whole_body(scope, receive)}]
        except TooMuch:
            return await refusal(413, "64 KiB are enough.")(scope, receive, send)
        except TimeoutError:
            return await refusal(408, "That took too long.")(scope, receive, send)
        except ClientDisconnect:
            return None

        async def replay() -> Message:
            return messages.pop() if messages else await receive()

        await self.app(scope, replay, send)


def refusal(status: int, why: str) -> JSONResponse:
    return JSONResponse({"detail": why}, status, {"Connection": "close"})


app.add_middleware(LimitBody)


class Review(BaseModel):
    book_id: int = Field(ge=1, lt=2**63)
    body: str


@app.post("/reviews", status_code=201)
def publish(review: Review) -> dict:
    with engine.begin() as db:
        row = db.execute(INSERT, review.model_dump())
    return {"id": row.lastrowid}


# %%
check("4.4")

# %% [markdown]
# ## Prove
#
# The checks above are one proof. Here is another: Mallory's own nine attacks, on Larkspur and on your code. Run this
# after any change. `serve("4.1")` serves the cell of that exercise as you last ran it. A crash is no defence, so an
# attack that ends in one is shown as what it is.

# %%
rounds = [
    (be_a_second_ada, "4.1"),
    (be_the_admin, "4.1"),
    (have_a_silly_password, "4.2"),
    (read_the_password_back, "4.2"),
    (join_the_staff, "4.3"),
    (order_true_copies, "4.3"),
    (crash_it, "4.3"),
    (fill_the_memory, "4.4"),
    (hold_the_line, "4.4"),
]


# %%
def outcome(attack, target):
    before = target.crashes
    got_in = attack(target)
    return "CRASHED" if target.crashes > before else "got in" if got_in else "blocked"


print(f"{'attack':24}{'on Larkspur':14}on yours")
for attack, number in rounds:
    print(f"{attack.__name__:24}{outcome(attack, larkspur):14}{outcome(attack, serve(number, 'yours'))}")

# %% [markdown]
# And the picture once more. Your line should end where Larkspur's begins.

# %%
draw({"Larkspur": flood(larkspur), "yours": flood(serve("4.4", "yours"))})

# %% [markdown]
# ## Apply
#
# Your own app, line by line. Copy what you cannot tick into your issue tracker.
#
# - [ ] Every input has a rule that says what is good: characters, lengths, ranges (ASVS 5.0 2.2.1), and it holds on the
#   server (2.2.2).
# - [ ] Input is brought into one form first, validated next, compared and stored last (ASVS 5.0 1.1.1, CWE-180).
# - [ ] Names that people read are of one script, or look-alikes are refused (CWE-1007,
#   [UTS #39 §5.2](https://www.unicode.org/reports/tr39/#Restriction_Level_Detection)).
# - [ ] E-mail addresses are stored bare, the domain in small letters, and never with a line end (ASVS 5.0 1.3.11).

# %% [markdown]
# - [ ] Passwords: at least 15 characters on their own, 64 and more allowed, any composition (ASVS 5.0 6.2.1, 6.2.5,
#   6.2.9; NIST SP 800-63B-4 §3.1.1.2).
# - [ ] New passwords are compared with common ones (ASVS 5.0 6.2.4) and with the names of service and user (6.2.11).
# - [ ] Nothing about a password is changed on the way: not cut, not trimmed, not folded (ASVS 5.0 6.2.8). NFC
#   before hashing is what NIST allows.

# %% [markdown]
# - [ ] Every body is a model that lists its fields; nobody sends `role` (ASVS 5.0 15.3.3, CWE-915).
# - [ ] Types are strict where a decision hangs on them (ASVS 5.0 15.3.5), and numbers have bounds that the database
#   shares (1.4.2).
# - [ ] Refusals say where the fault is and not what was sent (ASVS 5.0 16.5.1), and refusing never crashes (16.5.3).

# %% [markdown]
# - [ ] Bodies have a limit in bytes, counted while reading, whatever length was declared (API4:2023, CWE-770).
# - [ ] Requests have a time limit as a whole, not for each piece (API4:2023, CWE-400).
# - [ ] The proxy in front has the same limits (CWE-770). The app has them too: proxies get replaced.

# %%
progress()
