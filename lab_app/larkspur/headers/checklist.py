"""INSECURE: the checklist's own headers; a crash goes out without them, and their policy lets any script run."""

from collections.abc import Awaitable, Callable

from fastapi import APIRouter, Request, Response

router = APIRouter()
HEADERS = {
    "X-Content-Type-Options": "nosniff",
    "X-XSS-Protection": "1; mode=block",
    "Strict-Transport-Security": "max-age=31536000; includeSubDomains",
    "Content-Security-Policy": "default-src 'self' 'unsafe-inline' https://cdn.jsdelivr.net https://fastapi.tiangolo.com",
}


async def add_security_headers(request: Request, call_next: Callable[[Request], Awaitable[Response]]) -> Response:
    """Put the headers on every answer that a route gives."""
    response = await call_next(request)
    response.headers.update(HEADERS)
    return response


@router.get("/boom")
def boom() -> None:
    """Raise, as every app does one day."""
    raise RuntimeError("The shelf collapsed.")
