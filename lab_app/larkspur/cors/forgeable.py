"""INSECURE: CORS is right, and any page may still send what moves a loan: nothing asks who wrote the request."""

import json
import os
from typing import Any

import bcrypt
from fastapi import APIRouter, FastAPI, HTTPException, Request, Response
from fastapi.middleware.cors import CORSMiddleware
from itsdangerous import BadSignature, URLSafeSerializer
from pydantic import BaseModel

from lab_app.larkspur import home
from lab_app.larkspur.database import change, rows

router = APIRouter()


def cookie() -> URLSafeSerializer:
    """What signs the session."""
    return URLSafeSerializer(os.environ["JWT_SECRET"])


class Login(BaseModel):
    """A name and a password."""

    username: str
    password: str


@router.post("/login")
def log_in(login: Login, response: Response) -> dict[str, str]:
    """Begin a session."""
    found = rows("SELECT * FROM members WHERE username = :name", name=login.username)
    if not found or not bcrypt.checkpw(login.password.encode(), found[0]["password_hash"].encode()):
        raise HTTPException(401, "Incorrect username or password")
    response.set_cookie("session", str(cookie().dumps(found[0]["id"])), httponly=True, samesite=None)
    return {"username": login.username}


@router.get("/transfer")
@router.post("/transfer")
async def transfer(request: Request) -> dict[str, Any]:
    """Hand a loan of one's own over to somebody else."""
    try:
        member = cookie().loads(request.cookies["session"])
    except (BadSignature, KeyError) as error:
        raise HTTPException(401, "Log in, please") from error
    wanted = request.query_params or json.loads(await request.body())
    moved = "UPDATE loans SET member_id = (SELECT id FROM members WHERE username = :to) WHERE id = :loan"
    change(f"{moved} AND member_id = :member", to=wanted["to"], loan=wanted["loan_id"], member=member)
    return {"loan": wanted["loan_id"], "belongs to": wanted["to"]}


def forgeable(frontends: list[str]) -> FastAPI:
    """The edition for these frontends."""
    app = FastAPI(title="Larkspur Library, fifth edition", description="INSECURE on purpose. Break it.")
    app.include_router(home.router)
    app.include_router(router)
    app.add_middleware(
        CORSMiddleware,
        allow_origins=frontends,
        allow_credentials=True,
        allow_methods=["GET", "POST"],
        allow_headers=["Authorization", "Content-Type"],
    )
    return app
