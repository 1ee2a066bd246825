"""An app with a flaw of most kinds, and next to each what looks like it and is none. INSECURE."""

import hashlib
import sqlite3
from typing import Annotated, Any

from fastapi import Body, FastAPI, Form, HTTPException, Path, Query, Request, Response
from fastapi.middleware.cors import CORSMiddleware
from fastapi.responses import HTMLResponse, PlainTextResponse, RedirectResponse

app = FastAPI()
db = sqlite3.connect(":memory:", check_same_thread=False)
db.executescript("CREATE TABLE books (id INTEGER, title TEXT); INSERT INTO books VALUES (1, 'Kindred'), (2, 'Solaris')")
PASSWD = "root:x:0:0:root:/root:/bin/bash\n"
BY_NAME = {"ada": "ada's password", "eve": "eve's password"}
CONTENTS = {"ada": [1], "eve": [2]}


def user(request: Request) -> str:
    name = request.cookies.get("session", "").partition("-")[0]
    if request.cookies.get("session") != f"{name}-{hashlib.sha256(name.encode()).hexdigest()}" or name not in BY_NAME:
        raise HTTPException(401)
    return name


app.add_middleware(CORSMiddleware, allow_origins=["null", "https://app.example"], allow_credentials=True)


@app.post("/session", status_code=204)
def log_in(name: Annotated[str, Form()], password: Annotated[str, Form()], response: Response) -> None:
    if BY_NAME.get(name) != password:
        raise HTTPException(401, "No.")
    response.set_cookie("session", f"{name}-{hashlib.sha256(name.encode()).hexdigest()}", samesite="lax")


@app.get("/boxes")
def boxes(request: Request) -> list[dict[str, int]]:
    return [{"id": each} for each in CONTENTS[user(request)]]


@app.get("/boxes/{id}")
def box(request: Request, id: int) -> dict[str, Any]:
    user(request)
    return {"id": id, "of": next((name for name, ids in CONTENTS.items() if id in ids), None)}


@app.get("/sealed")
def sealed(request: Request) -> list[dict[str, int]]:
    return boxes(request)


@app.get("/sealed/{id}")
def sealed_box(request: Request, id: int) -> dict[str, Any]:
    if id not in CONTENTS[user(request)]:
        raise HTTPException(404)
    return {"id": id}


@app.get("/sql/like")
def sql_like(q: str = "") -> list[Any]:
    try:
        return db.execute(f"SELECT title FROM books WHERE title LIKE '%{q}%'").fetchall()
    except sqlite3.Error:
        return []


@app.get("/sql/number")
def sql_number(id: str = "1") -> list[Any]:
    try:
        return db.execute(f"SELECT title FROM books WHERE id = {id}").fetchall()
    except sqlite3.Error:
        return []


@app.get("/sql/sort")
def sql_sort(by: str = "title") -> list[Any]:
    try:
        return db.execute(f"SELECT title FROM books ORDER BY {by}").fetchall()
    except sqlite3.Error as error:
        raise HTTPException(400, "No such column.") from error


@app.get("/sql/list")
def sql_list(ids: Annotated[list[str], Query()] = []) -> list[Any]:  # noqa: B006
    return db.execute(f"SELECT title FROM books WHERE id IN ({', '.join(ids)})").fetchall()


@app.post("/sql/body")
def sql_body(title: Annotated[str, Body(embed=True)]) -> list[Any]:
    return db.execute(f"SELECT title FROM books WHERE title = '{title}'").fetchall()


@app.post("/safe/body")
def safe_body(title: Annotated[str, Body(embed=True)]) -> list[Any]:
    return db.execute("SELECT title FROM books WHERE title = ?", (title,)).fetchall()


@app.get("/safe/search")
def safe_search(q: str = "", sort: str = "title") -> dict[str, Any]:
    if sort not in ("title", "id"):
        raise HTTPException(400, "No such column.")
    words = set(q.lower().replace("'", " ").split())
    return {
        "asked": q,
        "found": [text for text in ("this or that", "17 reasons", "solaris") if words & set(text.split())],
    }


@app.get("/files")
def files(name: str = "a.txt") -> PlainTextResponse:
    return PlainTextResponse(PASSWD if name.endswith("../etc/passwd") else f"contents of {name}")


@app.get("/go")
def go(next: str = "/") -> RedirectResponse:
    return RedirectResponse(next)


@app.get("/safe/go")
def safe_go(next: str = "/") -> RedirectResponse:
    return RedirectResponse(next if next.startswith("/") and not next.startswith("//") else "/")


@app.get("/hello", response_class=HTMLResponse)
def hello(who: str = "") -> HTMLResponse:
    worked = who.replace("{{1337*7331}}", str(1337 * 7331)).replace("<", "&lt;")
    return HTMLResponse(f"<!doctype html>{worked}", headers={"Content-Security-Policy": "frame-ancestors 'none'"})


@app.get("/safe/echo")
def echo(request: Request, text: str = "") -> dict[str, Any]:
    return {"text": text, "headers": dict(request.headers)}


@app.get("/link")
def link(request: Request) -> dict[str, str]:
    return {"reset": f"{request.base_url}reset"}


@app.get("/people")
def people() -> list[dict[str, str]]:
    return [{"name": "ada", "password_hash": "$2b$12$" + "abcdefghijklmnopqrstuv" + "ABCDEFGHIJKLMNOPQRSTUVWXYZ01234"}]


@app.get("/count/{number}")
def count(number: int) -> dict[str, int]:
    return {"next": db.execute("SELECT ? + 1", (number,)).fetchone()[0]}


@app.get("/safe/count/{number}")
def safe_count(number: Annotated[int, Path(ge=0, le=100)]) -> dict[str, int]:
    return {"next": number + 1}


@app.get("/.git/HEAD", include_in_schema=False)
def head() -> PlainTextResponse:
    return PlainTextResponse("ref: refs/heads/main\n")
