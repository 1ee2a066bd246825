"""Every notebook, run whole: unsolved without an error, solved with every exercise passed."""

import re
import subprocess
import sys
from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient

from lab_app.workbook import notebook
from lab_app.workbook.source import NOTEBOOKS, ROOT, exercises, sections


@pytest.fixture(autouse=True)
def _own_progress(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LAB_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("PYTHONPATH", str(ROOT))


@pytest.mark.parametrize("section", sections())
def test_it_runs_unsolved_from_top_to_bottom(section: str) -> None:
    command = [
        sys.executable,
        "-m",
        "pytest",
        "-q",
        "-p",
        "no:cacheprovider",
        "--nbval-lax",
        "--nbval-cell-timeout=120",
    ]
    ran = subprocess.run([*command, str(notebook.path_of(section))], cwd=ROOT, capture_output=True, text=True)
    assert ran.returncode == 0, ran.stdout[-3000:]


@pytest.mark.parametrize("section", sections())
def test_it_ends_with_every_exercise_passed_once_solved(section: str) -> None:
    solved = nbformat.reads(notebook.built(section, solved=True), as_version=4)
    NotebookClient(solved, timeout=240, resources={"metadata": {"path": str(NOTEBOOKS)}}).execute()
    said = {
        match.group(1): cell.outputs[-1]["data"]["text/plain"]
        for cell in solved.cells
        if cell.cell_type == "code" and (match := re.search(r'^check\("(\d+\.\d+)"\)', cell.source, re.M))
    }
    assert list(said) == list(exercises(section))
    for number, text in said.items():
        assert "passed" in text.splitlines()[0], f"{number}: {text[:2000]}"
