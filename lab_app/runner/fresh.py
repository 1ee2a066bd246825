"""A sandbox for systems without fork: a fresh interpreter for every run, no jail."""

import contextlib
import json
import os
import queue
import subprocess
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

from lab_app.runner import jail
from lab_app.runner.inside.cell import TROUBLE_CHARACTERS
from lab_app.runner.inside.files import query, regular_files, remove
from lab_app.runner.inside.run import ENDED, OUTPUT_BYTES, TOO_SLOW
from lab_app.runner.limits import Limits
from lab_app.runner.sandbox import AnswerTrouble, Running, Sandbox

NEEDED = ("SYSTEMROOT", "TEMP", "TMP")  # Windows starts no program without them


def sandbox_for(limits: Limits, jailed: bool) -> Sandbox:
    """The sandbox that this system can have."""
    return Sandbox(limits, jailed) if hasattr(os, "fork") else FreshSandbox(limits)


class Run:
    """One interpreter, the lines of its report, and what it printed."""

    def __init__(self, process: "subprocess.Popen[bytes]") -> None:
        self.process = process
        self.report: queue.SimpleQueue[bytes] = queue.SimpleQueue()
        self.output = bytearray()
        assert process.stdout and process.stderr
        for fd, use in ((process.stdout.fileno(), self.report.put), (process.stderr.fileno(), self.printed)):
            threading.Thread(target=drain, args=(fd, use), daemon=True).start()

    def printed(self, data: bytes) -> None:
        """Keep as much as somebody may want to read."""
        self.output += data[: max(0, OUTPUT_BYTES - len(self.output))]

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

    def start(self, source: str, title: str, env: dict[str, str], folder: str) -> Running:
        """Serve a cell's `app`. Raises AnswerTrouble."""
        run, report = self._run(env, folder, op="start", source=source, title=title)
        return Running(report["port"], run.process.pid)

    def call(self, source: str, title: str, env: dict[str, str], folder: str, function: str, **arguments: Any) -> Any:
        """The JSON value of one of a cell's functions. Raises AnswerTrouble."""
        asked = {"op": "call", "source": source, "title": title, "function": function, "arguments": arguments}
        run, report = self._run(env, folder, **asked)
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

    def output(self, running: Running) -> tuple[int | None, str]:
        """An answer's exit code, None while it lives, and what it printed so far."""
        run = self.runs[running.pid]
        return run.process.poll(), run.output.decode(errors="replace")

    def write(self, folder: str, files: dict[str, bytes]) -> None:
        """Put files into a folder of the sandbox."""
        (self.folder / folder).mkdir(parents=True, exist_ok=True)
        for name, content in files.items():
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

    def _run(self, env: dict[str, str], folder: str, **request: Any) -> tuple[Run, dict[str, Any]]:
        (self.folder / folder).mkdir(parents=True, exist_ok=True)
        process = subprocess.Popen(
            [*jail.zygote(jail.INSIDE.parent), "--once"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            cwd=self.folder / folder,
            env={name: os.environ[name] for name in NEEDED if name in os.environ} | env,
            start_new_session=True,
        )
        run = self.runs[process.pid] = Run(process)
        assert process.stdin
        with contextlib.suppress(OSError), process.stdin:
            process.stdin.write(json.dumps(request).encode() + b"\n")
        try:
            line = run.report.get(timeout=self.limits.start_seconds)
        except queue.Empty:
            run.kill()
            raise AnswerTrouble(TOO_SLOW, slow=True) from None
        printed = run.output.decode(errors="replace")[-TROUBLE_CHARACTERS:].strip()
        report = json.loads(line) if line else {"trouble": printed or ENDED}
        if "trouble" in report:
            run.kill()
            raise AnswerTrouble(report["trouble"])
        return run, dict(report)
