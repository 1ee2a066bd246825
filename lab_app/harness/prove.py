"""The kill matrix: every known answer of an exercise through all of its checks."""

from collections.abc import Iterator
from itertools import chain, zip_longest
from typing import TYPE_CHECKING

import pytest

from lab_app.harness.verdict import Verdict
from lab_app.workbook.source import all_exercises, right_answers, section_of, wrong_answers

if TYPE_CHECKING:
    from lab_app.harness.checker import Checker

checker_key = pytest.StashKey["Checker"]()


class Disproved(Exception):
    """The checks judged a known answer otherwise than they must."""


class Proof(pytest.Item):
    """One known answer. `caught_by`: exactly the checks that it must fail; empty: all must pass; None: any may fail."""

    def __init__(self, *, number: str, source: str, caught_by: tuple[str, ...] | None, **rest: object) -> None:
        super().__init__(**rest)  # type: ignore[arg-type]
        self.number, self.source, self.caught_by = number, source, caught_by

    def runtest(self) -> None:
        """Judge the answer as a notebook or a gradebook would."""
        verdict = checker(self.config).check(self.number, self.source, self.config.option.seed)
        failed = {result.name for result in verdict.failed()}
        if self.caught_by is None and verdict.outcome not in ("not yet", "does not start"):
            raise Disproved(f"the starter is {verdict.outcome}")
        if self.caught_by is not None:
            wanted = set(self.caught_by) - {result.name for result in verdict.results if result.skipped}
            if failed != wanted:
                raise Disproved(explained(verdict, wanted))

    def repr_failure(self, excinfo: pytest.ExceptionInfo[BaseException], style: object = None) -> str:
        """The matrix's words, not a traceback."""
        return f"{self.name}: {excinfo.value}" if excinfo.errisinstance(Disproved) else str(excinfo.getrepr())

    def reportinfo(self) -> tuple[str, int, str]:
        """Where the item stands in reports."""
        return str(self.path), 0, self.name


def explained(verdict: Verdict, wanted: set[str]) -> str:
    """Which checks passed or failed against expectation, with what each saw."""
    failed = {result.name: result.found for result in verdict.failed()}
    lines = [f"outcome {verdict.outcome}, seed {verdict.seed}"]
    lines += [f"  should have failed: {name}" for name in sorted(wanted - set(failed))]
    lines += [f"  should have passed: {name}: {found}" for name, found in failed.items() if name not in wanted]
    return "\n".join(lines)


def items(session: pytest.Session, numbers: set[str]) -> list[pytest.Item]:
    """The kill matrix of some exercises, in turns: side by side are then some that wait and some that hash."""
    turns = zip_longest(*(_items(session, number) for number in sorted(numbers)))
    return [item for item in chain.from_iterable(turns) if item]


def _items(session: pytest.Session, number: str) -> Iterator[pytest.Item]:
    exercise, section = all_exercises()[number], section_of(number)

    def proof(name: str, source: str, caught_by: tuple[str, ...] | None) -> pytest.Item:
        made = Proof.from_parent(session, name=f"{number} {name}", number=number, source=source, caught_by=caught_by)
        assert isinstance(made, pytest.Item)
        return made

    yield proof("starter", exercise.starter, None)
    yield proof("solution", exercise.solution, ())
    for right in right_answers(section):
        if right.exercise == number:
            yield proof(f"right: {right.name}", right.cell, ())
    for wrong in wrong_answers(section):
        if wrong.exercise == number:
            yield proof(f"wrong: {wrong.name}", wrong.cell, wrong.caught_by)


def checker(config: pytest.Config) -> "Checker":
    """The one checker of this run, started when first asked for."""
    from lab_app.harness.checker import Checker  # which imports the plugin, which imports this

    if checker_key not in config.stash:
        config.stash[checker_key] = Checker(lanes=1)  # side by side are the workers of pytest-xdist
        config.add_cleanup(config.stash[checker_key].close)
    return config.stash[checker_key]
