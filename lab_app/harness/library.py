"""The Larkspur Library's database: its schema, and a small library of drawn people, books and loans."""

import sqlite3
from collections.abc import Sequence
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


def build(draw: Draw, names: Sequence[str] = (), cost: int = COST) -> Library:
    """A library with drawn ids and passwords, and names too unless four are given, as a SQLite file's bytes."""
    ids = draw.random.sample(range(100, 9_000), 4)
    roles = ("member", "member", "staff", "member")
    names = names or [draw.username() for _ in roles]
    people = [
        Member(id_, name, draw.email(), draw.passphrase(), role, int(name == names[3]))
        for id_, name, role in zip(ids, names, roles, strict=True)
    ]
    with sqlite3.connect(":memory:") as connection:
        connection.executescript(SCHEMA)
        for member in people:
            password_hash = hashed(member.password, cost)
            row = (member.id, member.username, member.email, password_hash, member.role, member.disabled)
            connection.execute("INSERT INTO members VALUES (?, ?, ?, ?, ?, ?)", row)
        connection.executemany("INSERT INTO books (title, author, year, shelf) VALUES (?, ?, ?, ?)", BOOKS)
        loans = _lend(connection, people[:3], draw)
        connection.commit()
        ada, bob, staff, disabled = people
        return Library(ada, bob, staff, disabled, loans, connection.serialize())


def hashed(password: str, cost: int) -> str:
    """A bcrypt hash as the seeded rows hold it."""
    return bcrypt.hashpw(password.encode(), bcrypt.gensalt(cost)).decode()


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
