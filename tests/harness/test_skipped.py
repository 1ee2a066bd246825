"""A check that cannot be made here is no point won and none lost, and says why."""

from pathlib import Path

import pytest

from lab_app.harness import judge
from lab_app.harness.checker import verdict
from lab_app.harness.judge import Question
from lab_app.harness.verdict import Verdict
from lab_app.runner.limits import Limits
from lab_app.runner.sandbox import Sandbox


def judged(number: str, monkeypatch: pytest.MonkeyPatch) -> Verdict:
    monkeypatch.setattr(judge, "check_module", lambda number: Path(__file__).with_name("skipping.py"))
    found: list[judge.Findings] = []
    with Sandbox(Limits(), jailed=False) as sandbox:
        judge.judge(sandbox, [Question(number, "app = None", seed=1)], found.append)
    return verdict(number, found, 1, 0.0)


def test_what_is_skipped_counts_neither_way(monkeypatch: pytest.MonkeyPatch) -> None:
    made = judged("1.1", monkeypatch)
    assert (made.outcome, made.score, made.failed()) == ("passed", 1.0, ())
    assert {one.name: one.skipped for one in made.results} == {
        "test_works": "",
        "test_in_its_setup": "Nothing here.",
        "test_midway": "Nothing there.",
    }


def test_nothing_but_skipped_checks_is_no_pass(monkeypatch: pytest.MonkeyPatch) -> None:
    made = judged("1.2", monkeypatch)
    assert (made.outcome, made.score) == ("not yet", 0.0)
    assert made.results[0].skipped == "Nothing at all."
