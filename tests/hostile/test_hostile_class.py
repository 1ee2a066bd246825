"""A class in which most mean ill: no point that is not earned, no neighbour harmed, nothing left, nothing scripted."""

import json
import os
import tempfile
import zipfile
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import psutil
import pytest
from rich.console import Console

from lab_app.classroom.grade import Tally, Wish, grade
from lab_app.classroom.policy import Policy
from lab_app.classroom.report import report
from lab_app.classroom.store import Store
from lab_app.harness.verdict import Verdict
from lab_app.runner.limits import Limits
from lab_app.workbook.source import all_exercises
from tests.classroom.classes import hand_in, notebook_with

SECTION, NUMBER = "01_authentication", "1.1"
CELLS = sorted(Path(__file__).with_name("cells").glob("*.py*"))
LIMITS = Limits(start_seconds=4, slack_seconds=8, answer_seconds=2, exercise_seconds=12, jail_memory=400 << 20)
MARK = "lab-hostile-cell"
GOOD = all_exercises()[NUMBER].solution
HONEST = [f"{letter}-honest" for letter in "ahjlnz"]  # some before, between and after the others
BLANKS = {"@NESTED@": "(" * 200_000, "@SURROGATE@": "\udc80\0"}


def with_cell(source: str) -> str:
    """The learner's notebook, with this for an answer to 1.1."""
    return notebook_with({NUMBER: source}, SECTION)


# What is wrong with a hand-in as a whole: a folder in which to put it.
def a_pipe(mine: Path) -> None:
    os.mkfifo(mine / f"{SECTION}.ipynb")


def a_link_to_a_neighbour(mine: Path) -> None:
    (mine / f"{SECTION}.ipynb").symlink_to(mine.parent / HONEST[0] / f"{SECTION}.ipynb")


def a_link_to_the_system(mine: Path) -> None:
    (mine / f"{SECTION}.ipynb").symlink_to("/etc/passwd")


def a_huge_notebook(mine: Path) -> None:
    with (mine / f"{SECTION}.ipynb").open("wb") as file:
        file.truncate(1 << 40)


def a_binary(mine: Path) -> None:
    (mine / f"{SECTION}.ipynb").write_bytes(bytes(range(256)) * 99)


def json_too_deep(mine: Path) -> None:
    (mine / f"{SECTION}.ipynb").write_text("[" * 1_000_000)


def numbers_that_are_none(mine: Path) -> None:
    (mine / f"{SECTION}.ipynb").write_text('{"nbformat": NaN, "cells": [Infinity, -1e999]}')


def cells_of_other_types(mine: Path) -> None:
    cells = [{"cell_type": "code", "id": "exercise-1-1", "source": source} for source in ({}, 7, [1, None], [[]])]
    (mine / f"{SECTION}.ipynb").write_text(json.dumps({"nbformat": 4, "cells": cells}))


def two_answers(mine: Path) -> None:
    text = json.loads(with_cell(GOOD))
    text["cells"].append({"cell_type": "code", "metadata": {}, "source": f"# Exercise {NUMBER} — twice\napp = None"})
    (mine / f"{SECTION}.ipynb").write_text(json.dumps(text))


def a_zip_that_climbs_out(mine: Path) -> None:
    with zipfile.ZipFile(mine / "work.zip", "w") as archive:
        for name in (f"../../../{MARK}.ipynb", f"/tmp/{MARK}.ipynb", f"..\\..\\{MARK}.ipynb"):
            archive.writestr(name, with_cell(GOOD))


def a_zip_bomb(mine: Path) -> None:
    with (
        zipfile.ZipFile(mine / "work.zip", "w", zipfile.ZIP_DEFLATED) as archive,
        archive.open(f"{SECTION}.ipynb", "w", force_zip64=True) as file,
    ):
        for _ in range(400):
            file.write(b" " * (1 << 20))


HAND_INS: list[Callable[[Path], None]] = [
    a_pipe,
    a_link_to_a_neighbour,
    a_link_to_the_system,
    a_huge_notebook,
    a_binary,
    json_too_deep,
    numbers_that_are_none,
    cells_of_other_types,
    two_answers,
    a_zip_that_climbs_out,
    a_zip_bomb,
]
NAMES = ['"><script>alert(1)</script>', "=HYPERLINK(1)", "-+@{{7*7}}", "new\nline", "\x1b[2J\u202eada", "n" * 120]


@dataclass(frozen=True)
class Class:
    """What came of it: verdicts of 1.1 by student, the tally, and the folder with the report."""

    verdicts: dict[str, Verdict]
    tally: Tally
    out: Path
    left: list[psutil.Process]
    strewn: set[str]


