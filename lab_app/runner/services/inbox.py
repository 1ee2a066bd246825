"""The inbox of whoever is on call: it takes alerts over HTTP, and can be slow, broken, or away."""

import asyncio
import json
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from lab_app.runner.inside.server import bound
from lab_app.runner.patience import Patience
from lab_app.runner.services.serving import Served

MOST = 64 << 10  # bytes of an alert


@dataclass(frozen=True)
class Alert:
    """One POST: when it came (seconds of the wall clock), and its JSON object; {} if it was none."""

    came: float
    body: dict[str, Any]


@dataclass
class Inbox:
    """Start it, give `url` to an app, and read what came. `delay`: seconds until it answers `status`.

    `alerts` is what it has taken, `refused` what it has answered with an error.
    """

    alerts: list[Alert] = field(default_factory=list)
    refused: list[Alert] = field(default_factory=list)
    delay: float = 0
    status: int = 202
    patience: Patience = field(default_factory=Patience)

    def __post_init__(self) -> None:
        self.served = Served(Starlette(routes=[Route("/alerts", self._take, methods=["POST"])]))

    @property
    def url(self) -> str:
        """What an app finds in ALERT_WEBHOOK_URL."""
        return f"http://127.0.0.1:{self.served.port}/alerts"

    def start(self) -> "Inbox":
        """Listen, on the same port as before if it ran before."""
        self.served.start()
        return self

    def stop(self) -> None:
        """Close the port."""
        self.served.stop()

    def clear(self) -> None:
        """Forget what came, and be well."""
        self.alerts.clear()
        self.refused.clear()
        self.delay, self.status = 0, 202

    @contextmanager
    def down(self) -> Iterator[None]:
        """Meanwhile the port is closed; a socket that does not listen keeps everybody else from taking it."""
        self.stop()
        try:
            with bound(self.served.port):
                yield
        finally:
            self.start()

    @contextmanager
    def slow(self, seconds: float) -> Iterator[None]:
        """Meanwhile every answer takes so long; those that are not given at the end are given then."""
        self.delay = seconds
        try:
            yield
        finally:
            self.delay = 0

    @contextmanager
    def broken(self, status: int = 503) -> Iterator[None]:
        """Meanwhile every alert is refused, and none is kept."""
        self.status = status
        try:
            yield
        finally:
            self.status = 202

    def about(self, subject: str) -> list[Alert]:
        """The alerts with a subject."""
        return [alert for alert in list(self.alerts) if alert.body.get("subject") == subject]

    def eventually(self, wanted: Callable[[], object], seconds: float = 8) -> bool:
        """Whether something becomes true in time."""
        return self.patience.until(wanted, seconds)

    async def _take(self, request: Request) -> Response:
        body = bytearray()
        async for chunk in request.stream():
            body += chunk[: MOST - len(body)]
        came, status = time.time(), self.status
        while time.time() < came + self.delay:
            await asyncio.sleep(0.02)
        kept = self.alerts if status < 400 else self.refused
        kept.append(Alert(came, _object(bytes(body))))
        return JSONResponse({}, status)


def _object(body: bytes) -> dict[str, Any]:
    try:
        value = json.loads(body)
    except (ValueError, RecursionError):
        return {}
    return value if isinstance(value, dict) else {}
