"""Members with accounts and boxes; each flaw beside its harmless twin. INSECURE."""

import hashlib
import itertools
import logging
import secrets
import sqlite3
from typing import Annotated, Any

from fastapi import APIRouter, Cookie, Depends, FastAPI, Header, HTTPException, Request
from fastapi.responses import Response
from pydantic import BaseModel, EmailStr, Field

app = FastAPI()
logging.basicConfig(level=logging.INFO)
db = sqlite3.connect(":memory:", check_same_thread=False)
db.executescript("CREATE TABLE words (word TEXT, lang TEXT); INSERT INTO words VALUES ('one', 'en'), ('eins', 'de')")
MEMBERS: dict[str, dict[str, Any]] = {}
BOXES: dict[int, dict[str, Any]] = {}
NUMBERS = itertools.count(1)
SALT = secrets.token_hex()


class NewMember(BaseModel):
    class _Member(BaseModel):
        username: str = Field(pattern=r"^\w+$")
        email: EmailStr
        password: str = Field(max_length=100)
        tier: str = "Free"

    member: _Member


class LogIn(BaseModel):
    class _Member(BaseModel):
        username: str
        password: str = Field(max_length=100)

    member: _Member


class Box(BaseModel):
    label: str = Field(max_length=50)


def me(authorization: Annotated[str, Header()] = "") -> dict[str, Any]:
    name, _, mark = authorization.removeprefix("Token ").partition("-")
    if name not in MEMBERS or mark != hashlib.sha256((name + SALT).encode()).hexdigest():
        raise HTTPException(401)
    return MEMBERS[name]


Me = Annotated[dict[str, Any], Depends(me)]


@app.post("/register", status_code=201)
def register(body: NewMember) -> dict[str, bool]:
    member = body.member
    if member.username in MEMBERS:
        raise HTTPException(409)
    MEMBERS[member.username] = {"id": len(MEMBERS) + 1, **member.model_dump()}
    return {"welcome": True}


@app.post("/login")
def log_in(body: LogIn) -> dict[str, str]:
    found = db.execute(f"SELECT '{body.member.username}'").fetchone()[0]
    if MEMBERS.get(found, {}).get("password") != body.member.password:
        raise HTTPException(401)
    return {"token": f"{found}-{hashlib.sha256((found + SALT).encode()).hexdigest()}"}


def shown(member: dict[str, Any]) -> dict[str, Any]:
    return {name: member[name] for name in ("id", "username", "email", "tier")}


@app.get("/me")
def profile(who: Me) -> dict[str, Any]:
    return {"member": shown(who)}


@app.get("/members")
def members(who: Me) -> list[dict[str, Any]]:
    return [shown(each) for each in MEMBERS.values()]


@app.get("/names")
def names(who: Me) -> list[str]:
    return list(MEMBERS)


@app.get("/members/{member_id}")
def member(member_id: int, who: Me) -> dict[str, Any]:
    return next((shown(each) for each in MEMBERS.values() if each["id"] == member_id), {})


@app.get("/accounts/{username}")
def account(username: str, who: Me) -> dict[str, Any]:
    if username != who["username"]:
        raise HTTPException(404)
    return shown(who)


@app.get("/admin/jobs")
def jobs(who: Me) -> list[str]:
    return ["backup"]


@app.get("/admin/orders")
def orders(who: Me) -> list[str]:
    raise HTTPException(403)


@app.get("/admin/health")
def health() -> dict[str, str]:
    return {"status": "ok"}


def boxes(prefix: str, lax: bool) -> APIRouter:
    """Boxes of those that made them, but for what is in them; or boxes for everybody to read, change and delete."""
    router = APIRouter(prefix=prefix)

    def anybody() -> None:
        return None

    Reader = Annotated[dict[str, Any] | None, Depends(anybody if lax else me)]

    def found(id: int, who: dict[str, Any] | None = None) -> dict[str, Any]:
        box = BOXES.get(id)
        if box is None or (who and not lax and box["by"] != who["username"]):
            raise HTTPException(404)
        return box

    @router.post("", status_code=201)
    def make(box: Box, who: Me) -> dict[str, Any]:
        made = {"id": next(NUMBERS), "by": who["username"], "label": box.label}
        BOXES[made["id"]] = made
        return made

    @router.get("")
    def listed(who: Reader) -> list[dict[str, Any]]:
        return [each for each in BOXES.values() if who is None or each["by"] == who["username"]]

    @router.get("/{id}")
    def read(id: int, who: Reader) -> dict[str, Any]:
        return found(id, who)

    @router.get("/{id}/secret")
    def secret(id: int, who: Me) -> dict[str, Any]:
        return {"of": found(id)["by"]}

    @router.get("/{id}/rules")
    def rules(id: int, who: Me) -> dict[str, Any]:
        return {"at most": 50}

    @router.put("/{id}")
    def change(id: int, box: Box, who: Me) -> dict[str, Any]:
        found(id, who)["label"] = box.label
        return found(id)

    @router.delete("/{id}", status_code=204)
    def delete(id: int, who: Me) -> None:
        del BOXES[found(id, who)["id"]]

    return router


app.include_router(boxes("/lax", True))
app.include_router(boxes("/strict", False))


@app.get("/words/mine")
def mine(lang: Annotated[str, Cookie()] = "en") -> list[Any]:
    return db.execute(f"SELECT word FROM words WHERE lang = '{lang}'").fetchall()


@app.get("/words/yours")
def yours(x_lang: Annotated[str, Header()] = "en") -> list[Any]:
    return db.execute("SELECT word FROM words WHERE lang = ?", (x_lang,)).fetchall()


class Query(BaseModel):
    any_of: list[str]
    sort: str = "word"


@app.post("/words/search")
def search(query: Query) -> list[Any]:
    return db.execute(f"SELECT word FROM words WHERE word IN ('{query.any_of[0]}')").fetchall()


@app.post("/words/ordered")
def ordered(query: Query) -> list[Any]:
    return db.execute(f"SELECT word FROM words WHERE word = ? ORDER BY '{query.sort}'", (query.any_of[0],)).fetchall()


@app.get("/go")
def go(next: str = "/") -> Response:
    return Response(status_code=303, headers={"Location": next if next.startswith("/") else "/"})


@app.get("/logged")
def logged(request: Request, who: Me) -> None:
    logging.info("%s", request.headers)
