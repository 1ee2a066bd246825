"""Answers that mean ill, each judged as a submission is: a clear outcome, no point that is not earned, nothing left."""

import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from lab_app.harness.checker import Checker
from lab_app.harness.verdict import Verdict
from lab_app.runner import jail
from lab_app.runner.limits import Limits
from lab_app.workbook.source import all_exercises

CELLS = sorted(Path(__file__).with_name("cells").glob("*.py*"))
LIMITS = Limits(start_seconds=4, slack_seconds=8, answer_seconds=2, exercise_seconds=12, jail_memory=400 << 20)
MARK = "lab-hostile-cell"
GOOD = all_exercises()["1.1"].solution


@pytest.fixture(scope="module")
def checker() -> Iterator[Checker]:
    with Checker(jailed=True, limits=LIMITS) as made:
        judged(made, GOOD)
        yield made


def judged(checker: Checker, source: str) -> Verdict:
    return checker.check("1.1", source, seed=1)


def expected(cell: Path) -> tuple[set[str], float]:
    """The outcomes and the most points that a cell's second line allows: `# outcome or outcome, at most 0.3`."""
    outcomes, most = cell.read_text().splitlines()[1].removeprefix("# ").split(", at most ")
    return set(outcomes.split(" or ")), float(most)


def marked() -> list[str]:
    """Command lines and environments of processes that carry our mark, as the host sees them."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            text = (process / "cmdline").read_bytes() + (process / "environ").read_bytes()
        except OSError:
            continue
        if MARK.encode() in text:
            found.append(process.name)
    return found


@pytest.mark.parametrize("cell", CELLS, ids=lambda cell: cell.stem)
def test_a_hostile_answer_gains_nothing_and_leaves_nothing(checker: Checker, cell: Path) -> None:
    on_disk = listing()
    outcomes, most = expected(cell)

    verdict = judged(checker, cell.read_text())

    assert verdict.outcome in outcomes, (verdict.outcome, verdict.trouble, verdict.score)
    assert verdict.score <= most
    assert verdict.outcome not in ("does not start", "too slow") or verdict.trouble or verdict.failed()
    assert not any("made the check itself fail" in result.found for result in verdict.results)
    assert marked() == []
    assert listing() == on_disk
    after = judged(checker, GOOD)
    assert (after.outcome, after.score) == ("passed", 1.0), [(r.name, r.found) for r in after.failed()]
    assert checker.process
    assert len(jail.below(checker.process.pid)) == 2, "bubblewrap and the zygote, as before"


def listing() -> set[str]:
    """What bears our mark in the folders of this system that anybody may write to."""
    folders = map(Path, (tempfile.gettempdir(), "/dev/shm", "/var/tmp"))
    return {str(path) for folder in folders for path in folder.iterdir() if MARK in path.name}


def test_nothing_runs_on_after_a_hostile_answer_when_the_checker_closes() -> None:
    with Checker(jailed=True, limits=LIMITS) as checker:
        judged(checker, next(cell for cell in CELLS if cell.stem == "leaves_daemons").read_text())
        assert checker.process
        pids = jail.below(checker.process.pid) | {checker.process.pid}
    until = time.monotonic() + 10
    while any(Path(f"/proc/{pid}").exists() for pid in pids) and time.monotonic() < until:
        time.sleep(0.02)
    assert not [pid for pid in pids if Path(f"/proc/{pid}").exists()]
