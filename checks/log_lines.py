"""What an app wrote into LOG_FILE, line by line."""

import json
import time
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any

import httpx

from lab_app.harness import App
from lab_app.harness.draw import Draw

WAIT_SECONDS = 5
TIME, USER = ("time", "timestamp", "ts", "at"), ("username", "user")
Entry = dict[str, Any]


class Log:
    """The log of an app, from now on."""

    def __init__(self, app: App) -> None:
        self.app = app
        self.begins = len(self._read())

    def raw(self) -> bytes:
        """What was written since."""
        return self._read()[self.begins :]

    def entries(self) -> list[Entry]:
        """The lines as JSON objects; a line that is none fails the check."""
        return [entry_of(line) for line in self.lines()]

    def lines(self) -> list[bytes]:
        """The lines that are whole."""
        return self.raw().split(b"\n")[:-1]

    def eventually(self, wanted: Callable[[list[Entry]], object]) -> list[Entry]:
        """The entries as soon as they are what is wanted, or as they are when time is up."""
        entries: list[Entry] = []

        def there() -> object:
            entries[:] = self.entries()
            return wanted(entries)

        self.app.answer.patience.until(there, WAIT_SECONDS)
        return entries

    def before(self, last: Callable[[Entry], bool], least: int) -> list[Entry]:
        """The entries but the last: at least so many, and all that are there when the last one is."""
        wanted = lambda entries: len(entries) > least and any(map(last, entries))  # noqa: E731
        return [entry for entry in self.eventually(wanted) if not last(entry)]

    def _read(self) -> bytes:
        return self.app.files().get("larkspur.log", b"")


def unknown_path(api: httpx.Client, draw: Draw) -> Callable[[Entry], bool]:
    """Ask for a path that does not exist; how its line is known."""
    path = f"/{draw.username()}"
    api.get(path)
    return lambda entry: entry.get("path") == path


def unknown_member(api: httpx.Client, draw: Draw) -> Callable[[Entry], bool]:
    """Log in as somebody who does not exist; how the line is known."""
    name = draw.username()
    api.post("/token", data={"grant_type": "password", "username": name, "password": "nothing to hide"})
    return lambda entry: user_of(entry) == name


def entry_of(line: bytes) -> Entry:
    """A line as what it must be: a JSON object."""
    shown = beginning(line)
    try:
        entry = json.loads(line.decode())
    except (ValueError, RecursionError):
        raise AssertionError(f"wrote a line into the log that is no JSON: {shown}") from None
    assert isinstance(entry, dict), f"wrote a line into the log that is no JSON object: {shown}"
    return entry


def beginning(line: bytes) -> str:
    """As much of a line as a message has room for."""
    return line[:200].decode(errors="backslashreplace")


def user_of(entry: Entry) -> str:
    """Whom a line names; "" if nobody."""
    return str(next((entry[key] for key in USER if entry.get(key)), ""))


def status_of(entry: Entry) -> int:
    """The status in a line, as a number or as a text of digits; 0 if none."""
    said = str(entry.get("status"))
    return int(said) if said.isdecimal() else 0


def age_of(entry: Entry) -> float:
    """How many seconds ago a line was written, by its own time, which must be UTC in ISO 8601."""
    said = next((entry[key] for key in TIME if key in entry), None)
    assert said is not None, f"wrote a line without {', '.join(TIME[:-1])} or {TIME[-1]}: {entry}"
    try:
        when = datetime.fromisoformat(str(said))
    except ValueError:
        raise AssertionError(f"wrote {said!r} for a time, which is no ISO 8601") from None
    assert when.utcoffset() == timedelta(0), f"wrote {said!r} for a time, which does not say that it is UTC"
    return time.time() - when.timestamp()
