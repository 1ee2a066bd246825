"""A grading run that is killed goes on where it stopped, whoever was killed."""

import os
import re
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil
import pytest

from lab_app.runner.patience import Patience
from lab_app.workbook.source import ROOT
from tests.classroom.classes import GRADE, grade, grades, hand_in, notebook_with, solution

STUDENTS = [f"student-{number}" for number in range(6)]
SECONDS = 120


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Six students with one right answer each, no two alike, of which most take a second to start."""
    folder = tmp_path_factory.mktemp("class")
    for number, student in enumerate(STUDENTS):
        wait = f"import time\ntime.sleep({1 if number else 0})\n"
        hand_in(folder, student, notebook_with({"3.4": f"{solution('3.4')}\n{wait}"}))
    return folder


@pytest.fixture(scope="module")
def marks(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, str]]:
    """Their grades when nobody is killed."""
    out = tmp_path_factory.mktemp("whole")
    ran = grade(folder, "--out", out)
    assert ran.returncode == 0, ran.stderr
    return grades(out)


@contextmanager
def grading(*arguments: str | Path) -> "Iterator[subprocess.Popen[str]]":
    """Grade in the background; whatever is left of it is ended."""
    command = [*GRADE, *map(str, arguments)]
    process = subprocess.Popen(
        command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, start_new_session=True
    )
    try:
        yield process
    finally:
        process.kill()
        process.wait()


def until_judged(process: "subprocess.Popen[str]", number: int) -> list[str]:
    """Wait until so many students are judged; who they are."""
    assert process.stdout
    done: list[str] = []
    said = []
    for line in process.stdout:
        said.append(line)
        done += re.findall(r"^(\S+): judged$", line)
        if len(done) == number:
            return done
    raise AssertionError("it ended before it had judged so many: " + "".join(said))


def eventually(true: Callable[[], object]) -> bool:
    """Whether something comes true in time."""
    return Patience().until(true, SECONDS)


def ours(process: "subprocess.Popen[str]") -> list[psutil.Process]:
    """All that a grading run has started."""
    return psutil.Process(process.pid).children(recursive=True)


def left(processes: list[psutil.Process]) -> list[psutil.Process]:
    """Those that still run."""
    return [one for one in processes if one.is_running() and one.status() != psutil.STATUS_ZOMBIE]


def test_a_killed_grader_leaves_nothing_running_and_goes_on(
    folder: Path, tmp_path: Path, marks: dict[str, dict[str, str]]
) -> None:
    with grading(folder, "--out", tmp_path) as process:
        until_judged(process, 2)
        started = ours(process)
        process.send_signal(signal.SIGKILL)
        process.wait()
        assert eventually(lambda: not left(started)), left(started)
    ran = grade(folder, "--out", tmp_path)
    assert ran.returncode == 0, ran.stderr
    unchanged = int(re.findall(r"(\d+) unchanged", ran.stdout)[0])
    assert 2 <= unchanged < len(STUDENTS)
    assert grades(tmp_path) == marks
    assert not (tmp_path / "unpacked").exists()


def test_a_killed_worker_costs_nobody_a_point(folder: Path, tmp_path: Path, marks: dict[str, dict[str, str]]) -> None:
    with grading(folder, "--out", tmp_path) as process:
        until_judged(process, 1)
        judges = [one for one in ours(process) if "lab_app.harness.judge" in one.cmdline()]
        assert judges
        worker = judges[0].parent()
        assert worker
        assert worker.pid != process.pid
        worker.kill()
        assert process.stdout
        said = process.stdout.read()
        assert process.wait(SECONDS) == 0, said
    assert grades(tmp_path) == marks


def test_two_runs_do_not_write_one_store(folder: Path, tmp_path: Path) -> None:
    with grading(folder, "--out", tmp_path) as process:
        until_judged(process, 1)
        ran = grade(folder, "--out", tmp_path)
        assert ran.returncode == 1
        assert "Another run is writing" in ran.stderr


@contextmanager
def cluster(folder: Path) -> "Iterator[tuple[str, subprocess.Popen[str]]]":
    """A scheduler and a worker of somebody's; where it listens, and the scheduler's process."""
    env = os.environ | {"PYTHONPATH": str(ROOT)}
    listen = ["--host", "127.0.0.1", "--port", "0", "--no-dashboard", "--scheduler-file", str(folder / "cluster.json")]
    work = ["--host", "127.0.0.1", "--nthreads", "1", "--no-dashboard", "--death-timeout", "20"]
    start = "from distributed.cli.dask_{0} import main; main()"
    scheduler = subprocess.Popen(
        [sys.executable, "-c", start.format("scheduler"), *listen], env=env, cwd=folder, text=True
    )
    try:
        assert eventually((folder / "cluster.json").exists)
        where = (folder / "cluster.json").read_text()
        address = re.findall(r"tcp://[0-9.]+:\d+", where)[0]
        worker = subprocess.Popen([sys.executable, "-c", start.format("worker"), address, *work], env=env, cwd=folder)
        try:
            yield address, scheduler
        finally:
            worker.terminate()
            worker.wait()
    finally:
        scheduler.kill()
        scheduler.wait()


def test_the_workers_may_be_somebody_elses_and_go_away(
    folder: Path, tmp_path: Path, marks: dict[str, dict[str, str]]
) -> None:
    with (
        cluster(tmp_path) as (address, scheduler),
        grading(folder, "--out", tmp_path, "--scheduler", address) as process,
    ):
        until_judged(process, 1)
        scheduler.kill()
        assert process.stdout
        said = " ".join(process.stdout.read().split())
        assert process.wait(SECONDS) == 1
        assert "Run the same command again" in said
        assert "Traceback" not in said
    ran = grade(folder, "--out", tmp_path)
    assert ran.returncode == 0, ran.stderr
    assert "0 unchanged" not in ran.stdout
    assert grades(tmp_path) == marks
