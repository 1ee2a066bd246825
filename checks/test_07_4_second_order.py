"""7.4 Second order: how it is used, and how it is attacked."""
# ruff: noqa: S608 - writing SQL with other people's words in it is the point

import re
import time
from collections.abc import Callable, Iterator
from typing import Any

import httpx

from checks.attacks import bearer, forge
from checks.injection import everything, ids_in, unharmed
from lab_app.harness import REFUSED, App, CheckFailed, attack, exercise, expect, json_of, legit
from lab_app.harness.draw import Draw
from lab_app.harness.evidence import exchange_of
from lab_app.harness.library import Member

PATIENCE = 3  # seconds until a name must have appeared
# The words of a driver or of a database about its own trouble; no reader of an API needs them.
ERROR_WORDS = (
    *("sqlalche", "sqlite3", "psycopg", "operationalerror", "programmingerror", "no such table", "undefinedtable"),
    *("[sql:", "[parameters", "binding parameter", "syntax error", "traceback"),
    *("constraint failed", "duplicate key", "violates unique", "violates check", "too long for type"),
    *('relation "', 'relation \\"', "line 1:"),
    *(
        "select id",
        "select *",
        "select title",
        "select members",
        "insert into",
        "from books",
        "from loans",
        "from members",
    ),
)


def choose(app: App, username: str, name: Any) -> httpx.Response:
    """A member chooses a display name."""
    return app.api.put("/members/me", json={"display_name": name}, headers=bearer(forge(app, username)))


def report(app: App, username: str = "") -> httpx.Response:
    """Somebody, one of the staff unless named, asks for the report."""
    return app.api.get("/reports/loans-by-name", headers=bearer(forge(app, username or app.library.staff.username)))


def counts(app: App, name: str, number: int, found: str) -> None:
    """The number stands next to a name in the report, which may have any shape. Raises CheckFailed.

    A dependency that yields commits only after the answer was sent, so a name may take a moment to appear.
    """
    until = time.monotonic() + PATIENCE
    while True:
        answer = report(app)
        body = json_of(expect(answer, 200, "refused the report to the staff"))
        near = (set(integers(part)) for part in neighbourhoods(body, name))
        if number in next((numbers for numbers in near if numbers), ()):
            return
        if time.monotonic() > until:
            raise CheckFailed(found, f"A safe app counts {number} loans there.", exchange_of(answer.request, answer))
        time.sleep(0.02)


def neighbourhoods(value: Any, name: str) -> Iterator[Any]:
    """What belongs to a name in a JSON value: nearest first."""
    if isinstance(value, dict):
        if name in value:
            yield value[name]
        inner = list(value.values())
    else:
        inner = value if isinstance(value, list) else []
    for one in inner:
        yield from neighbourhoods(one, name)
    if name in inner or any(name in one for one in inner if isinstance(one, dict | list)):
        yield value


def integers(value: Any) -> Iterator[int]:
    """The numbers in a JSON value, also those that are keys or written as text."""
    if isinstance(value, dict | list):
        for one in (*value, *value.values()) if isinstance(value, dict) else value:
            yield from integers(one)
    elif isinstance(value, int | float | str) and re.fullmatch(r"[0-9]+(\.0)?", str(value)):
        yield int(float(value))


def appears(value: Any, name: str) -> bool:
    """Whether a name stands somewhere in a JSON value, as a text or as a key."""
    if isinstance(value, dict):
        return name in value or any(appears(one, name) for one in value.values())
    if isinstance(value, list):
        return any(appears(one, name) for one in value)
    return bool(value == name)


def lend(app: App, member: Member, count: int) -> None:
    """A member takes more books out."""
    places = ", ".join(["(?, 1, '2027-09-15', 0)"] * count)
    app.sql(f"INSERT INTO loans (member_id, book_id, due_on, returned) VALUES {places}", *[member.id] * count)


def join(app: App, usernames: tuple[str, ...], draw: Draw) -> None:
    """Members of these names come in."""
    places = ", ".join(["(?, ?, '$2b$04$')"] * len(usernames))
    values = [value for username in usernames for value in (username, draw.email())]
    app.sql(f"INSERT INTO members (username, email, password_hash) VALUES {places}", *values)


