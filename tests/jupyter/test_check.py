"""Whatever goes wrong around a check is one sentence, never a traceback."""

import sys
from dataclasses import replace
from typing import Any

import pytest

from lab_app.harness.checker import CheckerDied
from lab_app.jupyter import store
from lab_app.jupyter.check import check
from lab_app.jupyter.hint import hint
from lab_app.jupyter.kernel import Kernel
from tests.jupyter.conftest import result, verdict


class Says:
    """A checker that knows the verdict beforehand, or dies of the question."""

    def __init__(self, reply: Any) -> None:
        self.reply, self.warmed = reply, 0

    def warm(self) -> None:
        self.warmed += 1

    def check(self, number: str, source: str) -> Any:
        if isinstance(self.reply, BaseException):
            raise self.reply
        return replace(self.reply, exercise=number)


@pytest.fixture
def says(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Make the checker say something."""

    def make(reply: Any) -> Says:
        checker = Says(reply)
        kernel = Kernel(library=None, checker=checker)  # type: ignore[arg-type]
        # The package gives its functions the names of their modules.
        checks, hints = sys.modules["lab_app.jupyter.check"], sys.modules["lab_app.jupyter.hint"]
        monkeypatch.setattr(checks, "ready", lambda: kernel)
        monkeypatch.setattr(hints, "ready", lambda: kernel)
        monkeypatch.setattr(hints, "given", {})
        monkeypatch.setattr(checks, "last_run", lambda number: (f"# Exercise {number} — mine", 7))
        return checker

    return make


def test_a_checker_that_dies_is_one_sentence(says: Any) -> None:
    says(CheckerDied("The checker ended before it gave a verdict."))
    assert check("1.1").text == "The checker ended before it gave a verdict. Check again; nothing was kept."
    assert store.records() == {}


def test_an_interrupt_is_one_sentence_and_the_checker_warms_up_again(says: Any) -> None:
    checker = says(KeyboardInterrupt())
    assert "was stopped" in check("1.1").text
    assert checker.warmed == 1


def test_a_verdict_is_kept_and_names_the_cell(says: Any) -> None:
    says(verdict("not yet", result(), result(False)))
    assert "[7]" in check("1.1").text
    assert store.records()["1.1"].score == 0.5


def test_hints_come_one_by_one_and_begin_anew(says: Any) -> None:
    says(verdict("not yet", result(), result(False, text="a"), result(False, text="b")))
    check("1.1")
    shown = [hint("1.1").text for _ in range(4)]
    assert shown[0] == "Hint: hint a (1 more for 1.1.)"
    assert shown[1] == "Hint: hint b (No more for 1.1.)"
    assert shown[2].startswith("There are no more hints")
    assert shown[3] == shown[0]
