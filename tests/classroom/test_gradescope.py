"""The autograder's zip, unpacked and run as Gradescope's harness would, in a folder instead of /autograder."""

import json
import os
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from lab_app.classroom import gradescope
from lab_app.classroom.grade import verdicts
from lab_app.harness.checker import Checker
from lab_app.runner.jail import JailError
from lab_app.workbook.source import check_module, exercises
from lab_app.workbook.submission import read_submission
from tests.classroom.classes import notebook_with
from tests.classroom.released import HALF, HELD, SECTION, answers, release
from tests.classroom.released import RIGHT as HELD_OF

# https://gradescope-autograders.readthedocs.io/en/latest/specs/
VISIBILITY = {"enum": ["hidden", "after_due_date", "after_published", "visible"]}
FORMAT = {"enum": ["text", "html", "simple_format", "md", "ansi"]}
TEST = {
    "score": {"type": "number", "minimum": 0},
    "max_score": {"type": "number", "minimum": 0},
    "status": {"enum": ["passed", "failed"]},
    "name": {"type": "string"},
    "name_format": FORMAT,
    "number": {"type": "string"},
    "output": {"type": "string"},
    "output_format": FORMAT,
    "tags": {"type": "array", "items": {"type": "string"}},
    "visibility": VISIBILITY,
    "extra_data": {"type": "object"},
}
RESULTS = {
    "score": {"type": "number", "minimum": 0},
    "execution_time": {"type": "number"},
    "output": {"type": "string"},
    "output_format": FORMAT,
    "test_output_format": FORMAT,
    "test_name_format": FORMAT,
    "visibility": VISIBILITY,
    "stdout_visibility": VISIBILITY,
    "extra_data": {"type": "object"},
    "tests": {"type": "array", "items": {"type": "object", "properties": TEST, "additionalProperties": False}},
}
SCHEMA = {"type": "object", "properties": RESULTS, "additionalProperties": False, "required": ["score", "tests"]}


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The unpacked zip, and in place of what its setup.sh installs, the environment of these tests."""
    top = tmp_path_factory.mktemp("gradescope")
    ran = release(top / "out", "--for", "gradescope", "--section", SECTION[:2], "--hold-back", HELD)
    assert ran.returncode == 0, ran.stderr
    with zipfile.ZipFile(top / "out" / "autograder.zip") as archive:
        assert {"setup.sh", "run_autograder"} <= set(archive.namelist())  # in the root, or Gradescope finds them not
        archive.extractall(top / "source")
    (top / "source" / ".venv").symlink_to(sys.prefix)
    return top / "source"


def run(source: Path, submission: dict[str, str], root: Path) -> dict[str, Any]:
    """The results of a submission, which keep Gradescope's format."""
    (root / "source").symlink_to(source)
    (root / "submission").mkdir()
    (root / "results").mkdir()
    for name, text in submission.items():
        (root / "submission" / name).write_text(text)
    command = ["bash", str(root / "source" / "run_autograder")]
    env = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"} | {"AUTOGRADER": str(root)}
    ran = subprocess.run(command, cwd=root, env=env, capture_output=True, text=True, timeout=180)
    assert ran.returncode == 0, ran.stderr
    results: dict[str, Any] = json.loads((root / "results" / "results.json").read_text())
    jsonschema.validate(results, SCHEMA)
    return results


@pytest.fixture(scope="module")
def graded(source: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Any]]:
    """A notebook with a right answer, two that are half right, and a starter; and its results."""
    root = tmp_path_factory.mktemp("autograder")
    untouched = exercises(SECTION)[HELD_OF].starter
    cells = answers() | {HELD_OF: f"{untouched}\nmine = 1\n", "9.2": exercises(SECTION)["9.2"].solution}
    notebook = notebook_with(cells, SECTION)
    results = run(source, {f"{SECTION}.ipynb": notebook}, root)
    return root / "submission" / f"{SECTION}.ipynb", results


def test_the_points_are_those_of_the_gradebook(graded: tuple[Path, dict[str, Any]]) -> None:
    path, results = graded
    with Checker() as checker:
        ours = {one.exercise: one for one in verdicts(checker, read_submission(path))}
    for number, verdict in ours.items():
        mine = [test for test in results["tests"] if test["number"].startswith(number)]
        assert sum(test["score"] for test in mine) == pytest.approx(10 * verdict.score)
        assert sum(test["max_score"] for test in mine) == pytest.approx(10)
        assert len(mine) == (len(verdict.results) or 1)
    assert 0 < ours[HALF].score < ours["9.2"].score == 1
    assert results["score"] == pytest.approx(10 * sum(one.score for one in ours.values()), abs=1e-3)


def test_of_a_held_back_check_students_see_a_title_and_that_late(graded: tuple[Path, dict[str, Any]]) -> None:
    tests = graded[1]["tests"]
    (held,) = (test for test in tests if "visibility" in test)
    assert held["visibility"] == "after_published"
    assert held["status"] == "failed"
    assert held["output"] == ""
    assert held["name"].removeprefix(f"{HELD_OF} ") in check_module(HELD_OF).read_text()
    others = [test for test in tests if test.get("status") == "failed" and test is not held]
    assert others
    assert all("Your code" in test["output"] and "Hint: " in test["output"] for test in others)


@pytest.mark.parametrize(
    ("submission", "word"),
    [({}, "no notebook"), ({f"{SECTION}.ipynb": "nonsense"}, "is no notebook"), ({"essay.pdf": ""}, "no notebook")],
    ids=["nothing", "nonsense", "something else"],
)
def test_what_cannot_be_graded_is_said(source: Path, submission: dict[str, str], word: str, tmp_path: Path) -> None:
    results = run(source, submission, tmp_path)
    assert word in results["output"]
    assert results["score"] == 0
    assert [test["number"] for test in results["tests"]] == list(exercises(SECTION))


def test_what_systems_and_editors_leave_is_no_notebook(tmp_path: Path) -> None:
    (tmp_path / ".ipynb_checkpoints").mkdir()
    for name in (f".ipynb_checkpoints/{SECTION}-checkpoint.ipynb", f"._{SECTION}.ipynb"):
        (tmp_path / name).write_text("left behind")
    (tmp_path / f"{SECTION}.ipynb").write_text(notebook_with({}, SECTION))
    notes: list[str] = []
    assert {one.outcome for one in gradescope.graded(tmp_path, notes)} == {"not attempted"}
    assert not notes


def test_without_a_jail_only_the_teacher_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Standard output is what Gradescope shows to instructors alone."""

    class Jailless(Checker):
        def check(self, *question: Any, **more: Any) -> Any:
            if self.lanes[0].jailed:
                raise JailError("This system forbids namespaces.")
            return super().check(*question, **more)

    monkeypatch.setattr(gradescope, "Checker", Jailless)
    path = tmp_path / f"{SECTION}.ipynb"
    path.write_text(notebook_with({HALF: answers()[HALF]}, SECTION))
    notes: list[str] = []
    judged = {verdict.exercise: verdict.outcome for verdict in gradescope.graded(tmp_path, notes)}
    assert judged[HALF] == "not yet"
    assert not notes
    assert "Graded without the jail." in capsys.readouterr().out
