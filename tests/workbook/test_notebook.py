"""Notebooks are built from their sources, always the same, and nobody's answers are lost."""

import json
from pathlib import Path

import nbformat
import pytest

from lab_app.workbook import notebook
from lab_app.workbook.source import exercises, sections
from lab_app.workbook.submission import SubmissionError, read_submission

SECTION = "01_authentication"


@pytest.mark.parametrize("section", sections())
def test_a_notebook_is_fresh(section: str) -> None:
    """If this fails: python -m lab_app build."""
    assert notebook.path_of(section).read_text(encoding="utf-8") == notebook.built(section)


@pytest.mark.parametrize("section", sections())
def test_a_notebook_is_valid_and_bare(section: str) -> None:
    built = nbformat.reads(notebook.built(section), as_version=4)
    nbformat.validate(built)
    ids = [cell.id for cell in built.cells]
    assert len(set(ids)) == len(ids)
    assert all(not cell.get("outputs") for cell in built.cells)


def test_no_solution_is_in_a_notebook() -> None:
    shown = {"".join(cell["source"]) for cell in json.loads(notebook.built(SECTION))["cells"]}
    for exercise in exercises(SECTION).values():
        assert exercise.starter in shown
        assert exercise.solution not in shown


def test_an_edit_leaves_the_other_cells_their_ids(monkeypatch: pytest.MonkeyPatch) -> None:
    before = [cell["id"] for cell in json.loads(notebook.built(SECTION))["cells"]]
    cells = [cell.copy() for cell in notebook.cells(SECTION)]
    cells[3].source += "\n# one more line"
    monkeypatch.setattr(notebook, "cells", lambda _: cells)
    after = [cell["id"] for cell in json.loads(notebook.built(SECTION))["cells"]]
    assert sum(one != other for one, other in zip(before, after, strict=True)) == 1


def test_building_keeps_answers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / f"{SECTION}.ipynb"
    monkeypatch.setattr(notebook, "path_of", lambda _: path)
    path.write_text(notebook.built(SECTION, solved=True))
    with pytest.raises(SubmissionError, match="has answers in it"):
        notebook.build(SECTION)
    assert path.read_text() == notebook.built(SECTION, solved=True)
    path.unlink()
    assert notebook.build(SECTION)
    assert not notebook.build(SECTION)


def test_a_solved_notebook_offers_every_solution(tmp_path: Path) -> None:
    path = tmp_path / f"{SECTION}.ipynb"
    path.write_text(notebook.built(SECTION, solved=True))
    offered = read_submission(path)
    assert {number: offer.source for number, offer in offered.items()} == {
        number: exercise.solution for number, exercise in exercises(SECTION).items()
    }
