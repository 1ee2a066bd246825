"""INSECURE: reads numbers generously, and repeats in the refusal what was sent, even what is no JSON."""

from fastapi import APIRouter
from pydantic import BaseModel

router = APIRouter()


class Order(BaseModel):
    """How many copies of a book the library should buy."""

    book_id: int
    copies: int


@router.post("/orders", status_code=201)
def order(wanted: Order) -> Order:
    """Ask for copies of a book."""
    return wanted
