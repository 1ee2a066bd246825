"""A project folder: where its app is, which Python runs it, what its dependencies are."""

import ast
import os
import sys
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lab_app.audit.errors import AuditError

NOT_OURS = {"node_modules", "venv", "env", "site-packages", "__pycache__", "build", "dist"}
TESTS = {"tests", "test", "docs", "examples", "alembic", "migrations"}
APPS = ("app", "application")
LIKELY = ("main", "app", "api", "server", "asgi")
LOCKS = (
    "uv.lock", "poetry.lock", "pylock.toml", "pdm.lock", "Pipfile.lock", "requirements.txt", "requirements/base.txt",
    "requirements/prod.txt", "requirements/production.txt", "pyproject.toml",
)  # fmt: skip


@dataclass(frozen=True)
class Project:
    """`app` is importable from `root`; `requirements` is a lock or requirements file, if there is one."""

    folder: Path
    app: str
    root: Path
    python: str
    requirements: Path | None


def project(folder: Path) -> Project:
    """What a folder holds. Raises AuditError."""
    folder = folder.resolve()
    app, root = _declared(folder) or _found(folder)
    return Project(folder, app, root, _python(folder, root), requirements(folder, root))


def python_files(top: Path, but: frozenset[str] = frozenset()) -> Iterator[Path]:
    """The Python files of a folder that are its own; of a file, itself."""
    if top.is_file():
        yield top
        return
    for path, folders, files in os.walk(top):
        folders[:] = sorted(name for name in folders if name not in NOT_OURS | but and not name.startswith("."))
        folders[:] = [name for name in folders if not Path(path, name, "pyvenv.cfg").exists()]
        yield from (Path(path, name) for name in sorted(files) if name.endswith(".py"))


def parsed(path: Path) -> ast.Module | None:
    """A file as a tree; None if it is not Python as we know it."""
    try:
        return ast.parse(path.read_text(encoding="utf-8", errors="replace"))
    except (SyntaxError, ValueError, OSError, RecursionError, MemoryError):
        return None


def _declared(folder: Path) -> tuple[str, Path] | None:
    """FastAPI's own way to name the app: `[tool.fastapi] entrypoint` in pyproject.toml."""
    try:
        table: Any = tomllib.loads((folder / "pyproject.toml").read_text(encoding="utf-8"))
        return str(table["tool"]["fastapi"]["entrypoint"]), folder
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _found(folder: Path) -> tuple[str, Path]:
    candidates = [
        (name.endswith("()"), len(path.relative_to(folder).parts), _rank(path), str(path), name not in APPS, name, root)
        for path in python_files(folder, frozenset(TESTS))
        if (tree := parsed(path))
        for name in _apps(tree)
        for root in [_root(path, tree, folder)]
    ]
    if not candidates:
        raise AuditError(f"No FastAPI app is made in {folder}. Give module:app, or the URL of one that runs.")
    *_, path, _, name, root = min(candidates)
    module = ".".join(Path(path).relative_to(root).with_suffix("").parts)
    return f"{module.removesuffix('.__init__')}:{name}", root


def _rank(path: Path) -> int:
    return LIKELY.index(path.stem) if path.stem in LIKELY else len(LIKELY)


def _apps(tree: ast.Module) -> Iterator[str]:
    """Names that a module gives to a FastAPI, and functions without arguments that return one."""
    for node in tree.body:
        value = getattr(node, "value", None)
        targets = node.targets if isinstance(node, ast.Assign) else [getattr(node, "target", None)]
        if isinstance(node, ast.Assign | ast.AnnAssign) and _makes_app(value):
            yield from (target.id for target in targets if isinstance(target, ast.Name))
        factory = isinstance(node, ast.FunctionDef) and not node.args.args and "app" in node.name
        if factory and any(map(_makes_app, ast.walk(node))):
            yield f"{getattr(node, 'name', '')}()"


def _makes_app(node: ast.AST | None) -> bool:
    return isinstance(node, ast.Call) and ast.unparse(node.func).split(".")[-1] == "FastAPI"


def _root(path: Path, tree: ast.Module, folder: Path) -> Path:
    """The folder to import from: above the packages, and above the first name that the module itself imports."""
    imported = {
        name.split(".")[0]
        for node in ast.walk(tree)
        for name in (
            [alias.name for alias in node.names]
            if isinstance(node, ast.Import)
            else [node.module or ""]
            if isinstance(node, ast.ImportFrom) and not node.level
            else []
        )
    }
    root = path.parent
    while (root / "__init__.py").exists() and root != root.parent:
        root = root.parent
    for above in [root, *root.parents]:
        if above == folder or folder not in above.parents:
            break
        if above.name in imported:
            return above.parent
    return root


def _python(folder: Path, root: Path) -> str:
    """The interpreter of the project's own environment, if it has one; else ours."""
    for top in (root, *root.parents):
        for name in (".venv", "venv"):
            for inner in ("bin/python", "Scripts/python.exe"):
                if (top / name / inner).exists():
                    return str(top / name / inner)
        if top == folder:
            break
    return sys.executable


def requirements(*folders: Path) -> Path | None:
    """The file that names the versions that are installed."""
    return next((folder / name for name in LOCKS for folder in folders if (folder / name).is_file()), None)
