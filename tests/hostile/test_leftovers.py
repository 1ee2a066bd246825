"""An answer that leaves processes behind, when whoever judges it goes."""

import time
from pathlib import Path

from lab_app.harness.checker import Checker
from lab_app.runner import jail
from tests.hostile.test_hostile_class import CELLS, LIMITS


def test_nothing_runs_on_after_a_hostile_answer_when_the_checker_closes() -> None:
    with Checker(jailed=True, limits=LIMITS, lanes=1) as checker:
        checker.check("1.1", next(cell for cell in CELLS if cell.stem == "leaves_daemons").read_text())
        assert checker.lanes[0].process
        pids = jail.below(checker.lanes[0].process.pid) | {checker.lanes[0].process.pid}
    until = time.monotonic() + 10
    while any(Path(f"/proc/{pid}").exists() for pid in pids) and time.monotonic() < until:
        time.sleep(0.02)
    assert not [pid for pid in pids if Path(f"/proc/{pid}").exists()]
