"""`python -m lab_app grade`, as a teacher uses it."""

import json
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest

from lab_app.classroom.grade import GradeError, Tally, Wish, _Plan, read, read_secret
from lab_app.classroom.report import file_name
from lab_app.classroom.store import Store
from lab_app.cli import main
from lab_app.runner.jail import bwrap
from lab_app.workbook import notebook
from lab_app.workbook.source import ROOT
from tests.classroom.classes import GRADE, NUMBERS, SECTION, grade, grades, hand_in, notebook_with, solution

EVIL = "<img src=x onerror=alert(1)>"
NAMES = ("ada", EVIL, "charles", "dora", "erwin")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A class of five: all right, one right, the starter, a file that is no notebook, and no notebook at all."""
    folder = tmp_path_factory.mktemp("class")
    hand_in(folder, "ada", notebook.built(SECTION, solved=True))
    hand_in(folder, EVIL, notebook_with({"3.4": solution("3.4")}))
    hand_in(folder, "charles", notebook.built(SECTION))
    hand_in(folder, "dora", "not a notebook")
    (folder / "erwin").mkdir()
    (folder / "erwin" / "notes.txt").write_text("sorry")
    return folder


@pytest.fixture(scope="module")
def graded(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple["subprocess.CompletedProcess[str]", Path]:
    """What came of grading that class."""
    out = tmp_path_factory.mktemp("out")
    return grade(folder, "--out", out, "--seed", "7"), out


def test_the_gradebook_has_a_row_a_student_and_a_column_an_exercise(graded: tuple[object, Path]) -> None:
    rows = grades(graded[1])
    assert set(rows) == set(NAMES)
    assert list(rows["ada"]) == ["student", *NUMBERS, "total"]
    assert [float(rows["ada"][number]) for number in NUMBERS] == [1.0] * len(NUMBERS)
    assert float(rows["ada"]["total"]) == len(NUMBERS)
    assert float(rows[EVIL]["3.4"]) == float(rows[EVIL]["total"]) == 1.0
    assert all(float(rows[name]["total"]) == 0.0 for name in ("charles", "dora", "erwin"))


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
    assert f"dora: {SECTION}.ipynb is no notebook" in " ".join(ran.stderr.split())
    assert "erwin: there is no notebook to grade." in " ".join(ran.stderr.split())
    assert "5 students: 5 answers judged" in ran.stdout


@pytest.mark.parametrize("first", ["a.ipynb", "z.ipynb"])
def test_of_two_notebooks_for_a_section_neither_hides_the_other(tmp_path: Path, first: str) -> None:
    mine = tmp_path / first
    mine.write_text(notebook_with({"3.1": solution("3.1"), "3.2": solution("3.2"), "3.3": "app = 1"}))
    other = tmp_path / "m.ipynb"
    other.write_text(notebook_with({"3.2": solution("3.2"), "3.3": "app = 2"}))
    offered, troubles = read(sorted([mine, other]))
    assert not troubles
    assert {number: one.source for number, one in offered.items() if not one.trouble} == {
        number: solution(number) for number in ("3.1", "3.2")
    }
    assert "2 notebooks that differ" in offered["3.3"].trouble
    assert "still the starter" in offered["3.4"].trouble


def test_everybody_gets_a_page_and_no_page_is_scripted(graded: tuple[object, Path]) -> None:
    pages = {path.name: path.read_text() for path in (graded[1] / "feedback").iterdir()}
    assert set(pages) == {f"{file_name(name)}.html" for name in NAMES}
    both = [*pages.values(), *(path.read_text() for path in graded[1].glob("*.html"))]
    assert all("<img" not in page and "<script" not in page for page in both)
    assert "is no notebook" in pages["dora.html"]
    assert "there is no notebook to grade" in pages["erwin.html"]
    assert "still the starter" in pages["charles.html"]


def test_what_is_unchanged_is_not_judged_again_but_for_the_asking(graded: tuple[object, Path], folder: Path) -> None:
    out, before = graded[1], grades(graded[1])
    assert "0 answers judged, 5 unchanged" in grade(folder, "--out", out).stdout
    assert grades(out) == before
    mine = ("--student", EVIL, "--only", "3.4")
    assert "1 answers judged, 0 unchanged" in grade(folder, "--out", out, *mine, "--again").stdout
    assert grades(out) == before


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--only", "99.1"], "There is no exercise 99.1"),
        (["--student", "nobody"], "Nobody by the name of nobody"),
        (["--due", "soon"], "--due soon is no date"),
        (["--seed-file", "/dev/null"], "less than 16 bytes"),
        (["--scheduler", "tcp://127.0.0.1:1"], "No scheduler answers at tcp://127.0.0.1:1"),
    ],
)
def test_what_cannot_be_done_is_one_sentence(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], said: str
) -> None:
    with pytest.raises(SystemExit) as end:
        main(["grade", str(folder), "--out", str(tmp_path / "out"), *arguments])
    assert end.value.code == 1
    assert said in " ".join(capsys.readouterr().err.split())


def test_a_store_that_is_none_is_one_sentence(folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "class.db").write_text("my own notes, which nobody may lose" * 99)
    with pytest.raises(SystemExit) as end:
        main(["grade", str(folder), "--out", str(tmp_path)])
    assert end.value.code == 1
    assert "is no store of ours" in " ".join(capsys.readouterr().err.split())
    assert (tmp_path / "class.db").read_text().startswith("my own notes")


def test_grading_worked_whatever_the_marks(tmp_path: Path) -> None:
    path = tmp_path / "ada.ipynb"
    path.write_text(notebook.built(SECTION))
    ran = grade(path, "--out", tmp_path / "out")
    assert ran.returncode == 0, ran.stderr
    assert (tmp_path / "out" / "grades.csv").read_text().splitlines()[1].startswith("ada,0")


@pytest.mark.parametrize("path", ["nothing-here", "empty"])
def test_nothing_to_grade_is_one_sentence(tmp_path: Path, capsys: pytest.CaptureFixture[str], path: str) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(SystemExit) as end:
        main(["grade", str(tmp_path / path), "--out", str(tmp_path / "out")])
    assert end.value.code == 1
    assert len(" ".join(capsys.readouterr().err.split()).split(". ")) <= 2


@pytest.mark.parametrize("room", [20_000, 120_000], ids=["at the start", "amid it"])
def test_a_full_disk_is_one_sentence(folder: Path, tmp_path: Path, room: int) -> None:
    disk = ["--bind", "/", "/", "--dev-bind", "/dev", "/dev", "--size", str(room), "--tmpfs", str(tmp_path)]
    command = [str(bwrap()), *disk, *GRADE, str(folder), "--out", str(tmp_path / "out"), "--trust-submissions"]
    ran = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=300)
    assert ran.returncode == 1
    assert "No space left on device" in ran.stderr
    assert "Traceback" not in ran.stderr


def test_a_secret_is_read_whole_and_may_not_be_short(tmp_path: Path) -> None:
    path = tmp_path / "secret"
    path.write_text("x" * 32 + "\n")
    assert read_secret(path) == b"x" * 32
    path.write_text("short")
    with pytest.raises(GradeError, match="less than 16 bytes"):
        read_secret(path)


@pytest.mark.parametrize("names", [("ada", "Ada"), ("a/b", "a_b"), ("..", "."), ("Ægir Ö", "Ægir_Ö"), ("", " ")])
def test_two_students_never_share_a_file(names: tuple[str, str]) -> None:
    one, other = map(file_name, names)
    assert one.casefold() != other.casefold()
    assert not {"/", "\\", "\0"} & set(one + other)
    assert one.strip(".")


def plan(path: Path, wish: Wish) -> _Plan:
    """What a run over a store would do."""
    with Store(path) as store:
        return _Plan(store, wish, Tally(), lambda: None)


def test_every_student_exercise_and_run_has_values_of_its_own_from_the_secret(tmp_path: Path) -> None:
    wish, path = Wish(secret=b"a secret of the teacher's"), tmp_path / "class.db"
    first, resumed = plan(path, wish), plan(path, wish)
    again, other = plan(path, replace(wish, again=True)), plan(path, replace(wish, secret=b"another secret"))
    drawn = [(student, number) for student in ("ada", "bob") for number in ("1.1", "1.2")]
    seeds = [first.seed(*one) for one in drawn]
    assert seeds == [resumed.seed(*one) for one in drawn], "a killed run goes on with the values it began with"
    assert len({*seeds, *(again.seed(*one) for one in drawn), *(other.seed(*one) for one in drawn)}) == 12


def test_a_score_for_nobody_loses_no_report(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "ada.ipynb").write_text(notebook.built(SECTION))
    (tmp_path / "marks.csv").write_text("student,exercise,score,reason\nadda,3.1,1,showed it in class\n")
    rules = ["--overrides", str(tmp_path / "marks.csv")]
    with pytest.raises(SystemExit) as end:
        main(["grade", str(tmp_path / "ada.ipynb"), "--out", str(tmp_path / "out"), *rules])
    assert end.value.code == 1
    assert "by hand for adda, who has handed in nothing" in " ".join(capsys.readouterr().err.split())
    assert float(grades(tmp_path / "out")["ada"]["total"]) == 0.0
    (tmp_path / "marks.csv").write_text("student,exercise,score,reason\nada,3.1,1,showed it in class\n")
    with pytest.raises(SystemExit) as end:
        main(["report", str(tmp_path / "out"), *rules])
    assert not end.value.code
    assert float(grades(tmp_path / "out")["ada"]["total"]) == 1.0
