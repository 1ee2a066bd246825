"""One forked child, as the zygote sees it."""

import contextlib
import json
import os
import signal
from typing import Any

OUTPUT_BYTES = 256 * 1024
REPORT_BYTES = 16 * 1024 * 1024
TOO_SLOW = "The cell was still running when its time was up."
ENDED = "The process ended before it answered."

Message = dict[str, Any]


class Run:
    """One forked child: its pid, what it printed, and the request that waits for its report of `wanted`."""

    def __init__(self, n: int, wanted: str, pid: int, deadline: float, port: int | None) -> None:
        self.n, self.wanted, self.pid, self.deadline, self.port = n, wanted, pid, deadline, port
        self.waiting = True
        self.report = bytearray()
        self.output = bytearray()
        self.code: int | None = None

    def kill(self) -> None:
        """End the child and its process group, which it may have left."""
        for kill in (os.killpg, os.kill):
            with contextlib.suppress(ProcessLookupError, PermissionError):
                kill(self.pid, signal.SIGKILL)

    def told(self) -> Message | None:
        """The report, or None if it is none: what an answer's process writes may be anything."""
        try:
            report = json.loads(self.report)
        except (ValueError, RecursionError):
            return None
        if isinstance(report, dict) and isinstance(report.get("trouble"), str):
            return {"trouble": report["trouble"], "slow": False, "ran": report.get("ran") is True}
        if not isinstance(report, dict) or self.wanted not in report:
            return None
        if self.wanted in ("started", "locked"):
            return {"port": self.port, "pid": self.pid}
        return {self.wanted: report[self.wanted]}
