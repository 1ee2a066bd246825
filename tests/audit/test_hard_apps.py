"""Apps that are hard to audit: no crash, nothing asked off this machine, bounded time and memory, a clean end."""

import json
import resource
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from lab_app.audit.audit import Audit, Options, audit
from lab_app.audit.errors import AuditError
from lab_app.workbook.source import ROOT

APPS = "tests.audit.apps"
HARD = ("no_openapi", "slow_start", "behind_login", "away", "fails", "pages", "odd_document")


def audited(app: str, **more: Any) -> Audit:
    return audit(Options(f"{APPS}.{app}:app", active=True, a_second=5000, **more))


@pytest.fixture
def connected(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The hosts that anything in this process connects to."""
    hosts: list[str] = []
    connect = socket.socket.connect

    def noted(self: socket.socket, address: Any) -> None:
        hosts.append(str(address[0]) if isinstance(address, tuple) else "unix")
        connect(self, address)

    monkeypatch.setattr(socket.socket, "connect", noted)
    return hosts


@pytest.mark.parametrize("app", HARD)
def test_it_is_audited_whole_and_nothing_is_asked_off_this_machine(app: str, connected: list[str]) -> None:
    result = audited(app)
    assert result.whole
    assert not [note for note in result.notes if "left in the middle" in note]
    assert result.routes
    assert result.asked > result.routes
    assert set(connected) == {"127.0.0.1"}


def test_a_start_that_fails_is_one_sentence_with_the_reason() -> None:
    with pytest.raises(AuditError, match=r"did not start: RuntimeError: no database at db\.internal"):
        audited("lifespan_raises")


def test_what_is_no_app_is_one_sentence() -> None:
    with pytest.raises(
        AuditError, match=r"TypeError: tests\.audit\.test_hard_apps:HARD is no app, but of the type tuple"
    ):
        audit(Options("tests.audit.test_hard_apps:HARD"))


def test_a_start_that_takes_too_long_is_one_sentence_with_a_way_out() -> None:
    with pytest.raises(AuditError, match=r"did not start within 0 s\. Start it yourself and give its URL"):
        audited("slow_start", start_seconds=0.3)


def test_what_the_document_does_not_show_is_named() -> None:
    result = audited("no_openapi")
    assert result.unseen == ["mounted /static", "websocket /api/v1/live", "hidden POST /api/v1/hidden"]
    assert result.routes == 5
    assert "GET /inner/count/{number}" in {each.where for each in result.findings}


def test_an_app_that_ends_while_it_is_asked_is_said_to_have_ended() -> None:
    result = audited("ends")
    assert not result.whole
    assert "The app ended while it was asked, with code 3: the rest was not seen." in result.notes


def test_crashing_always_is_no_finding_about_input() -> None:
    assert [each.key for each in audited("fails").findings] == []


def test_no_route_is_followed_elsewhere() -> None:
    assert [each.key for each in audited("away").findings] == ["redirects-anywhere at GET /{path}"]


def test_answers_that_never_end_are_named_and_bounded() -> None:
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    result = audited("endless", seconds=25)
    assert {each.split(":")[0] for each in result.unseen} >= {"GET /flood", "GET /drips", "GET /bomb"}
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 128 << 10  # KiB; the bomb is twice that


def test_two_thousand_routes_are_asked_or_named_when_time_is_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ROUTES", "2000")
    result = audited("many", seconds=4)
    assert result.routes == 2000
    left = [each for each in result.unseen if each.endswith("time was up")]
    assert not result.whole
    assert 0 < len(left) < 2000


@pytest.mark.parametrize("signal_", [signal.SIGINT, signal.SIGTERM])
def test_stopped_in_the_middle_it_leaves_no_process_and_keeps_what_it_found(
    tmp_path: Path, signal_: signal.Signals
) -> None:
    command = [sys.executable, "-m", "lab_app.cli", "audit", f"{APPS}.endless:app", "--out", str(tmp_path / "out")]
    process = subprocess.Popen(
        command,
        cwd=ROOT,
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        start_new_session=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # who runs us in the background ignores it
    )
    child = until(lambda: children(process.pid))
    until(lambda: listens(child[0]))
    process.send_signal(signal_)
    out, err = process.communicate(timeout=60)
    assert process.returncode != 0
    assert "Traceback" not in out + err
    assert not Path(f"/proc/{child[0]}").exists()
    if (tmp_path / "out" / "audit.json").exists():
        assert not json.loads((tmp_path / "out" / "audit.json").read_text())["whole"]


def test_a_child_whose_audit_was_killed_ends_too(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "lab_app.cli", "audit", f"{APPS}.endless:app", "--out", str(tmp_path / "out")]
    process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    child = until(lambda: children(process.pid))[0]
    until(lambda: listens(child))
    process.kill()
    process.wait()
    until(lambda: not Path(f"/proc/{child}").exists())


def until(condition: Any) -> Any:
    """What a condition gives once it holds."""
    for _ in range(1200):
        if found := condition():
            return found
        time.sleep(0.05)
    raise AssertionError("it never came true")


def children(pid: int) -> list[int]:
    """The children of a process that serve an app."""
    path = Path(f"/proc/{pid}/task/{pid}/children")
    found = [int(each) for each in path.read_text().split()] if path.exists() else []
    return [each for each in found if b"serving.py" in Path(f"/proc/{each}/cmdline").read_bytes()]


def listens(pid: int) -> bool:
    """Whether a process has a listening socket of its own."""
    inodes = {str(each.readlink()) for each in Path(f"/proc/{pid}/fd").iterdir() if each.is_symlink()}
    rows = [line.split() for line in Path("/proc/net/tcp").read_text().splitlines()[1:]]
    return any(row[3] == "0A" and f"socket:[{row[9]}]" in inodes for row in rows)
