"""INSECURE: asks for the token outside of CORS, so preflights are refused and errors carry no CORS headers."""

from collections.abc import Awaitable, Callable

from fastapi import Request, Response
from fastapi.middleware.cors import CORSMiddleware
from fastapi.responses import JSONResponse

from lab_app.larkspur.cors.profile import library

app = library("Larkspur Library, fourth edition")
app.add_middleware(
    CORSMiddleware,
    allow_origins=["https://app.larkspur.example"],
    allow_credentials=True,
    allow_methods=["GET", "PUT"],
    allow_headers=["Authorization", "Content-Type"],
)


@app.middleware("http")
async def authenticate(request: Request, call_next: Callable[[Request], Awaitable[Response]]) -> Response:
    """Added last, so it stands outermost."""
    if not request.headers.get("Authorization", "").startswith("Bearer "):
        return JSONResponse({"detail": "Log in, please."}, 401, {"WWW-Authenticate": "Bearer"})
    return await call_next(request)


@app.get("/boom")
def boom() -> None:
    """Break."""
    raise RuntimeError("the shelf is empty")
