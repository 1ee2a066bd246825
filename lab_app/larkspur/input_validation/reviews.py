"""INSECURE: takes in a body however long it is, and waits for it however long that takes."""

from fastapi import APIRouter
from pydantic import BaseModel

from lab_app.larkspur.database import change

router = APIRouter()


class Review(BaseModel):
    """What somebody thinks of a book."""

    book_id: int
    body: str


@router.post("/reviews", status_code=201)
def publish(review: Review) -> dict[str, int]:
    """Publish a review."""
    insert = "INSERT INTO reviews (book_id, member_id, body) VALUES (:book, (SELECT min(id) FROM members), :body)"
    return {"id": change(insert, book=review.book_id, body=review.body)}
