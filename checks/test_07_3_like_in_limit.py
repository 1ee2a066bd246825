"""7.3 LIKE, IN, LIMIT: how it is used, and how it is attacked."""

from collections.abc import Callable, Iterator
from typing import Any

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

# What the various ways to match a text take for more than itself, or use to take its meaning away.
SIGNS = "%_\\/^!|#~@$*?[](){}.+-='\":;&<>,`"


def ask(api: httpx.Client, **query: Any) -> httpx.Response:
    """List books; as many as one answer may hold, unless told otherwise."""
    return api.get("/books", params={"limit": 100, **query})


def containing(api: httpx.Client, text: str) -> list[int]:
    """The ids of the books whose titles contain a text."""
    return sorted(ids_in(ask(api, title_contains=text)))


@exercise("7.3")
@legit("ASVS 5.0 2.2.1")
def test_titles_are_found_by_a_part_of_them(app: App, api: httpx.Client, draw: Draw) -> None:
    """A part of a title finds the books that have it; without parameters there are books too.

    That is what the parameter is for.

    Hint: `books.c.title.contains(text, autoescape=True)`, and no condition at all where nothing is asked.
    """
    one = word(draw)
    first, second = add_books(app, f"The {one}", f"{one} Returns")
    add_books(app, word(draw), author=one)
    assert containing(api, one) == [first, second], "did not find just the two books with a word in their title"
    assert containing(api, f"{one} R") == [second], "did not find just the one book with a part of its title"
    assert containing(api, word(draw)) == [], "found a book by a word that stands in no title"
    assert ids_in(api.get("/books")), "listed nothing when nothing was asked for"


@exercise("7.3")
@legit("ASVS 5.0 1.2.4")
def test_ids_pick_books(app: App, api: httpx.Client) -> None:
    """Ids pick just those books, one or a thousand; no ids pick all.

    Each id needs a place of its own in the query. The list is as long as the client says.

    Hint: SQLAlchemy's `in_(ids)` or `bindparam(…, expanding=True)`; and no condition when there are none.
    """
    shelves = sorted(row[0] for row in app.sql("SELECT id FROM books ORDER BY id LIMIT 90"))
    for ids in (shelves[:1], shelves[1:3], shelves[::-1], [shelves[0], shelves[0]]):
        assert sorted(ids_in(ask(api, ids=ids))) == sorted(set(ids)), "did not pick just the books with these ids"
    unknown = list(range(900_001, 901_000 - len(shelves) + 1))
    assert ids_in(ask(api, ids=unknown[:2])) == [], "found books with ids that no book has"
    thousand = shelves + unknown
    assert len(thousand) == 1_000
    answer = expect(ask(api, ids=thousand), 200, "did not take a thousand ids")
    assert sorted(ids_in(answer)) == shelves, "did not pick just the books with these ids out of a thousand"
    count = app.sql("SELECT count(*) FROM books")[0][0]
    assert len(ids_in(ask(api))) == min(count, 100), "did not list all books, up to the limit, when no ids were given"


@exercise("7.3")
@legit("API4:2023", "ASVS 5.0 2.2.1")
def test_a_limit_is_kept(launch: Callable[..., App], draw: Draw) -> None:
    """Every limit from 1 to 100 gives that many books, when there are more, also of a thousand ids.

    A page has an end. It is counted in books, and most ids may be those of none.

    Hint: `.limit(limit)` on the query, with `Query(ge=1, le=100)` on the parameter.
    """
    app = launch()
    known = add_books(app, *(f"{word(draw)} {n}" for n in range(120)))
    for limit in (1, 2, 17, 99, 100):
        ids = ids_in(ask(app.api, limit=limit))
        assert len(ids) == len(set(ids)) == limit, f"listed {len(ids)} books when asked for {limit} of 125"
    assert len(ids_in(app.api.get("/books"))) <= 100, "listed more than 100 books when no limit was given"
    assert len(ids_in(ask(app.api, title_contains=" ", limit=3))) == 3, "did not keep the limit in a search"
    scattered = [one for n, id_ in enumerate(known) for one in (*range(900_000 + 7 * n, 900_007 + 7 * n), id_)]
    for limit in (3, 100):
        ids = ids_in(ask(app.api, ids=scattered, limit=limit))
        assert len(ids) == len(set(ids) & set(known)) == limit, f"did not give {limit} of the 120 books with these ids"
    answer = ask(app.api, ids=scattered[-8:], limit=1)
    assert ids_in(answer) == known[-1:], "did not find a book whose id came last, with limit=1"


