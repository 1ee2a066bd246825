"""The learner's nginx: clients in front of it, and an app of ours behind it."""

import json
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import httpx

from lab_app.harness import CheckFailed, Desk
from lab_app.harness.world import Answer
from lab_app.runner.client import Bounds, NoAnswer, client
from lab_app.runner.services.certificate import Certificate
from lab_app.runner.services.nginx import Nginx
from lab_app.runner.services.serving import Served

CONF = "def value():\n    return nginx_conf\n"
MISSING = "/missing"


@dataclass(frozen=True)
class Arrived:
    """A request as it came to the app."""

    method: str
    target: str
    headers: list[tuple[str, str]]
    body: bytes

    def all(self, name: str) -> list[str]:
        """The values of a header, which some write with underscores."""
        return [value for known, value in self.headers if known.replace("_", "-") == name.lower()]


@dataclass
class Behind:
    """An app that keeps what arrives. It answers 200, or 404 where the path ends with MISSING."""

    arrived: list[Arrived] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.served = Served(self)
        self.served.start()

    @property
    def address(self) -> str:
        """Its host:port."""
        return f"127.0.0.1:{self.served.port}"

    def got(self, mark: str) -> list[Arrived]:
        """The requests whose path or query contains a mark."""
        return [one for one in self.arrived if mark in one.target]

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """The ASGI app."""
        body, more = b"", True
        while more:
            message = await receive()
            if message["type"] == "http.disconnect":
                return
            body, more = body + message.get("body", b""), message.get("more_body", False)
        target = (scope["raw_path"] + b"?" + scope["query_string"]).decode("latin-1")
        headers = [(name.decode("latin-1"), value.decode("latin-1")) for name, value in scope["headers"]]
        self.arrived.append(Arrived(scope["method"], target, headers, body))
        told = json.dumps({"bytes": len(body)}).encode()
        kind = [(b"content-type", b"application/json"), (b"x-library", b"larkspur")]
        status = 404 if scope["path"].endswith(MISSING) else 200
        await send({"type": "http.response.start", "status": status, "headers": kind})
        await send({"type": "http.response.body", "body": told})


class Front:
    """One nginx, and clients who come to it by its name."""

    def __init__(self, answer: Answer, certificate: Certificate, name: str, upstream: str) -> None:
        conf = Desk(answer).call("value", driver=CONF)
        if not isinstance(conf, str):
            raise CheckFailed(f"made nginx_conf {conf!r:.100}", "The contract asks for the text of a configuration.")
        answer.started += 1
        self.answer, self.name = answer, name
        self.nginx = Nginx(answer.sandbox, f"nginx{answer.started}", certificate, name)
        self.nginx.start(conf, upstream)
        self.clients: dict[tuple[bool, str], httpx.Client] = {}

    def mistaken(self) -> httpx.Client:
        """A client who speaks plain http to the https port."""
        return self._client(self.nginx.https_port, f"http://{self.name}", tls=False)

    def to(self, *, tls: bool = True, name: str = "") -> httpx.Client:
        """A client of the https port, or the http port, who asks the handshake and the request for `name`."""
        known = (tls, name or self.name)
        if known not in self.clients:
            port = self.nginx.https_port if tls else self.nginx.http_port
            self.clients[known] = self._client(port, f"{'https' if tls else 'http'}://{known[1]}", tls)
        return self.clients[known]

    def _client(self, port: int, public: str, tls: bool) -> httpx.Client:
        bounds = Bounds(self.answer.deadline, self.answer.sandbox.limits.body)
        return client(port, bounds, self.answer.record, public=public, tls=tls)


def front(answer: Answer, certificate: Certificate, name: str, behind: Behind) -> Front:
    """The nginx that the checks of this exercise share, replaced when it has died. Raises AnswerTrouble."""
    kept = answer.kept.get("front")
    if not isinstance(kept, Front) or not kept.nginx.alive():
        kept = answer.kept["front"] = Front(answer, certificate, name, behind.address)
    return kept


def answered(api: httpx.Client, method: str, path: str, **about: Any) -> httpx.Response | None:
    """An answer, or None where the connection was closed without one. Raises NoAnswer if none came in time."""
    try:
        return api.request(method, path, **about)
    except NoAnswer as none:
        if none.slow:
            raise
        return None


@contextmanager
def nobody() -> Iterator[str]:
    """A host:port where nobody listens, and nobody will as long as this lasts."""
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))
        yield f"127.0.0.1:{held.getsockname()[1]}"
