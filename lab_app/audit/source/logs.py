"""What is handed to a logger, as the tree of the source shows it."""

import ast
import re
from collections.abc import Iterator

from lab_app.audit.finding import Finding
from lab_app.audit.project import parsed
from lab_app.audit.source.tree import Tree, lines_of

LEVELS = {"debug", "info", "warning", "warn", "error", "exception", "critical", "log"}
LOGGER = re.compile(r"(^|[._])(log|logger|logging|structlog|loguru)$|log(ger)?(\.(bind|opt)\(.*\))?$", re.I)
SECRET = re.compile(r"(^|_)(password|passwd|passphrase|secret|secret_key|api_key|access_token|refresh_token)$", re.I)
HARMLESS = {"len", "bool", "type", "id", "hash", "isinstance", "mask", "redact", "get_secret_value_length"}


def look(tree: Tree) -> Iterator[Finding]:
    """Calls of a logger with something in them that is named as a secret is."""
    for path in tree.python:
        module = parsed(path)
        for node in ast.walk(module) if module else ():
            if isinstance(node, ast.Call) and _logs(node) and (name := next(_secrets(node), "")):
                line = lines_of(path)[node.lineno - 1].strip()
                said = f"{name} is handed to the logger."
                yield tree.finding("secret-in-log", path, node.lineno, said, line, "read")


def _logs(call: ast.Call) -> bool:
    function = call.func
    return (
        isinstance(function, ast.Attribute)
        and function.attr in LEVELS
        and bool(LOGGER.search(ast.unparse(function.value)))
    )


def _secrets(call: ast.Call) -> Iterator[str]:
    for given in (*call.args, *(keyword.value for keyword in call.keywords)):
        yield from _named(given)


def _named(node: ast.AST) -> Iterator[str]:
    """Names of values that would be written out; what is only counted, compared or masked is not."""
    if isinstance(node, ast.Call) and ast.unparse(node.func).split(".")[-1] in HARMLESS:
        return
    if isinstance(node, ast.Compare | ast.IfExp | ast.Subscript):
        return
    if isinstance(node, ast.Attribute):
        if SECRET.search(node.attr):
            yield ast.unparse(node)
        return
    if isinstance(node, ast.Name) and SECRET.search(node.id):
        yield node.id
    for child in ast.iter_child_nodes(node):
        yield from _named(child)
