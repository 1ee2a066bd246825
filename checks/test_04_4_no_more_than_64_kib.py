"""4.4 No more than 64 KiB: reviews of all sizes, and bodies that are too long, too slow or not what they say."""

import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import repeat

import httpx
import pytest

from checks.accounts import settled
from checks.bodies import KIB, chunk, endless, head, in_chunks, review, with_length
from lab_app.harness import App, CheckFailed, attack, exercise, expect, legit
from lab_app.harness.draw import Draw
from lab_app.harness.world import Answer

LIMIT = 64 * KIB
PATIENT, IMPATIENT = "30", "1"  # BODY_TIMEOUT; a whole number, in case an answer reads it as one
SLACK = 4  # seconds beyond BODY_TIMEOUT that a busy machine may need
QUICKEST = 1.5  # and for the first that ends, of several
FLOOD = 32 * KIB * KIB
GROWTH = 12 * KIB * KIB


@pytest.fixture
def app(answer: Answer) -> App:
    """An app that waits long enough for everybody, shared by the checks of this exercise."""
    return answer.shared(BODY_TIMEOUT=PATIENT)


def post(app: App, written: Iterable[bytes], pause: float = 0) -> httpx.Response:
    """Write a request by hand; the answer. Raises CheckFailed and NoAnswer."""
    answer = app.raw(written, pause)
    if answer is None:
        raise CheckFailed("hung up without an answer", "A safe app says why it refuses.", app.answer.exchanges[-1])
    return answer


def reviews(app: App) -> list[list[object]]:
    """All reviews, once nobody is writing any more."""
    settled(app)
    return app.sql("SELECT book_id, member_id, body FROM reviews ORDER BY id")


def expect_stored(app: App, answer: httpx.Response, book_id: int, text: str) -> None:
    """The review is there, word for word, and the first member's."""
    expect(answer, 201, "did not answer 201 to a review")
    [[first]] = app.sql("SELECT min(id) FROM members")
    query = "SELECT id FROM reviews WHERE book_id = ? AND member_id = ? AND body = ?"
    found = app.eventually(query, book_id, first, text, seconds=2)
    assert found, "answered 201 and did not store the review, whole, for the member with the smallest id"


def expect_serving(app: App, draw: Draw) -> None:
    """An honest review still gets through."""
    book_id, text = draw.number(1, 6), draw.passphrase()
    expect_stored(app, app.api.post("/reviews", json={"book_id": book_id, "body": text}), book_id, text)


def expect_too_much(app: App, requests: Iterable[Iterable[bytes]], *also: int) -> None:
    """Each of these is refused as too large, and none is stored."""
    before = reviews(app)
    for written in requests:
        expect(post(app, written), (413, *also), "did not refuse a body of over 64 KiB with 413")
    assert reviews(app) == before, "refused a body and stored the review all the same"


@exercise("4.4")
@legit("RFC 9110 §9.3.3")
def test_reviews_are_stored_for_the_first_member(app: App, draw: Draw) -> None:
    """A review is stored word for word, for the member with the smallest id.

    Hint: `SELECT min(id) FROM members`, and an INSERT with bound values.
    """
    for text in (draw.passphrase(), f"Ünïcode, “quotes”, 池 🦆\n{draw.username()}", f'O\'Brien said: "{draw.email()}"'):
        book_id = draw.number(1, 6)
        answer = app.api.post("/reviews", json={"book_id": book_id, "body": text})
        expect_stored(app, answer, book_id, text)


@exercise("4.4")
@legit("API4:2023", "ASVS 5.0 2.2.1")
def test_sixty_kibibytes_are_stored(app: App, draw: Draw) -> None:
    """A review of 60 KiB is stored, and so is a body of 65 536 bytes.

    A limit that cuts off honest people is a fault of its own.

    Hint: over 65 536 is too much; 65 536 is not.
    """
    for size in (60 * KIB, LIMIT - 1, LIMIT):
        body = review(book_id := draw.number(1, 6), draw.passphrase(), size)
        text = httpx.Response(200, content=body).json()["body"]
        expect_stored(app, post(app, with_length(body)), book_id, text)


@exercise("4.4")
@legit("RFC 9112 §7.1", "RFC 9112 §6.3")
def test_chunked_reviews_are_stored(app: App, draw: Draw) -> None:
    """A body without a length is stored too, in large and small chunks, and when it takes its time.

    A client that does not know the length beforehand sends chunks. That is no attack.

    Hint: read `http.request` messages until `more_body` is false; count as you go.
    """
    for size, per_chunk, pause in ((60 * KIB, 8 * KIB, 0.0), (LIMIT, LIMIT, 0.0), (3 * KIB, 40, 0.0), (400, 100, 0.03)):
        body = review(book_id := draw.number(1, 6), draw.passphrase(), size)
        text = httpx.Response(200, content=body).json()["body"]
        expect_stored(app, post(app, in_chunks(body, per_chunk), pause), book_id, text)
    body = review(book_id := draw.number(1, 6), text := draw.passphrase())
    expect_stored(app, post(app, in_chunks(body, 7, extension=";note=hello")), book_id, text)


