"""SQL that arrives as data: families of payloads, and how to see whether the database obeyed one of them."""
# ruff: noqa: S608 - writing SQL with other people's words in it is the point

import statistics
import time
from collections.abc import Callable, Iterable
from typing import Any

import httpx

from checks.accounts import settled
from lab_app.harness import REFUSED, App, CheckFailed, expect, json_of
from lab_app.harness.draw import Draw
from lab_app.harness.evidence import exchange_of

Ask = Callable[[str], httpx.Response]
# How a payload leaves the string that it stands in; the last two become quotes in an app that decodes after it escaped.
OPENINGS = ("{}'", "{}')", "{}'))", "{}%'", "{}＇", "{}%27")
CLOSINGS = (" --", " /*", "")
# Stays within SQL that SQLite and PostgreSQL both know; takes the database some tenths of a second.
LONG = (
    "(SELECT count(*) FROM (WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < {}) "
    "SELECT i FROM n) AS counted)"
)
MANY = 1_000_000
SLOWER = 12  # how many times as long an answer takes when the database counted to MANY; it is above 30 then


def everything(app: App) -> list[list[Any]]:
    """All rows of the library as text, once nobody is writing any more."""
    settled(app)
    return app.sql(
        "SELECT 'book', id, title || '|' || author || '|' || year || '|' || shelf FROM books "
        "UNION ALL SELECT 'loan', id, member_id || '|' || book_id || '|' || due_on || '|' || returned FROM loans "
        "UNION ALL SELECT 'review', id, member_id || '|' || book_id || '|' || body FROM reviews "
        "UNION ALL SELECT 'member', id, username || '|' || email || '|' || password_hash || '|' || role || '|' || "
        "disabled FROM members ORDER BY 1, 2"
    )


def unharmed(app: App, before: list[list[Any]]) -> None:
    """The library is as it was. Raises AssertionError."""
    assert everything(app) == before, "let a visitor change the database"


def add_books(app: App, *titles: str, author: str = "Anon") -> list[int]:
    """Books on the shelves; their ids, in the order of the titles, none of which may be there already."""
    places = ", ".join(["(?, ?, 1999, 'Z9')"] * len(titles))
    values = [value for title in titles for value in (title, author)]
    app.sql(f"INSERT INTO books (title, author, year, shelf) VALUES {places}", *values)
    ids = {row[0]: int(row[1]) for row in app.sql("SELECT title, id FROM books")}
    return [ids[title] for title in titles]


def word(draw: Draw) -> str:
    """A capital and small letters, which every collation sorts alike; no title holds it yet."""
    return "".join(letter for letter in draw.username() if letter.isalpha()).capitalize() + "qx"


def books_in(answer: httpx.Response) -> list[dict[str, Any]]:
    """The books of an answer, each with its id, title and author. Raises CheckFailed."""
    books = json_of(expect(answer, 200, "did not list books"))
    fields = {"id", "title", "author"}
    if isinstance(books, list) and all(isinstance(book, dict) and fields <= book.keys() for book in books):
        return books
    wanted = 'The contract asks for a list of {"id", "title", "author"}.'
    raise CheckFailed("answered something else than a list of books", wanted, exchange_of(answer.request, answer))


def ids_in(answer: httpx.Response) -> list[int]:
    """The ids of the books in an answer. Raises CheckFailed."""
    return [book["id"] for book in books_in(answer)]


class Shelves:
    """What stands in the library now: books that everybody may see, and what nobody may."""

    def __init__(self, app: App) -> None:
        self.books = {tuple(row) for row in app.sql("SELECT id, title, author FROM books")}
        ids = tuple(member.id for member in (app.library.ada, app.library.bob, app.library.staff, app.library.disabled))
        rows = app.sql("SELECT username, email, password_hash FROM members WHERE id IN (?, ?, ?, ?)", *ids)
        self.secrets = [secret for row in rows for secret in row]

    def nothing_else(self, answer: httpx.Response) -> None:
        """A refusal, or books from the shelves and nothing else. Raises CheckFailed and AssertionError."""
        expect(answer, (200, *REFUSED), "answered oddly to SQL in the place of a value")
        assert not any(secret in answer.text for secret in self.secrets), "gave away what the table of members holds"
        if answer.status_code == 200:
            found = {(book["id"], book["title"], book["author"]) for book in books_in(answer)}
            assert found <= self.books, "listed rows that are no books"


def unions(opening: str) -> list[str]:
    """Other tables' rows, asked for in the shapes that a query for books or members may have."""
    shapes = (
        "username, password_hash",
        "id, username, password_hash",
        "id, username, password_hash, 1",
        "id, username, password_hash, 1, role",
        "id, username, email, password_hash, role, disabled",
    )
    return [f"{opening} UNION SELECT {shape} FROM members WHERE role = 'staff' --" for shape in shapes]


def writes(app: App, draw: Draw) -> tuple[str, ...]:
    """Statements that would change the library."""
    return (
        f"UPDATE members SET role = 'staff' WHERE username = '{app.library.ada.username}'",
        f"INSERT INTO books (title, author, year, shelf) VALUES ('{word(draw)}', 'x', 1, 'x')",
        f"DELETE FROM loans WHERE member_id = {app.library.staff.id}",
        "DROP TABLE reviews",
    )


def conditions(app: App) -> tuple[tuple[str, str], ...]:
    """Things that are true in this library, each with its twin that is not."""
    staff = app.library.staff
    hashed = "(SELECT password_hash FROM members WHERE id = {})"
    return (
        ("1=1", "1=2"),
        (f"{hashed.format(staff.id)} LIKE '$2b$%'", f"{hashed.format(staff.id)} LIKE '$9z$%'"),
        (
            f"EXISTS (SELECT 1 FROM members WHERE role = 'staff' AND username = '{staff.username}')",
            f"EXISTS (SELECT 1 FROM members WHERE role = 'staff' AND username = '{staff.username[::-1]}')",
        ),
    )


def tells_nothing(ask: Ask, pairs: Iterable[tuple[str, str]]) -> None:
    """What is true and what is not get the same answer, so nothing can be read bit by bit. Raises CheckFailed."""
    for true, false in pairs:
        seen = []
        for payload in (true, false):
            answer = expect(ask(payload), (200, *REFUSED), "answered oddly to SQL in the place of a value")
            seen.append((answer.status_code, answer.text if answer.status_code == 200 else ""))
        if seen[0] != seen[1]:
            found = f"answered otherwise to {true!r}, which is true, than to {false!r}, which is not"
            raise CheckFailed(found, "A safe app takes both for text.", exchange_of(answer.request, answer))


def is_not_kept_busy(ask: Ask, payload: str) -> None:
    """The database does not count when a payload asks it to. `{}` in the payload is what is counted. AssertionError."""
    ratio = 0.0
    for _ in range(2):  # a machine that stumbles once does not stumble twice
        times: dict[int, list[float]] = {MANY: [], 1: []}
        for _ in range(5):
            for most, taken in times.items():
                began = time.perf_counter()
                answer = ask(payload.replace("{}", LONG.format(most)))
                taken.append(time.perf_counter() - began)
                expect(answer, (200, *REFUSED), "answered oddly to SQL in the place of a value")
        ratio = statistics.median(times[MANY]) / statistics.median(times[1])
        if ratio < SLOWER:
            return
    raise AssertionError(f"took {ratio:.0f} times as long when a visitor told the database to count")