@pytest.fixture(scope="module")
def graded(tmp_path_factory: pytest.TempPathFactory) -> Class:
    """The whole class, honest people between the others, graded once by two workers."""
    folder, out = tmp_path_factory.mktemp("class"), tmp_path_factory.mktemp("out")
    before, others = listing(), set(psutil.Process().children())  # a browser of other tests may run all along
    for student in HONEST:
        hand_in(folder, student, with_cell(GOOD), SECTION)
    for cell in CELLS:
        source = cell.read_text().replace("@OUT@", str(out))
        for blank, text in BLANKS.items():
            source = source.replace(blank, text)
        hand_in(folder, f"{'gim'[len(cell.stem) % 3]}-{cell.name.split('.')[0]}", with_cell(source), SECTION)
    for name in NAMES:
        hand_in(folder, name, with_cell("app = None"), SECTION)
    for wrong in HAND_INS:
        (folder / wrong.__name__).mkdir()
        wrong(folder / wrong.__name__)
    tally = grade([folder], out, Wish(limits=LIMITS, workers=2), Console(quiet=True))
    with Store(out / "class.db") as store:
        verdicts = {student.name: store.verdicts(student.name).get(NUMBER) for student in store.students()}
        report(store, out, Policy())
    return Class({n: v for n, v in verdicts.items() if v}, tally, out, running_but(others), listing() - before)


def running_but(others: set[psutil.Process]) -> list[psutil.Process]:
    """What lives below this process, but not below the others of its children."""
    mine = [child for child in psutil.Process().children() if child not in others]
    return [one for child in mine for one in (child, *child.children(recursive=True)) if stays(one)]


def stays(process: psutil.Process) -> bool:
    """Whether a process lives on. Python's own tracker of what processes share may."""
    with suppress(psutil.NoSuchProcess):
        return process.status() != psutil.STATUS_ZOMBIE and "resource_tracker" not in " ".join(process.cmdline())
    return False


def marked() -> list[str]:
    """Processes whose command line or environment carries our mark, as the host sees them."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            text = (process / "cmdline").read_bytes() + (process / "environ").read_bytes()
            found += [process.name] * (MARK.encode() in text)
    return found


def listing() -> set[str]:
    """What bears our mark in the folders of this system that anybody may write to."""
    folders = map(Path, (tempfile.gettempdir(), "/dev/shm", "/var/tmp"))
    return {str(path) for folder in folders for path in folder.iterdir() if MARK in path.name}


def expected(cell: Path) -> tuple[set[str], float]:
    """The outcomes and the most points that a cell's second line allows: `# outcome or outcome, at most 0.3`."""
    outcomes, most = cell.read_text().splitlines()[1].removeprefix("# ").split(", at most ")
    return set(outcomes.split(" or ")), float(most)


@pytest.mark.parametrize("cell", CELLS, ids=lambda cell: cell.name.split(".")[0])
def test_a_hostile_answer_gains_nothing(graded: Class, cell: Path) -> None:
    name = cell.name.split(".")[0]
    (verdict,) = (verdict for student, verdict in graded.verdicts.items() if student[2:] == name)
    outcomes, most = expected(cell)
    assert verdict.outcome in outcomes, (verdict.outcome, verdict.trouble, verdict.score)
    assert verdict.score <= most
    assert verdict.outcome not in ("does not start", "too slow") or verdict.trouble or verdict.failed()
    assert not any("made the check itself fail" in result.found for result in verdict.results)
    assert "found [" not in verdict.trouble


def test_every_honest_neighbour_has_full_marks(graded: Class) -> None:
    assert {name: graded.verdicts[name].score for name in HONEST} == dict.fromkeys(HONEST, 1.0)


@pytest.mark.parametrize("wrong", HAND_INS, ids=lambda wrong: wrong.__name__)
def test_a_hostile_hand_in_gains_nothing_and_is_named(graded: Class, wrong: Callable[[Path], None]) -> None:
    verdict = graded.verdicts.get(wrong.__name__)
    assert verdict is None or (verdict.outcome, verdict.score) == ("not attempted", 0.0)
    told = any(trouble.startswith(f"{wrong.__name__}: ") for trouble in graded.tally.troubles)
    assert told or (verdict and verdict.trouble), graded.tally.troubles


def test_a_hostile_name_gains_nothing_and_breaks_no_page(graded: Class) -> None:
    pages = [*graded.out.glob("*.html"), *(graded.out / "feedback").iterdir()]
    assert len(pages) >= len(CELLS) + len(NAMES) + len(HONEST)
    for page in pages:
        text = page.read_text()
        assert "<script" not in text, page
        assert "<img" not in text, page
        assert "\x1b" not in text, page
        assert "\u202e" not in text, page
    rows = (graded.out / "grades.csv").read_text()
    assert "\x1b" not in rows
    assert not any(line.startswith(("=", "-", "+", "@")) for line in rows.splitlines())


def test_nothing_is_left(graded: Class) -> None:
    assert graded.left == []
    assert marked() == []
    assert graded.strewn == set()
    known = {"class.db", "class.html", "feedback", "grades.csv", "canvas.csv", "moodle.csv", "junit", "verdicts.jsonl"}
    assert {path.name for path in graded.out.iterdir()} - known == {"students-1.html"}


def test_the_table(graded: Class, capsys: pytest.CaptureFixture[str]) -> None:
    rows = [(name, verdict.outcome, verdict.score) for name, verdict in sorted(graded.verdicts.items())]
    with capsys.disabled():
        print()
        for name, outcome, score in rows:
            print(f"{name[:40]!r:44} {outcome:16} {score:.2f}")
    assert len(rows) >= 40
