"""The audit's HTTP client: one host, a bounded rate, bounded answers, no redirects, no proxies from the environment."""

import ssl
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from http.cookiejar import CookieJar, DefaultCookiePolicy
from json import dumps
from types import TracebackType
from typing import Any
from urllib.parse import quote, quote_plus, urlsplit

import httpcore
import httpx

from lab_app.audit.errors import AuditError
from lab_app.audit.target import on_this_machine
from lab_app.harness.evidence import Exchange, exchange_of
from lab_app.runner.client import Bounds, LoopbackTransport, NoAnswer

HERE_A_SECOND, ELSEWHERE_A_SECOND = 200.0, 10.0  # requests
ANSWER_SECONDS = 10.0
BODY, DOCUMENT = 1 << 20, 64 << 20  # bytes of an answer, and of an OpenAPI document: 2 000 routes fill megabytes
STRANGER = "127.0.0.9"  # an address of this machine that uvicorn does not trust as a proxy: its default is 127.0.0.1
LEAST_SECRET = 6  # characters; shorter ones would be found everywhere

Holds = Callable[[httpx.Response], bool]


class TimeUp(AuditError):
    """The audit has asked for as long as it may."""


def transport(url: str, bounds: Bounds, source: str | None = None) -> LoopbackTransport:
    """A transport to the host and port of `url` and nowhere else, from `source` if that is given."""
    parts = urlsplit(url)
    tls = parts.scheme == "https"
    host = "127.0.0.1" if parts.hostname in ("localhost", None) else parts.hostname
    # On this machine certificates are home-made; anywhere else nobody in between may read the tokens.
    trusted = tls if on_this_machine(host or "") or not tls else ssl.create_default_context()
    return LoopbackTransport(parts.port or (443 if tls else 80), bounds, source, ignore, trusted, host or "")


def ignore(request: httpx.Request, response: httpx.Response | None, trouble: str) -> None:
    """Keep nothing: evidence is made of the few exchanges that show something."""


@dataclass
class Asker:
    """Asks `url`. `until` is the moment (time.monotonic) after which nothing is asked any more.

    `secrets` maps what must not stand in a report to the name that stands there instead.
    """

    url: str
    until: float
    a_second: float = 0.0
    secrets: dict[str, str] = field(default_factory=dict)
    asked: int = 0
    slow: int = 0
    broken: int = 0  # requests that had no answer, for another reason
    _next: float = 0.0

    def __enter__(self) -> "Asker":
        here = on_this_machine(urlsplit(self.url).hostname or "")
        self.a_second = self.a_second or (HERE_A_SECOND if here else ELSEWHERE_A_SECOND)
        bounds = Bounds(self._deadline, BODY)
        self.large = _client(transport(self.url, Bounds(self._deadline, DOCUMENT)))
        self.http = _client(transport(self.url, bounds))
        self.stranger = _client(transport(self.url, bounds, STRANGER)) if here else self.http
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for client in (self.http, self.large, self.stranger):
            client.close()

    def send(
        self,
        method: str,
        path: str,
        headers: Mapping[str, str] | None = None,
        params: Mapping[str, Any] | None = None,
        json: Any = None,
        form: Mapping[str, Any] | None = None,
        content: bytes | None = None,
        stranger: bool = False,
    ) -> httpx.Response | None:
        """What comes back; None if nothing does, or it cannot be sent. Raises TimeUp."""
        written = dict(headers or {})
        sent: dict[str, Any] = {"data": form} if form is not None else {"content": content}
        if json is not None:
            sent = {"content": dumps(json).encode()}  # ASCII, so that its curl line survives every terminal
            written |= {"Content-Type": "application/json"}
        try:
            request = self.http.build_request(
                method, self.url + path, headers=written, params=dict(params) if params else None, **sent
            )
        except (httpx.InvalidURL, ValueError, TypeError):
            return None
        request.extensions["stranger"] = stranger
        return self.again(request)

    def fetch(self, path: str, headers: Mapping[str, str]) -> httpx.Response | None:
        """A document, which may be larger than other answers. Raises TimeUp."""
        return self._sent(self.large.build_request("GET", self.url + path, headers=dict(headers)), self.large)

    def again(self, request: httpx.Request) -> httpx.Response | None:
        """Send a request, or once more, from the same address. Raises TimeUp."""
        return self._sent(request, self.stranger if request.extensions.get("stranger") else self.http)

    def _sent(self, request: httpx.Request, client: httpx.Client) -> httpx.Response | None:
        self._pace()
        try:
            return client.send(request)
        except NoAnswer as error:
            self.slow += error.slow
            self.broken += not error.slow
        except (httpx.HTTPError, httpcore.ConnectError, OSError, ValueError):
            self.broken += 1
        return None

    def evidence(self, response: httpx.Response) -> Exchange:
        """An exchange as a report shows it, without the secrets that were given to us."""
        shown = exchange_of(response.request, response)
        request, came_back, curl = shown.request, shown.response, shown.curl
        for secret, name in self.secrets.items():
            for spelling in {secret, quote(secret, safe=""), quote_plus(secret)}:
                if len(secret) >= LEAST_SECRET:
                    request, came_back = request.replace(spelling, name), came_back.replace(spelling, name)
                    curl = curl.replace(spelling, f"'\"{name}\"'")  # out of its quotes, so that the shell fills it in
        return Exchange(request, came_back, curl)

    def _deadline(self) -> float:
        return min(time.monotonic() + ANSWER_SECONDS, max(self.until, time.monotonic() + 0.1))

    def _pace(self) -> None:
        now = time.monotonic()
        if now > self.until:
            raise TimeUp(f"{self.url} answers too slowly to be audited in the time there is.")
        if self._next > now:
            time.sleep(self._next - now)
        self._next = max(self._next, now) + 1 / self.a_second
        self.asked += 1


def _client(way: LoopbackTransport) -> httpx.Client:
    return httpx.Client(
        transport=way,
        headers={"Accept-Encoding": "gzip, deflate", "User-Agent": "fastapi-security-workbook-audit", "Accept": "*/*"},
        follow_redirects=False,
        cookies=CookieJar(DefaultCookiePolicy(allowed_domains=[])),  # a person's cookies are sent by hand
        timeout=None,  # noqa: S113 - the transport keeps the time
        trust_env=False,
    )
