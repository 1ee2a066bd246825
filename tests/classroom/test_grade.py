"""`python -m lab_app grade`, as a teacher uses it."""

import csv
import json
import subprocess
import sys
from pathlib import Path

import pytest

from lab_app.classroom.feedback import file_name
from lab_app.workbook import notebook
from lab_app.workbook.source import ROOT, exercises

SECTION = "01_authentication"
NUMBERS = list(exercises(SECTION))
EVIL = "<img src=x onerror=alert(1)>"


def grade(*arguments: str | Path) -> "subprocess.CompletedProcess[str]":
    command = [sys.executable, "-m", "lab_app.cli", "grade", *map(str, arguments)]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=300)


def hand_in(folder: Path, student: str, text: str) -> None:
    (folder / student).mkdir()
    (folder / student / f"{SECTION}.ipynb").write_text(text)


@pytest.fixture(scope="module")
def graded(tmp_path_factory: pytest.TempPathFactory) -> tuple["subprocess.CompletedProcess[str]", Path]:
    """A class of four: all right, one right, the starter, and a file that is no notebook."""
    top = tmp_path_factory.mktemp("class")
    folder, out = top / "submissions", top / "out"
    folder.mkdir()
    hand_in(folder, "ada", notebook.built(SECTION, solved=True))
    half = json.loads(notebook.built(SECTION))
    first = next(cell for cell in half["cells"] if cell["metadata"].get("lab") == {"exercise": "1.1"})
    first["source"] = exercises(SECTION)["1.1"].solution
    hand_in(folder, EVIL, json.dumps(half))
    hand_in(folder, "charles", notebook.built(SECTION))
    hand_in(folder, "dora", "not a notebook")
    return grade(folder, "--out", out, "--seed", "7"), out


def test_the_gradebook_has_a_row_a_student_and_a_column_an_exercise(graded: tuple[object, Path]) -> None:
    with (graded[1] / "grades.csv").open() as file:
        rows = {row["student"]: row for row in csv.DictReader(file)}
    assert set(rows) == {"ada", EVIL, "charles", "dora"}
    assert list(rows["ada"]) == ["student", *NUMBERS, "total"]
    assert [float(rows["ada"][number]) for number in NUMBERS] == [1.0] * len(NUMBERS)
    assert float(rows["ada"]["total"]) == len(NUMBERS)
    assert float(rows[EVIL]["1.1"]) == 1.0
    assert float(rows[EVIL]["total"]) == 1.0
    assert float(rows["charles"]["total"]) == 0.0
    assert float(rows["dora"]["total"]) == 0.0


def test_every_verdict_is_kept(graded: tuple[object, Path]) -> None:
    lines = [json.loads(line) for line in (graded[1] / "verdicts.jsonl").read_text().splitlines()]
    assert len(lines) == 3 * len(NUMBERS)
    assert {line["outcome"] for line in lines if line["student"] == "charles"} == {"not attempted"}
    assert all(line["seed"] == 7 for line in lines if line["student"] == "ada")
    assert all(line["jailed"] for line in lines)


def test_a_file_that_cannot_be_read_is_named_and_loses_nobody_else(
    graded: tuple["subprocess.CompletedProcess[str]", Path],
) -> None:
    ran = graded[0]
    assert ran.returncode == 1
    assert "dora: 01_authentication.ipynb is no notebook" in " ".join(ran.stderr.split())
    assert "Graded 3 of 4" in ran.stdout


def test_everybody_gets_a_page_and_no_page_is_scripted(graded: tuple[object, Path]) -> None:
    pages = {path.name: path.read_text() for path in (graded[1] / "feedback").iterdir()}
    assert set(pages) == {f"{file_name(name)}.html" for name in ("ada", EVIL, "charles", "dora")}
    assert all("<img" not in page and "<script" not in page for page in pages.values())
    assert "is no notebook" in pages["dora.html"]
    assert "still the starter" in pages["charles.html"]


def test_grading_worked_whatever_the_marks(tmp_path: Path) -> None:
    path = tmp_path / "ada.ipynb"
    path.write_text(notebook.built(SECTION))
    ran = grade(path, "--out", tmp_path / "out")
    assert ran.returncode == 0, ran.stderr
    assert (tmp_path / "out" / "grades.csv").read_text().splitlines()[1].startswith("ada,0")


@pytest.mark.parametrize("path", ["nothing-here", "empty"])
def test_nothing_to_grade_is_one_sentence(tmp_path: Path, path: str) -> None:
    (tmp_path / "empty").mkdir()
    ran = grade(tmp_path / path, "--out", tmp_path / "out")
    assert ran.returncode == 1
    assert len(" ".join(ran.stderr.split()).split(". ")) <= 2
    assert "Traceback" not in ran.stderr


def test_a_full_disk_is_one_sentence(tmp_path: Path) -> None:
    path = tmp_path / "ada.ipynb"
    path.write_text(notebook.built(SECTION))
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "verdicts.jsonl").symlink_to("/dev/full")
    ran = grade(path, "--out", tmp_path / "out")
    assert ran.returncode == 1
    assert "No space left on device" in ran.stderr
    assert "Traceback" not in ran.stderr


@pytest.mark.parametrize("names", [("ada", "Ada"), ("a/b", "a_b"), ("..", "."), ("Ægir Ö", "Ægir_Ö"), ("", " ")])
def test_two_students_never_share_a_file(names: tuple[str, str]) -> None:
    one, other = map(file_name, names)
    assert one.casefold() != other.casefold()
    assert not {"/", "\\", "\0"} & set(one + other)
    assert one.strip(".")
