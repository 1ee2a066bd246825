"""INSECURE: takes every letter of every script, and looks for doubles before it makes the name small."""

from fastapi import APIRouter, HTTPException
from pydantic import BaseModel, EmailStr, Field, field_validator

from lab_app.larkspur.database import change, rows

router = APIRouter()
RESERVED = {"admin", "root", "staff", "larkspur"}


class Newcomer(BaseModel):
    """Who wants to become a member."""

    username: str = Field(min_length=3, max_length=32)
    email: EmailStr

    @field_validator("username")
    @classmethod
    def alphanumeric(cls, value: str) -> str:
        """The checklist's own test."""
        if not value.isalnum() or value in RESERVED:
            raise ValueError("Username must be alphanumeric")
        return value


@router.post("/members", status_code=201)
def join(newcomer: Newcomer) -> dict[str, str]:
    """Become a member."""
    if rows("SELECT id FROM members WHERE username = :name", name=newcomer.username):
        raise HTTPException(409, "This name is taken")
    name = newcomer.username.lower()
    insert = "INSERT INTO members (username, email, password_hash) VALUES (:name, :email, '')"
    change(insert, name=name, email=newcomer.email)
    return {"username": name, "email": newcomer.email}
