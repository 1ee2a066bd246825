"""A class of generated submissions, side by side in one run: python -m tests.bench.classes [STUDENTS]

Memory and time of a long class, two workers against one, what queue, store and report cost beside the checks; and
nbgrader and otter on the same notebooks with the same checks, where they are (`NBGRADER`, `OTTER`).
"""

import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import psutil
from rich.console import Console

from lab_app.classroom import grade as grading
from lab_app.classroom.grade import Wish, grade
from lab_app.classroom.policy import Policy
from lab_app.classroom.release import release
from lab_app.classroom.report import report
from lab_app.classroom.store import Store
from lab_app.workbook import notebook
from lab_app.workbook.source import ROOT, exercises

QUICK = "9.4"  # the exercise whose checks take least, so that what is ours shows most
WHOLE = "03_cors"
STUDENTS = int(sys.argv[1]) if len(sys.argv) > 1 else 200
NBGRADER = next(iter(sorted((ROOT / ".venv").glob("nbgrader-extra/*"))), None)  # where the tests have put it
OTTER = ROOT / ".venv" / "otter-extra"
OTTER_TEST = '''OK_FORMAT = True
CODE = r""">>> from lab_app.classroom.nbgrader import points
>>> points("{section}.ipynb", "{number}", 10)
10.0
"""
CASE = {{"code": CODE, "hidden": False, "locked": False}}
SUITE = {{"type": "doctest", "scored": True, "setup": "", "teardown": "", "cases": [CASE]}}
test = {{"name": "{number}", "points": 10, "suites": [SUITE]}}
'''


def class_of(folder: Path, students: int, section: str, *numbers: str) -> Path:
    """Notebooks with the solutions of some exercises, each with a comment of its own, so that no two are the same."""
    text = json.loads(notebook.built(section))
    for student in range(students):
        for cell in text["cells"]:
            number = cell["metadata"].get("lab", {}).get("exercise")
            if number in numbers:
                cell["source"] = f"{exercises(section)[number].solution}\n# {student}\n"
        path = folder / f"student-{student:05}" / f"{section}.ipynb"
        path.parent.mkdir(parents=True)
        path.write_text(json.dumps(text))
    return folder


@contextmanager
def measured() -> Iterator[list[tuple[float, float]]]:
    """Seconds and MiB of this process each time that a student has been kept."""
    seen: list[tuple[float, float]] = []
    keep, began, process = grading._Plan.keep, time.perf_counter(), psutil.Process()

    def kept(self: grading._Plan, *arguments: object) -> Iterator[str]:
        seen.append((time.perf_counter() - began, process.memory_info().rss / (1 << 20)))
        return keep(self, *arguments)  # type: ignore[arg-type]

    grading._Plan.keep = kept  # type: ignore[method-assign,assignment]
    yield seen
    grading._Plan.keep = keep  # type: ignore[method-assign]


def run(folder: Path, out: Path, workers: int) -> list[tuple[float, float]]:
    """Grade a class; what was measured."""
    with measured() as seen:
        grade([folder], out, Wish(workers=workers), Console(quiet=True))
    return seen


def rate(seen: list[tuple[float, float]]) -> float:
    """Students a second, once all workers are warm."""
    warm = len(seen) // 10
    return (len(seen) - 1 - warm) / (seen[-1][0] - seen[warm][0])


