"""7.1 Log in and search: how it is used, and how it is attacked."""

from collections.abc import Callable, Iterator
from itertools import product

import httpx

from checks.injection import (
    CLOSINGS,
    OPENINGS,
    Shelves,
    add_books,
    conditions,
    everything,
    ids_in,
    is_not_kept_busy,
    tells_nothing,
    unharmed,
    unions,
    word,
    writes,
)
from lab_app.harness import REFUSED, App, attack, exercise, expect, legit
from lab_app.harness.draw import Draw
from lab_app.harness.library import Member, hashed

STRAY = ("'", '"', "'\"", "\"'", "''", "\\'", "';", "`", "%27", "'||'", "' ESCAPE '", "\u02bc OR 1=1", "＇ OR 1=1 --")
BOTH_QUOTES = ' -- "'  # whoever quotes by what a text holds is right for one kind of quotes, and not for both


def log_in(api: httpx.Client, username: str, password: str) -> httpx.Response:
    """The JSON login of this exercise."""
    return api.post("/login", json={"username": username, "password": password})


def search(api: httpx.Client, text: str) -> httpx.Response:
    """Look for books."""
    return api.get("/books", params={"q": text})


def join(app: App, username: str, draw: Draw) -> str:
    """A member of that name comes in; the password."""
    password = draw.passphrase()
    row = (username, draw.email(), hashed(password, 4))
    app.sql("INSERT INTO members (username, email, password_hash) VALUES (?, ?, ?)", *row)
    return password


@exercise("7.1")
@legit("ASVS 5.0 1.2.4")
def test_members_log_in(app: App, api: httpx.Client, ada: Member, bob: Member, draw: Draw) -> None:
    """Members log in with their password and with no other, O'Brien and a:b too.

    A name is a text. A quote or a colon in it is a letter like any other.

    Hint: `text("… WHERE username = :name")` and `{"name": username}`; the driver keeps the two apart.
    """
    people = [(ada.username, ada.password), (bob.username, bob.password)]
    odd = (f"O'{draw.username()}", f"{draw.username()}:{draw.username()}", "O'Brien", "a:b")
    people += [(name, join(app, name, draw)) for name in odd]
    for name, password in people:
        expect(log_in(api, name, password), 200, f"refused the right password of {name!r}")
        expect(log_in(api, name, draw.passphrase()), 401, "did not answer 401 to a wrong password")
    expect(log_in(api, draw.username(), ada.password), 401, "did not answer 401 to a name that nobody has")
    expect(log_in(api, bob.username, ada.password), 401, "did not answer 401 to somebody else's password")


@exercise("7.1")
@legit("ASVS 5.0 1.2.4")
def test_books_are_found(app: App, api: httpx.Client, draw: Draw) -> None:
    """Books are found by a part of their title or author, in any case; without `q` all are listed.

    A search that finds nothing has nothing to leak, and nobody to use it.

    Hint: `lower(title) LIKE lower('%' || :q || '%')`, or SQLAlchemy's `icontains`; PostgreSQL minds the case.
    """
    title, author = word(draw), word(draw)
    (by_title,) = add_books(app, f"The {title} of Autumn")
    (by_author,) = add_books(app, word(draw), author=f"Dr {author} Jones")
    for text, id_ in ((title, by_title), (author, by_author)):
        for spelling in (text, text.upper(), text.lower()):
            assert ids_in(search(api, spelling)) == [id_], f"did not find just the one book with {spelling!r}"
    assert ids_in(search(api, word(draw))) == [], "found a book by a word that stands in none"
    add_books(app, *(f"{draw.secret(8)} {n}" for n in range(120)))
    shelves = {row[0] for row in app.sql("SELECT id FROM books")}
    assert set(ids_in(api.get("/books"))) == shelves, "did not list all books without q"


@exercise("7.1")
@legit("ASVS 5.0 1.2.4", "CWE-184")
def test_titles_that_look_like_sql_are_found(app: App, api: httpx.Client, draw: Draw) -> None:
    """O'Brien, a:b and titles that look like SQL are found like all others.

    A list of forbidden words locks readers out, and attackers write around it.

    Hint: no character needs to be forbidden, doubled or removed when it never becomes part of the SQL.
    """
    one = word(draw)
    titles = (
        f"{one}'s Union",
        f"Select {one}; or, Drop the Table -- a Novel",
        f"a:b {one} :q",
        f'"{one}" /* Essays */',
        f"{one}' = 'Chaos",
    )
    ids = add_books(app, *titles, author=f"{draw.username()} O'Brien")
    for title, id_ in zip(titles, ids, strict=True):
        assert ids_in(search(api, title)) == [id_], f"did not find the book {title!r} by its title"
    assert sorted(ids_in(search(api, "o'brien"))) == ids, "did not find the books by O'Brien"
    assert ids_in(search(api, f"a:b {one}")), "did not find a book by a:b"


