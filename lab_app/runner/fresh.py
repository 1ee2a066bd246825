"""A sandbox for systems without fork: a fresh interpreter for every run, no jail."""

import contextlib
import json
import os
import queue
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

from lab_app.runner import jail, zygote
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
        self._drain(process.stdout.readline, self.report.put)
        self._drain(lambda: process.stderr.read1(1 << 16) if process.stderr else b"", self._print)

    def _drain(self, read: Callable[[], bytes], use: Callable[[bytes], None]) -> None:
        def drain() -> None:
            while data := read():
                use(data)
            use(b"")

        threading.Thread(target=drain, daemon=True).start()

    def _print(self, data: bytes) -> None:
        self.output += data[: max(0, zygote.OUTPUT_BYTES - len(self.output))]


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
        self._kill(run)
        return report["value"]

    def stop(self, running: Running, grace: float = 0) -> str:
        """End an answer, politely for `grace` seconds; what it printed."""
        run = self.runs[running.pid]
        if grace:
            run.process.terminate()
            with contextlib.suppress(subprocess.TimeoutExpired):
                run.process.wait(grace)
        self._kill(run)
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
        return {path.relative_to(home).as_posix(): path.read_bytes() for path in zygote.regular_files(home)}

    def sql(self, path: str, statement: str, *parameters: Any) -> list[list[Any]]:
        """Rows of a SQLite file in the sandbox. Raises AnswerTrouble."""
        report = zygote.query(path, statement, list(parameters))
        if "trouble" in report:
            raise AnswerTrouble(report["trouble"])
        return list(report["rows"])

    def sweep(self) -> None:
        """Kill all that runs and remove all that was written."""
        for run in self.runs.values():
            self._kill(run)
        self.runs.clear()
        for path in Path(self.folder).iterdir():
            zygote.remove(path)

    def close(self) -> None:
        """End every interpreter."""
        self.sweep()
        super().close()

    def _run(self, env: dict[str, str], folder: str, **request: Any) -> tuple[Run, dict[str, Any]]:
        (self.folder / folder).mkdir(parents=True, exist_ok=True)
        process = subprocess.Popen(
            [sys.executable, "-I", str(jail.INSIDE), "--once"],
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
            report = json.loads(run.report.get(timeout=self.limits.start_seconds))
        except (queue.Empty, ValueError):
            slow = process.poll() is None
            self._kill(run)
            ended = (
                "The cell was still running when its time was up." if slow else "The process ended before it served."
            )
            raise AnswerTrouble(run.output.decode(errors="replace").strip() or ended, slow) from None
        if "trouble" in report:
            self._kill(run)
            raise AnswerTrouble(report["trouble"])
        return run, dict(report)

    def _kill(self, run: Run) -> None:
        with contextlib.suppress(OSError, AttributeError):  # Windows has no process groups
            os.killpg(run.process.pid, 9)
        run.process.kill()
        run.process.wait()
