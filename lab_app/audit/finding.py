"""A finding: a weakness, where it is, and the evidence for it."""

import tomllib
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from lab_app.harness.evidence import Exchange

SEVERITIES = ("low", "medium", "high", "critical")


@dataclass(frozen=True)
class Weakness:
    """A kind of flaw, as `weaknesses.toml` describes it. `line` is part of a line of the checklist."""

    name: str
    title: str
    section: int
    cwe: int
    asvs: str
    severity: str
    exercise: str
    line: str
    fix: str
    wide: bool = False


@dataclass(frozen=True)
class Place:
    """A line of a file of the source; `file` is relative to what was given as source."""

    file: str
    line: int


@dataclass(frozen=True)
class Finding:
    """`where` is a route such as `GET /loans/{id}`, or a file. `evidence` shows it, `beside` is to compare.

    `times` counts the routes that have it. `accepted` is the reason of a baseline.
    """

    weakness: Weakness
    where: str
    said: str
    evidence: Exchange
    beside: tuple[Exchange, ...] = ()
    place: Place | None = None
    times: int = 1
    accepted: str = ""
    details: dict[str, Any] = field(default_factory=dict)

    @property
    def key(self) -> str:
        """What a baseline knows a finding by; the same from run to run."""
        return f"{self.weakness.name} at {self.where}"

    @property
    def severity(self) -> str:
        """The scanner's own word where there is one, else the weakness's."""
        return str(self.details.get("severity", self.weakness.severity))


def worst(findings: list[Finding]) -> int:
    """The rank of the worst finding that nobody has accepted, in SEVERITIES; -1 without any."""
    return max((SEVERITIES.index(one.severity) for one in findings if not one.accepted), default=-1)


def _read() -> dict[str, Weakness]:
    table = tomllib.loads(Path(__file__).with_name("weaknesses.toml").read_text(encoding="utf-8"))
    return {name: Weakness(name, **row) for name, row in table.items()}


WEAKNESSES = _read()