@exercise("7.3")
@legit("CWE-155", "ASVS 5.0 1.2.4")
def test_every_sign_is_found(app: App, api: httpx.Client, draw: Draw) -> None:
    """Signs of all kinds are found where they stand, percent signs, quotes and backslashes too.

    `100%` is a title, and so is `C:\\`. Somebody looks for it.

    Hint: escape `%`, `_` and the escape sign itself, and name that sign with ESCAPE; autoescape does all three.
    """
    one, other = word(draw), word(draw)
    ids = add_books(app, *(f"{one}{sign}{other}" for sign in SIGNS))
    for sign, id_ in zip(SIGNS, ids, strict=True):
        for text in (f"{one}{sign}{other}", f"{one[1:]}{sign}{other[:-1]}", f"{sign}{other}"):
            assert id_ in containing(api, text), f"did not find a title with {sign} in it"


@exercise("7.3")
@attack("CWE-155", "CWE-89")
def test_percent_and_underscore_match_only_themselves(app: App, api: httpx.Client, draw: Draw) -> None:
    """`%` and `_` in what is looked for stand for themselves, wherever they stand.

    A bound wildcard is still a wildcard: `%` lists everything, and `%a%b%c%` keeps the database busy.

    Hint: `contains(text, autoescape=True)`; `contains(text)` alone leaves the wildcards in.
    """
    one, other = word(draw), word(draw)
    _, _, percent, underscore = add_books(app, *(f"{one}{between}{other}" for between in ("", "x", "%", "_")))
    assert containing(api, f"{one}%{other}") == [percent], "took a percent sign for more than itself"
    assert containing(api, f"{one}_{other}") == [underscore], "took an underscore for more than itself"
    for text in (
        f"{one[:-1]}%{other}",
        f"{one}%%{other}",
        f"{one}__{other}",
        f"%{one[1:-1]}_{other}",
        f"{one}_%{other}",
    ):
        assert containing(api, text) == [], "took a percent sign or an underscore for more than itself"
    for sign in "%_":
        titles = {row[0]: row[1] for row in app.sql("SELECT id, title FROM books")}
        assert all(sign in titles[id_] for id_ in containing(api, sign)), f"listed titles without {sign} for {sign}"


@exercise("7.3")
@attack("CWE-155", "CWE-150")
def test_no_sign_gives_a_wildcard_its_power_back(app: App, api: httpx.Client, draw: Draw) -> None:
    """No sign in front of `%` or `_`, nor one behind, makes a wildcard of it.

    Who escapes with a backslash and leaves backslashes alone turns `\\%` into a literal backslash and a wildcard.

    Hint: escape the escape sign first, then the wildcards; or let autoescape do it.
    """
    one, other = word(draw), word(draw)
    add_books(app, *(f"{one}{sign}x{other}" for sign in SIGNS), f"{one}{other}", f"{one}xy{other}")
    for sign in SIGNS:
        for text in (f"{sign}%", f"{sign}_", f"{sign}{sign}%", f"%{sign}", f"_{sign}", f"[{sign}x]"):
            assert containing(api, f"{one}{text}{other}") == [], f"took {text!r} for more than itself"


@exercise("7.3")
@attack("CWE-89", "CWE-203", "WSTG-INPV-05")
def test_sql_in_a_title_is_text(app: App, api: httpx.Client, draw: Draw) -> None:
    """SQL in what is looked for brings no other rows, answers no questions and costs no time.

    Escaping wildcards is not binding: a quote still ends the string.

    Hint: both are needed, the value bound and its wildcards escaped.
    """
    shelves = Shelves(app)
    for opening in (form.format(word(draw)) for form in OPENINGS):
        for payload in unions(opening) + [opening + closing for closing in CLOSINGS]:
            shelves.nothing_else(ask(api, title_contains=payload))

    def pairs() -> Iterator[tuple[str, str]]:
        for both in conditions(app):
            for opening in OPENINGS:
                yes, no = (f"{opening.format(word(draw))} OR {truth} --" for truth in both)
                yield yes, no

    tells_nothing(lambda payload: ask(api, title_contains=payload), pairs())
    is_not_kept_busy(lambda payload: ask(api, title_contains=payload), "x' OR {} < 0 --")


