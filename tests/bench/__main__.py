"""Our numbers, side by side in one run: python -m tests.bench [RUNS]

Each line is a ratio of medians, its two sides measured in turn (A B A B …), so that a machine that slows down slows
both. Nothing here judges; the targets are printed next to what was measured.
"""

import json
import os
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient

from lab_app.classroom.grade import verdicts
from lab_app.harness import checker, judge
from lab_app.runner.limits import Limits
from lab_app.runner.sandbox import Sandbox
from lab_app.workbook import notebook
from lab_app.workbook.source import NOTEBOOKS, ROOT, check_module, exercises, sections
from lab_app.workbook.submission import read_submission

SECTION = "01_authentication"
CHEAP = {
    "time_cost=2, memory_cost=19_456": "time_cost=1, memory_cost=8",
    "rounds=2, memory_cost=19456": "rounds=1, memory_cost=8",
}
RUNS = int(sys.argv[1]) if len(sys.argv) > 1 else 5


def timed(work: Callable[[], object]) -> float:
    """Seconds of wall time."""
    began = time.perf_counter()
    work()
    return time.perf_counter() - began


def compare(what: str, target: str, ours: Callable[[], object], theirs: Callable[[], object]) -> None:
    """Print the medians of both sides and their ratio, after one warm-up of each."""
    ours(), theirs()
    pairs = [(timed(ours), timed(theirs)) for _ in range(RUNS)]
    mine, other = (statistics.median(side) for side in zip(*pairs, strict=True))
    print(f"{what}: {mine:.3f} s against {other:.3f} s, ratio {mine / other:.2f} (target {target})", flush=True)


def verdict_against_pytest() -> None:
    """An exercise's verdict in a running notebook against `python -m pytest` on the same checks."""
    for number, exercise in exercises(SECTION).items():
        command = [sys.executable, "-m", "pytest", "-q", str(check_module(number))]
        with checker.Checker() as warm:
            compare(
                f"verdict {number} / pytest in a fresh process",
                "≤ 0.33",
                lambda warm=warm, number=number, cell=exercise.solution: warm.check(number, cell),
                lambda command=command: subprocess.run(command, cwd=ROOT, capture_output=True, check=True),
            )


def machinery() -> None:
    """What an exercise costs beyond its checks' own calls and its own hashes: start, stop, collection, reporting."""

    calls = 0.0

    class Timed(judge.Loop):
        @pytest.hookimpl
        def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
            nonlocal calls
            calls += report.duration if report.when == "call" else 0.0

    def asked() -> Iterator[judge.Question]:
        nonlocal calls
        for number, exercise in exercises(SECTION).items():
            for _ in range(RUNS + 1):
                calls, began = 0.0, time.perf_counter()
                yield judge.Question(number, unhashed(exercise.solution), seed=1)
                spent.setdefault(number, []).append(1000 * (time.perf_counter() - began - calls))

    spent: dict[str, list[float]] = {}
    loop, judge.Loop = judge.Loop, Timed  # type: ignore[misc]
    with Sandbox(Limits(), jailed=False) as sandbox:
        judge.judge(sandbox, asked(), lambda _: None)
    judge.Loop = loop  # type: ignore[misc]
    for number, each in spent.items():
        print(f"machinery {number}: {statistics.median(each[1:]):.0f} ms (target < 100)", flush=True)


def sections_against_the_first() -> None:
    """All checks of each notebook against its solutions, beside those of notebook 1 with next to nothing to hash."""
    spent: dict[str, list[float]] = {}
    with checker.Checker() as warm:
        for _ in range(RUNS + 1):
            for section in sections():
                cells = {number: unhashed(exercise.solution) for number, exercise in exercises(section).items()}
                took = timed(lambda cells=cells: [warm.check(number, cell) for number, cell in cells.items()])
                spent.setdefault(section, []).append(took)
    first, *others = ((section, statistics.median(each[1:])) for section, each in spent.items())
    for section, seconds in others:
        print(f"checks of {section} / {first[0]}: {seconds:.2f} s against {first[1]:.2f} s, ", end="")
        print(f"ratio {seconds / first[1]:.2f} (target ≤ 2)", flush=True)


def unhashed(cell: str) -> str:
    """A solution whose hashes cost as little as they can, so that what is measured is not hashing."""
    for dear, cheap in CHEAP.items():
        cell = cell.replace(dear, cheap)
    return cell


def grading_against_nbclient() -> None:
    """Grading notebook 1 in the jail against executing it, its check cells included."""
    text = notebook.built(SECTION, solved=True)

    def execute() -> None:
        resources = {"metadata": {"path": str(NOTEBOOKS)}}
        NotebookClient(nbformat.reads(text, as_version=4), timeout=300, resources=resources).execute()

    with tempfile.TemporaryDirectory() as folder, checker.Checker(jailed=True) as jailed:
        path = Path(folder, f"{SECTION}.ipynb")
        path.write_text(text)
        compare("jailed grading / nbclient", "≤ 0.33", lambda: list(verdicts(jailed, read_submission(path))), execute)


def start_against_jupyter() -> None:
    """`start` on a warm .venv against plain `jupyter lab`, until the notebook's page answers."""
    root = ["--allow-root"] if os.geteuid() == 0 else []
    plain = [sys.executable, "-m", "jupyter", "lab", *root, f"notebooks/{SECTION}.ipynb"]

    def until_usable(command: list[str]) -> Callable[[], None]:
        def run() -> None:
            with lab(command):
                pass

        return run

    compare("start / jupyter lab", "≤ 1.5", until_usable(["python3", "-m", "lab_app", "start"]), until_usable(plain))


@contextmanager
def lab(command: list[str]) -> Iterator[None]:
    """A JupyterLab that has answered once."""
    import httpx

    with tempfile.TemporaryDirectory() as runtime:
        env = os.environ | {"JUPYTER_RUNTIME_DIR": runtime, "BROWSER": "true"}
        quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
        process = subprocess.Popen(command, cwd=ROOT, env=env, start_new_session=True, **quiet)  # type: ignore[call-overload]
        try:
            while not (servers := list(Path(runtime).glob("jpserver-*.json"))):
                time.sleep(0.02)
            server = json.loads(servers[0].read_text())
            page = f"{server['url']}lab/tree/notebooks/{SECTION}.ipynb?token={server['token']}"
            while httpx.get(page, follow_redirects=True, timeout=30).status_code != 200:
                time.sleep(0.02)
            yield
        finally:
            os.killpg(process.pid, signal.SIGTERM)
            process.wait()


if __name__ == "__main__":
    verdict_against_pytest()
    machinery()
    sections_against_the_first()
    grading_against_nbclient()
    start_against_jupyter()
