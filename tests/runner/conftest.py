"""A sandbox to put probe cells into: plain, jailed by root, jailed by an ordinary user."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest

from lab_app.runner.limits import Limits

WORKER = Path(__file__).with_name("worker.py")
LIMITS = Limits(start_seconds=4, slack_seconds=6, jail_memory=400 << 20, jail_processes=64)
ENV = {"PATH": "/usr/bin:/bin", "LAB_TEST": "probe"}


class Trouble(Exception):
    """What the sandbox said of an answer."""

    def __init__(self, text: str, slow: bool, kind: str) -> None:
        super().__init__(text)
        self.slow, self.kind = slow, kind


class Remote:
    """A sandbox in another process; every method of worker.Desk and of Sandbox by its name."""

    def __init__(self, kind: str, limits: Limits = LIMITS) -> None:
        self.kind = kind
        self.process = subprocess.Popen(
            [sys.executable, str(WORKER), kind, json.dumps(asdict(limits))],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            bufsize=1,
        )

    def ask(self, method: str, *arguments: Any) -> Any:
        """Raises Trouble."""
        assert self.process.stdin and self.process.stdout
        self.process.stdin.write(json.dumps([method, arguments]) + "\n")
        reply = json.loads(self.process.stdout.readline() or '{"refused": "the worker ended"}')
        if "refused" in reply:
            pytest.fail(reply["refused"])
        if "trouble" in reply:
            raise Trouble(reply["trouble"], reply["slow"], reply["kind"])
        return reply["value"]

    def probe(self, source: str) -> Any:
        """What `probe()` of a cell returns."""
        return self.ask("call", source, "probe", ENV, "probe", "probe")

    def serve(self, source: str, folder: str = "app", **env: str) -> tuple[int, int]:
        """Start a cell's app; its port and pid."""
        running = self.ask("start", source, "probe", ENV | env, folder)
        return running["port"], running["pid"]

    def close(self) -> None:
        assert self.process.stdin and self.process.stdout
        self.process.stdin.close()
        self.process.wait(30)
        self.process.stdout.close()


@pytest.fixture(scope="module", params=["plain", "jailed", "user"])
def any_zygote(request: pytest.FixtureRequest) -> Iterator[Remote]:
    yield from remote(request.param)


@pytest.fixture(scope="module", params=["plain", "fresh", "jailed"])
def any_sandbox(request: pytest.FixtureRequest) -> Iterator[Remote]:
    yield from remote(request.param)


@pytest.fixture(scope="module", params=["jailed", "user"])
def any_jail(request: pytest.FixtureRequest) -> Iterator[Remote]:
    yield from remote(request.param)


def remote(kind: str) -> Iterator[Remote]:
    if kind not in ("plain", "fresh") and sys.platform != "linux":
        pytest.skip("bubblewrap is for Linux")
    if kind == "jailed" and os.getuid() != 0:
        pytest.skip("only root can try how root jails; `user` tries how we do")
    made = Remote(kind)
    yield made
    made.close()


@pytest.fixture
def sandbox(any_sandbox: Remote) -> Iterator[Remote]:
    yield any_sandbox
    any_sandbox.ask("sweep")


@pytest.fixture
def zygote(any_zygote: Remote) -> Iterator[Remote]:
    """A sandbox that must hold against code that is not one's own."""
    yield any_zygote
    any_zygote.ask("sweep")


@pytest.fixture
def jailed(any_jail: Remote) -> Iterator[Remote]:
    yield any_jail
    any_jail.ask("sweep")
