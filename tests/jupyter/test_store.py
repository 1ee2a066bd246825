"""Attempts are kept, and no state of the disk breaks a check."""

import sqlite3
from pathlib import Path

import pytest

from lab_app.jupyter import store
from lab_app.jupyter.progress import progress
from tests.jupyter.conftest import result, verdict

PASSED, HALF = verdict("passed", result()), verdict("not yet", result(), result(False))


def test_the_best_attempt_counts() -> None:
    for judged in (HALF, PASSED, HALF):
        store.record(judged)
    assert store.records() == {"1.1": store.Record(passed=True, score=1.0, attempts=3)}


def test_a_damaged_file_is_one_sentence() -> None:
    store.path().write_bytes(b"this is no database" * 100)
    with pytest.raises(store.StoreError, match="progress"):
        store.record(PASSED)
    assert "○ 1.1" in progress().text
    assert "move the file away" in progress().text


def test_another_table_by_the_same_name_is_one_sentence() -> None:
    with sqlite3.connect(store.path()) as connection:
        connection.execute("CREATE TABLE attempts (something TEXT)")
    with pytest.raises(store.StoreError):
        store.record(PASSED)
    assert "move the file away" in progress().text


def test_a_locked_file_is_one_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    store.record(HALF)
    monkeypatch.setattr(store, "PATIENCE", 0.01)
    with sqlite3.connect(store.path()) as connection:
        connection.execute("BEGIN EXCLUSIVE")
        with pytest.raises(store.StoreError, match="locked"):
            store.record(PASSED)


def test_a_folder_that_cannot_be_made_is_one_sentence(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (home / "file").touch()
    monkeypatch.setenv("LAB_HOME", str(home / "file" / "below"))
    with pytest.raises(store.StoreError):
        store.record(PASSED)


def test_a_read_only_file_is_one_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    store.record(HALF)
    monkeypatch.setattr(store, "SCHEMA", "PRAGMA query_only = 1")
    with pytest.raises(store.StoreError, match="readonly"):
        store.record(PASSED)


def test_progress_says_it_in_words() -> None:
    before = progress()
    store.record(HALF)
    between = progress()
    store.record(PASSED)
    after = progress()
    for view, mark, words in ((before, "○ 1.1", "0 of"), (between, "◐ 1.1", "0 of"), (after, "✓ 1.1", "1 of")):
        assert mark in view.text
        assert mark in view.html
        assert words in view.text
    assert "50% at best, 1 attempt" in between.html
    assert all(title in before.text for title in ("HTTPS and TLS", "Logging and monitoring"))
