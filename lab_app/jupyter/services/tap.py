"""Somebody on the way: every byte between a client and a server passes through here, and is kept."""

import socket
import threading
from contextlib import suppress
from types import TracebackType
from urllib.parse import urlsplit


class Tap:
    """While it lasts, whoever comes to `url` reaches the server behind it. `seen` is what went by, both ways."""

    def __init__(self, url: str) -> None:
        self.seen = bytearray()
        to = urlsplit(url)
        self.behind = (to.hostname, to.port)
        self.door = socket.create_server(("127.0.0.1", 0))
        self.url = f"{to.scheme}://{to.hostname}:{self.door.getsockname()[1]}"

    def __enter__(self) -> "Tap":
        threading.Thread(target=self._accept, daemon=True).start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.door.close()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                client, _ = self.door.accept()
                server = socket.create_connection(self.behind)
                for one, other in ((client, server), (server, client)):
                    threading.Thread(target=self._pass_on, args=(one, other), daemon=True).start()

    def _pass_on(self, one: socket.socket, other: socket.socket) -> None:
        with suppress(OSError), other:
            while data := one.recv(1 << 16):
                self.seen += data
                other.sendall(data)
