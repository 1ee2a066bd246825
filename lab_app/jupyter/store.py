"""Attempts and scores, kept in the learner's data folder."""

import os
import sqlite3
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path

import platformdirs

from lab_app.harness.verdict import Verdict

PATIENCE = 2  # seconds, for another kernel that is writing
SCHEMA = """
CREATE TABLE IF NOT EXISTS attempts (
    number TEXT NOT NULL, at REAL NOT NULL, outcome TEXT NOT NULL, score REAL NOT NULL, seconds REAL NOT NULL
)
"""


class StoreError(Exception):
    """Progress cannot be read or kept; the text says why and what to do."""


@dataclass(frozen=True)
class Record:
    """How far a learner has come with one exercise."""

    passed: bool
    score: float
    attempts: int


def path() -> Path:
    """Where attempts are kept; the variable LAB_HOME names another folder."""
    folder = os.environ.get("LAB_HOME") or platformdirs.user_data_dir("fastapi-security-workbook", appauthor=False)
    return Path(folder) / "progress.db"


def record(verdict: Verdict) -> None:
    """Keep an attempt. Raises StoreError."""
    row = (verdict.exercise, time.time(), verdict.outcome, verdict.score, verdict.seconds)
    with _open() as connection:
        connection.execute("INSERT INTO attempts VALUES (?, ?, ?, ?, ?)", row)


def records() -> dict[str, Record]:
    """What was reached in each exercise that was attempted. Raises StoreError."""
    query = "SELECT number, max(outcome = 'passed'), max(score), count(*) FROM attempts GROUP BY number"
    with _open() as connection:
        rows = connection.execute(query).fetchall()
    return {number: Record(bool(passed), score, attempts) for number, passed, score, attempts in rows}


@contextmanager
def _open() -> Iterator[sqlite3.Connection]:
    where = path()
    try:
        where.parent.mkdir(parents=True, exist_ok=True)
        with closing(sqlite3.connect(where, timeout=PATIENCE)) as connection, connection:
            connection.execute(SCHEMA)
            yield connection
    except (sqlite3.Error, OSError) as error:
        raise StoreError(
            f"Your progress could not be kept or read: {where}: {error}. "
            "Nothing else depends on it; move the file away to begin anew."
        ) from error
