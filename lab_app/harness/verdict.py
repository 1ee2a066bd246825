"""What the checks say of one answer, in the notebook and in the gradebook alike."""

from collections.abc import Iterable
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

from lab_app.harness.evidence import Exchange

Outcome = Literal["passed", "not yet", "not attempted", "does not start", "too slow"]
Kind = Literal["attack", "legit"]


@dataclass(frozen=True)
class Result:
    """One check: what it is about, and what it found.

    `skipped` says why it could not be made here; such a check counts neither for nor against the answer.
    `crashed`: the answer's own code raised, or never ran, so there was nothing to look at.
    """

    name: str
    kind: Kind
    title: str
    why: str
    hint: str
    sources: tuple[str, ...]
    passed: bool
    found: str = ""
    safe: str = ""
    evidence: tuple[Exchange, ...] = ()
    skipped: str = ""
    crashed: bool = False

    def complaint(self) -> str:
        """What the answer did and what a safe one does; a traceback keeps its last line as it is."""
        served = any(exchange.curl for exchange in self.evidence)
        did = f"Your {'app' if served else 'code'} {self.found}"
        return did if self.crashed else f"{did.removesuffix('.')}. {self.safe}".strip()


@dataclass(frozen=True)
class Verdict:
    """All checks of one exercise. `trouble` is the one thing to read when the answer was not judged."""

    exercise: str
    title: str
    outcome: Outcome
    results: tuple[Result, ...] = ()
    trouble: str = ""
    misconceptions: tuple[str, ...] = ()
    seed: int = 0
    seconds: float = 0.0
    score: float = field(init=False, default=0.0)

    def __post_init__(self) -> None:
        object.__setattr__(self, "score", score(self.results) if self.outcome != "not attempted" else 0.0)

    def failed(self) -> tuple[Result, ...]:
        """The checks that did not pass, in the order in which they are written."""
        return tuple(result for result in self.made() if not result.passed)

    def made(self) -> tuple[Result, ...]:
        """The checks that could be made here."""
        return made(self.results)


def score(results: tuple[Result, ...]) -> float:
    """0–1: every check weighs the same, and attacks count once all legit checks pass: a closed door is no fix."""
    return len(counted(results)) / (len(made(results)) or 1)


def counted(results: tuple[Result, ...]) -> tuple[Result, ...]:
    """Those that earn their share of the score."""
    results = made(results)
    works = all(result.passed for result in results if result.kind == "legit")
    return tuple(result for result in results if result.passed and (works or result.kind == "legit"))


def made(results: Iterable[Result]) -> tuple[Result, ...]:
    """Those that were not skipped."""
    return tuple(result for result in results if not result.skipped)


def to_json(verdict: Verdict) -> dict[str, Any]:
    """A verdict as plain JSON."""
    return asdict(verdict)


def from_json(data: dict[str, Any]) -> Verdict:
    """A verdict from what `to_json` made of it."""
    whole = {name: value for name, value in data.items() if name != "score"}
    return Verdict(**whole | {"results": results_of(data["results"]), "misconceptions": tuple(data["misconceptions"])})


def results_of(data: list[dict[str, Any]]) -> tuple[Result, ...]:
    """Results from plain JSON."""
    return tuple(
        Result(
            **{
                **result,
                "sources": tuple(result["sources"]),
                "evidence": tuple(Exchange(**exchange) for exchange in result["evidence"]),
            }
        )
        for result in data
    )
