"""INSECURE: asks for a capital, a digit and a sign, which says nothing about how hard a password is to guess."""

import re

from fastapi import APIRouter
from pydantic import BaseModel, field_validator

router = APIRouter()


class Wish(BaseModel):
    """A password that somebody would like to have."""

    username: str
    password: str

    @field_validator("password")
    @classmethod
    def strong(cls, value: str) -> str:
        """The checklist's own rules."""
        rules = (r".{8}", r"[A-Z]", r"[a-z]", r"\d", r"[^\w\s]")
        if not all(re.search(rule, value) for rule in rules):
            raise ValueError("8 characters, with a capital, a small letter, a digit and a sign")
        return value


@router.post("/password-strength", status_code=204)
def rate(wish: Wish) -> None:
    """Say whether a password will do."""
