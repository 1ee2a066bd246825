"""10.3 One id per request: how it is used, and how it is attacked."""

import json
import re
import string
import threading
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import httpx
import pytest

from checks.log_lines import Entry, Log, age_of
from lab_app.harness import REFUSED, App, attack, exercise, expect, legit
from lab_app.harness.draw import Draw

ID = re.compile(r"[A-Za-z0-9_-]{8,64}")
FRAME = re.compile(r"\bline \d+|lineno\W+\d+|\.py\W+\d+")  # of a traceback in prose, as an object, in short
SHOWN = re.compile(r'Traceback|File "|\.py\b|Exercise \d|\blineno\b|\bline \d+, in ')  # of one, in any form
PARALLEL, CROWD = 10, 50
FOREIGN = sorted(set(map(chr, range(0x20, 0x7F))) - set(string.ascii_letters + string.digits + "-_"))


@pytest.fixture
def app(launch: Callable[..., App]) -> App:
    """An app for each check: what one check asks last reaches the log when the next one has begun to read it."""
    return launch()


def id_of(answer: httpx.Response) -> str:
    """The id on an answer; there must be exactly one, of the allowed form."""
    found = answer.headers.get_list("x-request-id")
    assert len(found) == 1, f"sent {len(found)} X-Request-ID with a {answer.status_code}, not one"
    assert ID.fullmatch(found[0]), f"sent the X-Request-ID {found[0]!r}, which is not [A-Za-z0-9_-]{{8,64}}"
    return str(found[0])


def known_book(app: App) -> int:
    """The id of a book that is there."""
    return int(app.sql("SELECT id FROM books ORDER BY id LIMIT 1")[0][0])


def lines_of(log: Log, ids: set[str]) -> list[Entry]:
    """All lines, once each of these ids has one."""
    return log.eventually(lambda entries: ids <= {str(entry.get("request_id")) for entry in entries})


def expect_ids(log: Log, ids: set[str]) -> list[Entry]:
    """Each of these ids is on a line, and no line has another."""
    entries = lines_of(log, ids)
    found = Counter(str(entry.get("request_id")) for entry in entries)
    assert ids <= set(found), f"wrote no line for {len(ids - set(found))} of {len(ids)} requests"
    strange = set(found) - ids
    assert not strange, f"wrote lines with a request_id that no answer carried: {sorted(strange)[:3]}"
    return entries


def traced(entries: list[Entry]) -> set[str]:
    """The ids under which a traceback stands: several frames, since Starlette's own stand above the one that raised."""
    return {str(entry.get("request_id")) for entry in entries if len(FRAME.findall(json.dumps(entry))) > 1}


@exercise("10.3")
@legit("ASVS 5.0 16.2.1")
def test_books_are_found(app: App, api: httpx.Client, draw: Draw) -> None:
    """A book that exists is 200, one that does not is 404.

    What is to be traced has to work first.

    Hint: read the row by its id; no row is a 404.
    """
    expect(api.get(f"/books/{known_book(app)}"), 200, "hid a book that exists")
    expect(api.get(f"/books/{draw.number(100_000, 900_000)}"), 404, "found a book that does not exist")


@exercise("10.3")
@legit("ASVS 5.0 16.2.1")
def test_every_answer_has_an_id_and_every_line_too(app: App, api: httpx.Client, draw: Draw) -> None:
    """200, 404, 405, HEAD, OPTIONS, the docs: each has an id of its own, and its lines have it as request_id.

    "It failed at half past two" finds nothing. "It said 7f3a…" finds the lines.

    Hint: choose the id at the outermost layer, put it into a ContextVar, and let the formatter read it.
    """
    log = Log(app)
    answers = [
        expect(api.get(f"/books/{known_book(app)}"), 200, "hid a book that exists"),
        expect(api.get(f"/books/{draw.number(100_000, 900_000)}"), 404, "found a book that does not exist"),
        expect(api.get(f"/{draw.username()}"), 404, "knew a path that does not exist"),
        expect(api.get("/books/first"), (404, 422), "took a word for a book's id"),
        expect(api.put("/boom"), REFUSED, "took a PUT"),
        expect(api.head(f"/{draw.username()}"), REFUSED, "knew a path that does not exist"),
        api.options("/boom"),
        api.get(f"/books/{known_book(app)}/"),
        api.get("/openapi.json"),
    ]
    ids = {id_of(answer) for answer in answers}
    assert len(ids) == len(answers), "gave several requests the same id"
    for entry in expect_ids(log, ids):
        assert abs(age_of(entry)) < 60, "wrote a time that is not now"


@exercise("10.3")
@legit("ASVS 5.0 16.2.4")
def test_a_clients_own_good_id_is_kept(app: App, api: httpx.Client, draw: Draw) -> None:
    """An id of the client's that is 8 to 64 of A-Z a-z 0-9 _ - comes back, and is on the lines.

    So one id follows a request through your proxy, your app and your client's own log.

    Hint: `re.fullmatch(r"[A-Za-z0-9_-]{8,64}", given)`.
    """
    log, book = Log(app), known_book(app)
    given = [
        draw.secret(8),
        draw.secret(64),
        f"{draw.username()}_{draw.secret(4)}-A",
        "-_" * 4 + draw.secret(6).upper(),
    ]
    for id_ in given:
        answer = api.get(f"/books/{book}", headers={"X-Request-ID": id_})
        assert id_of(answer) == id_, f"did not keep the client's id {id_!r}"
    expect_ids(log, set(given))


