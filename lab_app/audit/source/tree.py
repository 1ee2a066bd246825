"""The source: its files, and the route that a line belongs to."""

import ast
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

from lab_app.audit.errors import AuditError
from lab_app.audit.finding import WEAKNESSES, Finding, Place, Weakness
from lab_app.audit.operations import METHODS, Operation
from lab_app.audit.project import TESTS, parsed, python_files
from lab_app.harness.evidence import Exchange

ORIGIN = re.compile(r"[\"'](https?://[\w.-]+(?::\d+)?)[\"']")
LEAST, MOST, MOST_WORDS = 4, 200, 5000  # characters of a text that may be a key, and how many are tried
Function = ast.FunctionDef | ast.AsyncFunctionDef


@dataclass
class Tree:
    """A file, or a folder without its tests and environments. `operations` are those that its lines may belong to."""

    top: Path
    operations: Sequence[Operation] = ()
    _functions: dict[Path, list[Function]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if not self.top.exists():
            raise AuditError(f"{self.top} does not exist. Give --source a file or a folder.")
        self.top = self.top.resolve()

    @cached_property
    def python(self) -> list[Path]:
        """Its Python files."""
        return list(python_files(self.top, frozenset(TESTS)))

    @cached_property
    def origins(self) -> list[str]:
        """Origins that stand in its Python files as they are."""
        return sorted({found for path in self.python for line in lines_of(path) for found in ORIGIN.findall(line)})

    @cached_property
    def patterns(self) -> list[str]:
        """Patterns that origins are compared with."""
        given = (each for node in self._nodes if isinstance(node, ast.Call) for each in node.keywords)
        return [
            each.value.value
            for each in given
            if each.arg == "allow_origin_regex"
            and isinstance(each.value, ast.Constant)
            and isinstance(each.value.value, str)
        ]

    @cached_property
    def words(self) -> list[str]:
        """Texts in its Python files that might be keys: one line, no blanks."""
        texts = {each.value for each in self._nodes if isinstance(each, ast.Constant) and isinstance(each.value, str)}
        return sorted(each for each in texts if LEAST <= len(each) <= MOST and not re.search(r"\s", each))[:MOST_WORDS]

    @property
    def _nodes(self) -> Iterator[ast.AST]:
        return (node for path in self.python if (module := parsed(path)) for node in ast.walk(module))

    def files(self, *patterns: str) -> Iterator[Path]:
        """Other files by pattern, hidden folders but `.github` left out."""
        for pattern in patterns if self.top.is_dir() else ():
            for path in sorted(self.top.rglob(pattern)):
                inner = path.relative_to(self.top).parts
                hidden = any(part.startswith(".") and part != ".github" for part in inner[:-1])
                if path.is_file() and not hidden and not {"node_modules", "site-packages", *TESTS} & set(inner):
                    yield path

    def name(self, path: Path) -> str:
        """A file's name in a report."""
        return path.name if path == self.top else path.relative_to(self.top).as_posix()

    def where(self, path: Path, line: int) -> str:
        """The route whose function a line stands in; else file and line."""
        function = self.function(path, line)
        found = next(self._routes(function), None) if function else None
        return found or f"{self.name(path)}:{line}"

    def function(self, path: Path, line: int) -> Function | None:
        """The innermost function around a line."""
        if path not in self._functions:
            tree = parsed(path)
            nodes = ast.walk(tree) if tree else ()
            self._functions[path] = [node for node in nodes if isinstance(node, Function)]
        around = [node for node in self._functions[path] if node.lineno <= line <= (node.end_lineno or 0)]
        return max(around, key=lambda node: node.lineno, default=None)

    def _routes(self, function: Function) -> Iterator[str]:
        for decorator in function.decorator_list:
            if isinstance(decorator, ast.Call) and isinstance(decorator.func, ast.Attribute):
                method = decorator.func.attr
                given = decorator.args[0] if decorator.args else None
                path = given.value if isinstance(given, ast.Constant) and isinstance(given.value, str) else None
                if method in METHODS and path is not None:
                    yield from self._known(method.upper(), path, function.name)

    def _known(self, method: str, path: str, name: str) -> Iterator[str]:
        """The documented operation: a router may stand before its path, and its id begins with the function's name."""
        alike = [each for each in self.operations if each.method == method and each.path.endswith(path)]
        yield from (
            each.where for each in sorted(alike, key=lambda each: (not each.name.startswith(name), len(each.path)))
        )

    def finding(self, name: str | Weakness, path: Path, line: int, said: str, shown: str, tool: str) -> Finding:
        """A finding whose evidence is a line."""
        weakness = WEAKNESSES[name] if isinstance(name, str) else name
        at = f"{self.name(path)}:{line}"
        return Finding(
            weakness,
            self.where(path, line),
            said,
            Exchange(f"{tool} {at}", shown, ""),
            place=Place(self.name(path), line),
        )


def lines_of(path: Path) -> list[str]:
    """A text file's lines; none of one that cannot be read."""
    try:
        return path.read_text(encoding="utf-8", errors="replace").splitlines() if path.stat().st_size < 5 << 20 else []
    except OSError:
        return []
