"""The checker's end of a zygote: start answers, stop them, read what they left behind."""

import base64
import json
import os
import select
import shutil
import subprocess
import tempfile
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any

from lab_app.runner import jail
from lab_app.runner.limits import Limits

REPLY_BYTES = 128 << 20
WARM_SECONDS = 120  # for a zygote to import all that it does, on a machine that is busy with others


class AnswerTrouble(Exception):
    """The answer did not start, or a call failed. `slow`: its time was up. `ran`: the cell did run."""

    def __init__(self, trouble: str, slow: bool = False, ran: bool = False) -> None:
        super().__init__(trouble)
        self.trouble, self.slow, self.ran = trouble, slow, ran


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
        self.sent, self.received, self.last_words = 0, b"", ""
        self.greeted = False

    def __enter__(self) -> "Sandbox":
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()

    def warm(self) -> None:
        """Start the zygote now, so that the first answer does not wait for it."""
        if self.process is None:
            self.process = jail.spawn(self.limits) if self.jailed else self._spawn_plain()

    def settle(self) -> None:
        """Wait until the zygote is there, which is nobody's time but its own. Raises SandboxDied."""
        self.warm()
        if self.greeted:
            return
        try:
            self._await_reply(0, time.monotonic() + WARM_SECONDS)
        except (OSError, EOFError, TimeoutError) as error:
            self._end()
            raise SandboxDied("The process that runs answers does not start.") from error
        self.greeted = True

    def self_test(self) -> None:
        """Look from inside the jail for what must not be seen there. Raises jail.JailError."""
        if not self.jailed:
            return
        self.warm()
        try:
            faults = self._ask("look", 10, hidden=[str(path) for path in jail.HIDDEN])["faults"]
        except AnswerTrouble as trouble:
            why = (self.last_words or str(trouble)).splitlines()[-1]
            raise jail.JailError(f"The jail does not start here ({why}): mend that, or, {jail.TRUST}.") from trouble
        assert self.process
        if not any(map(jail.held, jail.below(self.process.pid))):
            faults.append("its memory cannot be watched")
        if faults:
            self._end()
            raise jail.JailError(f"The jail does not hold here ({'; '.join(faults)}): mend that, or, {jail.TRUST}.")

    def start(self, source: str, title: str, env: dict[str, str], folder: str, tls: Sequence[str] = ()) -> Running:
        """Serve a cell's `app`. Raises AnswerTrouble.

        `tls`: the files of a certificate and its key; then it is served with what the cell's `tls_settings` returns.
        """
        seconds = self.limits.start_seconds
        about = {"source": source, "title": title, "env": env, "folder": folder, "seconds": seconds}
        return Running(**self._ask("start", seconds, **about, tls=list(tls)))

    def run(self, command: list[str], env: dict[str, str], folder: str) -> Running:
        """Start a program, by its full path, in a folder of the sandbox. Raises AnswerTrouble."""
        return Running(**self._ask("run", 10, command=command, env=env, folder=folder))

    def call(
        self,
        source: str,
        title: str,
        env: dict[str, str],
        folder: str,
        function: str,
        /,
        driver: str = "",
        **arguments: Any,
    ) -> Any:
        """The JSON value of a function of the cell, or of `driver`, which sees its names. Raises AnswerTrouble."""
        seconds = self.limits.start_seconds
        about = {"source": source, "title": title, "env": env, "folder": folder, "seconds": seconds}
        return self._ask("call", seconds, **about, function=function, arguments=arguments, driver=driver)["value"]

    def stop(self, running: Running, grace: float = 0) -> str:
        """End an answer, politely for `grace` seconds; what it printed."""
        return str(self._ask("stop", grace, pid=running.pid, grace=grace)["output"])

    def kill(self, running: Running) -> None:
        """End an answer, and do not wait until it has ended."""
        self._ask("kill", 0, pid=running.pid)

    def output(self, running: Running) -> tuple[int | None, str]:
        """An answer's exit code, None while it lives, and what it printed so far."""
        reply = self._ask("output", 0, pid=running.pid)
        return reply["code"], reply["output"]

    def peak(self, running: Running) -> int:
        """The most memory, in bytes, that an answer and all below it have held; each process at its own worst."""
        return int(self._ask("peak", 0, pid=running.pid)["bytes"])

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
            if self.process and not self._ask("sweep", 10)["clean"]:
                self._discard()

    def close(self) -> None:
        """End the zygote and everything below it."""
        if self.process:
            with suppress(SandboxDied):
                self._ask("sweep", 5)
        self._discard()

    def _discard(self) -> None:
        """End the zygote, and remove what a sweep could not."""
        self._end()
        if not self.jailed:
            remove(self.folder)

    def _spawn_plain(self) -> "subprocess.Popen[bytes]":
        self.folder.mkdir(mode=0o700, exist_ok=True)
        return subprocess.Popen(
            jail.zygote(jail.INSIDE.parent),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            cwd=self.folder,
            env={"PATH": os.environ.get("PATH", os.defpath), "MALLOC_ARENA_MAX": "2"},
            start_new_session=True,
        )

    def _ask(self, op: str, patience: float, /, **fields: Any) -> dict[str, Any]:
        self.settle()
        self.sent += 1
        request = json.dumps({"op": op, "n": self.sent, **fields}).encode() + b"\n"
        deadline = time.monotonic() + patience + self.limits.slack_seconds
        try:
            self._send(request, deadline)
            reply = self._await_reply(self.sent, deadline)
        except (OSError, EOFError, TimeoutError) as error:
            self._end()
            most = f"{self.limits.jail_memory >> 20} MiB"
            raise SandboxDied(f"The answer killed the process that runs it, or held over {most} of memory.") from error
        if "trouble" in reply:
            raise AnswerTrouble(reply["trouble"], reply.get("slow", False), reply.get("ran", False))
        return reply

    def _send(self, request: bytes, deadline: float) -> None:
        assert self.process and self.process.stdin
        fd = self.process.stdin.fileno()
        os.set_blocking(fd, False)  # an answer may have stopped its zygote
        while request:
            if not select.select([], [fd], [], max(0, deadline - time.monotonic()))[1]:
                raise TimeoutError
            request = request[os.write(fd, request) :]

    def _await_reply(self, n: int, deadline: float) -> dict[str, Any]:
        while True:
            line = self._read_line(deadline)
            try:
                reply: dict[str, Any] = json.loads(line)
            except RecursionError as error:  # ours is deeper in the stack than the zygote, which read it
                raise AnswerTrouble("The answer gave a value that is nested too deeply.") from error
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
        if self.process is None:
            return
        with suppress(ProcessLookupError):
            os.killpg(self.process.pid, 9)
        self.process.wait()
        if self.process.stderr:
            os.set_blocking(self.process.stderr.fileno(), False)
            self.last_words = (self.process.stderr.read(1000) or b"").decode(errors="replace").strip()
        for pipe in (self.process.stdin, self.process.stdout, self.process.stderr):
            with suppress(OSError):
                if pipe:
                    pipe.close()
        self.process, self.received, self.greeted = None, b"", False


def remove(folder: Path) -> None:
    """Delete a folder, also what an answer closed to its owner or nested a thousand deep."""
    with suppress(RecursionError):
        shutil.rmtree(folder, ignore_errors=True)
    if folder.exists():
        for command in (["chmod", "-R", "u+rwx"], ["rm", "-rf"]):
            with suppress(OSError):
                subprocess.run([*command, "--", str(folder)], stderr=subprocess.DEVNULL, check=False)
