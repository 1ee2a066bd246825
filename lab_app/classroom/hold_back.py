"""Take checks out of their modules: what a teacher holds back is not in the students' hands at all."""

import ast
from collections.abc import Iterable
from dataclasses import replace
from difflib import get_close_matches
from pathlib import Path

from lab_app.harness.verdict import Result, Verdict
from lab_app.workbook.source import CHECKS, SourceError


def known_checks() -> dict[str, list[Path]]:
    """The modules of every check, by the name of its test function."""
    known: dict[str, list[Path]] = {}
    for path in sorted(CHECKS.glob("test_*.py")):
        for name in checks_in(path.read_text(encoding="utf-8")):
            known.setdefault(name, []).append(path)
    return known


def held(names: Iterable[str]) -> frozenset[str]:
    """The checks to hold back. Raises SourceError for a name that no check has."""
    known = known_checks()
    for name in names:
        if name not in known:
            near = get_close_matches(name, known, n=3, cutoff=0.3)
            raise SourceError(f"There is no check {name!r:.80}. Near it: {', '.join(near) or 'none'}.")
    return frozenset(names)


def checks_in(text: str) -> list[str]:
    """The names of a module's checks, in their order."""
    return [name for node in ast.parse(text).body if (name := _name(node)).startswith("test_")]


def without(text: str, names: frozenset[str]) -> str:
    """A module less some of its checks, and less what it defines for these alone. Raises SourceError."""
    checks = set(checks_in(text))
    if not checks & names:
        return text
    if checks <= names:
        raise SourceError(
            f"{', '.join(sorted(checks))}: at least one check of an exercise must stay with the students."
        )
    parts = [(_name(node), _mentioned(node)) for node in ast.parse(text).body]
    used, gone = _used(parts, set()), checks & names
    while orphans := {name for name, _ in parts if name} & used - _used(parts, gone) - gone:
        gone |= orphans
    return _less(text, gone)


def concealed(verdict: Verdict, names: frozenset[str]) -> Verdict:
    """A verdict that tells of some checks no more than their titles and whether they passed."""
    results = tuple(_titled(result) if result.name in names else result for result in verdict.results)
    told = not any(result.name in names for result in verdict.failed())
    return replace(verdict, results=results, misconceptions=verdict.misconceptions if told else ())


def _titled(result: Result) -> Result:
    if result.passed:
        return replace(result, hint="", evidence=())
    why = "Only the title of this check is shown."
    return replace(result, found="failed", safe="", why=why, hint="", sources=("your teacher",), evidence=())


def _used(parts: list[tuple[str, set[str]]], gone: set[str]) -> set[str]:
    """The names that what is left of a module mentions, other than in their own definitions."""
    return {word for name, words in parts if name not in gone for word in words - {name}}


def _mentioned(node: ast.stmt) -> set[str]:
    """Every name in a statement: as an expression, as a fixture asked for, or quoted, as pytest's marks quote it."""
    words = {one.id for one in ast.walk(node) if isinstance(one, ast.Name)}
    words |= {one.arg for one in ast.walk(node) if isinstance(one, ast.arg)}
    return words | {str(one.value) for one in ast.walk(node) if isinstance(one, ast.Constant)}


def _name(node: ast.stmt) -> str:
    """What a statement of a module defines, if it is one thing."""
    if isinstance(node, ast.FunctionDef | ast.ClassDef):
        return node.name
    targets = node.targets if isinstance(node, ast.Assign) else []
    return targets[0].id if len(targets) == 1 and isinstance(targets[0], ast.Name) else ""


def _less(text: str, names: Iterable[str]) -> str:
    """A module less what it defines under some names, with the comments right above."""
    lines = text.splitlines(keepends=True)
    for node in reversed(ast.parse(text).body):
        if _name(node) in names:
            first = min([node.lineno, *(mark.lineno for mark in getattr(node, "decorator_list", []))]) - 1
            while first and lines[first - 1].startswith("#"):
                first -= 1
            while first and not lines[first - 1].strip():
                first -= 1
            del lines[first : node.end_lineno]
    return "".join(lines)
