"""Real nbgrader runs its release, from generate_assignment to export, and gives the marks that we give."""

import csv
import hashlib
import json
import os
import subprocess
import sys
import tempfile
from html import unescape
from pathlib import Path

import nbformat
import pytest

from lab_app.classroom.for_nbgrader import POINTS, assignment
from lab_app.classroom.grade import verdicts
from lab_app.harness.checker import Checker
from lab_app.workbook.source import ROOT, exercises, sections, wrong_answers
from lab_app.workbook.submission import read_submission
from tests.classroom.classes import answered
from tests.classroom.released import HALF, RIGHT, SECTION, answers, environment, release

SECRET = next(wrong.caught_by[0] for wrong in wrong_answers(SECTION) if wrong.exercise == HALF)
PINS = Path(__file__).with_name("nbgrader.txt")


@pytest.fixture(scope="session")
def nbgrader() -> Path:
    """nbgrader in a folder of its own, installed once for each state of its pins."""
    folder = ROOT / ".venv" / "nbgrader-extra" / hashlib.sha256(PINS.read_bytes()).hexdigest()[:12]
    if not folder.exists():
        folder.parent.mkdir(exist_ok=True)
        with tempfile.TemporaryDirectory(dir=folder.parent) as draft:
            pip = [sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-deps"]
            target = ["--require-hashes", "--target", f"{draft}/site", "-r", str(PINS)]
            ran = subprocess.run([*pip, *target], capture_output=True, text=True)
            assert ran.returncode == 0, f"nbgrader is not installed, and cannot be:\n{ran.stderr}"
            (Path(draft) / "site").rename(folder)
    return folder


class Course:
    """A course folder in which a teacher calls nbgrader."""

    def __init__(self, folder: Path, program: Path) -> None:
        self.folder = folder
        # `nbgrader` finds alembic on the PATH, and its own packages where Python looks.
        path = os.pathsep.join([str(program / "bin"), str(Path(sys.executable).parent), os.environ["PATH"]])
        self.env = environment(ROOT, PATH=path, LAB_HOME=str(folder))
        self.env["PYTHONPATH"] += os.pathsep + str(program)

    def run(self, *arguments: str) -> None:
        command = [sys.executable, "-m", "nbgrader", *arguments]
        ran = subprocess.run(command, cwd=self.folder, env=self.env, capture_output=True, text=True, timeout=400)
        assert ran.returncode == 0, ran.stderr
        assert "ERROR" not in ran.stderr  # nbgrader goes on even when its configuration fails

    def hand_in(self, student: str, cells: dict[str, str]) -> Path:
        """What a student got, with answers; as students do, everything else is thrown away."""
        got = self.folder / "release" / SECTION / f"{SECTION}.ipynb"
        notebook = answered(json.loads(got.read_text()), cells)
        notebook["cells"] = [cell for n, cell in enumerate(notebook["cells"]) if n < 3 or cell["metadata"]]
        path = self.folder / "submitted" / student / SECTION / got.name
        path.parent.mkdir(parents=True)
        path.write_text(json.dumps(notebook))
        return path


@pytest.fixture(scope="module")
def course(nbgrader: Path, tmp_path_factory: pytest.TempPathFactory) -> Course:
    """An assignment that two students have handed in, graded."""
    out = tmp_path_factory.mktemp("nbgrader") / "course"
    ran = release(out, "--for", "nbgrader", "--section", SECTION[:2], "--hold-back", SECRET)
    assert ran.returncode == 0, ran.stderr
    course = Course(out, nbgrader)
    course.run("generate_assignment", SECTION, "--create")
    course.hand_in("ada", answers())
    course.hand_in("bob", {HALF: "this is no Python"})
    course.run("autograde", SECTION, "--create")
    course.run("generate_feedback", SECTION)
    course.run("export")
    return course


@pytest.mark.parametrize("section", sections())
def test_every_exercise_has_one_graded_cell(section: str) -> None:
    notebook = assignment(section)
    nbformat.validate(nbformat.from_dict(notebook))  # type: ignore[no-untyped-call]
    about = [cell["metadata"].get("nbgrader", {}) for cell in notebook["cells"]]
    graded = [one["grade_id"] for one in about if one.get("grade")]
    assert graded == [f"points-{number.replace('.', '-')}" for number in exercises(section)]


def test_students_get_the_starters_and_no_solution(course: Course) -> None:
    got = json.loads((course.folder / "release" / SECTION / f"{SECTION}.ipynb").read_text())
    cells = {cell["metadata"].get("lab", {}).get("exercise"): "".join(cell["source"]) for cell in got["cells"]}
    for number, exercise in exercises(SECTION).items():
        assert cells[number] == exercise.starter
    assert "SOLUTION" not in json.dumps(got)
    assert not (course.folder / "workbook" / "solutions").exists()


def test_marks_are_those_of_the_gradebook(course: Course) -> None:
    with (course.folder / "grades.csv").open() as file:
        marks = {row["student_id"]: row for row in csv.DictReader(file)}
    ours = {}
    with Checker() as checker:
        for student in marks:
            path = course.folder / "submitted" / student / SECTION / f"{SECTION}.ipynb"
            ours[student] = {one.exercise: one.score for one in verdicts(checker, read_submission(path))}
    assert set(marks) == {"ada", "bob"}
    assert ours["ada"][RIGHT] == 1
    assert 0 < ours["ada"][HALF] < 1
    for student, row in marks.items():
        assert float(row["score"]) == pytest.approx(POINTS * sum(ours[student].values()))
        assert float(row["max_score"]) == POINTS * len(exercises(SECTION))


def test_feedback_shows_the_verdicts_and_of_a_held_back_check_its_title(course: Course) -> None:
    page = (course.folder / "feedback" / "ada" / SECTION / f"{SECTION}.html").read_text()
    assert "still the starter" in page
    with Checker() as checker:
        (held,) = (one for one in checker.check(HALF, answers()[HALF]).failed() if one.name == SECRET)
    assert held.title in page
    assert "Only the title of this check is shown." in page
    assert held.why not in unescape(page)
    assert held.evidence[0].request not in unescape(page)
