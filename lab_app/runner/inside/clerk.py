"""One child that reads databases, request after request: a fork for each would cost more than its query."""

import json
import socket

from .files import query
from .run import Message


class Clerk:
    """The zygote's end: the clerk's pid, and the reply as far as it has come."""

    def __init__(self, pid: int, line: socket.socket) -> None:
        self.pid, self.line, self.received = pid, line, bytearray()

    def ask(self, **request: object) -> None:
        """Send a request; its reply begins anew."""
        self.received.clear()
        self.line.sendall(json.dumps(request).encode() + b"\n")

    def read(self) -> bool:
        """Take what has arrived; False when the clerk is gone."""
        data = self.line.recv(1 << 16)
        self.received += data
        return bool(data)

    def reply(self) -> Message | None:
        """The reply once it is whole."""
        return dict(json.loads(self.received)) if self.received.endswith(b"\n") else None


def work(line: socket.socket) -> None:
    """The clerk's own day: queries in, rows out."""
    with line.makefile("rb") as requests:
        for request in requests:
            line.sendall(json.dumps(query(**json.loads(request))).encode() + b"\n")
