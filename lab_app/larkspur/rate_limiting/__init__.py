"""INSECURE on purpose: section 5 of the Larkspur Library, put together."""

from fastapi import Depends, FastAPI

from lab_app.larkspur import home
from lab_app.larkspur.rate_limiting import guesses
from lab_app.larkspur.rate_limiting.fixed_window import LARKSPURS_LIMIT, LARKSPURS_WINDOW, FixedWindow
from lab_app.larkspur.rate_limiting.shared import SharedCount

__all__ = ["LARKSPURS_LIMIT", "LARKSPURS_WINDOW", "alone", "app", "together"]


def instance(limiter: FixedWindow | SharedCount) -> FastAPI:
    """One process of the library."""
    made = FastAPI(title="Larkspur Library", description="INSECURE on purpose. Break it.")
    made.include_router(home.router)
    made.include_router(guesses.router())

    @made.get("/search", dependencies=[Depends(limiter)])
    def search(limit: int = 10) -> dict[str, object]:
        """Find books."""
        return {"found": [], "limit": limit}

    return made


def alone() -> FastAPI:
    """An instance that counts for itself."""
    return instance(FixedWindow(LARKSPURS_LIMIT, LARKSPURS_WINDOW))


def together(redis_url: str) -> FastAPI:
    """An instance that counts in Redis, as the others do."""
    return instance(SharedCount(redis_url, LARKSPURS_LIMIT, LARKSPURS_WINDOW))


app = alone()