@exercise("7.4")
@legit("ASVS 5.0 8.2.1")
def test_the_report_counts_loans_by_name(launch: Callable[..., App], draw: Draw) -> None:
    """Members choose a name and change it, and the staff see how many loans each name has.

    Also after a restart: names live in the database.

    Hint: a table of your own with the member's id as its key, joined with `loans`.
    """
    app = launch()
    ada, bob = app.library.ada, app.library.bob
    lend(app, bob, 5)
    former, hers, his = draw.username(), draw.username(), f"Bob {draw.username()}"
    for member, name, loans in ((ada, former, 2), (ada, hers, 2), (bob, his, 7)):
        expect(choose(app, member.username, name), 200, "refused a display name")
        # A name may be stored after the answer, and of two that one member sent the later one is to stay.
        counts(app, name, loans, f"did not count the {loans} loans of a member by display name")
    for restart in (True, False):
        counts(app, hers, 2, "did not count the two loans of a member by display name")
        counts(app, his, 7, "did not count the seven loans of a member by display name")
        assert not appears(report(app).json(), former), "still shows a name that the member has changed"
        if restart:
            app.restart()


@exercise("7.4")
@legit("CWE-694")
def test_members_may_share_a_name(launch: Callable[..., App], draw: Draw) -> None:
    """The loans of two members of one name are counted, together or one by one, if a name may be shared at all.

    Nobody owns a display name. Whoever takes yours must not make your loans disappear.

    Hint: `GROUP BY` the name and `SUM`; a dict with the names as keys keeps the last of them only.
    """
    app = launch()
    ada, bob, name = app.library.ada, app.library.bob, draw.username()
    lend(app, bob, 5)
    expect(choose(app, ada.username, name), 200, "refused a display name")
    second = expect(choose(app, bob.username, name), (200, *REFUSED), "answered oddly to a display name that is taken")
    if second.status_code != 200:
        return
    if not app.answer.patience.until(lambda: shared(report(app), name), PATIENCE):
        wanted = "A safe app counts their 2 and 7 loans there, or 9."
        raise CheckFailed("lost loans of two members of one name", wanted, app.answer.exchanges[-1])


def shared(answer: httpx.Response, name: str) -> bool:
    """Whether two and seven loans, or nine, stand next to a name. Raises CheckFailed."""
    body = json_of(expect(answer, 200, "refused the report to the staff"))
    found = {number for part in neighbourhoods(body, name) for number in integers(part)}
    return 9 in found or {2, 7} <= found


@exercise("7.4")
@legit("CWE-89", "ASVS 5.0 1.2.4")
def test_names_appear_as_they_were_written(app: App, ada: Member) -> None:
    """Quotes, colons, percent signs and other scripts appear in the report as the member wrote them.

    O'Brien has read more books than all of us.

    Hint: bound where it is stored and bound where it is used, a name needs no escaping in between.
    """
    for name in (
        "O'Brien",
        "a:b",
        "100% Ada_",
        'Ada "Countess" L.',
        "Łucja 本 🦉",
        "back\\slash",
        "{0} ${x} %s",
        "NULL",
        "Ada & Co",
        "Ada :name",
        "Select the Union; -- or Drop it",
    ):
        expect(choose(app, ada.username, name), 200, f"refused the display name {name}")
        counts(app, name, 2, f"did not count the loans of {name}")


@exercise("7.4")
@legit("ASVS 5.0 1.2.4")
def test_members_with_odd_usernames_choose_too(app: App, draw: Draw) -> None:
    """Members whose username has a quote or a colon in it choose a display name like all others.

    The name in the token is data as well, although you signed it yourself.

    Hint: bind `sub` when you look the member up.
    """
    one = draw.username()
    usernames = (f"O'{one}", f"{one}:x", f'{one}" :u', f"%{one}")
    join(app, usernames, draw)
    for username in usernames:
        expect(choose(app, username, draw.username()), 200, f"refused a display name to {username}")
        expect(report(app, username), 403, "did not answer 403 to a member who asks for the report")