@exercise("4.4")
@attack("API4:2023", "CWE-770", "RFC 9110 §15.5.14")
def test_a_declared_length_over_the_limit_is_refused(app: App, draw: Draw) -> None:
    """A body that says it is longer than 65 536 bytes, and is, gets 413.

    Refused at the door it costs nothing: nobody has to read it.

    Hint: compare `Content-Length` before you ask for the body.
    """
    sizes = (LIMIT + 1, LIMIT + draw.number(2, 999), 200 * KIB, KIB * KIB)
    bodies = [review(draw.number(1, 6), draw.passphrase(), size) for size in sizes]
    expect_too_much(app, [with_length(body) for body in bodies])
    expect_too_much(app, [with_length(body, "Expect: 100-continue") for body in bodies[:2]])


@exercise("4.4")
@attack("API4:2023", "CWE-770", "RFC 9112 §7.1")
def test_chunks_beyond_the_limit_are_refused(app: App, draw: Draw) -> None:
    """A body without a length gets 413 once it is over 65 536 bytes, whatever the size of its chunks.

    Who looks at `Content-Length` alone has no limit at all: leaving it out is allowed.

    Hint: add up the lengths of the messages as they come, and stop at the first byte too many.
    """
    sizes = ((LIMIT + 1, 4 * LIMIT), (LIMIT + 1, 8 * KIB), (70 * KIB, 200), (KIB * KIB, LIMIT), (200 * KIB, 10 * KIB))
    bodies = [(review(draw.number(1, 6), draw.passphrase(), size), per_chunk) for size, per_chunk in sizes]
    expect_too_much(app, [in_chunks(body, per_chunk) for body, per_chunk in bodies])
    expect_too_much(app, [in_chunks(bodies[0][0], 5000, extension=";x=" + "y" * 99)])


@exercise("4.4")
@attack("CWE-130", "RFC 9112 §6.1", "ASVS 5.0 4.2.1")
def test_lengths_that_lie_are_not_believed(app: App, draw: Draw) -> None:
    """With a small `Content-Length` and chunks, it is the chunks that count: 413, or 400 for the contradiction.

    The server reads the chunks and ignores the length (RFC 9112 §6.3). A guard that reads the length guards nothing.

    Hint: count what really comes, also when a length was declared.
    """
    requests = []
    for declared in (0, 10, draw.number(100, 60_000), LIMIT):
        body = review(draw.number(1, 6), draw.passphrase(), LIMIT + draw.number(1, 9_999))
        requests.append(in_chunks(body, 9_000, f"Content-Length: {declared}"))
    expect_too_much(app, requests, 400)
    before = reviews(app)
    for size in (200, 5_000, 70 * KIB):  # of which the server hands on the beginning
        body = review(draw.number(1, 6), draw.passphrase(), size)
        answer = app.raw([head(f"Content-Length: {draw.number(5, 100)}"), body])
        assert answer is None or expect(answer, range(400, 500), "took the beginning of a review for all of it")
    assert reviews(app) == before, "stored the beginning of a review"


@exercise("4.4")
@attack("API4:2023", "CWE-1284")
def test_the_whole_body_counts_in_bytes(app: App, draw: Draw) -> None:
    """Spaces, other fields and letters of several bytes count like everything else.

    It is the body that fills the memory, not the one field that you meant.

    Hint: measure the bytes of the body. `max_length` on a field measures characters, and after the fact.
    """
    small = review(draw.number(1, 6), draw.passphrase())
    spaces = b" " * LIMIT
    other = small[:-1] + b', "note": "' + b"x" * LIMIT + b'"}'
    letters = [review(draw.number(1, 6), letter * n) for letter, n in (("é", 40_000), ("池", 25_000), ("🦆", 17_000))]
    bodies = (small + spaces, spaces + small, other, *letters)
    expect_too_much(app, [with_length(body) for body in bodies])
    expect_too_much(app, [in_chunks(body, 6_000) for body in bodies])


