"""Every notebook with the solutions put in: it ends with every exercise passed."""

import re

import nbformat
import pytest
from nbclient import NotebookClient

from lab_app.workbook import notebook
from lab_app.workbook.source import NOTEBOOKS, exercises, sections


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