@exercise("7.1")
@attack("CWE-89", "CWE-287", "WSTG-INPV-05")
def test_sql_is_no_name(api: httpx.Client, ada: Member, staff: Member) -> None:
    """A name with SQL behind it logs nobody in, even with a right password.

    The password is compared with whatever hash the query brings, so whoever writes the query logs in.

    Hint: bind the name. Then the database looks for a member who is called `' OR '1'='1`.
    """
    openings = [opening.format(ada.username) for opening in OPENINGS[:3]]
    tails = (*CLOSINGS, " OR '1'='1", " OR 1=1 --", " AND 'a'='a", " LIMIT 1 --", " UNION SELECT * FROM members --")
    for opening, tail in product(openings, (*tails, BOTH_QUOTES)):
        expect(log_in(api, opening + tail, ada.password), REFUSED, "logged somebody in under a name that is SQL")
    for name in ("' OR '1'='1", "' OR 1=1 --", f"' OR username = '{ada.username}", f"x' OR id = {ada.id} --"):
        expect(log_in(api, name, ada.password), REFUSED, "logged somebody in under a name that is SQL")
    for password in ("' OR '1'='1", f"{staff.password}' --", "' OR 1=1 --"):
        expect(log_in(api, staff.username, password), REFUSED, "took SQL for a password")


@exercise("7.1")
@attack("CWE-89", "CWE-287", "WSTG-INPV-05")
def test_nobody_brings_their_own_hash(api: httpx.Client, staff: Member, draw: Draw) -> None:
    """A name that adds a row by UNION, with a hash of the attacker's own, logs nobody in.

    It needs no password of anybody's: the attacker made the hash and knows what it is of.

    Hint: bind the name, and compare what came back: a row whose username is another is not the member's.
    """
    mine = draw.passphrase()
    name, hash_ = f"'{staff.username}'", f"'{hashed(mine, 4)}'"
    shapes = (
        hash_,
        f"{name}, {hash_}",
        f"{hash_}, {name}",
        f"{staff.id}, {hash_}",
        f"{staff.id}, {name}, {hash_}",
        f"{name}, {hash_}, 'staff'",
        f"{staff.id}, {name}, {hash_}, 'staff'",
        f"{staff.id}, {name}, {hash_}, 'staff', 0",
        f"{staff.id}, {name}, {name}, {hash_}, 'staff', 0",
    )
    for opening, shape in product(("x'", "x')"), shapes):
        answer = log_in(api, f"{opening} UNION SELECT {shape} --", mine)
        expect(answer, REFUSED, "compared the password with a hash that came with the name")


@exercise("7.1")
@attack("CWE-155", "CWE-287")
def test_wildcards_are_no_names(api: httpx.Client, ada: Member) -> None:
    """`%` and `_` stand for nobody, whatever the password.

    `LIKE` compares with a pattern: a name of one percent sign is everybody's.

    Hint: `=`, not `LIKE`. Binding alone does not help, since the wildcard is in the value.
    """
    name = ada.username
    patterns = ("%", "_" * len(name), name[:-1] + "%", "%" + name[1:], name[:3] + "_" + name[4:], name + "%")
    for pattern in (*patterns, "*", "?" * len(name), ".*", name[:-1] + "[a-z0-9]"):
        expect(log_in(api, pattern, ada.password), REFUSED, f"took {pattern!r} for the name of a member")


@exercise("7.1")
@attack("CWE-89", "WSTG-INPV-05")
def test_a_search_brings_no_other_rows(app: App, api: httpx.Client, draw: Draw) -> None:
    """UNION, comments and stray quotes in a search bring books or a refusal, nothing else.

    One UNION reads every table, and the hashes of all members are on the page.

    Hint: bind `q`. Add the percent signs to the value, not to the SQL.
    """
    shelves = Shelves(app)
    for opening in (form.format(word(draw)) for form in OPENINGS):
        for payload in unions(opening) + [opening + closing for closing in CLOSINGS]:
            shelves.nothing_else(search(api, payload))
    for payload in unions(f"{word(draw)}'"):
        shelves.nothing_else(search(api, payload.replace(" WHERE role = 'staff' --", BOTH_QUOTES)))
    for payload in STRAY:
        shelves.nothing_else(search(api, payload))


