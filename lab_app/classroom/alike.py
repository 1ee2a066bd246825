"""Answers that are the same but for their names: a hint to talk to people, and no proof of anything."""

import ast
import hashlib
from functools import cache

from lab_app.workbook.source import all_exercises

LEAST = 500  # characters of syntax tree beyond the starter's; below, there are not many ways to write it
DOCUMENTED = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)


def fingerprint(source: str, number: str) -> str:
    """The same word for answers that differ in names and comments only; "" if there is too little to tell."""
    statements = body(source)
    own = [statement for statement in statements if ast.dump(statement) not in starters(number)]
    names = bound(statements)
    told = "\n".join(plain(statement, names) for statement in own)
    return hashlib.sha256(told.encode(errors="surrogatepass")).hexdigest()[:32] if len(told) >= LEAST else ""


@cache
def starters(number: str) -> frozenset[str]:
    """The statements that everybody has been given."""
    return frozenset(map(ast.dump, body(all_exercises()[number].starter)))


@cache
def solved(number: str) -> str:
    """The fingerprint of the reference solution."""
    return fingerprint(all_exercises()[number].solution, number)


def body(source: str) -> list[ast.stmt]:
    """The top-level statements of a cell; none if it is no Python."""
    try:
        return ast.parse(source).body
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return []


def bound(statements: list[ast.stmt]) -> dict[str, str]:
    """The names that a cell has chosen for itself, numbered as they come."""
    names: dict[str, str] = {}
    for statement in statements:
        for node in ast.walk(statement):
            match node:
                case ast.Name(id=name, ctx=ast.Store()) | ast.arg(arg=name):
                    names.setdefault(name, f"n{len(names)}")
                case ast.FunctionDef(name=name) | ast.AsyncFunctionDef(name=name) | ast.ClassDef(name=name):
                    names.setdefault(name, f"n{len(names)}")
    return names


def plain(statement: ast.stmt, names: dict[str, str]) -> str:
    """A statement without docstrings, with these names replaced."""
    for node in ast.walk(statement):
        match node:
            case ast.Name():
                node.id = names.get(node.id, node.id)
            case ast.arg():
                node.arg = names.get(node.arg, node.arg)
            case ast.FunctionDef() | ast.AsyncFunctionDef() | ast.ClassDef():
                node.name = names.get(node.name, node.name)
        if isinstance(node, DOCUMENTED) and ast.get_docstring(node, clean=False) is not None:
            node.body = node.body[1:]
    return ast.dump(statement)
