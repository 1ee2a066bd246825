"""What a class shows as a whole, gathered one student after the other."""

from collections import Counter
from dataclasses import dataclass, field

from lab_app.classroom.marks import Marks
from lab_app.harness.verdict import Result

BANDS = 5  # of scores above 0: four quarters, and 1, which is one of its own


@dataclass
class Exercise:
    """How a class did in one exercise. `bands`: how many had so much of it. `seconds`: what judging took."""

    students: int = 0
    attempted: int = 0
    passed: int = 0
    score: float = 0.0
    seconds: float = 0.0
    bands: list[int] = field(default_factory=lambda: [0] * (BANDS + 1))

    @property
    def mean(self) -> float:
        """The mean score, 0–1, of everybody."""
        return self.score / self.students if self.students else 0.0


@dataclass(frozen=True)
class Check:
    """A check as the class met it."""

    exercise: str
    title: str
    kind: str
    failed: int
    made: int


class Statistics:
    """Exercises, checks and misconceptions, counted."""

    def __init__(self, numbers: list[str]) -> None:
        self.exercises = {number: Exercise() for number in numbers}
        self.misconceptions: Counter[tuple[str, str]] = Counter()
        self.failed: Counter[tuple[str, str]] = Counter()
        self.made: Counter[tuple[str, str]] = Counter()
        self.known: dict[tuple[str, str], Result] = {}
        self.totals: list[float] = []

    def add(self, mine: Marks) -> None:
        """Count one student."""
        self.totals.append(mine.total)
        for number, exercise in self.exercises.items():
            score = mine.scores[number]
            exercise.students += 1
            exercise.score += score
            exercise.bands[band(score)] += 1
            if verdict := mine.verdicts.get(number):
                exercise.attempted += verdict.outcome != "not attempted"
                exercise.passed += verdict.outcome == "passed"
                exercise.seconds += verdict.seconds
                self.misconceptions.update((number, because) for because in verdict.misconceptions)
                for result in verdict.made():
                    self._count(number, result)

    def _count(self, number: str, result: Result) -> None:
        key = (number, result.name)
        self.known.setdefault(key, result)
        self.made[key] += 1
        self.failed[key] += not result.passed

    def hardest(self, most: int = 15) -> list[Check]:
        """The checks that most answers failed."""
        keys = sorted(self.failed, key=lambda key: (-self.failed[key] / self.made[key], key))
        return [
            Check(key[0], self.known[key].title, self.known[key].kind, self.failed[key], self.made[key])
            for key in keys[:most]
            if self.failed[key]
        ]


def band(score: float) -> int:
    """Which of BANDS + 1 shades a score of 0–1 has; only 0 is the first, and only 1 the last."""
    if score >= 1:
        return BANDS
    return 0 if score <= 0 else 1 + int(score * (BANDS - 1))
