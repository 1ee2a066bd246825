"""The checker's HTTP client: httpx over loopback that a hostile answer can neither stall nor fill up."""

import secrets
import ssl
import threading
import time
import zlib
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import cache
from http.cookiejar import CookieJar, DefaultCookiePolicy
from typing import Any

import httpcore
import httpx

Recorder = Callable[[httpx.Request, "httpx.Response | None", str], None]
Deadline = Callable[[], float]
HTTP = ("http", "https", "ws", "wss")
KEPT_SECONDS = 30  # an idle connection is used again
# One for the whole process, so that an answer can neither know the checker by it nor tell one check from another.
AGENT = secrets.choice(
    (
        "Mozilla/5.0 (X11; Linux x86_64; rv:128.0) Gecko/20100101 Firefox/128.0",
        "Mozilla/5.0 (Windows NT 10.0; Win64; x64; rv:140.0) Gecko/20100101 Firefox/140.0",
        "Mozilla/5.0 (Macintosh; Intel Mac OS X 10.15; rv:140.0) Gecko/20100101 Firefox/140.0",
        "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/138.0.0.0 Safari/537.36",
        "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/140.0.0.0 Safari/537.36",
    )
)


class NoAnswer(Exception):
    """The app sent nothing that counts as an answer; the text says what it did instead."""

    def __init__(self, text: str, slow: bool = False) -> None:
        super().__init__(text)
        self.slow = slow


@dataclass(frozen=True)
class Bounds:
    """What one exchange may cost. `deadline` gives the moment (time.monotonic) at which the next one must be over."""

    deadline: Deadline
    body: int


class _Clock(threading.local):
    """When the exchange of this thread must be over."""

    until: float = 0.0

    def left(self) -> float:
        left = self.until - time.monotonic()
        if left <= 0:
            raise httpcore.ReadTimeout
        return left


class _TimedStream(httpcore.NetworkStream):
    """A stream whose every step shares one clock: a timeout per read never fires on a drip-fed answer."""

    def __init__(self, stream: httpcore.NetworkStream, clock: _Clock) -> None:
        self.stream, self.clock, self.closed = stream, clock, False

    def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        return self.stream.read(max_bytes, self.clock.left())

    def write(self, buffer: bytes, timeout: float | None = None) -> None:
        if self.closed:  # since the pool chose it for this request: it is to choose again
            raise httpcore.ConnectionNotAvailable
        connection = self.stream.get_extra_info("socket")
        unsent = memoryview(buffer)
        try:
            while unsent:
                connection.settimeout(self.clock.left())
                unsent = unsent[connection.send(unsent) :]
        except TimeoutError as error:
            raise httpcore.WriteTimeout from error
        except OSError as error:
            raise httpcore.WriteError(error) from error

    def start_tls(
        self, ssl_context: ssl.SSLContext, server_hostname: str | None = None, timeout: float | None = None
    ) -> httpcore.NetworkStream:
        return _TimedStream(self.stream.start_tls(ssl_context, server_hostname, self.clock.left()), self.clock)

    def close(self) -> None:
        self.closed = True
        self.stream.close()

    def get_extra_info(self, info: str) -> Any:
        return self.stream.get_extra_info(info)


class _TimedBackend(httpcore.SyncBackend):
    def __init__(self, clock: _Clock) -> None:
        self.clock = clock

    def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[Any] | None = None,
    ) -> httpcore.NetworkStream:
        stream = super().connect_tcp(host, port, self.clock.left(), local_address, socket_options)
        return _TimedStream(stream, self.clock)


