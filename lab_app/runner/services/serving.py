"""An app of our own, served by uvicorn from a thread of this process."""

import threading

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from lab_app.runner.inside.server import Server, config, listening

WAIT_SECONDS = 10
MOST_BYTES = 16 << 20  # of all requests together
REQUEST_BYTES = 256  # that each of them counts as, even without a body


class Rationed:
    """An app that hears so much and no more: answers talk to it, and it lives in the process that judges them."""

    def __init__(self, app: ASGIApp) -> None:
        self.app, self.left = app, MOST_BYTES

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on; once the ration is used up, it breaks off."""

        async def heard() -> Message:
            message = await receive()
            self.left -= len(message.get("body", b""))
            return message if self.left >= 0 else {"type": "http.disconnect"}

        self.left -= REQUEST_BYTES
        await self.app(scope, heard, send)


class Served:
    """Serves `app` on 127.0.0.1 from `start` to `stop`; started again, it has the same port."""

    def __init__(self, app: ASGIApp) -> None:
        self.app, self.port = Rationed(app), 0
        self.server: Server | None = None
        self.thread: threading.Thread | None = None

    def start(self) -> None:
        """Listen. Raises OSError."""
        listener = listening(self.port)
        self.port = listener.getsockname()[1]
        serving = threading.Event()
        settings = config(self.app, log_config=None, log_level="critical", lifespan="off", timeout_graceful_shutdown=1)
        self.server = Server(settings, serving.set)
        self.thread = threading.Thread(target=self.server.run, args=([listener],), daemon=True)
        self.thread.start()
        serving.wait(WAIT_SECONDS)

    def stop(self) -> None:
        """Close the port."""
        if self.server and self.thread:
            self.server.end()
            self.thread.join(WAIT_SECONDS)
            self.server = self.thread = None
