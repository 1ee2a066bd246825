"""A sandbox for systems without fork: a fresh interpreter for every run, no jail."""

import contextlib
import json
import os
import queue
import subprocess
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from lab_app.runner import jail
from lab_app.runner.inside.cell import TROUBLE_CHARACTERS
from lab_app.runner.inside.files import query, regular_files, remove
from lab_app.runner.inside.process import peak_memory
from lab_app.runner.inside.run import ENDED, OUTPUT_BYTES, TOO_SLOW
from lab_app.runner.limits import Limits
from lab_app.runner.sandbox import AnswerTrouble, Running, Sandbox

NEEDED = ("SYSTEMROOT", "TEMP", "TMP")  # Windows starts no program without them


def sandbox_for(limits: Limits, jailed: bool) -> Sandbox:
    """The sandbox that this system can have."""
    return Sandbox(limits, jailed) if hasattr(os, "fork") else FreshSandbox(limits)


class Run:
    """One interpreter, the lines of its report, and what it printed; or one program, which only prints."""

    def __init__(self, process: "subprocess.Popen[bytes]") -> None:
        self.process = process
        self.report: queue.SimpleQueue[bytes] = queue.SimpleQueue()
        self.output = bytearray()
        uses = [(process.stdout, self.report.put if process.stderr else self.printed), (process.stderr, self.printed)]
        drains = [(pipe.fileno(), use) for pipe, use in uses if pipe]
        self.drains = [threading.Thread(target=drain, args=args, daemon=True) for args in drains]
        for thread in self.drains:
            thread.start()

    def printed(self, data: bytes) -> None:
        """Keep as much as somebody may want to read."""
        self.output += data[: max(0, OUTPUT_BYTES - len(self.output))]

    def listen(self) -> None:
        """Take in its last words; no longer than a second, for a child of its own may hold the pipe."""
        for thread in self.drains:
            thread.join(1)

    def kill(self) -> None:
        """End it, with its process group where there are such."""
        with contextlib.suppress(OSError, AttributeError):
            os.killpg(self.process.pid, 9)
        self.process.kill()
        self.process.wait()


def drain(fd: int, use: Callable[[bytes], None]) -> None:
    """Hand on what comes, whole lines together, and b"" at the end."""
    with open(fd, "rb", closefd=False) as file:
        for data in iter(lambda: file.readline(1 << 16), b""):
            use(data)
    use(b"")


class FreshSandbox(Sandbox):
    """As slow as it is plain: half a second for every start."""

    def __init__(self, limits: Limits) -> None:
        super().__init__(limits, jailed=False)
        self.runs: dict[int, Run] = {}

    def warm(self) -> None:
        """Nothing can be started beforehand."""

    def settle(self) -> None:
        """Nobody has to be waited for."""

    def start(self, source: str, title: str, env: dict[str, str], folder: str, tls: Sequence[str] = ()) -> Running:
        """Serve a cell's `app`. Raises AnswerTrouble."""
        run, report = self._run(env, folder, op="start", source=source, title=title, tls=list(tls))
        return Running(report["port"], run.process.pid)

    def run(self, command: list[str], env: dict[str, str], folder: str) -> Running:
        """Start a program in a folder of the sandbox."""
        return Running(0, self._spawn(command, env, folder, stderr=subprocess.STDOUT).process.pid)

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
        asked = {"op": "call", "source": source, "title": title, "function": function, "arguments": arguments}
        run, report = self._run(env, folder, **asked, driver=driver)
        run.kill()
        return report["value"]

    def stop(self, running: Running, grace: float = 0) -> str:
        """End an answer, politely for `grace` seconds; what it printed."""
        run = self.runs[running.pid]
        if grace:
            run.process.terminate()
            with contextlib.suppress(subprocess.TimeoutExpired):
                run.process.wait(grace)
        run.kill()
        return self.output(running)[1]

    def kill(self, running: Running) -> None:
        """End an answer."""
        self.runs[running.pid].kill()

    def output(self, running: Running) -> tuple[int | None, str]:
        """An answer's exit code, None while it lives, and what it printed so far."""
        run = self.runs[running.pid]
        if (code := run.process.poll()) is not None:
            run.listen()
        return code, run.output.decode(errors="replace")

    def peak(self, running: Running) -> int:
        """The most memory, in bytes, that an answer and all below it have held; each process at its own worst."""
        return peak_memory(running.pid)

    def write(self, folder: str, files: dict[str, bytes]) -> None:
        """Put files into a folder of the sandbox."""
        (self.folder / folder).mkdir(parents=True, exist_ok=True)
        for name, content in files.items():
            (self.folder / folder / name).parent.mkdir(parents=True, exist_ok=True)
            (self.folder / folder / name).write_bytes(content)

    def read(self, folder: str) -> dict[str, bytes]:
        """All files below a folder of the sandbox."""
        home = self.folder / folder
        return {path.relative_to(home).as_posix(): path.read_bytes() for path in regular_files(home)}

    def sql(self, path: str, statement: str, *parameters: Any) -> list[list[Any]]:
        """Rows of a SQLite file in the sandbox. Raises AnswerTrouble."""
        report = query(path, statement, list(parameters))
        if "trouble" in report:
            raise AnswerTrouble(report["trouble"])
        return list(report["rows"])

    def sweep(self) -> None:
        """Kill all that runs and remove all that was written."""
        for run in self.runs.values():
            run.kill()
        self.runs.clear()
        for path in Path(self.folder).iterdir():
            remove(path)

    def close(self) -> None:
        """End every interpreter."""
        self.sweep()
        super().close()

    def _spawn(self, command: list[str], env: dict[str, str], folder: str, stderr: int = subprocess.PIPE) -> Run:
        (self.folder / folder).mkdir(parents=True, exist_ok=True)
        process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=stderr,
            cwd=self.folder / folder,
            env={name: os.environ[name] for name in NEEDED if name in os.environ} | env,
            start_new_session=True,
        )
        self.runs[process.pid] = Run(process)
        return self.runs[process.pid]

    def _run(self, env: dict[str, str], folder: str, **request: Any) -> tuple[Run, dict[str, Any]]:
        run = self._spawn([*jail.zygote(jail.INSIDE.parent), "--once"], env, folder)
        assert run.process.stdin
        with contextlib.suppress(OSError), run.process.stdin:
            run.process.stdin.write(json.dumps(request).encode() + b"\n")
        try:
            line = run.report.get(timeout=self.limits.start_seconds)
        except queue.Empty:
            run.kill()
            raise AnswerTrouble(TOO_SLOW, slow=True) from None
        if not line:
            run.listen()
        printed = run.output.decode(errors="replace")[-TROUBLE_CHARACTERS:].strip()
        report = json.loads(line) if line else {"trouble": printed or ENDED}
        if "trouble" in report:
            run.kill()
            raise AnswerTrouble(str(report["trouble"]), ran=report.get("ran") is True)
        return run, dict(report)
