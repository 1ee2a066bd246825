"""Verdicts to look at, and a data folder of one's own."""

from pathlib import Path

import pytest

from lab_app.harness.evidence import Exchange
from lab_app.harness.verdict import Outcome, Result, Verdict


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where attempts are kept during a test."""
    monkeypatch.setenv("LAB_HOME", str(tmp_path))
    return tmp_path


def result(passed: bool = True, kind: str = "attack", text: str = "one", skipped: str = "") -> Result:
    """A check whose every text is recognisable."""
    return Result(
        name=f"test_{text}",
        kind=kind,  # type: ignore[arg-type]
        title=f"title {text}",
        why=f"why {text}",
        hint=f"hint {text}",
        sources=("CWE-347", "RFC 8725 §3.1", f"source {text}"),
        passed=passed,
        found="" if passed else f"found {text}",
        safe="" if passed else f"safe {text}.",
        evidence=() if passed else (Exchange(f"request {text}", f"response {text}", f"curl {text}"),),
        skipped=skipped,
    )


def verdict(outcome: Outcome, *results: Result, trouble: str = "", misconceptions: tuple[str, ...] = ()) -> Verdict:
    """A verdict on exercise 1.1."""
    return Verdict("1.1", "Read the token", outcome, results, trouble, misconceptions)
