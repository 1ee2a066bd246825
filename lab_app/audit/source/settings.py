"""What the source sets: debug mode, the session's cookie, keys that are written down or are a default."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

from lab_app.audit.finding import Finding
from lab_app.audit.project import parsed
from lab_app.audit.source.tree import Tree, lines_of

KEY = re.compile(
    r"(?:\w+_)?(?:secret_?key|jwt_secret(?:_key)?|jwt_key|session_secret|signing_key|app_secret|secret)", re.I
)
ASKS = {"get", "getenv", "config", "env", "setdefault"}  # a name first, and what it is without one
WRAPS = {"str", "Field", "Secret", "SecretStr"}
APPS = {"FastAPI", "Starlette"}


def look(tree: Tree) -> Iterator[Finding]:
    """Settings that are written down where they should be asked for."""
    modules = [(path, module) for path in tree.python if (module := parsed(path))]
    compared = {
        each.value
        for _, module in modules
        for node in ast.walk(module)
        if isinstance(node, ast.Compare)
        for each in ast.walk(node)
        if isinstance(each, ast.Constant) and isinstance(each.value, str)
    }
    for path, module in modules:
        for node in ast.walk(module):
            if isinstance(node, ast.Call):
                yield from _called(tree, path, node)
        for value in _keys(module):
            # One that is compared with something is refused somewhere, as a placeholder is.
            if value.value not in compared:
                said = "A key that signs is written down."
                yield _finding(tree, "secret-in-source", path, value, said, str(value.value))


def _called(tree: Tree, path: Path, call: ast.Call) -> Iterator[Finding]:
    given = {each.arg: each.value for each in call.keywords}
    if _name(call.func) in APPS and _is(given.get("debug"), True):
        said = "A crash shows the client its traceback."
        yield _finding(tree, "debug-on", path, given["debug"], said)
    session = "SessionMiddleware" in {_name(call.func), *(_name(each) for each in call.args[:1])}
    if not session or None in given:  # **settings say what nobody can see here
        return
    if "https_only" not in given or _is(given["https_only"], False):
        said = "Without https_only=True a browser sends the session's cookie over plain HTTP too."
        yield _finding(tree, "cookie-without-secure", path, call, said)
    secret = given.get("secret_key")
    if isinstance(secret, ast.Constant) and isinstance(secret.value, str):
        said = "The key that signs sessions is written down."
        yield _finding(tree, "secret-in-source", path, secret, said, secret.value)


def _keys(module: ast.Module) -> Iterator[ast.Constant]:
    """Texts that a module or class gives to a name such as SECRET_KEY, as they are or where none is set."""
    bodies = [module.body, *(node.body for node in ast.walk(module) if isinstance(node, ast.ClassDef))]
    for statement in (each for body in bodies for each in body):
        if isinstance(statement, ast.Assign | ast.AnnAssign):
            targets = statement.targets if isinstance(statement, ast.Assign) else [statement.target]
            named = any(KEY.fullmatch(_name(each)) for each in targets)
            value = _default(statement.value)
            if named and value is not None and _may_be_key(str(value.value), {_name(each).lower() for each in targets}):
                yield value


def _default(value: ast.expr | None) -> ast.Constant | None:
    """A text, or the one that a call falls back to: os.getenv("NAME", "text"), Field(default="text"), … or "text"."""
    if isinstance(value, ast.BoolOp):
        return _default(value.values[-1])
    if isinstance(value, ast.Call) and _name(value.func) in (*ASKS, *WRAPS):
        named = [each.value for each in value.keywords if each.arg == "default"]
        given = [*named, *(value.args if _name(value.func) in WRAPS else value.args[1:])]
        return _default(given[0]) if given else None
    return value if isinstance(value, ast.Constant) and isinstance(value.value, str) else None


def _may_be_key(value: str, names: set[str]) -> bool:
    """Not empty, not a template, not the name of a variable or of a file."""
    return bool(value) and not re.search(r"[{}$/\s]", value) and value.lower() not in names


def _name(node: ast.expr) -> str:
    return node.attr if isinstance(node, ast.Attribute) else node.id if isinstance(node, ast.Name) else ""


def _is(node: ast.expr | None, value: bool) -> bool:
    return isinstance(node, ast.Constant) and node.value is value


def _finding(tree: Tree, name: str, path: Path, node: ast.expr, said: str, secret: str = "") -> Finding:
    line = lines_of(path)[node.lineno - 1].strip()
    shown = line.replace(secret, f"{secret[:3]}…") if secret else line
    return tree.finding(name, path, node.lineno, said, shown, "read")
