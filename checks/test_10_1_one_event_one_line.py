"""10.1 One event, one line: how it is used, and how it is attacked."""

import json
import socket
import time
from collections import Counter
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, suppress
from urllib.parse import quote

import httpx
import pytest

from checks.accounts import log_in
from checks.log_lines import Entry, Log, age_of, beginning, status_of, unknown_path, user_of
from lab_app.harness import REFUSED, App, attack, exercise, expect, json_of, legit
from lab_app.harness.draw import Draw
from lab_app.harness.library import Member

ZONES = ("Asia/Tokyo", "America/New_York")
MOST = 8 << 10  # bytes of a line
CROWD, ROUNDS = 60, 8
Asked = tuple[str, str, int]  # method, path, status
BREAKS = ("\n", "\r\n", "\r", "\u2028", "\u2029", "\u0085", "\v", "\f")
RAW = ["\N{NEXT LINE}", "\N{LINE SEPARATOR}", "\N{PARAGRAPH SEPARATOR}", *map(chr, range(0x20))]


class TidyLog(Log):
    """A log whose lines are not too long, with nothing raw in them that could break a line."""

    def entries(self) -> list[Entry]:
        """The lines as JSON objects; a line that is not tidy fails the check."""
        for line in self.lines():
            text = line.decode(errors="replace")
            found = [f"U+{ord(character):04X}" for character in RAW if character in text]
            assert not found, f"wrote {', '.join(found)} raw into a line of the log: {beginning(line)}"
            assert len(line) <= MOST, f"wrote a line of {len(line)} bytes into the log: {beginning(line)}…"
        return super().entries()


@pytest.fixture
def app(launch: Callable[..., App]) -> App:
    """An app for each check: what one check asks last reaches the log when the next one has begun to read it."""
    return launch()


def told(entries: Iterable[Entry]) -> Counter[Asked]:
    """What the lines say was asked and answered."""
    return Counter((str(e.get("method")), str(e.get("path")), status_of(e)) for e in entries)


def expect_lines(entries: list[Entry], answers: list[httpx.Response]) -> None:
    """One line for each answer, with its method, path and status."""
    asked = Counter((a.request.method, a.request.url.path, a.status_code) for a in answers)
    found = told(entries)
    missing, surplus = asked - found, found - asked
    assert not missing, f"wrote no line for {some(missing)}; its lines: {some(found)}"
    assert not surplus, f"wrote more than one line for a request, or lines about nothing: {some(surplus)}"


def some(asked: Counter[Asked]) -> str:
    """The first few, for people."""
    return "; ".join(f"{method} {path[:80]} {status}" for method, path, status in list(asked)[:4]) or "none"


def forged(draw: Draw) -> str:
    """A line that tells of a login that never was."""
    return json.dumps({"event": "authn_login_success", "username": draw.username(), "status": 200})


