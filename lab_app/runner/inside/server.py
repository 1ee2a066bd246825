"""uvicorn, as every app here is served: on a socket of ours, quiet, and quick to end."""

import asyncio
import contextlib
import socket
import sys
from collections.abc import Callable
from types import FrameType
from typing import Any

import uvicorn

TICK_SECONDS = 0.1
CLOSING_SECONDS = 0.01  # uvicorn gives connections 0.1 s to close, which would be most of a restart's time
IDLE_SECONDS = 60  # longer than clients keep a connection: one that closes as a request arrives loses the request


class Server(uvicorn.Server):
    """Calls `began` once it serves."""

    def __init__(self, config: uvicorn.Config, began: Callable[[], None]) -> None:
        super().__init__(config)
        self.began, self.told = began, asyncio.Event()
        self.loop: asyncio.AbstractEventLoop | None = None

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Say so when it has worked; an app whose own start-up failed leaves `started` false."""
        await super().startup(sockets)
        if self.started:
            self.began()

    async def main_loop(self) -> None:
        """Serve until told to end, and then end at once; uvicorn looks every 0.1 s."""
        self.loop = asyncio.get_running_loop()
        while not await self.on_tick(0):
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self.told.wait(), TICK_SECONDS)

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """A signal has come."""
        super().handle_exit(sig, frame)
        self.end()

    def end(self) -> None:
        """Tell it to end, from any thread."""
        self.should_exit = True
        with contextlib.suppress(RuntimeError):  # it has ended already
            if self.loop:
                self.loop.call_soon_threadsafe(self.told.set)

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """End at once if nobody is being answered; uvicorn takes another 0.1 s to look."""
        for listener in (*self.servers, *(sockets or ())):
            listener.close()
        for connection in list(self.server_state.connections):
            connection.shutdown()
        if self.server_state.connections:
            await asyncio.sleep(CLOSING_SECONDS)
        if self.server_state.connections or self.server_state.tasks:
            await super().shutdown(sockets)
        elif not self.force_exit:
            await self.lifespan.shutdown()


def config(app: Any, **settings: Any) -> uvicorn.Config:
    """What all have in common. Proxy headers off: who the client is stays the app's own decision."""
    return uvicorn.Config(
        app,
        **{
            "log_level": "warning",
            "access_log": False,
            "proxy_headers": False,
            "loop": "asyncio",
            "http": "h11",
            "ws": "none",
            "timeout_keep_alive": IDLE_SECONDS,
            **settings,
        },
    )


def bound(port: int = 0) -> socket.socket:
    """A socket that has a port of loopback, by default a free one, and does not listen yet."""
    # Given its protocol number, or asyncio leaves TCP_NODELAY off and every request stalls for 40 ms.
    holder = socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    if sys.platform != "win32":  # where it means that somebody else may listen too
        holder.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    holder.bind(("127.0.0.1", port))
    return holder


def listening(port: int = 0) -> socket.socket:
    """A socket that listens on loopback, by default on a free port."""
    listener = bound(port)
    listener.listen(512)
    return listener
