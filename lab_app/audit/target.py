"""TARGET: `module:app` and a project folder are served here, a URL is asked where it is."""

import contextlib
import ipaddress
import json
import os
import re
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from lab_app.audit.errors import AuditError
from lab_app.audit.project import Project, project

SERVING = Path(__file__).with_name("serving.py")
START_SECONDS = 60.0
LAST_WORDS = 300
EXCEPTION = re.compile(r"[\w.]*(?:Error|Exception|Exit)\b")
NO_LIST = "mounts, websockets and hidden routes: an address does not list them; give module:app to see their names"


@dataclass(frozen=True)
class Target:
    """An app that answers at `url`. `document` is its OpenAPI document, if it was there to be read without asking.

    `log` is the file that its output goes to, for an app that was started here.
    """

    name: str
    url: str
    document: dict[str, Any] | None = None
    unseen: list[str] = field(default_factory=list)
    log: Path | None = None
    project: Project | None = None
    process: "subprocess.Popen[bytes] | None" = None


@contextlib.contextmanager
def reached(name: str, own_host: bool = False, start_seconds: float = START_SECONDS) -> Iterator[Target]:
    """The target, served if it must be, and ended afterwards. Raises AuditError."""
    if "://" in name:
        yield Target(name, address(name, own_host), unseen=[NO_LIST])
    elif Path(name).is_dir():
        found = project(Path(name))
        with served(found.app, found.root, found.python, start_seconds) as target:
            yield replace(target, name=name, project=found)
    elif ":" in name:
        with served(name, Path.cwd(), sys.executable, start_seconds) as target:
            yield target
    else:
        raise AuditError(f"{name} is no folder, no URL and no module:app. Give one of the three.")


def address(url: str, own_host: bool) -> str:
    """A base URL that may be asked. Raises AuditError."""
    try:
        parts = urlsplit(url)
        host = parts.hostname or ""
        port = parts.port
    except ValueError as error:
        raise AuditError(f"{url} is no URL: {error}.") from error
    if parts.scheme not in ("http", "https") or not host:
        raise AuditError(f"{url} is no http or https URL.")
    if not own_host and not on_this_machine(host):
        raise AuditError(f"{host} is not this machine. If it is yours to attack, say so with --i-own-this-host.")
    bare = f"[{host}]" if ":" in host else host
    return f"{parts.scheme}://{bare}{f':{port}' if port else ''}{parts.path.rstrip('/')}"


def on_this_machine(host: str) -> bool:
    """Whether a host is loopback by its very name: what a resolver says of other names can change."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


@contextlib.contextmanager
def served(app: str, folder: Path, python: str, start_seconds: float) -> Iterator[Target]:
    """An app in a process of its own, on a free port of 127.0.0.1, until the end of the block. Raises AuditError."""
    with tempfile.TemporaryDirectory(prefix="audit-") as kept:
        report, log = Path(kept, "report.json"), Path(kept, "log")
        with log.open("wb") as output:
            process = subprocess.Popen(
                [python, str(SERVING), app, str(report)],
                cwd=folder,
                env=os.environ | {"PYTHONUNBUFFERED": "1"},
                stdin=subprocess.PIPE,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        try:
            about = _started(process, app, report, log, start_seconds)
            yield Target(
                app, f"http://127.0.0.1:{about['port']}", about["openapi"], about["unseen"], log, process=process
            )
        finally:
            end(process)


def _started(
    process: "subprocess.Popen[bytes]", app: str, report: Path, log: Path, start_seconds: float
) -> dict[str, Any]:
    until = time.monotonic() + start_seconds
    while not report.exists():
        if process.poll() is not None:
            raise AuditError(f"{app} did not start: {last_words(log)}")
        if time.monotonic() > until:
            raise AuditError(
                f"{app} did not start within {start_seconds:.0f} s. Start it yourself and give its URL. "
                f"It last said: {last_words(log)}"
            )
        time.sleep(0.02)
    about: dict[str, Any] = json.loads(report.read_text(encoding="utf-8"))
    return about


def last_words(log: Path) -> str:
    """What an app said of its end: its last exception, else its last line."""
    lines = [line.strip() for line in log.read_text(encoding="utf-8", errors="replace").splitlines() if line.strip()]
    raised = [number for number, line in enumerate(lines) if EXCEPTION.match(line)]
    said = lines[raised[-1] :] if raised else lines[-1:]
    return " ".join(line for line in said if not line.startswith("ERROR:"))[:LAST_WORDS] or "nothing."


def end(process: "subprocess.Popen[bytes]") -> None:
    """End a process and what it started; politely first."""
    with contextlib.suppress(OSError):
        process.terminate()
    try:
        process.wait(5)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
    with contextlib.suppress(OSError, AttributeError):
        os.killpg(process.pid, signal.SIGKILL)
    assert process.stdin
    with contextlib.suppress(OSError):
        process.stdin.close()