@exercise("7.1")
@attack("CWE-89", "CWE-203", "WSTG-INPV-05")
def test_a_search_answers_no_questions(app: App, api: httpx.Client, draw: Draw) -> None:
    """A question in a search gets the same answer whether the truth is yes or no.

    One bit a request is enough: seven requests read a letter, and a script reads the rest.

    Hint: an error that becomes a 422 answers questions too. Bind `q`, and no question is ever asked.
    """

    def pairs() -> Iterator[tuple[str, str]]:
        title = app.sql("SELECT title FROM books ORDER BY id")[0][0]
        for both in conditions(app):
            for opening in OPENINGS:
                yes, no = (f"{opening.format(draw.username())} OR {truth} --" for truth in both)
                yield yes, no
                yes, no = (f"{opening.format(title)} AND {truth} --" for truth in both)
                yield yes, no
            yes, no = (f"' || (SELECT CASE WHEN {truth} THEN 'a' ELSE 'zq' END) || '" for truth in both)
            yield yes, no
            # An error where it is true, for an app that hides what went wrong but not that it did.
            yes, no = (f"' OR abs(CASE WHEN {truth} THEN -9223372036854775807 - 1 ELSE 1 END) < 0 --" for truth in both)
            yield yes, no

    tells_nothing(lambda payload: search(api, payload), pairs())


@exercise("7.1")
@attack("CWE-89", "CWE-208", "WSTG-INPV-05")
def test_nobody_keeps_the_database_busy(api: httpx.Client, ada: Member, draw: Draw) -> None:
    """SQL in a name or a search does not make the answer slower.

    An app that always answers the same still takes longer, if the database counted to a million for a "yes".

    Hint: comparing the row with the name afterwards does not help: the query has run by then.
    """
    for opening in ("x'", "x')", 'x"'):
        is_not_kept_busy(lambda name: log_in(api, name, draw.passphrase()), f"{opening} OR {{}} < 0 --")
        is_not_kept_busy(lambda text: search(api, text), f"{opening} OR {{}} < 0 --")
    is_not_kept_busy(lambda name: log_in(api, name, draw.passphrase()), f"{ada.username}' AND {{}} > 0 --")
    is_not_kept_busy(lambda text: search(api, text), "' || {} || '")


@exercise("7.1")
@attack("CWE-89", "WSTG-INPV-05")
def test_a_second_statement_is_not_run(launch: Callable[..., App], draw: Draw) -> None:
    """A second statement behind a semicolon changes nothing.

    Some drivers run all that they are given. What reads today writes tomorrow.

    Hint: bind. And give the app a database user who may not drop tables.
    """
    app = launch()
    before, staff = everything(app), app.library.staff
    for opening in ("x'", f"{app.library.ada.username}'", "x')"):
        for statement in writes(app, draw):
            payload = f"{opening}; {statement}; --"
            expect(search(app.api, payload), (200, *REFUSED), "answered oddly to a second statement")
            expect(log_in(app.api, payload, staff.password), REFUSED, "logged somebody in under a name that is SQL")
            expect(log_in(app.api, staff.username, payload), REFUSED, "logged somebody in with SQL for a password")
    unharmed(app, before)


@exercise("7.1")
@attack("CWE-20", "CWE-770", "ASVS 5.0 2.2.1")
def test_odd_and_overlong_input_is_refused_or_harmless(app: App, api: httpx.Client, ada: Member, draw: Draw) -> None:
    """Over-long input is a 4xx, and no character makes the app crash.

    SQLite refuses a pattern of 50 000 bytes, PostgreSQL a text with a NUL; both by an exception.

    Hint: `Query(max_length=200)` and `Field(max_length=200)`, and a pattern that leaves NUL out.
    """
    shelves = Shelves(app)
    for length in (60_000, 61_000):
        expect(search(api, draw.secret(2) * (length // 2)), REFUSED, "did not refuse an over-long search with a 4xx")
    long = draw.secret(2) * 100_000
    for name, password in ((long, ada.password), (ada.username, long), (long, long), (f"{ada.username}{long}", long)):
        expect(log_in(api, name, password), REFUSED, "did not refuse an over-long login with a 4xx")
    for text in (
        "\0",
        f"{draw.username()}\0",
        "a\0b",
        "\x1a",
        "\x7f\x1b[2J",
        "\u2028",
        "\ufeff",
        "🂡",
        "%00",
        "{}",
        "$1",
        "%s",
    ):
        shelves.nothing_else(search(api, text))
        expect(log_in(api, text, ada.password), REFUSED, "let somebody in under a name that nobody has")
