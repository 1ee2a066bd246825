"""Classes to grade, and grading as a teacher does it."""

import csv
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

from lab_app.workbook import notebook
from lab_app.workbook.source import ROOT, exercises

SECTION = "03_cors"  # its checks take the least time
NUMBERS = list(exercises(SECTION))
GRADE = [sys.executable, "-m", "lab_app.cli", "grade"]


def answered(notebook: dict[str, Any], cells: dict[str, str]) -> dict[str, Any]:
    """A notebook with some answers in it."""
    for cell in notebook["cells"]:
        number = cell["metadata"].get("lab", {}).get("exercise")
        cell["source"] = cells.get(number, cell["source"])
    return notebook


def notebook_with(cells: dict[str, str], section: str = SECTION) -> str:
    """The learner's notebook of a section with these answers, by exercise, in place of the starters."""
    return json.dumps(answered(json.loads(notebook.built(section)), cells))


def solution(number: str) -> str:
    """The reference solution of an exercise."""
    return exercises(SECTION)[number].solution


def hand_in(folder: Path, student: str, text: str, section: str = SECTION) -> None:
    """Put a notebook where `grade` finds it."""
    (folder / student).mkdir(parents=True, exist_ok=True)
    (folder / student / f"{section}.ipynb").write_text(text)


def grade(*arguments: str | Path) -> "subprocess.CompletedProcess[str]":
    """Run `grade` to its end."""
    return run("grade", *arguments)


def run(*arguments: str | Path) -> "subprocess.CompletedProcess[str]":
    """Run a command of ours to its end."""
    command = [sys.executable, "-m", "lab_app.cli", *map(str, arguments)]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=300)


def grades(out: Path) -> dict[str, dict[str, str]]:
    """The rows of grades.csv by student."""
    with (out / "grades.csv").open(newline="") as file:
        return {row["student"]: row for row in csv.DictReader(file)}
