"""Releases, made once, and notebooks as students of them hand in."""

import os
import subprocess
import sys
from pathlib import Path

from lab_app.workbook.source import ROOT, exercises, wrong_answers

SECTION = "09_dependencies"
HELD = "test_withdrawn_records_affect_nothing"
RIGHT, HALF = "9.1", "9.4"  # the quickest to judge


def release(out: Path, *arguments: str) -> "subprocess.CompletedProcess[str]":
    command = [sys.executable, "-m", "lab_app.cli", "release", "--out", str(out), *arguments]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60)


def environment(root: Path, **more: str) -> dict[str, str]:
    """The environment of a program that belongs to `root`."""
    return os.environ | {"PYTHONPATH": str(root), "COLUMNS": "200"} | more


def answers() -> dict[str, str]:
    """A right answer and a half right one; all other exercises are left as they are."""
    half = next(wrong.cell for wrong in wrong_answers(SECTION) if wrong.exercise == HALF)
    return {RIGHT: exercises(SECTION)[RIGHT].solution, HALF: half}
