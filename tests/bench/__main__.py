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
from lab_app.harness import checker
from lab_app.runner.limits import Limits
from lab_app.runner.sandbox import Sandbox
from lab_app.workbook import notebook
from lab_app.workbook.source import NOTEBOOKS, ROOT, check_module, exercises

SECTION = "01_authentication"
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
    """What an exercise costs beyond its checks' own calls: start, stop, collection, reporting."""

    class Timed(checker.Bring):
        calls = 0.0

        @pytest.hookimpl
        def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
            Timed.calls += report.duration if report.when == "call" else 0.0

    bring, checker.Bring = checker.Bring, Timed  # type: ignore[misc]
    with Sandbox(Limits(), jailed=False) as sandbox:
        for number, exercise in exercises(SECTION).items():
            spent = []
            for _ in range(RUNS + 1):
                Timed.calls = 0.0
                seconds = timed(lambda n=number, cell=exercise.solution: checker.judge(sandbox, n, cell, None))
                spent.append(1000 * (seconds - Timed.calls))
            print(f"machinery {number}: {statistics.median(spent[1:]):.0f} ms (target < 100)", flush=True)
    checker.Bring = bring  # type: ignore[misc]


def grading_against_nbclient() -> None:
    """Grading notebook 1 in the jail against executing it, its check cells included."""
    text = notebook.built(SECTION, solved=True)

    def execute() -> None:
        resources = {"metadata": {"path": str(NOTEBOOKS)}}
        NotebookClient(nbformat.reads(text, as_version=4), timeout=300, resources=resources).execute()

    with tempfile.TemporaryDirectory() as folder, checker.Checker(jailed=True) as jailed:
        path = Path(folder, f"{SECTION}.ipynb")
        path.write_text(text)
        compare("jailed grading / nbclient", "≤ 0.33", lambda: list(verdicts(jailed, path)), execute)


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
    grading_against_nbclient()
    start_against_jupyter()
