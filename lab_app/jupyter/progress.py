"""`progress()`: the ten sections, and how far you are."""

from collections.abc import Iterator
from dataclasses import dataclass

from lab_app.jupyter import store
from lab_app.jupyter.markup import printable, render
from lab_app.jupyter.store import Record
from lab_app.jupyter.view import SYMBOLS, View
from lab_app.workbook.source import all_exercises

TITLES = (
    "Authentication and authorization",
    "HTTPS and TLS",
    "CORS",
    "Input validation",
    "Rate limiting",
    "Environment variables and secrets",
    "SQL injection",
    "Content Security Policy and headers",
    "Dependency security",
    "Logging and monitoring",
)


@dataclass(frozen=True)
class Square:
    """One exercise, as it is drawn."""

    number: str
    state: str
    words: str

    @property
    def symbol(self) -> str:
        """What tells the states apart without colour."""
        return SYMBOLS[self.state]


@dataclass(frozen=True)
class Row:
    """One section."""

    number: int
    title: str
    squares: tuple[Square, ...]

    @property
    def passed(self) -> int:
        """How many of its exercises are passed."""
        return sum(square.state == "passed" for square in self.squares)


def progress() -> View:
    """Draw the ten sections with the best you have reached in each exercise."""
    closing = []
    try:
        known = store.records()
    except store.StoreError as trouble:
        known = {}
        closing = [str(trouble)]
    rows = [_row(n, title, known) for n, title in enumerate(TITLES, start=1)]
    squares = [square for row in rows for square in row.squares]
    passed = sum(row.passed for row in rows)
    closing = [f"{passed} of {len(squares)} exercises passed. ✓ passed, ◐ not yet, ○ not attempted.", *closing]
    text = "\n".join([*_lines(rows), *closing])
    return View(render("progress.html", rows=rows, closing=closing), printable(text))


def _row(number: int, title: str, known: dict[str, Record]) -> Row:
    here = [one for one in all_exercises().values() if one.number.split(".")[0] == str(number)]
    return Row(number, title, tuple(_square(one.number, one.title, known.get(one.number)) for one in here))


def _square(number: str, title: str, record: Record | None) -> Square:
    if record is None:
        return Square(number, "not attempted", f"{title}: not attempted")
    state = "passed" if record.passed else "not yet"
    tries = f"{record.attempts} attempt" + "s" * (record.attempts > 1)
    return Square(number, state, f"{title}: {state}, {record.score:.0%} at best, {tries}")


def _lines(rows: list[Row]) -> Iterator[str]:
    width = max(map(len, TITLES))
    for row in rows:
        drawn = "  ".join(f"{square.symbol} {square.number}" for square in row.squares) or "not in this edition"
        count = f"  ({row.passed} of {len(row.squares)} passed)" if row.squares else ""
        yield f"{row.number:2} {row.title:{width}}  {drawn}{count}"
