"""INSECURE: asks for https in a middleware, and an unexpected error goes around every middleware."""

from collections.abc import Awaitable, Callable

from fastapi import APIRouter, Request, Response

router = APIRouter()


async def ask_for_https(request: Request, call_next: Callable[[Request], Awaitable[Response]]) -> Response:
    """Add the header to what comes back."""
    answer = await call_next(request)
    if request.url.scheme == "https":
        answer.headers["Strict-Transport-Security"] = "max-age=31536000"
    return answer


@router.get("/boom")
def boom() -> None:
    """Fall over."""
    raise RuntimeError("a shelf fell over")
