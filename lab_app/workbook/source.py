"""Read `solutions/NN_name.py`: prose, starters and reference solutions in Jupytext's percent format.

What students get has `starters/` instead: the same files without the solutions, and no known answers.
"""

import ast
import sys
import tomllib
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from lab_app.trouble import Trouble

ROOT = Path(__file__).resolve().parents[2]
NOTEBOOKS, CHECKS = ROOT / "notebooks", ROOT / "checks"
RELEASED = not (ROOT / "solutions").is_dir()
SOURCES = ROOT / ("starters" if RELEASED else "solutions")


@dataclass(frozen=True)
class Exercise:
    """One exercise: its number such as "1.3", its title, the learner's starter and the reference solution, if here."""

    number: str
    title: str
    starter: str
    solution: str

    @property
    def heading(self) -> str:
        """The comment that every cell of this exercise begins with."""
        return f"# Exercise {self.number} — {self.title}"


@dataclass(frozen=True)
class WrongAnswer:
    """A plausible misconception: edits of the solution, the checks that it fails, and why it is wrong."""

    exercise: str
    name: str
    cell: str
    caught_by: tuple[str, ...]
    because: str


@dataclass(frozen=True)
class RightAnswer:
    """A right answer that is written differently from the solution."""

    exercise: str
    name: str
    cell: str


class SourceError(Trouble):
    """A source or answers file breaks the rules; the text says which."""


def sections() -> list[str]:
    """The names of all sections, such as `01_authentication`, in order."""
    return [path.stem for path in sorted(SOURCES.glob("[0-9][0-9]_*.py"))]


@cache
def cells(section: str) -> list[Any]:
    """All cells of a section's source, as nbformat 4 cells."""
    # Imported late, and without the URI grammar that jsonschema would compile for a second or two: kernels import us.
    sys.modules.setdefault("rfc3987_syntax", None)  # type: ignore[arg-type]
    import jupytext

    return list(jupytext.read(SOURCES / f"{section}.py", fmt="py:percent").cells)


@cache
def exercises(section: str) -> dict[str, Exercise]:
    """The exercises of a section by number. Raises SourceError."""
    roles: dict[str, dict[str, str]] = {}
    for cell in cells(section):
        if number := cell.metadata.get("exercise"):
            roles.setdefault(number, {})[cell.metadata["role"]] = cell.source
    found = {}
    for number, by_role in roles.items():
        if set(by_role) != ({"starter"} if RELEASED else {"starter", "solution"}):
            raise SourceError(f"{section}: exercise {number} needs one starter and one solution.")
        starter = by_role["starter"]
        found[number] = Exercise(number, _title(number, starter), starter, by_role.get("solution", ""))
    return found


def all_exercises() -> dict[str, Exercise]:
    """Every exercise of the workbook by number."""
    return {number: exercise for section in sections() for number, exercise in exercises(section).items()}


def section_of(number: str) -> str:
    """The section that holds an exercise. Raises KeyError."""
    for section in sections():
        if int(section[:2]) == int(number.split(".")[0]):
            return section
    raise KeyError(number)


def check_module(number: str) -> Path:
    """The pytest module with an exercise's checks. Raises SourceError."""
    section, exercise = number.split(".")
    found = sorted(CHECKS.glob(f"test_{int(section):02}_{exercise}_*.py"))
    if len(found) != 1:
        raise SourceError(
            f"Exercise {number} needs one checks/test_{int(section):02}_{exercise}_….py, not {len(found)}."
        )
    return found[0]


@cache
def wrong_answers(section: str) -> tuple[WrongAnswer, ...]:
    """The wrong answers of a section, edits applied. Raises SourceError."""
    return tuple(
        WrongAnswer(
            entry["exercise"],
            entry["name"],
            _edited(exercises(section)[entry["exercise"]], entry),
            tuple(entry["caught_by"]),
            entry["because"],
        )
        for entry in _answers(section).get("wrong", [])
    )


@cache
def right_answers(section: str) -> tuple[RightAnswer, ...]:
    """The right answers of a section that differ from its solutions."""
    entries = _answers(section).get("right", [])
    return tuple(RightAnswer(entry["exercise"], entry["name"], entry["cell"]) for entry in entries)


def same_code(one: str, other: str) -> bool:
    """Whether two cells differ in comments and spacing only."""
    try:
        return ast.dump(ast.parse(one)) == ast.dump(ast.parse(other))
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return one.split() == other.split()


def notebook_path(section: str) -> Path:
    """Where a section's notebook is."""
    return NOTEBOOKS / f"{section}.ipynb"


def _title(number: str, starter: str) -> str:
    first = starter.splitlines()[0]
    prefix = f"# Exercise {number} — "
    if not first.startswith(prefix):
        raise SourceError(f"The starter of exercise {number} must begin with {prefix!r}.")
    return first.removeprefix(prefix).split(" (")[0]


def _answers(section: str) -> dict[str, Any]:
    if RELEASED:
        return {}
    path = CHECKS / "answers" / f"{section}.toml"
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise SourceError(f"{path.name} is no TOML: {error}.") from error


def _edited(exercise: Exercise, entry: dict[str, Any]) -> str:
    if "cell" in entry:
        return str(entry["cell"])
    cell = exercise.solution
    for edit in entry["edit"]:
        if cell.count(edit["replace"]) != 1:
            raise SourceError(
                f"Wrong answer {entry['name']!r} of {exercise.number}: {edit['replace']!r} must stand once in the "
                f"solution, not {cell.count(edit['replace'])} times."
            )
        cell = cell.replace(edit["replace"], edit["with"])
    return cell
