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
from .server import Server, config

TROUBLE_CHARACTERS = 4000


def reporter(fd: int) -> Callable[[Message], None]:
    """A function that sends one report to the zygote and closes the way to it."""

    def report(message: Message) -> None:
        with os.fdopen(fd, "wb") as file:
            file.write(json.dumps(message).encode() + b"\n")

    return report


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


def serve_cell(
    source: str, title: str, listener: socket.socket, report: Callable[[Message], None], tls: list[str]
) -> None:
    """Execute a cell and serve its `app` by uvicorn until the process is stopped.

    `tls`: the files of a certificate and its key, for the cell's own `tls_settings`; empty for plain HTTP.
    """
    try:
        names = run_cell(source, title)
        if not callable(names.get("app")):
            report({"trouble": "The cell defines no `app`.", "slow": False})
            return
        own = names["tls_settings"](*tls) if tls else {}
        settings = {"timeout_graceful_shutdown": 2, **own, "proxy_headers": False}
        server = Server(config(names["app"], **settings), lambda: report({"started": True}))
        with contextlib.suppress(SystemExit):  # the app's own startup failed, as uvicorn has printed
            server.run(sockets=[listener])
    except BaseException as error:
        with contextlib.suppress(OSError):  # it had started, and reported that already
            report({"trouble": trouble_of(error, title), "slow": False})


def run_program(command: list[str], report: Callable[[Message], None]) -> None:
    """Become another program."""
    report({"started": True})
    os.execv(command[0], command)  # noqa: S606 - no shell is meant


def call_cell(source: str, title: str, function: str, arguments: Message, driver: str) -> Message:
    """Call a function of a cell, or of `driver`, which sees the cell's names beside its own; the value must be JSON."""
    tools: dict[str, Any] = {}
    ran = False
    try:
        # Before the cell, which may put something else in the place of what it uses.
        exec(compile(driver, "<check>", "exec"), tools)
        names = run_cell(source, title)
        ran = True
        for name, value in names.items():
            tools.setdefault(name, value)
        value = tools[function](**arguments)
        json.dumps(value)
        return {"value": value}
    except BaseException as error:
        return {"trouble": trouble_of(error, title), "slow": False, "ran": ran}
