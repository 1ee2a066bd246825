"""An app of our own, served by uvicorn from a thread of this process."""

import socket
import threading
import time

import uvicorn
from starlette.types import ASGIApp

WAIT_SECONDS = 10


class Served:
    """Serves `app` on 127.0.0.1 from `start` to `stop`; started again, it has the same port."""

    def __init__(self, app: ASGIApp) -> None:
        self.app, self.port = app, 0
        self.server: uvicorn.Server | None = None
        self.thread: threading.Thread | None = None

    def start(self) -> None:
        """Listen. Raises OSError."""
        # Given its protocol number, or asyncio leaves TCP_NODELAY off and every request stalls for 40 ms.
        listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(("127.0.0.1", self.port))
        self.port = listener.getsockname()[1]
        config = uvicorn.Config(
            self.app,
            log_config=None,
            access_log=False,
            lifespan="off",
            ws="none",
            http="h11",
            loop="asyncio",
            proxy_headers=False,
            timeout_graceful_shutdown=1,
        )
        self.server = uvicorn.Server(config)
        self.thread = threading.Thread(target=self.server.run, args=([listener],), daemon=True)
        self.thread.start()
        until = time.monotonic() + WAIT_SECONDS
        while not self.server.started and self.thread.is_alive() and time.monotonic() < until:
            time.sleep(0.002)

    def stop(self) -> None:
        """Close the port."""
        if self.server and self.thread:
            self.server.should_exit = True
            self.thread.join(WAIT_SECONDS)
            self.server = self.thread = None