@exercise("7.4")
@legit("ASVS 5.0 1.2.4")
def test_the_books_are_listed(app: App, api: httpx.Client) -> None:
    """`GET /books` lists all books, with nothing to log in for.

    It is how you see that they are all there still.

    Hint: `SELECT id, title, author FROM books`.
    """
    shelves = [row[0] for row in app.sql("SELECT id FROM books ORDER BY id")]
    assert sorted(ids_in(api.get("/books"))) == shelves, "did not list the books that there are"


@exercise("7.4")
@attack("API5:2023", "ASVS 5.0 8.2.1")
def test_the_report_is_for_staff(app: App, ada: Member, bob: Member, staff: Member, draw: Draw) -> None:
    """Members get 403, whatever their token claims, and nobody gets in without a token.

    Who reads how much is nobody's business.

    Hint: the role comes from the database, the name from a token that you verified.
    """
    for member in (ada, bob):
        expect(report(app, member.username), 403, "did not answer 403 to a member who asks for the report")
    headers = bearer(forge(app, bob.username, role="staff", username=staff.username, id=staff.id))
    expect(app.api.get("/reports/loans-by-name", headers=headers), 403, "believed what a token says of its bearer")
    for headers in (
        {},
        bearer(forge(app, staff.username, key=draw.secret())),
        bearer(forge(app, staff.username, alg="none")),
    ):
        expect(app.api.get("/reports/loans-by-name", headers=headers), REFUSED, "gave the report to anybody")
        put = app.api.put("/members/me", json={"display_name": draw.username()}, headers=headers)
        expect(put, REFUSED, "took a display name from anybody")


@exercise("7.4")
@attack("CWE-89", "WSTG-INPV-05")
def test_a_name_that_is_sql_only_appears(launch: Callable[..., App], draw: Draw) -> None:
    """A display name with SQL in it is stored, counted and shown, and does nothing else.

    It passes every check at the door, and waits in the table until a report pastes it into a query.

    Hint: what comes from the database was typed by somebody too. One query with a GROUP BY needs no name in its text.
    """
    app = launch()
    ada, bob, his = app.library.ada, app.library.bob, draw.username()
    lend(app, bob, 5)
    before, books = everything(app), ids_in(app.api.get("/books"))
    hidden = [row[0] for row in app.sql("SELECT password_hash FROM members UNION SELECT email FROM members")]
    expect(choose(app, bob.username, his), 200, "refused a display name")
    for name in (
        "'",
        "x' OR '1'='1",
        "x' OR 1=1 --",
        "' || (SELECT max(email) FROM members) || '",
        "x' UNION SELECT email, 1 FROM members --",
        "x' GROUP BY 1 UNION SELECT email, 1 FROM members --",
        "x', (SELECT max(password_hash) FROM members)) --",
        "x' WHERE 1=1 --",
        "x'); DELETE FROM loans; --",
        "x'; UPDATE members SET role='staff'; --",
        "x'; DROP TABLE reviews; --",
        *(f"x{end}, (SELECT max(password_hash) FROM members) AS {begin}y" for begin, end in ('""', "``", "[]")),
        "%",
        "_" * len(his),
        "(SELECT 1)",
        "x' :name",
        '"; DROP TABLE reviews; --',
        "*",
    ):
        stored = expect(choose(app, ada.username, name), (200, *REFUSED), "answered oddly to a display name")
        if stored.status_code == 200:
            counts(app, name, 2, f"did not count two loans for the display name {name}")
        counts(app, his, 7, f"counted somebody else's loans wrongly after the display name {name}")
        shown = report(app).text
        assert not any(secret in shown for secret in hidden), "gave away what the table of members holds"
        assert ids_in(app.api.get("/books")) == books, "listed other books than before"
    unharmed(app, before)


