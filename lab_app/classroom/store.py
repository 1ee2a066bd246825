"""What is known of a class, in one SQLite file: hand-ins, verdicts and the teacher's rules, each committed at once."""

import json
import sqlite3
import zlib
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from lab_app.harness.verdict import Verdict, from_json, to_json
from lab_app.trouble import Trouble

SCHEMA = """
CREATE TABLE IF NOT EXISTS settings (name TEXT PRIMARY KEY, value TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS students (
    name TEXT PRIMARY KEY, handed_in TEXT NOT NULL, troubles TEXT NOT NULL, number TEXT NOT NULL
);
CREATE TABLE IF NOT EXISTS verdicts (
    student TEXT NOT NULL, exercise TEXT NOT NULL, key TEXT NOT NULL, jailed INTEGER NOT NULL, verdict BLOB NOT NULL,
    PRIMARY KEY (student, exercise)
);
CREATE TABLE IF NOT EXISTS prints (
    student TEXT NOT NULL, exercise TEXT NOT NULL, print TEXT NOT NULL, PRIMARY KEY (student, exercise)
);
"""


class StoreError(Trouble):
    """The store cannot be used; the text says what to do."""


@dataclass(frozen=True)
class Student:
    """One student as handed in, in UTC if that is known. `troubles`: a sentence for each file that was left out.

    `number`: by which Canvas or Moodle knows them, if one does.
    """

    name: str
    handed_in: datetime | None = None
    troubles: tuple[str, ...] = ()
    number: str = ""


class Store:
    """An open store, which nobody else can open meanwhile. Every method that changes something commits it."""

    def __init__(self, path: Path) -> None:
        """Open, or begin. Raises StoreError."""
        self.path = path
        try:
            self.db = sqlite3.connect(path, isolation_level=None, timeout=1)
            # Exclusive and in WAL mode there is one file lock for as long as this process lives, however it ends.
            self.db.execute("PRAGMA locking_mode = EXCLUSIVE")
            self.db.execute("PRAGMA journal_mode = WAL")
            self.db.executescript(SCHEMA)
        except sqlite3.Error as error:
            raise self._trouble(error) from error

    def __enter__(self) -> "Store":
        return self

    def __exit__(self, *_: object) -> None:
        self.db.close()

    def setting(self, name: str) -> Any:
        """What was kept under a name; None if nothing was."""
        rows = self._do("SELECT value FROM settings WHERE name = ?", name)
        return json.loads(rows[0][0]) if rows else None

    def keep_setting(self, name: str, value: Any) -> None:
        """Keep a JSON value under a name."""
        self._do("INSERT OR REPLACE INTO settings VALUES (?, ?)", name, json.dumps(value))

    def enroll(self, student: Student, prints: dict[str, str]) -> None:
        """Keep what a student has handed in, in place of what was there; `prints`: exercise → fingerprint."""
        when = student.handed_in.isoformat() if student.handed_in else ""
        with self._whole():
            row = (student.name, when, json.dumps(student.troubles), student.number)
            self._do("INSERT OR REPLACE INTO students VALUES (?, ?, ?, ?)", *row)
            self._do("DELETE FROM prints WHERE student = ?", student.name)
            for number, print_ in prints.items():
                self._do("INSERT INTO prints VALUES (?, ?, ?)", student.name, number, print_)

    def students(self) -> Iterator[Student]:
        """All students in order of names."""
        for (name,) in self._do("SELECT name FROM students ORDER BY name"):
            ((when, troubles, number),) = self._do(
                "SELECT handed_in, troubles, number FROM students WHERE name = ?", name
            )
            yield Student(name, datetime.fromisoformat(when) if when else None, tuple(json.loads(troubles)), number)

    def alike(self) -> list[tuple[str, str, list[str]]]:
        """Exercise, fingerprint and students, where several share one."""
        rows = self._do(
            "SELECT exercise, print, json_group_array(student) FROM prints WHERE print != '' "
            "GROUP BY exercise, print HAVING count(*) > 1 ORDER BY exercise, count(*) DESC"
        )
        return [(number, print_, sorted(json.loads(names))) for number, print_, names in rows]

    def keep(self, student: str, verdicts: dict[str, tuple[str, Verdict]], jailed: bool) -> None:
        """Keep verdicts by exercise, each under the key of what was judged, all of them or none."""
        with self._whole():
            for number, (key, verdict) in verdicts.items():
                row = (student, number, key, jailed, packed(verdict))
                self._do("INSERT OR REPLACE INTO verdicts VALUES (?, ?, ?, ?, ?)", *row)

    def keys(self, student: str) -> dict[str, str]:
        """The key under which each exercise of a student was judged."""
        return dict(self._do("SELECT exercise, key FROM verdicts WHERE student = ?", student))

    def verdicts(self, student: str) -> dict[str, Verdict]:
        """A student's verdicts by exercise."""
        rows = self._do("SELECT exercise, verdict FROM verdicts WHERE student = ?", student)
        return {number: unpacked(blob) for number, blob in rows}

    def unjailed(self, student: str) -> set[str]:
        """The exercises of a student that were judged without the jail."""
        return {n for (n,) in self._do("SELECT exercise FROM verdicts WHERE student = ? AND NOT jailed", student)}

    def exercises(self) -> set[str]:
        """The exercises that anybody has a verdict of."""
        return {number for (number,) in self._do("SELECT DISTINCT exercise FROM verdicts")}

    @contextmanager
    def _whole(self) -> Iterator[None]:
        """All that is done within, or nothing."""
        self._do("BEGIN")
        try:
            yield
        except BaseException:
            with suppress(sqlite3.Error):  # a full disk has ended it already
                self.db.execute("ROLLBACK")
            raise
        self._do("COMMIT")

    def _do(self, statement: str, *parameters: Any) -> list[Any]:
        try:
            return self.db.execute(statement, parameters).fetchall()
        except sqlite3.Error as error:
            raise self._trouble(error) from error

    def _trouble(self, error: sqlite3.Error) -> StoreError:
        """What an error of SQLite's means to whoever grades."""
        match getattr(error, "sqlite_errorcode", 0) & 0xFF:
            case sqlite3.SQLITE_BUSY | sqlite3.SQLITE_LOCKED:
                return StoreError(f"Another run is writing {self.path}. Wait for it, or give another --out.")
            case sqlite3.SQLITE_NOTADB | sqlite3.SQLITE_CORRUPT:
                return StoreError(f"{self.path} is no store of ours. Give another --out, or move that file away.")
            case sqlite3.SQLITE_FULL | sqlite3.SQLITE_IOERR:
                return StoreError(
                    f"No space left on device, or it fails: {self.path} could not be written. What was judged before "
                    "is kept; make room, and run the same command again."
                )
        return StoreError(f"{self.path} cannot be used: {error}.")


def packed(verdict: Verdict) -> bytes:
    """A verdict in a few KB."""
    return zlib.compress(json.dumps(to_json(verdict)).encode(errors="replace"))


def unpacked(blob: bytes) -> Verdict:
    """A verdict again."""
    return from_json(json.loads(zlib.decompress(blob)))
