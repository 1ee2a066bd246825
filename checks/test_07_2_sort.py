"""7.2 Sort: how it is used, and how it is attacked."""

from collections.abc import Callable
from itertools import product
from typing import Any

import httpx

from checks.injection import conditions, everything, is_not_kept_busy, unharmed, word, writes
from lab_app.harness import REFUSED, App, CheckFailed, attack, exercise, expect, json_of, legit
from lab_app.harness.draw import Draw
from lab_app.harness.evidence import exchange_of

COLUMNS = ("title", "author", "year")
ORDERS = ("asc", "desc")


def ask(api: httpx.Client, sort: str, order: str = "asc") -> httpx.Response:
    """List the books in an order."""
    return api.get("/books", params={"sort": sort, "order": order})


def expect_refused(api: httpx.Client, sort: str, order: str = "asc") -> None:
    """A 422, since the contract lists no such column or no such order. Raises CheckFailed."""
    expect(ask(api, sort, order), 422, f"did not answer 422 to sort={sort!r} and order={order!r}")


def shelves(app: App) -> list[dict[str, Any]]:
    """All books as they stand in the database."""
    names = ("id", "title", "author", "year")
    return [dict(zip(names, row, strict=True)) for row in app.sql("SELECT id, title, author, year FROM books")]


def listed(books: list[dict[str, Any]], answer: httpx.Response) -> list[dict[str, Any]]:
    """The books of an answer, recognised by their ids or else by their titles. Raises CheckFailed."""
    body = json_of(expect(answer, 200, "did not list the books in an order that the contract has"))
    for key in ("id", "title"):
        by_key = {book[key]: book for book in books}
        if isinstance(body, list) and all(isinstance(one, dict) and one.get(key) in by_key for one in body):
            return [by_key[one[key]] for one in body]
    raise CheckFailed("did not list books", "The contract asks for the books.", exchange_of(answer.request, answer))


def add(app: App, *books: tuple[str, str, int]) -> None:
    """More books, each a title, an author and a year."""
    places = ", ".join(["(?, ?, ?, 'Z9')"] * len(books))
    values = [value for book in books for value in book]
    app.sql(f"INSERT INTO books (title, author, year, shelf) VALUES {places}", *values)  # noqa: S608 - question marks


@exercise("7.2")
@legit("ASVS 5.0 2.2.1")
def test_books_come_in_the_order_asked_for(app: App, api: httpx.Client, draw: Draw) -> None:
    """Title, author and year sort all books, upwards and downwards.

    A value that is bound where a column's name belongs is a constant: the query runs, and sorts nothing.

    Hint: a dictionary from what may be asked to the column itself, and `.asc()` or `.desc()`.
    """
    # Ids in no order, and years that sort otherwise as texts.
    add(app, *((word(draw), word(draw), year) for year in (868, 1999, 1450, 2027, 99)))
    books = shelves(app)
    for column, order in product(COLUMNS, ORDERS):
        keys = [book[column] for book in listed(books, ask(api, column, order))]
        assert len(keys) == len(books), "left books out, or listed some twice"
        wanted = sorted(keys, reverse=order == "desc")
        assert keys == wanted, f"did not sort by {column} when asked for sort={column}&order={order}"


@exercise("7.2")
@legit("ASVS 5.0 2.2.1")
def test_a_new_book_finds_its_place(app: App, api: httpx.Client, draw: Draw) -> None:
    """A book that has just come in stands where it belongs, at either end.

    The database sorts what it holds now, not what it held when the app started.

    Hint: sort in the query, on every request.
    """
    first, last = f"Aaa{word(draw)}", f"Zzz{word(draw)}"
    ask(api, "title")  # for an app that remembers what it has seen
    add(app, (last, last, 10_000), (first, first, -5000))
    stock = shelves(app)
    for column in COLUMNS:
        for order, ends in (("asc", (first, last)), ("desc", (last, first))):
            books = listed(stock, ask(api, column, order))
            assert (books[0]["title"], books[-1]["title"]) == ends, f"put a new book in the wrong place by {column}"


@exercise("7.2")
@attack("CWE-89", "CWE-200", "ASVS 5.0 2.2.1")
def test_other_columns_are_refused(api: httpx.Client, draw: Draw) -> None:
    """Columns and attributes that are not on the list are 422, whether they exist or not.

    What sorts, leaks: sorted by a hidden column, the order tells its values.

    Hint: `Literal["title", "author", "year"]`. Do not ask the table or the model what it has: it has more.
    """
    columns = ("shelf", "id", "isbn", "rowid", "oid", "_rowid_", "ctid", "password_hash", "username", "email", "role")
    paths = ("books.title", "books.shelf", "main.books.title", "members.password_hash", '"title"', "[title]", "`title`")
    attributes = ("metadata", "__class__", "__table__", "__dict__", "registry", "c", "columns", "keys", "__init__")
    pieces = ("t", "tle", "title author", "author year", "title,author,year", "title|author", "titles")
    for value in (
        *columns,
        *paths,
        *attributes,
        *pieces,
        "1",
        "3",
        "5",
        "-1",
        "?",
        ":title",
        "%s",
        "None",
        draw.username(),
    ):
        expect_refused(api, value)
    for value in (
        "ascending",
        "descending",
        "up",
        "1",
        "-1",
        "true",
        "title",
        "__class__",
        "nulls_first",
        "c",
        "asc desc",
        "asc|desc",
        "__asc",
    ):
        expect_refused(api, "title", value)