class LoopbackTransport(httpx.BaseTransport):
    """Sends from `source`, an address in 127.0.0.0/8, and reads each answer whole within its bounds.

    Whatever host a URL names, the request goes to `port` of `host`, which is here: nobody can send the checker
    elsewhere. Over `tls`, which may be a context of one's own, it is the host that a handshake asks for, and every
    request makes a handshake of its own.
    """

    def __init__(
        self,
        port: int,
        bounds: Bounds,
        source: str | None,
        record: Recorder,
        tls: bool | ssl.SSLContext = False,
        host: str = "127.0.0.1",
    ) -> None:
        self.host, self.port, self.bounds, self.record, self.clock = host, port, bounds, record, _Clock()
        self.scheme = b"https" if tls else b"http"
        self.pool = httpcore.ConnectionPool(
            ssl_context=unverified() if tls is True else tls or None,
            local_address=source,
            network_backend=_TimedBackend(self.clock),
            max_connections=None,
            max_keepalive_connections=0 if tls else None,
            keepalive_expiry=KEPT_SECONDS,
        )

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        """Raises NoAnswer."""
        request.read()
        began = time.monotonic()
        self.clock.until = self.bounds.deadline()
        try:
            response = self._exchange(request)
        except httpcore.TimeoutException as error:
            took = time.monotonic() - began
            self.record(request, None, "no answer in time")
            raise NoAnswer(f"no whole answer within {took:.0f} s", slow=True) from error
        except (httpcore.NetworkError, httpcore.ProtocolError, zlib.error, ValueError) as error:
            what = f"no answer: {type(error).__name__} {error}".strip()
            self.record(request, None, what)
            raise NoAnswer(what) from error
        self.record(request, response, "")
        return response

    def close(self) -> None:
        """Close all connections."""
        self.pool.close()

    def _exchange(self, request: httpx.Request) -> httpx.Response:
        url = httpcore.URL(scheme=self.scheme, host=self.host.encode(), port=self.port, target=request.url.raw_path)
        asked_for = {"sni_hostname": request.url.host}
        answer = self.pool.handle_request(
            httpcore.Request(
                request.method, url, headers=request.headers.raw, content=request.stream, extensions=asked_for
            )
        )
        try:
            raw = self._read(answer)
        finally:
            if answer.status >= 500:
                # uvicorn hangs up after a crash, a moment later: a next request on this connection would be lost.
                # Closed before the pool has it back, and may give it to another thread.
                answer.extensions["network_stream"].close()
            answer.close()
        headers = httpx.Headers(answer.headers)
        body = inflate(raw, headers.pop("content-encoding", "identity"), self.bounds.body)
        response = httpx.Response(answer.status, headers=headers, content=body, request=request)
        response.encoding = "utf-8"  # what the answer names may be bz2, or a codec that takes hours
        return response

    def _read(self, answer: httpcore.Response) -> bytes:
        raw = bytearray()
        for chunk in answer.iter_stream():
            raw += chunk
            if len(raw) > self.bounds.body:
                raise ValueError(f"the body is larger than {self.bounds.body} bytes")
        return bytes(raw)


@cache
def unverified() -> ssl.SSLContext:
    """TLS with whoever answers: an answer's certificate is judged by the checks, not by their client."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    return context


def inflate(raw: bytes, encoding: str, most: int) -> bytes:
    """A body in plain bytes; a megabyte of gzip can stand for a gigabyte, so it is opened no further than `most`."""
    if encoding.lower() == "identity" or not raw:
        return raw
    if encoding.lower() not in ("gzip", "x-gzip", "deflate"):
        raise ValueError(f"the body is encoded as {encoding!r}, which nobody asked for")
    stream = zlib.decompressobj(wbits=47)
    body = stream.decompress(raw, most)
    if stream.unconsumed_tail:
        raise ValueError(f"the body is larger than {most} bytes once unpacked")
    return body


class _Client(httpx.Client):
    """Sends cookies by its own jar's policy; httpx copies them into a jar that keeps `Secure` ones back over http."""

    def _merge_cookies(self, cookies: object = None) -> CookieJar:
        return self.cookies.jar


def client(
    port: int,
    bounds: Bounds,
    record: Recorder,
    source: str = "127.0.0.1",
    cookies: bool = False,
    public: str = "",
    tls: bool = False,
) -> httpx.Client:
    """A client of the app on `port`, which it knows as `public` if that is given, and to which it speaks TLS or not.

    With `cookies` it keeps them as a browser does, `Secure` ones over http too.
    """
    policy = DefaultCookiePolicy(secure_protocols=HTTP, allowed_domains=None if cookies else [])
    return _Client(
        base_url=public or f"{'https' if tls else 'http'}://127.0.0.1:{port}",
        transport=LoopbackTransport(port, bounds, source, record, tls),
        cookies=CookieJar(policy),
        headers={"Accept-Encoding": "gzip, deflate", "User-Agent": AGENT, "Accept": "*/*"},
        timeout=None,  # the transport keeps the time
        trust_env=False,
    )