def released(app: App, paths: Iterable[str]) -> None:
    """Ask for these paths at one moment, over connections that were open before. The log says what became of them."""
    with ExitStack() as held, suppress(OSError):
        connections = [held.enter_context(socket.create_connection(("127.0.0.1", app.port), 10)) for _ in range(CROWD)]
        for path, connection in zip(paths, connections, strict=True):
            connection.sendall(f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n".encode())
        for connection in connections:
            connection.settimeout(max(0.01, app.answer.deadline() - time.monotonic()))
            connection.recv(1 << 14)


@exercise("10.1")
@legit("RFC 6749 §5.1", "ASVS 5.0 6.3.8")
def test_members_log_in(api: httpx.Client, ada: Member, bob: Member, disabled: Member, draw: Draw) -> None:
    """Members get a token for their password; others get 401, unknown paths 404, and /boom raises.

    A log is worth nothing if what it tells of does not work.

    Hint: the seeded hashes are bcrypt; passlib and bcrypt both verify them.
    """
    for member in (ada, bob):
        answer = expect(log_in(api, member.username, member.password), 200, "refused the right password")
        json_of(answer, "access_token", "token_type")
        expect(log_in(api, member.username, draw.passphrase()), 401, "took a wrong password")
    expect(log_in(api, draw.username(), draw.passphrase()), 401, "logged in somebody whom it does not know")
    expect(log_in(api, disabled.username, disabled.password), REFUSED, "logged in a disabled member")
    expect(api.get(f"/{draw.username()}"), 404, "knew a path that does not exist")
    assert api.get("/boom").status_code == 500, "did not raise in /boom, so that nobody can see how it is logged"


@exercise("10.1")
@legit("ASVS 5.0 16.2.1", "ASVS 5.0 16.3.4", "CWE-778")
def test_every_request_leaves_one_line(app: App, api: httpx.Client, ada: Member, draw: Draw) -> None:
    """Logins, refusals, 404, 405, 422, crashes, HEAD, OPTIONS, the docs: one line each, with method, path and status.

    What is missing from the log did not happen, for whoever reads it; what stands there twice is counted twice.

    Hint: wrap the whole ASGI app, and write the line in a `finally`. A middleware never sees what crashed.
    """
    log = TidyLog(app)
    answers = [
        log_in(api, ada.username, ada.password),
        log_in(api, ada.username, draw.passphrase()),
        api.get("/boom", params={"q": draw.username()}),
        api.get(f"/{draw.username()}/{draw.username()}"),
        api.put("/token"),
        api.post("/token", data={"username": ada.username}),
        api.post("/token", content=b"{", headers={"Content-Type": "application/json"}),
        api.get("/boom"),
        api.head(f"/{draw.username()}"),
        api.options(f"/{draw.username()}"),
        api.get("/openapi.json"),
        api.get("/health"),
    ]
    expect_lines(log.before(unknown_path(api, draw), len(answers)), answers)


@exercise("10.1")
@legit("ASVS 5.0 16.2.2", "RFC 3339 §5.6")
def test_lines_say_when_in_utc(app_in: Callable[[str], App], draw: Draw) -> None:
    """A line's time is now, in UTC, on servers in Tokyo and in New York.

    Lines of two servers can only be put into an order if both mean the same clock.

    Hint: `datetime.now(timezone.utc).isoformat()`.
    """
    for zone in ZONES:
        app = app_in(zone)
        log = TidyLog(app)
        app.api.get(f"/{draw.username()}")
        for entry in log.before(unknown_path(app.api, draw), 1):
            age = age_of(entry)
            assert abs(age) < 60, f"wrote a time that is {age:.0f} s off on a server in {zone}"


@exercise("10.1")
@attack("CWE-117", "CWE-93", "ASVS 5.0 16.4.1")
def test_usernames_write_no_lines(app: App, api: httpx.Client, draw: Draw) -> None:
    """A user name with line ends, quotes or control characters stays part of one line.

    Whoever can end a line can write the next one: a login of somebody else, or a hundred of them.

    Hint: `json.dumps` escapes everything that is not printable ASCII. Do not put lines together yourself.
    """
    log, names = TidyLog(app), [f"{draw.username()}{end}{forged(draw)}" for end in BREAKS]
    names += [
        f'{draw.username()}", "status": 200, "x": "',
        f"{draw.username()}\x1b[2K\x1b[1A\x07",
        f"{draw.username()}\0",
    ]
    names += [f"{draw.username()}\\", "\\u000a" + forged(draw), "{}" + "\b" * 40, "\ufeff\u202e\x7f\x9b"]
    answers = [expect(log_in(api, name, draw.passphrase()), REFUSED, f"fell over the name {name!r}") for name in names]
    expect_lines(log.before(unknown_path(api, draw), len(answers)), answers)


@exercise("10.1")
@attack("CWE-117", "CWE-116", "ASVS 5.0 16.4.1")
def test_paths_and_headers_write_no_lines(app: App, api: httpx.Client, draw: Draw) -> None:
    """Percent-encoded line ends in a path, quotes and odd bytes in headers stay part of one line.

    The server has decoded the path before you see it.

    Hint: treat everything that comes from outside alike; the path too is text that a stranger wrote.
    """
    log, answers = TidyLog(app), []
    for piece in (*BREAKS, "\x1b[2J", "\0", '", "status": 200, "x": "', "\\", "\x7f\x9b"):
        answers.append(api.get(f"/{draw.username()}{quote(piece, safe='')}{quote(forged(draw), safe='')}"))
    for value in (
        forged(draw).encode(),
        b"\xe2\x80\xa8" + forged(draw).encode(),
        b"\x85\xff\xfe",
        b'"\\',
        b"203.0.113.9",
    ):
        headers = [(name, value) for name in (b"user-agent", b"referer", b"x-forwarded-for", b"x-request-id")]
        answers.append(api.get(f"/{draw.username()}", headers=headers))
    for answer in answers:
        expect(answer, REFUSED, "fell over a path or a header")
    entries = log.before(unknown_path(api, draw), len(answers))
    assert len(entries) == len(answers), f"wrote {len(entries)} lines for {len(answers)} requests"
    assert all(status_of(entry) == 404 for entry in entries), "wrote another status than it answered"


@exercise("10.1")
@attack("CWE-117", "ASVS 5.0 16.4.1", "ASVS 5.0 16.5.4")
def test_exceptions_write_no_lines(app: App, api: httpx.Client, draw: Draw) -> None:
    """A crash is one line with status 500, whatever the text of its exception.

    Exceptions quote what they choked on. A traceback that is printed raw is twenty lines.

    Hint: in `except Exception`, put the text through the same escaping as everything else, and shorten it.
    """
    log, answers = TidyLog(app), []
    for piece in (*BREAKS, "\x1b[31m", "\0", '"}', "%", "\\n"):
        answers.append(api.get(f"/boom?{quote(piece + forged(draw), safe='')}"))
    answers.append(api.get(b"/boom?\"{'status': 200}\\".decode()))
    for answer in answers:
        assert answer.status_code == 500, "did not raise in /boom"
    expect_lines(log.before(unknown_path(api, draw), len(answers)), answers)


@exercise("10.1")
@attack("CWE-400", "CWE-779", "ASVS 5.0 1.3.3")
def test_no_line_is_longer_than_8_kib(app: App, api: httpx.Client, draw: Draw) -> None:
    """A megabyte in a name, tens of kilobytes in path, headers and exception, alone or together, end in short lines.

    Disks are finite, and so are the programs that read lines. A full disk is a log that says nothing.

    Hint: cut every text before you write it; an escaped character takes up to 12 bytes, and a line has several texts.
    """
    log, answers = TidyLog(app), []
    for piece in ("a", "\n", "\U0001f4a3", '"'):
        name = f"{draw.username()}{piece * (1_000_000 // len(piece.encode()))}"
        answers.append(expect(log_in(api, name, draw.passphrase()), REFUSED, "fell over a name of a megabyte"))
    for piece in ("a", "%0A", "%F0%9F%92%A3", "/.", "%22"):
        long = piece * (24_000 // len(piece))
        answers.append(expect(api.get(f"/{draw.username()}{long}"), REFUSED, "fell over a long path"))
        answers.append(api.get(f"/boom?{long}"))
    names = (b"user-agent", b"x-request-id", b"referer")
    for headers in ([(name, value * 9_000) for name in names] for value in (b"a", b"\x9b")):
        answers.append(expect(api.get(f"/{draw.username()}", headers=headers), REFUSED, "fell over long headers"))
        everything = api.get(f"/{draw.username()}{'%F0%9F%92%A3' * 1_500}", headers=headers)
        answers.append(expect(everything, REFUSED, "fell over a long path with long headers"))
    entries = log.before(unknown_path(api, draw), len(answers))
    assert len(entries) == len(answers), f"wrote {len(entries)} lines for {len(answers)} requests"
    statuses = Counter(answer.status_code for answer in answers)
    assert Counter(map(status_of, entries)) == statuses, "wrote other statuses than it answered"


@exercise("10.1")
@attack("CWE-362", "CWE-778")
def test_lines_of_many_at_once_stay_whole(app: App, api: httpx.Client, draw: Draw) -> None:
    """Requests for unknown pages that come at one moment, and sixty with long names, leave as many whole lines.

    Two threads that write half a line each leave none that parses.

    Hint: one `write` per line, in append mode, behind a lock.
    """
    for _ in range(ROUNDS):  # until the first line that is broken
        log, paths = TidyLog(app), [f"/{draw.username()}" for _ in range(CROWD)]
        released(app, paths)
        found = told(log.eventually(lambda entries: len(entries) >= CROWD))
        assert found == Counter(("GET", path, 404) for path in paths), f"wrote {some(found)} for {CROWD} unknown pages"
    log, people = TidyLog(app), [draw.username() + "é" * 400 for _ in range(20)]

    def ask(number: int) -> httpx.Response:
        if number % 3:
            return api.get(f"/{draw.username()}/{number}" if number % 3 == 1 else f"/boom?{'x' * 400}")
        return log_in(api, people[number // 3], "a wrong password")

    with ThreadPoolExecutor(12) as crowd:
        answers = list(crowd.map(ask, range(60)))
    expect_lines(log.before(unknown_path(api, draw), len(answers)), answers)


@exercise("10.1")
@attack("CWE-348", "ASVS 5.0 15.3.4")
def test_headers_choose_no_address(app: App, draw: Draw) -> None:
    """A forged X-Forwarded-For does not become the address in the log.

    Else the log blames whomever the attacker likes, and you block them.

    Hint: take `request.client.host`, the address of the connection.
    """
    log, liar = TidyLog(app), app.at(f"127.0.0.{draw.number(20, 200)}")
    address = f"203.0.113.{draw.number(1, 250)}"
    headers = {"X-Forwarded-For": address, "X-Real-IP": address, "Forwarded": f"for={address}", "Client-IP": address}
    liar.get(f"/{draw.username()}", headers=headers)
    liar.post("/token", data={"username": draw.username(), "password": draw.passphrase()}, headers=headers)
    for entry in log.before(unknown_path(app.api, draw), 2):
        assert address not in (entry.get("ip"), user_of(entry)), f"wrote the forged address {address} as ip"