@exercise("7.4")
@attack("CWE-89", "CWE-269")
def test_a_username_that_is_sql_gives_no_rights(launch: Callable[..., App], draw: Draw) -> None:
    """Somebody whose username is SQL is a member like others, and nobody else.

    The token is genuine, the name in it is not harmless for that.

    Hint: bind `sub`, and use the id of the row that it finds.
    """
    app = launch()
    ada, staff, his = app.library.ada, app.library.staff, draw.username()
    expect(choose(app, ada.username, his), 200, "refused a display name")
    usernames = (
        f"{draw.username()}' OR role = 'staff' --",
        f"{draw.username()}' OR '1'='1",
        f"{staff.username}' --",
        f"{staff.username}' OR '1'='2",
        f"{draw.username()}' UNION SELECT * FROM members WHERE role = 'staff' --",
        f"{staff.username[:-1]}_",
        f"{staff.username}%",
    )
    for username in usernames:
        expect(report(app, username), REFUSED, "took somebody who is no member for one of the staff")
        expect(choose(app, username, draw.username()), REFUSED, "took somebody who is no member for one")
    join(app, usernames, draw)
    before = everything(app)
    for username in usernames:
        expect(report(app, username), 403, "took a member for one of the staff")
        expect(choose(app, username, draw.username()), (200, *REFUSED), "answered oddly to a member")
        counts(app, his, 2, "changed somebody else's display name")
    unharmed(app, before)


@exercise("7.4")
@attack("CWE-209", "ASVS 5.0 16.5.1")
def test_the_databases_words_stay_inside(launch: Callable[..., App], draw: Draw) -> None:
    """When the database is in trouble, or will not have a name, no answer repeats what it said.

    Its error holds the query, the tables' names and the values: a map for whoever wants in.

    Hint: let the exception go, and FastAPI answers a plain 500; never put `str(error)` into an answer.
    """
    app = launch()
    ada, bob, name = app.library.ada, app.library.bob, draw.username()
    expect(choose(app, ada.username, name), 200, "refused a display name")
    is_silent(choose(app, bob.username, name))

    def answers() -> Iterator[httpx.Response]:
        yield app.api.get("/books")
        yield report(app)
        yield choose(app, ada.username, draw.username())

    long = (draw.secret(length) for length in (101, 200, 256, 1000))
    for odd in (*long, {"a": 1}, ["a"], 10**30, None, "", " ", "\0", "a\0b"):
        is_silent(choose(app, ada.username, odd))
    for table in ("books", "loans", "members"):
        away = f"{table}_{draw.username()}"
        app.sql(f"ALTER TABLE {table} RENAME TO {away}")
        for answer in answers():
            is_silent(answer, away)
        app.sql(f"ALTER TABLE {away} RENAME TO {table}")


def is_silent(answer: httpx.Response, *names: str) -> None:
    """An answer has none of the database's words in it, and none of these names. Raises CheckFailed."""
    shown = answer.text.lower()
    leaked = [word for word in (*ERROR_WORDS, *names) if word in shown]
    if leaked:
        found = f"answered with the database's own words ({leaked[0].strip()})"
        raise CheckFailed(found, "A safe app says that something went wrong.", exchange_of(answer.request, answer))


@exercise("7.4")
@attack("CWE-20", "CWE-755")
def test_odd_names_do_not_crash(app: App, ada: Member, bob: Member, draw: Draw) -> None:
    """Names that are no text, over-long or full of odd signs are refused or stored, and the report still works.

    PostgreSQL stores no NUL; and a list is no name.

    Hint: `Annotated[str, Body(embed=True, max_length=200)]`, and a pattern that leaves NUL out.
    """
    his = draw.username()
    for member, name in ((ada, draw.username()), (bob, his)):
        expect(choose(app, member.username, name), 200, "refused a display name")
    values: tuple[Any, ...] = (
        None,
        7,
        True,
        1.5,
        [],
        ["a"],
        {},
        {"a": 1},
        "",
        " ",
        "\0",
        "a\0b",
        "\x1b[2J",
        "\u2028",
        "x" * 100_000,
    )
    for value in values:
        expect(choose(app, ada.username, value), (200, *REFUSED), "answered oddly to an odd display name")
        counts(app, his, 2, "counted somebody else's loans wrongly after an odd display name")
    for body in ("", "null", "[]", "{", '"x"', "{}"):
        headers = bearer(forge(app, ada.username)) | {"Content-Type": "application/json"}
        answer = app.api.put("/members/me", content=body, headers=headers)
        expect(answer, (200, *REFUSED), "answered oddly to an odd body")