@exercise("7.3")
@attack("CWE-89", "CWE-203", "WSTG-INPV-05")
def test_sql_is_no_id(app: App, api: httpx.Client) -> None:
    """SQL among the ids brings no other rows, answers no questions and costs no time.

    A list is joined with commas and pasted in, because one placeholder does not take a list.

    Hint: `list[int]` refuses what is no number, before the database sees it.
    """
    shelves = Shelves(app)
    one = app.sql("SELECT min(id) FROM books")[0][0]
    for opening in ("0", "0)", "0))", "'0'", "'0')"):
        for payload in unions(opening):
            shelves.nothing_else(ask(api, ids=payload))
            shelves.nothing_else(ask(api, ids=[one, payload]))
    for payload in (
        "1;",
        "1--",
        "1)--",
        "NULL",
        "null",
        "1e0",
        "0x1",
        "1,2",
        "1.5",
        "[1]",
        "{}",
        "true",
        "",
        " ",
        "\0",
        "１",
    ):
        shelves.nothing_else(ask(api, ids=payload))

    def pairs() -> Iterator[tuple[str, str]]:
        for both in conditions(app):
            for form in ("0) OR ({}", "0) OR ({}) --", "CASE WHEN {} THEN 1 ELSE 0 END", "0 OR {}", "0') OR {} --"):
                yes, no = (form.format(truth) for truth in both)
                yield yes, no

    tells_nothing(lambda payload: ask(api, ids=payload), pairs())
    is_not_kept_busy(lambda payload: ask(api, ids=payload), "{}")


@exercise("7.3")
@attack("CWE-190", "ASVS 5.0 1.4.2")
def test_ids_beyond_64_bits_are_refused(app: App, api: httpx.Client) -> None:
    """An id that does not fit into 64 bits is a 4xx, alone or among others.

    Python's numbers have no end, the database's have. The driver raises, or the number wraps around to somebody else's.

    Hint: `Annotated[int, Field(ge=1, le=2**63 - 1)]` for the items of the list.
    """
    one = app.sql("SELECT min(id) FROM books")[0][0]
    for id_ in (2**63, 2**64 + one, -(2**63) - 1, 10**30, -(10**30), 10**400):
        for ids in ([id_], [one, id_], [id_, one]):
            expect(ask(api, ids=ids), REFUSED, "did not refuse an id beyond 64 bits")


@exercise("7.3")
@attack("CWE-1284", "API4:2023", "ASVS 5.0 2.2.1")
def test_other_limits_are_refused(app: App, api: httpx.Client) -> None:
    """A limit below 1 or above 100 is refused, and −1 and 10**9 with 422.

    To SQLite a negative limit is none at all, and somebody asks for the whole table.

    Hint: `Annotated[int, Query(ge=1, le=100)]`.
    """
    for limit in (-1, 10**9, -(10**9), 10**6):
        expect(ask(api, limit=limit), 422, f"did not answer 422 to limit={limit}")
    for limit in (0, 101, -100, 2**63, 10**30):
        expect(ask(api, limit=limit), REFUSED, f"took limit={limit}")
    for truth, lie in conditions(app):
        for condition in (truth, lie):
            expect(ask(api, limit=f"(CASE WHEN {condition} THEN 1 ELSE 2 END)"), REFUSED, "took SQL for a limit")
    texts = (
        "all",
        "NULL",
        "1;",
        "1 --",
        "1 OFFSET 1",
        "1, 100",
        "(SELECT 1)",
        "1 UNION SELECT 1, 2, 3",
        "1.5",
        "1e1000",
        "\0",
    )
    for text in texts:
        expect(ask(api, limit=text), REFUSED, "took SQL for a limit")


@exercise("7.3")
@attack("CWE-89", "WSTG-INPV-05")
def test_a_second_statement_is_not_run(launch: Callable[..., App], draw: Draw) -> None:
    """A second statement behind a semicolon changes nothing, in whichever parameter.

    A list of ids is the place that is forgotten.

    Hint: numbers are numbers before they reach the query, and texts are bound.
    """
    app = launch()
    before = everything(app)
    for statement in writes(app, draw):
        for query in (
            {"title_contains": f"x'; {statement}; --"},
            {"ids": f"0); {statement}; --"},
            {"ids": [1, f"0; {statement}; --"]},
            {"limit": f"1; {statement}; --"},
        ):
            expect(ask(app.api, **query), (200, *REFUSED), "answered oddly to a second statement")
    unharmed(app, before)


@exercise("7.3")
@attack("CWE-20", "CWE-755")
def test_odd_texts_do_not_crash(app: App, api: httpx.Client, draw: Draw) -> None:
    """NUL, control signs and other scripts are refused or harmless.

    PostgreSQL stores no NUL, and its driver raises.

    Hint: refuse NUL with a pattern, as in 7.1.
    """
    shelves = Shelves(app)
    for text in (
        "\0",
        f"{word(draw)}\0",
        "a\0%",
        "\x1a",
        "\x7f",
        "\u2028",
        "\ufeff",
        "🂡",
        "ŁÓ",
        "%00",
        "{}",
        "$1",
        "%s",
        "?",
    ):
        shelves.nothing_else(ask(api, title_contains=text))
