"""Which exercise a learner means, and the hints that its checks give."""

import ast
import re
from functools import cache

from lab_app.workbook.source import Exercise, all_exercises, check_module


class NoSuchExercise(ValueError):
    """The text says which exercises there are."""


def exercise(number: object) -> Exercise:
    """The exercise "1.3", also given as 1.3. Raises NoSuchExercise."""
    wanted, known = str(number).strip(), all_exercises()
    if wanted not in known:
        same_section = [one for one in known if one.split(".")[0] == wanted.split(".")[0]]
        raise NoSuchExercise(f"There is no exercise {wanted!r:.40}. There are: {', '.join(same_section or known)}.")
    return known[wanted]


@cache
def hints(number: str) -> tuple[str, ...]:
    """The hints of an exercise's checks, in their order."""
    module = ast.parse(check_module(number).read_text(encoding="utf-8"))
    functions = [node for node in module.body if isinstance(node, ast.FunctionDef)]
    return tuple(_hint(node) for node in functions if _belongs(node, number))


def _belongs(node: ast.FunctionDef, number: str) -> bool:
    return any(ast.unparse(mark) == f"exercise({number!r})" for mark in node.decorator_list)


def _hint(node: ast.FunctionDef) -> str:
    found = re.search(r"^Hint: (.*?)(?:\n\n|\Z)", ast.get_docstring(node) or "", re.DOTALL | re.MULTILINE)
    return re.sub(r"\s+", " ", found[1]).strip() if found else ""
