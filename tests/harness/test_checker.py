"""Several processes share the checks of one exercise, and one verdict comes of it."""

import os
import signal

import pytest

from lab_app.harness import checker as checker_module
from lab_app.harness.checker import Checker, CheckerDied, outcome
from lab_app.harness.judge import Findings
from lab_app.harness.verdict import Result
from lab_app.runner.limits import Limits
from lab_app.workbook.source import all_exercises, wrong_answers

SOLUTION = all_exercises()["1.1"].solution
WRONG = next(wrong for wrong in wrong_answers("01_authentication") if wrong.exercise == "1.1")


def test_two_processes_run_every_check_once_and_find_what_one_does() -> None:
    with Checker(lanes=1) as one, Checker(lanes=2) as two:
        for cell in (SOLUTION, WRONG.cell):
            alone, shared = (checker.check("1.1", cell, seed=3) for checker in (one, two))
            assert [result.name for result in shared.results] == [result.name for result in alone.results]
            assert [result.passed for result in shared.results] == [result.passed for result in alone.results]
            assert (shared.outcome, shared.score) == (alone.outcome, alone.score)
            assert shared.misconceptions == alone.misconceptions


def test_a_cell_with_an_error_does_not_start_in_any_share() -> None:
    with Checker(lanes=2) as checker:
        verdict = checker.check("1.1", "1 / 0")
    assert verdict.outcome == "does not start"
    assert "ZeroDivisionError" in verdict.trouble


@pytest.mark.parametrize("number", ["5.1", "6.1", "9.2", "9.3"])
def test_functions_whose_cell_has_an_error_do_not_start_either(number: str) -> None:
    with Checker() as checker:
        verdict = checker.check(number, "def (")
    assert verdict.outcome == "does not start"
    assert "SyntaxError" in verdict.trouble
    assert not verdict.misconceptions


def test_code_that_only_crashes_has_no_misconception() -> None:
    with Checker() as checker:
        verdict = checker.check("9.3", "")
    assert verdict.outcome == "not yet"
    assert all("NameError" in result.found for result in verdict.failed())
    assert not verdict.misconceptions


def test_a_process_that_hangs_is_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(checker_module, "OWN_SECONDS", 1)
    with Checker(limits=Limits(exercise_seconds=0), lanes=1) as checker:
        checker.warm()
        process = checker.lanes[0].process
        assert process
        os.kill(process.pid, signal.SIGSTOP)
        with pytest.raises(CheckerDied):
            checker.check("1.1", SOLUTION)
        assert process.poll() is not None


def found(trouble: str = "", slow: bool = False, passed: bool = True) -> Findings:
    result = Result("test", "attack", "", "", "", (), passed)
    return Findings((result,), ("test",), trouble, slow)


@pytest.mark.parametrize(
    ("findings", "expected"),
    [
        ([found(), found()], "passed"),
        ([found(), found(passed=False)], "not yet"),
        ([found(), found("died", passed=False)], "not yet"),
        ([found("died"), found("died")], "does not start"),
        ([found("slow", slow=True), found("slow", slow=True)], "too slow"),
        ([found(), found(slow=True, passed=False)], "too slow"),
        ([Findings((), (), "", False)], "not yet"),
    ],
)
def test_the_outcome_is_that_of_all_shares(findings: list[Findings], expected: str) -> None:
    assert outcome(findings) == expected
