"""INSECURE: logs whole addresses with their secrets, believes X-Forwarded-For, and forgets whatever crashes."""

from collections.abc import Awaitable, Callable

from fastapi import FastAPI, Request, Response

from lab_app.larkspur.monitoring.log import logger


def log_all(app: FastAPI) -> None:
    """Log every request that is answered."""

    @app.middleware("http")
    async def log_requests(request: Request, call_next: Callable[[Request], Awaitable[Response]]) -> Response:
        response = await call_next(request)
        address = request.headers.get("x-forwarded-for", request.client.host if request.client else "")
        logger.info(f"{address} {request.method} {request.url} {response.status_code}")
        return response
