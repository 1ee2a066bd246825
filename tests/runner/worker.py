"""A sandbox in a process of its own, since a jail begins by moving its whole process into another network.

    python worker.py {plain|fresh|jailed|user} LIMITS     JSON lines: [method, arguments] → {value} or {trouble, slow}

`fresh`: an interpreter for every run, as on Windows. `user`: jailed, and started by somebody who is not root.
"""

import ctypes
import json
import os
import sys
import time
from dataclasses import asdict
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

from lab_app.runner import jail  # noqa: E402
from lab_app.runner.client import Bounds, client  # noqa: E402
from lab_app.runner.fresh import FreshSandbox  # noqa: E402
from lab_app.runner.limits import Limits  # noqa: E402
from lab_app.runner.sandbox import AnswerTrouble, Running, Sandbox  # noqa: E402

USER = 1234


class Desk:
    """The methods that a test may ask for beside those of the sandbox."""

    def __init__(self, sandbox: Sandbox) -> None:
        self.sandbox = sandbox

    def start(self, *arguments: Any) -> dict[str, int]:
        return asdict(self.sandbox.start(*arguments))

    def run(self, *arguments: Any) -> tuple[int, int]:
        running = self.sandbox.run(*arguments)
        return running.port, running.pid

    def get(self, port: int, path: str = "/", source: str = "127.0.0.1", tls: bool = False) -> str:
        bounds = Bounds(lambda: time.monotonic() + 15, 1 << 20)
        with client(port, bounds, lambda *said: None, source, tls=tls) as api:
            return api.get(path).text

    def stop(self, port: int, pid: int, grace: float = 0) -> str:
        return self.sandbox.stop(Running(port, pid), grace)

    def output(self, port: int, pid: int) -> tuple[int | None, str]:
        return self.sandbox.output(Running(port, pid))

    def peak(self, port: int, pid: int) -> int:
        return self.sandbox.peak(Running(port, pid))

    def write(self, folder: str, files: dict[str, str]) -> None:
        self.sandbox.write(folder, {name: text.encode() for name, text in files.items()})

    def read(self, folder: str) -> dict[str, str]:
        return {name: content.decode() for name, content in self.sandbox.read(folder).items()}

    def folder(self) -> str:
        return str(self.sandbox.folder)

    def zygote(self) -> int:
        assert self.sandbox.process
        return self.sandbox.process.pid

    def pids(self) -> list[int]:
        """The processes below this one."""
        return sorted(jail.below(os.getpid()))


def become_user() -> None:
    """Go on as an ordinary user, who reaches the interpreter wherever it is."""
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.unshare(jail.CLONE_NEWNS) or libc.mount(b"none", b"/", None, jail.MS_REC | jail.MS_PRIVATE, None):
        raise OSError(ctypes.get_errno(), "no mount namespace")
    closed: dict[Path, list[tuple[Path, int]]] = {}
    for path in {Path(sys.base_prefix), Path(sys.prefix).resolve(), ROOT}:
        shut = [folder for folder in reversed(path.parents) if not folder.stat().st_mode & 0o001]
        if shut:
            closed.setdefault(shut[0], []).append((path, os.open(path, os.O_PATH)))
    for folder, inside in closed.items():
        libc.mount(b"tmpfs", bytes(folder), b"tmpfs", 0, b"mode=755")
        for path, fd in inside:
            path.mkdir(parents=True, exist_ok=True)
            libc.mount(f"/proc/self/fd/{fd}".encode(), bytes(path), None, jail.MS_BIND | jail.MS_REC, None)
    os.setgroups([])
    os.setgid(USER)
    os.setuid(USER)


def main() -> None:
    kind, limits = sys.argv[1:]
    if kind == "user" and os.getuid() == 0:
        become_user()
        os.execv(sys.executable, [sys.executable, *sys.argv])
    given = Limits(**json.loads(limits))
    sandbox = FreshSandbox(given) if kind == "fresh" else Sandbox(given, jailed=kind != "plain")
    try:
        if sandbox.jailed:
            jail.enter_private_network()
            sandbox.self_test()
        desk = Desk(sandbox)
        for line in sys.stdin:
            method, arguments = json.loads(line)
            print(json.dumps(answer(desk, method, arguments)), flush=True)
    except jail.JailError as error:
        print(json.dumps({"refused": str(error)}), flush=True)
    finally:
        sandbox.close()


def answer(desk: Desk, method: str, arguments: list[Any]) -> dict[str, Any]:
    try:
        return {"value": getattr(desk if hasattr(desk, method) else desk.sandbox, method)(*arguments)}
    except AnswerTrouble as trouble:
        return {"trouble": trouble.trouble, "slow": trouble.slow, "kind": type(trouble).__name__}
    except Exception as error:
        return {"trouble": repr(error), "slow": False, "kind": type(error).__name__}


if __name__ == "__main__":
    main()
