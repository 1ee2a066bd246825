"""A class of generated submissions, side by side in one run: python -m tests.bench.classes [STUDENTS]

Memory and time of a long class, two workers against one, what queue, store and report cost beside the checks, what a
kill costs, and nbgrader on the same notebooks with the same checks, where it is installed (see `NBGRADER`).
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


def against_nbgrader(top: Path, students: int = 8) -> None:
    """Whole notebooks, the same checks, two cores each: our two workers, two processes of nbgrader."""
    folder = class_of(top / "whole", students, WHOLE, *exercises(WHOLE))
    began = time.perf_counter()
    grade([folder], top / "whole-out", Wish(workers=2), Console(quiet=True))
    ours = (time.perf_counter() - began) / students
    with Store(top / "whole-out" / "class.db") as store:
        judging = sum(verdict.seconds for one in store.students() for verdict in store.verdicts(one.name).values())
    print(f"whole notebooks: {ours:.2f} s each; {judging / 2 / students:.2f} of it in the checks")
    if NBGRADER is None:
        print("nbgrader is not here: run tests/classroom/test_release.py once, which installs it")
        return
    env = os.environ | {"PYTHONPATH": f"{ROOT}{os.pathsep}{NBGRADER}"}
    env["PATH"] = f"{NBGRADER}/bin{os.pathsep}{env['PATH']}"  # where it looks for alembic
    courses = []
    for half in (0, 1):
        course = top / f"course-{half}"
        release(course, "nbgrader", [WHOLE[:2]])
        nbgrader(course, env, "generate_assignment", WHOLE)
        for path in sorted(folder.iterdir())[half::2]:
            target = course / "submitted" / path.name / WHOLE
            target.mkdir(parents=True)
            shutil.copy(path / f"{WHOLE}.ipynb", target)
        courses.append(course)
    began = time.perf_counter()
    both = [subprocess.Popen(command("autograde", WHOLE), cwd=course, env=env) for course in courses]
    codes = [one.wait() for one in both]
    theirs = (time.perf_counter() - began) / students
    print(f"nbgrader autograde, exit codes {codes}: {theirs:.2f} s each; ours / theirs {ours / theirs:.2f} (≤ 0.125)")


def command(*words: str) -> list[str]:
    """An nbgrader command."""
    return [sys.executable, "-m", "nbgrader", *words]


def nbgrader(course: Path, env: dict[str, str], *words: str) -> None:
    """Run one to its end."""
    subprocess.run(command(*words), cwd=course, env=env, check=True)


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as place:
        long_class(Path(place))
        workers(Path(place))
        against_nbgrader(Path(place))
