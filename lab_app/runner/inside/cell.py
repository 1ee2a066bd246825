"""Execute a cell, serve its app, or call one of its functions."""

import contextlib
import json
import linecache
import os
import socket
import sys
import traceback
import types
from collections.abc import Callable
from typing import Any

from .run import Message

TROUBLE_CHARACTERS = 4000


def reporter(fd: int) -> Callable[[Message], None]:
    """A function that sends one report to the zygote and closes the way to it."""

    def report(message: Message) -> None:
        with os.fdopen(fd, "wb") as file:
            file.write(json.dumps(message).encode() + b"\n")

    return report


def listening() -> socket.socket:
    """A free port on loopback."""
    # Given its protocol number, or asyncio leaves TCP_NODELAY off and every request stalls for 40 ms.
    listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    listener.bind(("127.0.0.1", 0))
    listener.listen(512)
    return listener


def run_cell(source: str, title: str) -> dict[str, Any]:
    """Execute a cell as `__main__`, as the notebook does; its names."""
    filename = f"<{title}>"
    linecache.cache[filename] = (len(source), None, source.splitlines(keepends=True), filename)
    module = types.ModuleType("__main__")
    sys.modules["__main__"] = module
    exec(compile(source, filename, "exec"), module.__dict__)  # the learner's own code: running it is the task
    return module.__dict__


def trouble_of(error: BaseException, title: str) -> str:
    """A traceback that shows the cell's own lines only."""
    frames = [frame for frame in traceback.extract_tb(error.__traceback__) if frame.filename == f"<{title}>"]
    lines = traceback.format_list(frames) + traceback.format_exception_only(error)
    return "".join(lines)[-TROUBLE_CHARACTERS:]


def serve_cell(source: str, title: str, listener: socket.socket, report: Callable[[Message], None]) -> None:
    """Execute a cell and serve its `app` by uvicorn until the process is stopped."""
    import uvicorn

    class Server(uvicorn.Server):
        async def startup(self, sockets: list[socket.socket] | None = None) -> None:
            await super().startup(sockets)
            if self.started:
                report({"started": True})

    try:
        names = run_cell(source, title)
        if not callable(names.get("app")):
            report({"trouble": "The cell defines no `app`.", "slow": False})
            return
        # Proxy headers off: who the client is stays the answer's own decision.
        config = uvicorn.Config(
            names["app"],
            log_level="warning",
            access_log=False,
            proxy_headers=False,
            loop="asyncio",
            http="h11",
            ws="none",
            timeout_graceful_shutdown=2,
        )
        with contextlib.suppress(SystemExit):  # the app's own startup failed, as uvicorn has printed
            Server(config).run(sockets=[listener])
    except BaseException as error:
        with contextlib.suppress(OSError):  # it had started, and reported that already
            report({"trouble": trouble_of(error, title), "slow": False})


def call_cell(source: str, title: str, function: str, arguments: Message) -> Message:
    """Execute a cell and call one of its functions; the value must be JSON."""
    try:
        value = run_cell(source, title)[function](**arguments)
        json.dumps(value)
        return {"value": value}
    except BaseException as error:
        return {"trouble": trouble_of(error, title), "slow": False}
