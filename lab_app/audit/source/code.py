"""bandit, run for real on the source. What it is unsure of, and what belongs to tests and containers, is left out."""

import ast
import json
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

from lab_app.audit.finding import WEAKNESSES, Finding
from lab_app.audit.source.tree import Tree

LEFT_OUT = "B101,B104,B108"  # assert, 0.0.0.0 (which a container needs), /tmp
SECONDS = 300
BOUNDED = {"int", "float", "bool", "Decimal", "UUID", "date", "datetime", "Literal"}


def look(tree: Tree) -> Iterator[Finding]:
    """What bandit says with medium confidence and severity or more. Raises OSError and ValueError."""
    if not tree.python:
        return
    command = [sys.executable, "-m", "bandit", "-q", "-ll", "-ii", "-s", LEFT_OUT, "-f", "json", "--exit-zero"]
    ran = subprocess.run([*command, *map(str, tree.python)], capture_output=True, text=True, timeout=SECONDS)
    for result in json.loads(ran.stdout)["results"]:
        path, line = Path(result["filename"]), int(result["line_number"])
        if result["test_id"] != "B608":
            yield _finding(tree, path, line, result)
        elif _from_outside(tree, path, line):
            yield tree.finding("sql-injection", path, line, result["issue_text"], result["code"], "bandit B608")


def _finding(tree: Tree, path: Path, line: int, result: dict[str, Any]) -> Finding:
    severity = str(result["issue_severity"]).lower()
    weakness = replace(
        WEAKNESSES["dangerous-call"],
        name=f"bandit-{result['test_id']}",
        title=str(result["test_name"]).replace("_", " ").capitalize(),
        cwe=int(result["issue_cwe"].get("id", WEAKNESSES["dangerous-call"].cwe)),
        severity=severity if severity in ("medium", "high") else "medium",
        fix=f"{result['issue_text']} See {result['more_info']}",
    )
    return tree.finding(weakness, path, line, result["issue_text"], result["code"], f"bandit {result['test_id']}")


def _from_outside(tree: Tree, path: Path, line: int) -> bool:
    """Whether a query is put together from something that its function was given, not from constants of the module."""
    function = tree.function(path, line)
    if function is None:
        return False
    arguments = function.args
    listed = (*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs)
    given = {each.arg for each in listed if not _bounded(each.annotation)} - {"self", "cls"}
    given -= {name for node in ast.walk(function) for name in _looked_up(node)}
    for node in ast.walk(function):
        names = (
            {n.id for n in ast.walk(node.value) if isinstance(n, ast.Name)} if isinstance(node, ast.Assign) else set()
        )
        if isinstance(node, ast.Assign) and names & given and not _chosen(node.value):
            given |= {target.id for target in node.targets if isinstance(target, ast.Name)}
    statement = min(
        (n for n in ast.walk(function) if isinstance(n, ast.stmt) and n.lineno <= line <= (n.end_lineno or 0)),
        key=lambda n: (n.end_lineno or 0) - n.lineno,
    )
    parts: list[ast.AST] = [n for n in ast.walk(statement) if isinstance(n, ast.FormattedValue | ast.BinOp)]
    parts += [n for n in ast.walk(statement) if isinstance(n, ast.Call) and getattr(n.func, "attr", "") == "format"]
    return any(isinstance(n, ast.Name) and n.id in given for part in parts for n in ast.walk(part))


def _bounded(annotation: ast.expr | None) -> bool:
    """Whether an argument cannot be any text: a number, a choice, or what a pattern lets through."""
    nodes = list(ast.walk(annotation)) if annotation else []
    words = {getattr(node, "id", getattr(node, "attr", "")) for node in nodes}
    patterned = any(isinstance(node, ast.keyword) and node.arg in ("pattern", "regex") for node in nodes)
    return patterned or (bool(words & BOUNDED) and "str" not in words)


def _looked_up(node: ast.AST) -> Iterator[str]:
    """The name that is compared with what is on a list: `if sort not in COLUMNS`."""
    if isinstance(node, ast.Compare) and any(isinstance(each, ast.In | ast.NotIn) for each in node.ops):
        yield from [node.left.id] if isinstance(node.left, ast.Name) else ()


def _chosen(value: ast.expr) -> bool:
    """Whether a value comes out of a mapping or a choice: `COLUMNS[sort]`, `COLUMNS.get(sort)`, `"a" if … else "b"`."""
    if isinstance(value, ast.Call):
        return isinstance(value.func, ast.Attribute) and value.func.attr == "get"
    return isinstance(value, ast.Subscript | ast.IfExp)
