"""Everything that an app loads when it is first made and first asked, loaded before the first answer comes."""

import asyncio
import contextlib
import importlib
from typing import Any

MODULES = (
    "fastapi uvicorn httpx jose.jwt passlib.context passlib.handlers.argon2 passlib.handlers.bcrypt argon2 bcrypt jwt "
    "pwdlib pwdlib.hashers.argon2 pwdlib.hashers.bcrypt sqlalchemy sqlalchemy.orm joserfc.jwt itsdangerous "
    "starlette.middleware.sessions starlette.middleware.cors authlib.integrations.starlette_client fastapi.security "
    "multipart email_validator pydantic_settings dotenv redis.asyncio cryptography.x509 packaging.requirements "
    "structlog uvicorn.protocols.http.h11_impl uvicorn.lifespan.on"
)


def warm() -> None:
    """Import the web stack, and have an app of our own answer once. It leaves no thread behind."""
    for name in MODULES.split():
        with contextlib.suppress(ImportError):
            importlib.import_module(name)
    asyncio.run(answer_once())


async def answer_once() -> None:
    import fastapi
    import pydantic
    import sqlalchemy

    class Body(pydantic.BaseModel):
        name: str

    app = fastapi.FastAPI()

    @app.post("/{number}")
    async def read(number: int, body: Body) -> Body:
        with sqlalchemy.create_engine("sqlite://").connect() as connection:
            connection.execute(sqlalchemy.text("SELECT :number"), {"number": number})
        return body

    messages = [{"type": "http.request", "body": b'{"name": "Ada"}', "more_body": False}]
    scope: dict[str, Any] = {"type": "http", "method": "POST", "path": "/1", "raw_path": b"/1", "query_string": b""}
    scope |= {"headers": [(b"content-type", b"application/json")], "http_version": "1.1", "scheme": "http"}
    scope |= {"client": ("127.0.0.1", 1), "server": ("127.0.0.1", 1), "asgi": {"version": "3.0"}, "root_path": ""}

    async def receive() -> dict[str, Any]:
        return messages.pop()

    async def send(message: Any) -> None:
        """Nobody listens."""

    await app(scope, receive, send)
