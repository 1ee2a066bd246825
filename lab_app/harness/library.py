"""The Larkspur Library's database: its schema, and a small library of drawn people, books and loans."""

import sqlite3
from dataclasses import dataclass

import bcrypt

from lab_app.harness.draw import Draw

SCHEMA = """
CREATE TABLE members (
    id INTEGER PRIMARY KEY,
    username TEXT NOT NULL UNIQUE,
    email TEXT NOT NULL UNIQUE,
    password_hash TEXT NOT NULL,
    role TEXT NOT NULL DEFAULT 'member',
    disabled INTEGER NOT NULL DEFAULT 0
);
CREATE TABLE books (
    id INTEGER PRIMARY KEY, title TEXT NOT NULL, author TEXT NOT NULL, year INTEGER NOT NULL, shelf TEXT NOT NULL
);
CREATE TABLE loans (
    id INTEGER PRIMARY KEY,
    member_id INTEGER NOT NULL REFERENCES members (id),
    book_id INTEGER NOT NULL REFERENCES books (id),
    due_on TEXT NOT NULL,
    returned INTEGER NOT NULL
);
CREATE TABLE reviews (
    id INTEGER PRIMARY KEY,
    book_id INTEGER NOT NULL REFERENCES books (id),
    member_id INTEGER NOT NULL REFERENCES members (id),
    body TEXT NOT NULL
);
"""
BOOKS = (
    ("The Left Hand of Darkness", "Ursula K. Le Guin", 1969, "A1"),
    ("Kindred", "Octavia E. Butler", 1979, "A2"),
    ("Solaris", "Stanisław Lem", 1961, "B1"),
    ("The Dispossessed", "Ursula K. Le Guin", 1974, "A1"),
    ("Roadside Picnic", "Arkady and Boris Strugatsky", 1972, "B2"),
)
COST = 4  # the cheapest bcrypt takes, since a library is seeded anew for every app that a check starts


@dataclass(frozen=True)
class Member:
    """A row of `members`, with the password that its hash is of."""

    id: int
    username: str
    email: str
    password: str
    role: str = "member"
    disabled: int = 0


@dataclass(frozen=True)
class Library:
    """Two members, one of the staff, one who is disabled; every member but the last has two loans."""

    ada: Member
    bob: Member
    staff: Member
    disabled: Member
    loans: dict[str, tuple[int, int]]
    database: bytes


def build(draw: Draw) -> Library:
    """A library with drawn names, ids and passwords, as a SQLite file's bytes."""
    ids = draw.random.sample(range(100, 9_000), 4)
    roles = ("member", "member", "staff", "member")
    people = [
        Member(id_, draw.username(), draw.email(), draw.passphrase(), role, int(n == 3))
        for n, (id_, role) in enumerate(zip(ids, roles, strict=True))
    ]
    with sqlite3.connect(":memory:") as connection:
        connection.executescript(SCHEMA)
        for member in people:
            row = (member.id, member.username, member.email, hashed(member.password), member.role, member.disabled)
            connection.execute("INSERT INTO members VALUES (?, ?, ?, ?, ?, ?)", row)
        connection.executemany("INSERT INTO books (title, author, year, shelf) VALUES (?, ?, ?, ?)", BOOKS)
        loans = _lend(connection, people[:3], draw)
        connection.commit()
        ada, bob, staff, disabled = people
        return Library(ada, bob, staff, disabled, loans, connection.serialize())


def hashed(password: str) -> str:
    """A bcrypt hash as the seeded rows hold it."""
    return bcrypt.hashpw(password.encode(), bcrypt.gensalt(COST)).decode()


def _lend(connection: sqlite3.Connection, members: list[Member], draw: Draw) -> dict[str, tuple[int, int]]:
    ids = draw.random.sample(range(1_000, 90_000), 2 * len(members))
    loans = {}
    for n, member in enumerate(members):
        first, second = ids[2 * n : 2 * n + 2]
        for book, loan in enumerate((first, second), start=1):
            row = (loan, member.id, book + n, f"2027-0{draw.number(1, 9)}-15", 0)
            connection.execute("INSERT INTO loans VALUES (?, ?, ?, ?, ?)", row)
        loans[member.username] = (first, second)
    return loans
