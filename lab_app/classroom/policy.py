"""The teacher's rules: what lateness costs, what was decided by hand, and how much a student is told."""

import csv
import math
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

from lab_app.trouble import Trouble
from lab_app.workbook.source import all_exercises

COLUMNS = ("student", "exercise", "score", "reason")


class PolicyError(Trouble):
    """A rule that cannot be followed; the text says what to do."""


@dataclass(frozen=True)
class Override:
    """A score, 0–1, that a person has set, and why."""

    score: float
    reason: str


@dataclass(frozen=True)
class Policy:
    """The rules of a class. `penalty`: the share of the total, 0–1, that each day begun after `due` costs."""

    due: datetime | None = None
    penalty: float = 0.0
    feedback: Literal["full", "scores"] = "full"
    held_back: frozenset[str] = frozenset()
    overrides: dict[str, dict[str, Override]] = field(default_factory=dict)

    def days_late(self, handed_in: datetime | None) -> int:
        """Days begun since it was due; 0 for what was in time, or of which nobody knows when it came."""
        if not self.due or not handed_in or handed_in <= self.due:
            return 0
        return math.ceil((handed_in - self.due).total_seconds() / 86400)

    def factor(self, handed_in: datetime | None) -> float:
        """What lateness leaves of a total."""
        return max(0.0, 1 - self.penalty * self.days_late(handed_in))


def to_json(policy: Policy) -> dict[str, Any]:
    """A policy as plain JSON."""
    return asdict(policy) | {
        "due": policy.due.isoformat() if policy.due else None,
        "held_back": sorted(policy.held_back),
    }


def from_json(data: dict[str, Any]) -> Policy:
    """A policy from what `to_json` made of it."""
    overrides = {who: {n: Override(**one) for n, one in theirs.items()} for who, theirs in data["overrides"].items()}
    due = datetime.fromisoformat(data["due"]) if data["due"] else None
    return Policy(**data | {"due": due, "held_back": frozenset(data["held_back"]), "overrides": overrides})


def read_due(text: str) -> datetime:
    """A moment such as 2026-12-01T18:00+01:00; without an offset, by this machine's clock. Raises PolicyError."""
    try:
        return datetime.fromisoformat(text).astimezone(UTC)
    except ValueError:
        raise PolicyError(f"--due {text} is no date and time. Write it like 2026-12-01T18:00+01:00.") from None


def read_overrides(path: Path) -> dict[str, dict[str, Override]]:
    """Scores set by hand, from a CSV file with the columns student, exercise, score, reason. Raises PolicyError."""
    found: dict[str, dict[str, Override]] = {}
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            rows = csv.DictReader(file)
            if tuple(rows.fieldnames or ()) != COLUMNS:
                raise PolicyError(f"{path.name} needs the columns {', '.join(COLUMNS)}, in this order.")
            for row in rows:
                found.setdefault(row["student"], {})[row["exercise"]] = _override(row, f"{path.name}:{rows.line_num}")
    except (UnicodeDecodeError, csv.Error) as error:
        raise PolicyError(f"{path.name} is no CSV file in UTF-8. Export it again.") from error
    return found


def _override(row: dict[str, str], where: str) -> Override:
    if row["exercise"] not in all_exercises():
        raise PolicyError(f"{where}: there is no exercise {row['exercise']}.")
    if not (row["reason"] or "").strip():
        raise PolicyError(f"{where}: a score that is set by hand needs a reason, which the student will read.")
    try:
        score = float(row["score"])
    except (TypeError, ValueError):
        score = -1.0
    if not 0 <= score <= 1:
        raise PolicyError(f"{where}: the score {row['score']!r} is not between 0 and 1.")
    return Override(score, row["reason"].strip())
