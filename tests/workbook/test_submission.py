"""A learner's notebook, whole, mangled, or something else altogether."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from lab_app.workbook import notebook, submission
from lab_app.workbook.source import exercises
from lab_app.workbook.submission import SubmissionError, read_submission

SECTION = "01_authentication"
Edit = Callable[[dict[str, Any]], None]


@pytest.fixture
def save(tmp_path: Path) -> Callable[..., Path]:
    """Write a solved notebook after an edit of its JSON."""

    def write(edit: Edit = lambda notebook: None, name: str = f"{SECTION}.ipynb") -> Path:
        content = json.loads(notebook.built(SECTION, solved=True))
        edit(content)
        path = tmp_path / name
        path.write_text(json.dumps(content))
        return path

    return write


def cell(content: dict[str, Any], number: str = "1.1") -> dict[str, Any]:
    return next(c for c in content["cells"] if c["metadata"].get("lab") == {"exercise": number})


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"", "is empty"),
        (b"{", "not valid JSON"),
        (b"[" * 100_000, "not valid JSON"),
        (b"\x89PNG\r\n\x1a\n\xff\xfe", "no text file"),
        (b"[]", "no notebook"),
        (b"{}", "no notebook"),
        (b'{"nbformat": 3, "worksheets": []}', "format 3"),
        (b'{"nbformat": 4, "cells": {}}', "no list of cells"),
        (b'{"nbformat": "<script>alert(1)</script>"}', "format"),
    ],
)
def test_what_is_no_notebook_is_refused_in_a_sentence(tmp_path: Path, content: bytes, says: str) -> None:
    path = tmp_path / f"{SECTION}.ipynb"
    path.write_bytes(content)
    with pytest.raises(SubmissionError, match=says) as refused:
        read_submission(path)
    assert "hand it in again" in str(refused.value)


def test_a_notebook_full_of_outputs_is_refused(save: Callable[..., Path], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(submission, "MOST_BYTES", 1000)
    with pytest.raises(SubmissionError, match="Clear its outputs"):
        read_submission(save())


def test_a_missing_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SubmissionError, match="cannot be read"):
        read_submission(tmp_path / f"{SECTION}.ipynb")


def test_a_notebook_of_something_else_is_refused(save: Callable[..., Path]) -> None:
    def empty(content: dict[str, Any]) -> None:
        content["cells"] = []

    with pytest.raises(SubmissionError, match="holds no exercise"):
        read_submission(save(empty, name="homework.ipynb"))


def test_a_renamed_notebook_is_known_by_its_cells(save: Callable[..., Path]) -> None:
    assert read_submission(save(name="Übung (3).ipynb"))["1.1"].source == exercises(SECTION)["1.1"].solution


@pytest.mark.parametrize("lost", [("id",), ("metadata",), ("id", "metadata")])
def test_a_cell_is_found_by_what_other_editors_leave(save: Callable[..., Path], lost: tuple[str, ...]) -> None:
    def strip(content: dict[str, Any]) -> None:
        for one in content["cells"]:
            for name in lost:
                one.pop(name)

    assert read_submission(save(strip))["1.2"].source == exercises(SECTION)["1.2"].solution


@pytest.mark.parametrize("minor", [0, 5])
def test_a_cell_is_found_by_the_id_that_colab_moves_into_its_metadata(save: Callable[..., Path], minor: int) -> None:
    def move(content: dict[str, Any]) -> None:
        for one in content["cells"]:
            one["metadata"] = {"id": one.pop("id")}
        next(one for one in content["cells"] if one["metadata"]["id"] == "exercise-1-1")["source"] = "app = 1"
        content["nbformat_minor"] = minor

    assert read_submission(save(move))["1.1"].source == "app = 1"


@pytest.mark.parametrize(
    "comment", ["# exercise 1.1 - mine", "#Exercise 1.1: mine", "\n\n# Exercise 1.1", "# EXERCISE  1.1\t— mine"]
)
def test_a_cell_is_found_by_its_comment_however_it_is_written(save: Callable[..., Path], comment: str) -> None:
    def retype(content: dict[str, Any]) -> None:
        mine = cell(content)
        mine["source"] = f"{comment}\napp = 1"
        del mine["id"], mine["metadata"]

    assert read_submission(save(retype))["1.1"].source == f"{comment}\napp = 1"


@pytest.mark.parametrize("comment", ["# Exercise 1.11 — x", "# Exercise 11.1 — x", "# Exercise 1.1.2 — x", "# Ex 1.1"])
def test_a_comment_of_something_else_heads_no_exercise(save: Callable[..., Path], comment: str) -> None:
    def retype(content: dict[str, Any]) -> None:
        content["cells"].remove(cell(content))
        content["cells"].append({"cell_type": "code", "source": f"{comment}\napp = 1"})

    assert "missing" in read_submission(save(retype))["1.1"].trouble


def test_a_trial_that_resembles_an_exercise_does_no_harm(save: Callable[..., Path]) -> None:
    def scribble(content: dict[str, Any]) -> None:
        content["cells"].append({"cell_type": "code", "source": "# exercise 1.1, tried out\nserve(app)"})

    assert read_submission(save(scribble))["1.1"].source == exercises(SECTION)["1.1"].solution


def test_a_byte_order_mark_does_no_harm(save: Callable[..., Path]) -> None:
    path = save()
    path.write_bytes(b"\xef\xbb\xbf" + path.read_bytes())
    assert not read_submission(path)["1.1"].trouble


def test_a_cell_without_its_comment_is_found_by_its_id(save: Callable[..., Path]) -> None:
    def rewrite(content: dict[str, Any]) -> None:
        cell(content)["source"] = "app = 1"

    assert read_submission(save(rewrite))["1.1"].source == "app = 1"


def replaced(source: str) -> Edit:
    def edit(content: dict[str, Any]) -> None:
        cell(content)["source"] = source

    return edit


def doubled(content: dict[str, Any]) -> None:
    copy = dict(cell(content), id="copy", source="# Exercise 1.1 — Read the token\napp = None")
    content["cells"].append(copy)


def doubled_starter(content: dict[str, Any]) -> None:
    content["cells"].append(dict(cell(content), id="copy", source=exercises(SECTION)["1.1"].starter))


def removed(content: dict[str, Any]) -> None:
    content["cells"].remove(cell(content))


@pytest.mark.parametrize(
    ("edit", "trouble"),
    [
        (removed, "missing"),
        (replaced(""), "empty"),
        (replaced("  \n"), "empty"),
        (replaced(exercises(SECTION)["1.1"].starter), "still the starter"),
        (replaced(exercises(SECTION)["1.1"].starter + "\n\n# I tried"), "still the starter"),
        (doubled, "2 cells that differ"),
    ],
)
def test_a_cell_that_cannot_be_judged_says_why(save: Callable[..., Path], edit: Edit, trouble: str) -> None:
    offered = read_submission(save(edit))
    assert trouble in offered["1.1"].trouble
    assert offered["1.2"].source == exercises(SECTION)["1.2"].solution
    assert not offered["1.2"].trouble


def test_an_untouched_copy_of_the_starter_does_no_harm(save: Callable[..., Path]) -> None:
    assert read_submission(save(doubled_starter))["1.1"].source == exercises(SECTION)["1.1"].solution


@pytest.mark.parametrize("odd", [None, 7, [1, 2], {"a": 1}, [["x"]]])
def test_odd_json_in_cells_does_not_crash(save: Callable[..., Path], odd: Any) -> None:
    def mangle(content: dict[str, Any]) -> None:
        content["cells"] += [odd, {"cell_type": "code", "source": odd, "metadata": odd, "id": odd}]
        cell(content)["metadata"] = {"lab": odd, "nbgrader": odd}

    assert read_submission(save(mangle))["1.1"].source == exercises(SECTION)["1.1"].solution
