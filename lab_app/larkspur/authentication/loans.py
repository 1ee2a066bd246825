"""INSECURE: asks who you are, but not whose loan it is."""

from typing import Annotated, Any

from fastapi import APIRouter, Depends, HTTPException

from lab_app.larkspur.authentication.unverified import current_member
from lab_app.larkspur.database import rows

router = APIRouter()


@router.get("/loans/{loan_id}")
def read_loan(loan_id: int, member: Annotated[dict[str, Any], Depends(current_member)]) -> dict[str, Any]:
    """One loan, with the book's title."""
    found = rows(
        "SELECT loans.*, books.title FROM loans JOIN books ON books.id = book_id WHERE loans.id = :id", id=loan_id
    )
    if not found:
        raise HTTPException(404, f"{member['username']}, there is no such loan")
    return found[0]