@exercise("10.3")
@attack("CWE-117", "ASVS 5.0 16.4.1")
def test_other_ids_are_replaced(app: App, api: httpx.Client, draw: Draw) -> None:
    """An id that is too short, too long, or has any other character is replaced by a fresh one, whole.

    The id goes into every line, and into every tool that reads them.

    Hint: `match` and `$` let a tail through; `fullmatch` does not. `\\w` and `isalnum` take letters that are not ASCII.
    """
    log, good = Log(app), draw.secret(20)
    values: list[bytes] = [b"", good[:7].encode(), good.encode() * 4, (good * 4)[:65].encode(), f"{good};a".encode()]
    values += [f"{good[:9]}{character}{good[9:]}".encode() for character in FOREIGN]
    values += [f"{good}é".encode(), f"{good}é".encode("latin-1"), "٣".encode() * 12, "ａ".encode() * 12]
    values += [f"{good}.{good}".encode(), f"{good},{good}".encode(), f'{good}"'.encode(), f"<b>{good}</b>".encode()]
    values += [
        f"{{{good}}}".encode(),
        f"../{good}".encode(),
        f"{good}%0a{good}".encode(),
        f"${{jndi:x}}{good}".encode(),
    ]
    headers = [[(b"x-request-id", value)] for value in values]
    headers.append([(b"x-request-id", good.encode() + b"1"), (b"x-request-id", b"\xe2\x80\xa8" + good.encode())])
    answers = [expect(api.get("/books/0", headers=each), (404, 422), "fell over an id") for each in headers]
    ids = [id_of(answer) for answer in answers]
    for answer, sent, id_ in zip(answers, headers, ids, strict=True):
        if len(sent) == 1:
            kept = id_.encode() in sent[0][1] and id_ != ""
            assert not kept, f"kept the id {sent[0][1]!r}, or a part of it, as {id_!r} on a {answer.status_code}"
    assert len(set(ids)) == len(ids), "replaced different ids by the same one"
    expect_ids(log, set(ids))


@exercise("10.3")
@attack("CWE-209", "ASVS 5.0 16.5.1", "ASVS 5.0 16.5.4")
def test_crashes_have_an_id_and_their_traceback_in_the_log_only(app: App, api: httpx.Client, draw: Draw) -> None:
    """A 500 carries the id, the log has the traceback under it, and the body has neither traceback nor text of it.

    The one answer that people will call you about is the one that a middleware does not touch.

    Hint: `add_middleware` stands inside of what answers 500. Wrap the app itself, and log with `exc_info`.
    """
    log, own = Log(app), draw.secret(16)
    answers = [api.get("/boom"), api.get("/boom", headers={"X-Request-ID": own}), api.get("/boom", params={"x": "<b>"})]
    for answer in answers:
        assert answer.status_code == 500, "did not raise in /boom"
        shown = SHOWN.search(answer.text)
        assert not shown, f"showed the traceback to the client, by {shown and shown[0]!r}"
    ids = [id_of(answer) for answer in answers]
    assert ids[1] == own, "did not keep the client's id on a 500"
    log.eventually(lambda entries: set(ids) <= traced(entries))
    assert set(ids) <= traced(log.entries()), "wrote no traceback for a crash, or not under its id"
    expect_ids(log, set(ids))


@exercise("10.3")
@attack("CWE-362", "CWE-488")
def test_ids_do_not_mix_under_load(app: App, draw: Draw) -> None:
    """Of fifty requests at the same time, each has its own id on its answer and on its lines.

    A global that holds "the current request" holds the latest one.

    Hint: a ContextVar is separate for each task, and Starlette's worker threads take a copy of it along.
    """
    log, book, gate = Log(app), known_book(app), threading.Barrier(PARALLEL)

    def ask(number: int) -> httpx.Response:
        gate.wait()
        path = (f"/books/{book}", f"/books/{900_000 + number}", "/boom", f"/{draw.username()}")[number % 4]
        headers = {"X-Request-ID": f"{number:04}-{draw.secret(12)}"} if number % 2 else {}
        return app.api.get(path, headers=headers)

    with ThreadPoolExecutor(PARALLEL) as crowd:
        answers = list(crowd.map(ask, range(CROWD)))
    ids = [id_of(answer) for answer in answers]
    assert len(set(ids)) == CROWD, "gave several requests the same id"
    for answer, id_ in zip(answers, ids, strict=True):
        sent = answer.request.headers.get("x-request-id")
        assert sent in (None, id_), f"answered with another request's id: sent {sent}, came back {id_}"
    expect_ids(log, set(ids))
    crashed = {id_ for answer, id_ in zip(answers, ids, strict=True) if answer.status_code == 500}
    log.eventually(lambda entries: crashed <= traced(entries))
    assert traced(log.entries()) == crashed, "wrote other tracebacks into the log than those of the crashes"
