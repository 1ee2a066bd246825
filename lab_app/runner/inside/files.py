"""The files and rows that an answer left behind. They may be anything."""

import contextlib
import os
import shutil
import sqlite3
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from .run import Message

LOCK_SECONDS = 3  # less than the 5 for which Python's sqlite3 waits by default


def regular_files(folder: Path) -> Iterator[Path]:
    """Every file in a folder that is no link, in a stable order."""
    for parent, _, names in sorted(os.walk(folder)):
        for path in (Path(parent) / name for name in sorted(names)):
            if path.is_file() and not path.is_symlink():
                yield path


def remove(path: Path) -> None:
    """Remove a file or a folder, as far as it lets itself be removed."""
    with contextlib.suppress(OSError, RecursionError):
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path, ignore_errors=True)
        else:
            path.unlink()


def unblocked(path: str, flags: int) -> int:
    """Open a file that an answer may have made a pipe or a link."""
    return os.open(path, flags | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_NOFOLLOW", 0), 0o600)


def query(path: str, statement: str, parameters: list[Any]) -> Message:
    """Rows of a SQLite file as lists; bytes come as Latin-1 text."""
    try:
        with contextlib.closing(sqlite3.connect(path, timeout=5)) as connection:
            connection.execute("PRAGMA trusted_schema=OFF")
            rows = connection.execute(statement, parameters).fetchmany(10_000)
            connection.commit()
    except sqlite3.Error as error:
        return {"trouble": str(error), "slow": False}
    return {"rows": [[v.decode("latin-1") if isinstance(v, bytes) else v for v in row] for row in rows]}


def lock(path: str, report: Callable[[Message], None]) -> None:
    """Keep all others from writing to a SQLite file until this process is ended, LOCK_SECONDS at most."""
    with contextlib.closing(sqlite3.connect(path, timeout=5, isolation_level=None)) as connection:
        connection.execute("BEGIN IMMEDIATE")
        report({"locked": True})
        time.sleep(LOCK_SECONDS)
