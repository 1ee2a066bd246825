"""The checker's end of a zygote: start answers, stop them, read what they left behind."""

import base64
import json
import os
import select
import shutil
import subprocess
import sys
import tempfile
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any

from lab_app.runner import jail
from lab_app.runner.limits import Limits

REPLY_BYTES = 128 << 20
SLACK_SECONDS = 15  # for the zygote itself, beyond the time that it gives an answer


class AnswerTrouble(Exception):
    """The answer did not start, or a call of it failed. `slow` when its time was up."""

    def __init__(self, trouble: str, slow: bool = False) -> None:
        super().__init__(trouble)
        self.trouble, self.slow = trouble, slow


class SandboxDied(AnswerTrouble):
    """The answer brought the process down that runs it."""


@dataclass(frozen=True)
class Running:
    """An answer that serves: its port on 127.0.0.1 and its pid, as the zygote counts."""

    port: int
    pid: int


class Sandbox:
    """A zygote, plain or jailed, replaced by a fresh one whenever an answer kills it."""

    def __init__(self, limits: Limits, jailed: bool) -> None:
        self.limits, self.jailed = limits, jailed
        self.process: subprocess.Popen[bytes] | None = None
        self.folder = Path("/tmp/lab") if jailed else Path(tempfile.mkdtemp(prefix="lab-"))  # noqa: S108
        self.sent, self.received = 0, b""

    def __enter__(self) -> "Sandbox":
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()

    def warm(self) -> None:
        """Start the zygote now, so that the first answer does not wait for it."""
        if self.process is None:
            self.process = jail.spawn(self.limits) if self.jailed else self._spawn_plain()

    def start(self, source: str, title: str, env: dict[str, str], folder: str) -> Running:
        """Serve a cell's `app`. Raises AnswerTrouble."""
        seconds = self.limits.start_seconds
        reply = self._ask("start", seconds, source=source, title=title, env=env, folder=folder, seconds=seconds)
        return Running(**reply)

    def call(self, source: str, title: str, env: dict[str, str], folder: str, function: str, **arguments: Any) -> Any:
        """The JSON value of one of a cell's functions. Raises AnswerTrouble."""
        seconds = self.limits.start_seconds
        about = {"source": source, "title": title, "env": env, "folder": folder, "seconds": seconds}
        return self._ask("call", seconds, **about, function=function, arguments=arguments)["value"]

    def stop(self, running: Running, grace: float = 0) -> str:
        """End an answer, politely for `grace` seconds; what it printed."""
        return str(self._ask("stop", grace, pid=running.pid, grace=grace)["output"])

    def output(self, running: Running) -> tuple[int | None, str]:
        """An answer's exit code, None while it lives, and what it printed so far."""
        reply = self._ask("output", 0, pid=running.pid)
        return reply["code"], reply["output"]

    def write(self, folder: str, files: dict[str, bytes]) -> None:
        """Put files into a folder of the sandbox."""
        self._ask("write", 0, folder=folder, files={k: base64.b64encode(v).decode() for k, v in files.items()})

    def read(self, folder: str) -> dict[str, bytes]:
        """All files below a folder of the sandbox, 32 MiB at most."""
        return {k: base64.b64decode(v) for k, v in self._ask("read", 10, folder=folder)["files"].items()}

    def sql(self, path: str, statement: str, *parameters: Any) -> list[list[Any]]:
        """Rows of a SQLite file in the sandbox. Raises AnswerTrouble."""
        rows = self._ask("sql", 10, path=path, statement=statement, parameters=parameters, seconds=10)["rows"]
        return list(rows)

    def lock(self, path: str) -> Running:
        """Keep all others from writing to a SQLite file until this is stopped. Raises AnswerTrouble."""
        return Running(**self._ask("lock", 10, path=path, seconds=10))

    def sweep(self) -> None:
        """Kill all that runs and remove all that was written."""
        with suppress(SandboxDied):
            self._ask("sweep", 10)

    def close(self) -> None:
        """End the zygote and everything below it."""
        if self.process:
            with suppress(SandboxDied):
                self._ask("sweep", 5)
            self._end()
        if not self.jailed:
            shutil.rmtree(self.folder, ignore_errors=True)

    def _spawn_plain(self) -> "subprocess.Popen[bytes]":
        self.folder.mkdir(exist_ok=True)
        return subprocess.Popen(
            [sys.executable, str(jail.INSIDE)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            cwd=self.folder,
            env={"PATH": os.environ.get("PATH", os.defpath), "MALLOC_ARENA_MAX": "2"},
            start_new_session=True,
        )

    def _ask(self, op: str, patience: float, /, **fields: Any) -> dict[str, Any]:
        self.warm()
        self.sent += 1
        request = json.dumps({"op": op, "n": self.sent, **fields}).encode() + b"\n"
        try:
            assert self.process and self.process.stdin
            self.process.stdin.write(request)
            self.process.stdin.flush()
            reply = self._await_reply(self.sent, time.monotonic() + patience + SLACK_SECONDS)
        except (OSError, EOFError, TimeoutError) as error:
            self._end()
            most = f"{self.limits.jail_memory >> 20} MiB"
            raise SandboxDied(f"The answer killed the process that runs it, or held over {most} of memory.") from error
        if "trouble" in reply:
            raise AnswerTrouble(reply["trouble"], reply.get("slow", False))
        return reply

    def _await_reply(self, n: int, deadline: float) -> dict[str, Any]:
        while True:
            line = self._read_line(deadline)
            reply: dict[str, Any] = json.loads(line)
            if reply.pop("n") == n:
                return reply

    def _read_line(self, deadline: float) -> bytes:
        assert self.process and self.process.stdout
        fd = self.process.stdout.fileno()
        parts = [self.received]
        while b"\n" not in parts[-1]:
            left = deadline - time.monotonic()
            if left <= 0 or not select.select([fd], [], [], left)[0]:
                raise TimeoutError
            data = os.read(fd, 1 << 20)
            if not data or sum(map(len, parts)) > REPLY_BYTES:
                raise EOFError
            parts.append(data)
        line, self.received = b"".join(parts).split(b"\n", 1)
        return line

    def _end(self) -> None:
        assert self.process and self.process.stdin and self.process.stdout
        with suppress(ProcessLookupError):
            os.killpg(self.process.pid, 9)
        self.process.wait()
        for pipe in (self.process.stdin, self.process.stdout):
            with suppress(OSError):
                pipe.close()
        self.process, self.received = None, b""
