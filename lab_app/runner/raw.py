"""A client that writes its own bytes: lengths that lie, bodies without an end, requests that never finish."""

import select
import socket
import time
from collections.abc import Iterable, Iterator

import h11
import httpx

from lab_app.runner.client import Bounds, NoAnswer, Recorder

SHOWN = 400  # of what was written, how much the evidence shows
READ = 1 << 16


def exchange(
    port: int, written: Iterable[bytes], bounds: Bounds, record: Recorder, pause: float = 0
) -> httpx.Response | None:
    """Write these bytes, with `pause` seconds after each, until an answer is there; None if the app hung up instead.

    Raises NoAnswer.
    """
    until = bounds.deadline()
    with socket.socket() as connection:
        wire = Wire(connection, iter(written), until, bounds.body, pause)
        try:
            connection.connect(("127.0.0.1", port))
            connection.setblocking(False)
            response = wire.talk()
        except TimeoutError as error:
            record(wire.request(), None, "no answer in time, and the connection still open")
            raise NoAnswer("neither an answer nor a closed connection in time", slow=True) from error
        except (OSError, h11.RemoteProtocolError, ValueError) as error:
            what = f"no answer: {type(error).__name__} {error}"
            record(wire.request(), None, what)
            raise NoAnswer(what) from error
    record(wire.request(), response, "the connection was closed")
    return response


class Wire:
    """One connection: what is still to be written, and what has come back."""

    def __init__(
        self, connection: socket.socket, written: Iterator[bytes], until: float, most: int, pause: float
    ) -> None:
        self.connection, self.written, self.until, self.most, self.pause = connection, written, until, most, pause
        self.pending: memoryview | None = memoryview(b"")  # None once all is written
        self.resume, self.sent, self.shown = 0.0, 0, bytearray()
        self.http = h11.Connection(h11.CLIENT)  # reads the answer only: what it thinks we sent does not matter
        self.http.send(h11.Request(method="POST", target="/", headers=[("Host", "127.0.0.1")]))
        self.http.send(h11.EndOfMessage())
        self.head: h11.Response | None = None
        self.body, self.heard, self.closed = bytearray(), False, False

    def request(self) -> httpx.Request:
        """What was written, as far as evidence shows it."""
        more = f"\n… {self.sent} bytes in all" if self.sent > len(self.shown) else ""
        text = self.shown.decode("latin-1").replace("\r\n", "\n") + more
        return httpx.Request("POST", "http://127.0.0.1", extensions={"written": text})

    def talk(self) -> httpx.Response | None:
        """Write and read until there is an answer or the connection is closed. Raises TimeoutError."""
        while not self.closed:
            now = time.monotonic()
            if now > self.until:
                raise TimeoutError
            self.fetch(now)
            wait = min(self.until, self.resume if self.pending is not None and not self.pending else self.until) - now
            writes = [self.connection] if self.pending else []
            readable, writable, _ = select.select([self.connection], writes, [], max(0, wait))
            if readable:  # first: an app that has answered need not read on
                if self.read():
                    return self.response()
            elif writable:
                self.write()
        if self.heard:
            raise ValueError("the connection was closed amid the answer")
        return None

    def fetch(self, now: float) -> None:
        """Take up the next part when the last one is gone and its pause over."""
        if self.pending is not None and not self.pending and now >= self.resume:
            part = next(self.written, None)
            self.pending = None if part is None else memoryview(part)

    def write(self) -> None:
        """Write as much as fits; an app that hangs up may still have answered, so that is for `read` to find out."""
        assert self.pending
        try:
            n = self.connection.send(self.pending)
        except (BrokenPipeError, ConnectionResetError):
            self.pending = None
            return
        self.shown += self.pending[: min(n, SHOWN - len(self.shown))]
        self.sent, self.pending = self.sent + n, self.pending[n:]
        if not self.pending:
            self.resume = time.monotonic() + self.pause

    def read(self) -> bool:
        """Take in what has come; True once the answer is whole. Raises ValueError and h11.RemoteProtocolError."""
        try:
            data = self.connection.recv(READ)
        except ConnectionResetError:
            data = b""
        self.closed, self.heard = not data, self.heard or bool(data)
        if not self.heard:
            return False
        self.http.receive_data(data)
        while (event := self.http.next_event()) not in (h11.NEED_DATA, h11.PAUSED):
            if isinstance(event, h11.Response):
                self.head = event
            elif isinstance(event, h11.Data):
                self.body += event.data
                if len(self.body) > self.most:
                    raise ValueError(f"the body is larger than {self.most} bytes")
            elif isinstance(event, h11.EndOfMessage | h11.ConnectionClosed):
                return self.head is not None
        return False

    def response(self) -> httpx.Response:
        """The answer. What it is packed in stays on: nobody asked for that."""
        assert self.head
        headers = [(name, value) for name, value in self.head.headers if name != b"content-encoding"]
        return httpx.Response(self.head.status_code, headers=headers, content=bytes(self.body), request=self.request())