@exercise("7.2")
@attack("CWE-20", "CWE-178", "ASVS 5.0 2.2.1")
def test_other_spellings_are_refused(api: httpx.Client) -> None:
    """In capitals, or with a space or a line break around it, a value is another one, and 422.

    What is tidied before it is looked at must be tidied wherever it is used. What is exact is the same everywhere.

    Hint: `Literal`, or `in` a tuple; `re.fullmatch`, since `$` lets a line break through.
    """
    for sort in ("TITLE", "Year", " title", "title ", "author\n", "year\t"):
        expect_refused(api, sort)
    for order in ("DESC", "Asc", "asc ", "desc\n"):
        expect_refused(api, "title", order)


@exercise("7.2")
@attack("CWE-89", "WSTG-INPV-05")
def test_sql_is_no_column(app: App, api: httpx.Client) -> None:
    """SQL in the place of a column is 422.

    An ORDER BY takes any expression, and the order of the books answers any question.

    Hint: escaping cannot help here, since nothing is quoted. Choose from a list of your own.
    """
    for truth, lie in conditions(app):
        for condition in (truth, lie):
            expect_refused(api, f"(CASE WHEN {condition} THEN title ELSE author END)")
            expect_refused(api, f"CASE WHEN {condition} THEN 1 ELSE 2 END, title")
    expressions = (
        "title COLLATE NOCASE",
        "lower(title)",
        "title, author",
        "title--",
        "title/**/",
        "title desc",
        "(title)",
    )
    queries = ("(SELECT 1)", "(SELECT password_hash FROM members LIMIT 1)", "title LIMIT 1 --", "1 LIMIT 0 --")
    tricks = ("title;", "title\n, shelf", "title\0", "title\0, shelf", "year+0", "-year", "abs(year)", "title || shelf")
    for value in (*expressions, *queries, *tricks):
        expect_refused(api, value)


@exercise("7.2")
@attack("CWE-89", "WSTG-INPV-05")
def test_sql_is_no_direction(app: App, api: httpx.Client) -> None:
    """SQL in the place of asc or desc is 422.

    The direction is pasted in as often as the column is, and forgotten more often.

    Hint: `Literal["asc", "desc"]`, and let your code write the word.
    """
    for truth, lie in conditions(app):
        for condition in (truth, lie):
            expect_refused(api, "year", f", (CASE WHEN {condition} THEN title ELSE author END)")
            expect_refused(api, "year", f"* (CASE WHEN {condition} THEN 1 ELSE -1 END)")
    for value in (
        "asc, shelf",
        "desc--",
        "desc LIMIT 1",
        "asc LIMIT 0 --",
        "desc; --",
        "desc\n, shelf",
        "asc\0",
        "asc/**/",
    ):
        expect_refused(api, "title", value)


@exercise("7.2")
@attack("CWE-89", "CWE-208", "WSTG-INPV-05")
def test_nothing_is_run_before_it_is_refused(launch: Callable[..., App], draw: Draw) -> None:
    """What is refused was not run either: nothing changes, and the database is not kept busy.

    A query that runs first and is refused afterwards has done its work.

    Hint: look at the values before you touch the database.
    """
    app = launch()
    before = everything(app)
    for statement in writes(app, draw):
        expect_refused(app.api, f"title; {statement}; --")
        expect_refused(app.api, "title", f"asc; {statement}; --")
    unharmed(app, before)
    is_not_kept_busy(lambda sort: ask(app.api, sort), "{}")
    is_not_kept_busy(lambda order: ask(app.api, "title", order), ", {}")


@exercise("7.2")
@attack("CWE-235", "CWE-20")
def test_odd_queries_do_not_crash(api: httpx.Client, draw: Draw) -> None:
    """Doubled, empty and over-long parameters are refused or harmless.

    Two values for one parameter: the one that is looked at must be the one that is used.

    Hint: let FastAPI read one value, and use that one only.
    """
    for query in ("sort=", "order=", "sort=&order=", f"sort={draw.secret(2) * 10_000}", "sort[]=title", "sort=%ff%fe"):
        expect(api.get(f"/books?{query}"), (200, *REFUSED), "answered oddly to an odd query")
    plain = expect(ask(api, "title", "desc"), 200, "did not list the books by title")
    for query in ("sort=title&sort=shelf", "sort=shelf&sort=title", "sort=title&sort=(SELECT%201)&sort=title"):
        answer = expect(api.get(f"/books?{query}&order=desc"), (200, *REFUSED), "answered oddly to a doubled parameter")
        one_used = answer.status_code != 200 or answer.text == plain.text
        assert one_used, "looked at one value of a doubled parameter and used another"