def long_class(top: Path) -> None:
    """Memory stays flat, and the last students take as long as the first."""
    seen = run(class_of(top / "long", STUDENTS, "09_dependencies", QUICK), top / "long-out", 2)
    tenth = max(2, len(seen) // 10)
    memory = [statistics.median(mib for _, mib in part) for part in (seen[:tenth], seen[-tenth:])]
    pace = [part[-1][0] - part[0][0] for part in (seen[tenth : 2 * tenth], seen[-tenth:])]
    print(f"{STUDENTS} students, two workers: {seen[-1][0]:.0f} s, {rate(seen):.2f} a second")
    print(f"  memory of the grader: {memory[0]:.0f} → {memory[1]:.0f} MiB, ratio {memory[1] / memory[0]:.2f} (≤ 1.10)")
    print(f"  time of the last tenth / of the second: {pace[1] / pace[0]:.2f} (1.0)", flush=True)
    began = time.perf_counter()
    with Store(top / "long-out" / "class.db") as store:
        report(store, top / "long-out", Policy())
        judging = sum(verdict.seconds for one in store.students() for verdict in store.verdicts(one.name).values())
    reporting = time.perf_counter() - began
    size = (top / "long-out" / "class.db").stat().st_size / STUDENTS / 1024
    print(f"  report: {1000 * reporting / STUDENTS:.1f} ms a student; store: {size:.1f} KiB a student")
    print(
        f"  all of it / the checks' own time on two workers: {(seen[-1][0] + reporting) / (judging / 2):.2f}",
        flush=True,
    )


def workers(top: Path) -> None:
    """Two workers against one."""
    folder = class_of(top / "pair", max(20, STUDENTS // 5), "09_dependencies", QUICK)
    one, two = (rate(run(folder, top / f"pair-{n}", n)) for n in (1, 2))
    print(f"two workers / one: {two / one:.2f} (≥ 1.8)", flush=True)


def whole_notebooks(top: Path, students: int = 8) -> None:
    """The same notebooks and checks on two cores: our two workers, and two processes of each other grader."""
    folder = class_of(top / "whole", students, WHOLE, *exercises(WHOLE))
    began = time.perf_counter()
    grade([folder], top / "whole-out", Wish(workers=2), Console(quiet=True))
    ours = (time.perf_counter() - began) / students
    with Store(top / "whole-out" / "class.db") as store:
        judging = sum(verdict.seconds for one in store.students() for verdict in store.verdicts(one.name).values())
    print(f"whole notebooks: {ours:.2f} s each; {judging / 2 / students:.2f} of it in the checks")
    against_nbgrader(top, folder, ours)
    against_otter(top, folder, ours)


def against_nbgrader(top: Path, folder: Path, ours: float) -> None:
    """Its autograde executes each notebook and its graded cells."""
    if NBGRADER is None:
        print("nbgrader is not here: run tests/classroom/test_nbgrader.py once, which installs it")
        return
    env = with_extra(NBGRADER)
    courses = []
    for half in (0, 1):
        course = top / f"course-{half}"
        release(course, "nbgrader", [WHOLE[:2]])
        subprocess.run(nbgrader("generate_assignment", WHOLE), cwd=course, env=env, check=True)
        for path in halves(folder)[half]:
            target = course / "submitted" / path.name / WHOLE
            target.mkdir(parents=True)
            shutil.copy(path / f"{WHOLE}.ipynb", target)
        courses.append(course)
    began = time.perf_counter()
    both = [subprocess.Popen(nbgrader("autograde", WHOLE), cwd=course, env=env) for course in courses]
    say("nbgrader autograde", began, [one.wait() for one in both], folder, ours, "≤ 0.125")


def against_otter(top: Path, folder: Path, ours: float) -> None:
    """Its run executes each notebook, then its tests, each of which asks for the same points."""
    if not OTTER.exists():
        print(f"otter is not here: pip install --target {OTTER} otter-grader")
        return
    env, tests, autograder = with_extra(OTTER), top / "otter-tests", top / "autograder.zip"
    tests.mkdir()
    for number in exercises(WHOLE):
        (tests / f"q{number.replace('.', '_')}.py").write_text(OTTER_TEST.format(section=WHOLE, number=number))
    none = ("--no-config", "--no-requirements", "--no-environment")
    subprocess.run(otter("generate", "-t", tests, "-o", autograder, *none), env=env, check=True)

    def one_after_another(half: list[Path]) -> list[int]:
        return [scored(path, autograder, env) for path in half]

    began = time.perf_counter()
    with ThreadPoolExecutor() as two:
        codes = [code for part in two.map(one_after_another, halves(folder)) for code in part]
    say("otter run", began, codes, folder, ours, "≤ 0.067")


def scored(path: Path, autograder: Path, env: dict[str, str]) -> int:
    """Otter's exit code for a student's folder, or -1 when it gave less than all points."""
    command = otter("run", "-a", autograder, "-o", path, "--no-logo", path / f"{WHOLE}.ipynb")
    code = subprocess.run(command, env=env, capture_output=True, check=False).returncode
    tests = json.loads((path / "results.json").read_text())["tests"][1:]
    return code if all(test["score"] == test["max_score"] for test in tests) else -1


def halves(folder: Path) -> tuple[list[Path], list[Path]]:
    """A class for two processes."""
    everybody = sorted(folder.iterdir())
    return everybody[::2], everybody[1::2]


def say(what: str, began: float, codes: list[int], folder: Path, ours: float, target: str) -> None:
    """Print another grader's seconds a student beside ours."""
    theirs = (time.perf_counter() - began) / len(list(folder.iterdir()))
    print(f"{what}, exit codes {codes}: {theirs:.2f} s each; ours / theirs {ours / theirs:.3f} ({target})", flush=True)


def with_extra(packages: Path) -> dict[str, str]:
    """The environment in which a grader is found that is no part of requirements.txt."""
    path = f"{packages}/bin{os.pathsep}{os.environ['PATH']}"  # where nbgrader looks for alembic
    return os.environ | {"PYTHONPATH": f"{ROOT}{os.pathsep}{packages}", "PATH": path}


def nbgrader(*words: str) -> list[str]:
    """An nbgrader command."""
    return [sys.executable, "-m", "nbgrader", *words]


def otter(*words: object) -> list[str]:
    """An otter command."""
    return [sys.executable, "-m", "otter", *map(str, words)]


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as place:
        long_class(Path(place))
        workers(Path(place))
        whole_notebooks(Path(place))