@exercise("4.4")
@attack("API4:2023", "CWE-178")
def test_the_content_type_lifts_no_limit(app: App, draw: Draw) -> None:
    """A body of over 65 536 bytes is refused whatever way its content type is written.

    `application/json; charset=utf-8` is JSON too. Who limits one spelling has no limit for the others.

    Hint: count every body. The content type is the sender's word.
    """
    body = review(draw.number(1, 6), draw.passphrase(), LIMIT + draw.number(1, 9_999))
    for kind in ("application/json; charset=utf-8", "Application/JSON", "application/vnd.larkspur+json"):
        declared = [head(f"Content-Length: {len(body)}", kind=kind), body]
        chunked = [head("Transfer-Encoding: chunked", kind=kind), chunk(body), b"0\r\n\r\n"]
        expect_too_much(app, (declared, chunked), 415)


@exercise("4.4")
@attack("API4:2023", "CWE-770", "ASVS 5.0 15.2.2")
def test_memory_does_not_grow_with_what_is_sent(launch: Callable[..., App], draw: Draw) -> None:
    """32 MiB in chunks, and 32 MiB announced, leave the app as small as it was.

    Ten such requests at once, and the kernel ends the process that takes the most memory.

    Hint: refuse while you read. Whoever reads it whole and measures then has it in memory already.
    """
    app = launch(BODY_TIMEOUT=PATIENT)
    body = review(1, draw.passphrase(), 60 * KIB)
    expect(post(app, with_length(body)), 201, "did not answer 201 to a review of 60 KiB")
    part, chunked = b" " * LIMIT, "Transfer-Encoding: chunked"
    for written in (
        flood(head(chunked), chunk(part), b"0\r\n\r\n"),
        flood(head(f"Content-Length: {FLOOD}"), part, b""),
        flood(head(chunked, "Content-Length: 100"), chunk(part), b"0\r\n\r\n"),
    ):
        before = app.peak()
        answer = app.raw(written)
        grown = app.peak() - before
        assert grown < GROWTH, f"grew by {grown >> 20} MiB while it was sent 32 MiB"
        assert answer is None or expect(answer, (400, 413), "did not refuse 32 MiB")
    expect_serving(app, draw)


def flood(first: bytes, part: bytes, last: bytes) -> Iterator[bytes]:
    """32 MiB of a body."""
    yield first
    yield from repeat(part, FLOOD // LIMIT)
    yield last


@exercise("4.4")
@attack("CWE-400", "RFC 9110 §15.5.9", "API4:2023")
def test_slow_bodies_end_in_time(launch: Callable[..., App], draw: Draw) -> None:
    """A body that stops, or drips, ends in 408 or a closed connection once BODY_TIMEOUT seconds are over.

    Every request that waits holds a connection. A thousand of them cost the sender nothing.

    Hint: `asyncio.timeout` around all of the reading. Around a single `receive`, every byte winds the clock up again.
    """
    app = launch(BODY_TIMEOUT=IMPATIENT)
    expect_serving(app, draw)
    body = review(draw.number(1, 6), draw.passphrase(), 5_000)
    length, chunked = head("Content-Length: 5000"), head("Transfer-Encoding: chunked")
    stopped = [[length], [length, body[:2_500]], [length, body[:-1]], [chunked], [chunked, chunk(body)]]
    dripping = [endless(length, b" "), endless(chunked, chunk(b" ")), drips(length, body)]
    before = reviews(app)
    with ThreadPoolExecutor(len(stopped) + len(dripping) + 1) as crowd:
        waiting = [crowd.submit(hold, app, written, 0.0) for written in stopped]
        waiting += [crowd.submit(hold, app, written, 0.04) for written in dripping]
        honest = crowd.submit(app.api.post, "/reviews", json={"book_id": 1, "body": (text := draw.passphrase())})
        took = min(done.result() for done in waiting)
    assert took < float(IMPATIENT) + QUICKEST, (
        f"waited {took:.1f} s for each slow body where BODY_TIMEOUT was {IMPATIENT}"
    )
    expect_stored(app, honest.result(), 1, text)
    assert [row for row in reviews(app) if row[2] != text] == before, "stored a review that never ended"


def drips(first: bytes, body: bytes) -> Iterator[bytes]:
    """A body, a few bytes at a time."""
    yield first
    for start in range(0, len(body), 8):
        yield body[start : start + 8]


def hold(app: App, written: Iterable[bytes], pause: float) -> float:
    """Send a body that will not end; how long it was waited for. Raises CheckFailed and NoAnswer."""
    began = time.monotonic()
    answer = app.raw(written, pause, float(IMPATIENT) + SLACK)
    took = time.monotonic() - began
    if answer is not None:
        expect(answer, 408, f"gave up on a slow body after {took:.1f} s, and not with 408")
    return took
