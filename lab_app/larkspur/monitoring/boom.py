"""INSECURE: crashes, and nothing catches what it raises."""

from fastapi import APIRouter, Request

router = APIRouter()


@router.get("/boom")
def boom(request: Request) -> None:
    """Fall over."""
    raise RuntimeError(f"The shelf collapsed under {request.url.query}")
