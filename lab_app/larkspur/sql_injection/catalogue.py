"""INSECURE: pastes what the visitor looks for, how it is sorted and how much of it into the SQL."""

from typing import Annotated, Any

from fastapi import APIRouter, Query

from lab_app.larkspur.database import rows

router = APIRouter()


@router.get("/books")
def list_books(
    q: str = "",
    title_contains: str = "",
    ids: Annotated[list[str], Query()] = [],  # noqa: B006 - FastAPI's own way
    sort: str = "id",
    order: str = "asc",
    limit: str = "100",
) -> list[dict[str, Any]]:
    """The books, as many as are asked for."""
    where = f"title LIKE '%{title_contains}%'"
    if q:
        where = f"title LIKE '%{q}%' OR author LIKE '%{q}%'"
    if ids:
        where = f"id IN ({', '.join(ids)})"
    return rows(f"SELECT id, title, author FROM books WHERE {where} ORDER BY {sort} {order} LIMIT {limit}")  # noqa: S608
