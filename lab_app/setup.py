"""Make `.venv` with what requirements.txt pins, once, and go on in it.

Runs on the system's own Python, an old one too: standard library and Python 3.7's syntax only.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
from pathlib import Path

OLDEST = (3, 11)
ROOT = Path(__file__).resolve().parent.parent
VENV = ROOT / ".venv"
PYTHON = VENV / ("Scripts/python.exe" if os.name == "nt" else "bin/python")
REQUIREMENTS = ROOT / "requirements.txt"
STAMP = VENV / "workbook.stamp"
# Words in what venv and pip print, and what to tell the user instead.
CAUSES = (
    (("No space left", "Errno 28", "quota exceeded"), f"The disk is full: the set-up needs about 1 GB in {ROOT}."),
    (
        ("ensurepip is not", "No module named venv", "No module named ensurepip"),
        "Python's venv module is missing. On Debian or Ubuntu: sudo apt install python3-venv.",
    ),
    (
        ("DO NOT MATCH THE HASHES",),
        "A downloaded package is not the one that requirements.txt pins. Try again; if it stays so, do not install it.",
    ),
    (
        ("Failed to establish", "Max retries", "Connection", "Temporary failure", "Name or service", "No matching"),
        "The package index could not be reached. Check the network, or pip's proxy settings, and try again.",
    ),
    (("Permission denied", "Read-only file system"), f"{ROOT} cannot be written. Use a folder that is yours."),
)


def ensure() -> None:
    """Return inside an up-to-date `.venv`; from outside, set it up and run this command again in it."""
    if sys.version_info < OLDEST:
        sys.exit(f"The workbook needs Python 3.11 or newer; this is {sys.version.split()[0]}.")
    if not _fresh():
        _make()
    elif Path(sys.prefix).resolve() == VENV.resolve():
        return
    command = [str(PYTHON), "-m", "lab_app", *sys.argv[1:]]
    if os.name == "nt":
        sys.exit(subprocess.call(command))
    os.execv(PYTHON, command)  # noqa: S606 - no shell is wanted


def _fresh() -> bool:
    """Whether `.venv` holds what requirements.txt pins."""
    try:
        return STAMP.read_text() == _fingerprint()
    except OSError:
        return False


def _fingerprint() -> str:
    return f"{hashlib.sha256(REQUIREMENTS.read_bytes()).hexdigest()} {ROOT}"


def _make() -> None:
    _say("Setting up .venv with the packages of requirements.txt: about 200 MB, once.\n")
    if not _runs():
        shutil.rmtree(VENV, ignore_errors=True)
        _do("Making .venv", [sys.executable, "-m", "venv", str(VENV)])
    pip = [str(PYTHON), "-m", "pip", "install", "--disable-pip-version-check", "--progress-bar=off"]
    _do("Installing", [*pip, "--require-hashes", "-r", str(REQUIREMENTS)])
    where = subprocess.check_output([str(PYTHON), "-c", "import sysconfig; print(sysconfig.get_path('purelib'))"])
    # So that kernels in notebooks/ and plain pytest find lab_app.
    Path(where.decode().strip(), "workbook.pth").write_text(f"{ROOT}\n")
    STAMP.write_text(_fingerprint())


def _runs() -> bool:
    """Whether `.venv` has a Python that still works, and is of this version."""
    wanted = f"import pip, sys; sys.exit(sys.version_info[:2] != {tuple(sys.version_info[:2])})"
    try:
        return subprocess.call([str(PYTHON), "-c", wanted], stderr=subprocess.DEVNULL) == 0
    except OSError:
        return False


def _do(what: str, command: list[str]) -> None:
    """Run a command, showing the last line that it prints; on failure, leave with one sentence and exit code 1."""
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    assert process.stdout
    printed = []
    for line in process.stdout:
        printed.append(line)
        if sys.stdout.isatty():
            width = shutil.get_terminal_size().columns - 1
            _say("\r" + f"{what}: {line.strip()}"[:width].ljust(width))
    if process.wait() == 0:
        _say(f"\r{what}: done.".ljust(shutil.get_terminal_size().columns) + "\n")
        return
    text = "".join(printed)
    for words, sentence in CAUSES:
        if any(word in text for word in words):
            sys.exit(f"\n{sentence}")
    sys.exit(f"\n{what} failed:\n" + "".join(printed[-15:]))


def _say(text: str) -> None:
    sys.stdout.write(text)
    sys.stdout.flush()
