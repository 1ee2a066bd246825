"""What a student gets: the verdicts, seen through the teacher's rules."""

from collections.abc import Iterator
from dataclasses import dataclass

from lab_app.classroom.policy import Override, Policy
from lab_app.classroom.store import Store, Student
from lab_app.harness.verdict import Verdict
from lab_app.workbook.source import all_exercises


@dataclass(frozen=True)
class Marks:
    """One student's marks. `scores`: exercise → 0–1, by hand or judged. `total`: their sum, less what delay costs."""

    student: Student
    verdicts: dict[str, Verdict]
    overrides: dict[str, Override]
    scores: dict[str, float]
    unjailed: set[str]
    days_late: int
    total: float


def marks(store: Store, policy: Policy) -> Iterator[Marks]:
    """The marks of everybody, one at a time, in order of names."""
    numbers = exercises_of(store)
    for student in store.students():
        judged, by_hand = store.verdicts(student.name), policy.overrides.get(student.name, {})
        scores = {number: score_of(number, judged, by_hand) for number in numbers}
        total = sum(scores.values()) * policy.factor(student.handed_in)
        unjailed, late = store.unjailed(student.name), policy.days_late(student.handed_in)
        yield Marks(student, in_order(judged), by_hand, scores, unjailed, late, total)


def exercises_of(store: Store) -> list[str]:
    """The exercises that count: those that anybody has been judged in, in order."""
    known = store.exercises()
    return [number for number in all_exercises() if number in known]


def score_of(number: str, judged: dict[str, Verdict], by_hand: dict[str, Override]) -> float:
    """A person's word, else the verdict's, else nothing."""
    if number in by_hand:
        return by_hand[number].score
    return judged[number].score if number in judged else 0.0


def in_order(judged: dict[str, Verdict]) -> dict[str, Verdict]:
    """Verdicts in the order of the workbook."""
    return {number: judged[number] for number in all_exercises() if number in judged}
