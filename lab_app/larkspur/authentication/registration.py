"""INSECURE: stores whatever columns the visitor sends, `role` among them."""

from typing import Any

from fastapi import APIRouter, Body

from lab_app.larkspur.authentication.login import pwd_context
from lab_app.larkspur.database import change

router = APIRouter()
COLUMNS = {"username", "email", "password_hash", "role", "disabled"}


@router.post("/register", status_code=201)
def register(body: dict[str, Any] = Body()) -> dict[str, Any]:  # noqa: B008 - FastAPI's own way
    """Become a member."""
    values = body | {"password_hash": pwd_context.hash(body["password"])}
    names = sorted(COLUMNS & values.keys())
    id_ = change(
        f"INSERT INTO members ({', '.join(names)}) VALUES ({', '.join(':' + name for name in names)})",  # noqa: S608
        **{name: values[name] for name in names},
    )
    return {"id": id_, "username": body["username"], "email": body["email"]}
