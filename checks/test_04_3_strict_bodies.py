"""4.3 Strict bodies: what may stand in a body, and what becomes of the rest."""

import json
import re
from collections import Counter
from collections.abc import Iterable, Iterator
from typing import Any

import httpx

from checks.accounts import settled
from lab_app.harness import REFUSED, App, attack, exercise, expect, legit
from lab_app.harness.draw import Draw
from lab_app.harness.library import Member

SEEDED = ("members", "books", "loans", "reviews")
DEEP = (60, 250, 500, 900, 5_000, 200_000)
Contents = dict[str, list[list[str]]]


def send(app: App, method: str, path: str, body: str | bytes, kind: str = "application/json") -> httpx.Response:
    """Send a body as it is written, JSON or not."""
    return app.api.request(method, path, content=body, headers={"Content-Type": kind})


def change(app: App, username: str, body: Any) -> httpx.Response:
    """Change what is known of a member."""
    return send(app, "PATCH", f"/members/{username}", json.dumps(body))


def order(app: App, body: Any) -> httpx.Response:
    """Order copies of a book."""
    return send(app, "POST", "/orders", json.dumps(body))


def contents(app: App, but: Iterable[str] = ()) -> Contents:
    """Every row of every table, as SQL would write its values, once nobody is writing any more."""
    settled(app)
    columns: dict[str, list[str]] = {}
    for table, column in app.sql(
        "SELECT m.name, c.name FROM sqlite_master m, pragma_table_info(m.name) c WHERE m.type = 'table'"
    ):
        columns.setdefault(table, []).append(f"quote({quoted(column)})")
    chosen = {table: names for table, names in columns.items() if table not in but}
    selects = [
        f"SELECT {number}, json_array({', '.join(names)}) FROM {quoted(table)}"  # noqa: S608
        for number, (table, names) in enumerate(chosen.items())
    ]
    found: Contents = {table: [] for table in chosen}
    for number, row in app.sql(" UNION ALL ".join(selects)) if selects else ():
        found[list(chosen)[number]].append(json.loads(row))
    return found


def quoted(name: str) -> str:
    """A table's or column's name, whatever it is."""
    return '"' + name.replace('"', '""') + '"'


def own(app: App) -> list[list[str]]:
    """The rows of the tables that are the learner's own."""
    return [row for rows in contents(app, but=SEEDED).values() for row in rows]


def comes_to_hold(app: App, former: list[list[str]], *numbers: int, seconds: float = 2) -> bool:
    """Whether rows that were not there before hold these whole numbers, by themselves or within a text such as JSON."""

    def there() -> bool:
        new = Counter(map(tuple, own(app))) - Counter(map(tuple, former))
        values = "\n".join(value for row in new for value in row)
        return all(re.search(rf"(?<!\d){number}(?!\d)", values) for number in numbers)

    return app.answer.patience.until(there, seconds)


def mentions(app: App, text: str, seconds: float = 5) -> bool:
    """Whether a text comes to stand in some table, by itself or within something else, such as JSON."""
    spelled = {each.replace("'", "''") for each in (text, json.dumps(text)[1:-1])}

    def there() -> bool:
        values = [value for rows in contents(app).values() for row in rows for value in row]
        return any(each in value for each in spelled for value in values)

    return app.answer.patience.until(there, seconds)


def expect_nothing_done(app: App, tries: list[tuple[str, str, str | bytes]], found: str) -> None:
    """Each of these is refused, and leaves the whole database as it was."""
    before = contents(app)
    for method, path, body in tries:
        shown = body if isinstance(body, str) else ascii(body)
        expect(send(app, method, path, body), REFUSED, f"{found}: {shown[:60]}")
    assert contents(app) == before, "refused a body and changed the database all the same"


def fields(app: App, value: str) -> list[tuple[str, str, str | bytes]]:
    """A value, as it is written in JSON, in every field of both bodies."""
    path = f"/members/{app.library.bob.username}"
    return [
        ("POST", "/orders", f'{{"book_id": {value}, "copies": 1}}'),
        ("POST", "/orders", f'{{"book_id": 1, "copies": {value}}}'),
        ("PATCH", path, f'{{"email": {value}}}'),
        ("PATCH", path, f'{{"display_name": {value}}}'),
    ]


@exercise("4.3")
@legit("ASVS 5.0 2.2.1", "RFC 5789 §2")
def test_profiles_are_changed(app: App, ada: Member, draw: Draw) -> None:
    """E-mail and display name are changed, each alone and both together; what was not sent stays as it is.

    Hint: two fields that may be missing; change those that are there.
    """
    name = ""
    for with_email, with_name in ((False, True), (True, False), (True, True)):
        email, name = draw.email(), f"Žofie O'Hara {draw.number(1_000, 10**9)}" if with_name else name
        [[former]] = app.sql("SELECT email FROM members WHERE id = ?", ada.id)
        wanted = {"email": email} if with_email else {}
        wanted |= {"display_name": name} if with_name else {}
        expect(change(app, ada.username, wanted), 200, "refused to change a profile")
        query = "SELECT id FROM members WHERE username = ? AND email = ?"
        found = app.eventually(query, ada.username, email if with_email else former)
        assert found, "answered 200 and did not " + ("store" if with_email else "keep") + " the e-mail address"
        assert mentions(app, name, seconds=5 if with_name else 0), "answered 200, and no table holds the display name"


@exercise("4.3")
@legit("RFC 9110 §15.5.5")
def test_unknown_members_are_not_found(app: App, draw: Draw) -> None:
    """PATCH for a name that nobody has is 404, and makes no new member.

    Hint: look the member up first.
    """
    before = contents(app)
    for body in ({"email": draw.email()}, {"display_name": "Nobody"}, {"email": draw.email(), "display_name": "N."}):
        expect(change(app, draw.username(), body), 404, "did not answer 404 for a member who does not exist")
    assert contents(app) == before, "stored something for a member who does not exist"


@exercise("4.3")
@legit("ASVS 5.0 2.2.1")
def test_orders_are_stored(app: App, draw: Draw) -> None:
    """Orders of 1 to 20 copies are stored, every one of them.

    Hint: a table of your own, made when the app starts, with a row for each order, numbered by itself.
    """
    first = own(app)
    again = (draw.number(1, 6), draw.number(6, 20))  # no number is another's, so none can pass for it
    pairs = [(draw.number(2, 6), 1), (draw.number(1, 6), 20), again, again]
    for book_id, copies in pairs:
        former = own(app)
        answer = order(app, {"book_id": book_id, "copies": copies})
        expect(answer, 201, f"did not answer 201 to an order of {copies} copies")
        kept = comes_to_hold(app, former, book_id, copies)
        assert kept, "answered 201, and no table of its own holds the book and the number of copies"
    assert len(own(app)) >= len(first) + len(pairs), "answered 201 and did not store every order"


@exercise("4.3")
@attack("API3:2023", "CWE-915", "ASVS 5.0 15.3.3")
def test_nobody_writes_other_columns(app: App, ada: Member, bob: Member, draw: Draw) -> None:
    """`role`, `id` and other fields in the body of PATCH change nothing in the database.

    Who writes the whole body into the row lets everybody write their own role.

    Hint: name the fields that may be changed; a model with two fields leaves out the rest.
    """
    rest = "SELECT id, username, password_hash, role, disabled FROM members ORDER BY id"
    before = app.sql(rest)
    extras: tuple[dict[str, Any], ...] = (
        {"role": "staff"},
        {"id": ada.id, "disabled": 1},
        {"password_hash": "", "username": draw.username()},
        {"member": {"role": "staff"}, "is_staff": True, "__class__": "staff"},
        {"role = 'staff', email": draw.email()},
        {"email = email, role": "staff"},
        *({"ROLE": "staff"}, {"Role": "staff"}, {"Disabled": "1"}),  # SQL's names have no case
    )
    for extra in extras:
        for proper in ({"email": draw.email()}, {"display_name": draw.username()}, {}):
            answer = change(app, bob.username, proper | extra)
            expect(answer, range(200, 500), "did not decide about a body with more fields")
        settled(app)
        assert app.sql(rest) == before, f"let a body change {' and '.join(extra)}"


@exercise("4.3")
@attack("API3:2023", "CWE-915", "ASVS 5.0 15.3.3")
def test_orders_hold_nothing_else(app: App, ada: Member, draw: Draw) -> None:
    """`id`, `member_id` and other fields in the body of an order are stored nowhere.

    An order's number, its price and its owner are for the library to say.

    Hint: insert the two values that you know, not the body.
    """
    number, word = draw.number(10**11, 10**12), draw.secret(24)
    seeded = {name: rows for name, rows in contents(app).items() if name in SEEDED}
    extras: tuple[dict[str, Any], ...] = (
        {"id": number},
        {"order_id": number, "member_id": ada.id, "role": word},
        {"price": number, "status": word, "created_at": word},
        {"copies) VALUES (1, 1) --": number},
    )
    for extra in extras:
        answer = order(app, {"book_id": draw.number(1, 6), "copies": draw.number(1, 21)} | extra)
        expect(answer, (201, *REFUSED), "did not decide about an order with more fields")
    after = contents(app)
    stored = json.dumps({name: rows for name, rows in after.items() if name not in SEEDED})
    assert str(number) not in stored and word not in stored, "stored a field of an order that nobody asked for"
    assert {name: after[name] for name in SEEDED} == seeded, "changed another table with an order"


@exercise("4.3")
@attack("CWE-1287", "ASVS 5.0 15.3.5")
def test_numbers_in_disguise_are_refused(app: App, draw: Draw) -> None:
    """`"5"`, `true`, `5.0` and `[5]` are no whole numbers.

    One service reads `true` as 1, another as an error. Between two readings is where attacks live.

    Hint: `ConfigDict(strict=True)`: Pydantic then takes no value for what it is not.
    """
    n = draw.number(1, 6)
    disguises = [f'"{n}"', f'" {n} "', f'"0x{n}"', f"{n}.0", f"{n}e0", "true", f"[{n}]", f'{{"value": {n}}}', "null"]
    disguises += ['"٣"', '"1_0"', "1.5", '""']
    tries = [pair for value in disguises for pair in fields(app, value)[:2]]
    expect_nothing_done(app, tries, "took something else for a whole number")
    broken = [f'{{"book_id": {n}}}', f'{{"copies": {n}}}', "{}"]
    expect_nothing_done(app, [("POST", "/orders", body) for body in broken], "took half an order")


@exercise("4.3")
@attack("CWE-1284", "ASVS 5.0 1.4.2")
def test_numbers_out_of_range_are_refused(app: App) -> None:
    """Fewer than 1 and more than 20 copies are refused, and so are numbers that no database can hold.

    Python's numbers have no end. SQLite's have 64 bits, and raise an error beyond.

    Hint: `Field(ge=1, le=20)`, and a bound for `book_id` too.
    """
    copies = [0, -1, 21, 100, -20, 2**31, 2**63, 2**64 + 5, 10**30, 10**400, -(10**400)]
    book_ids = [2**63, -(2**63) - 1, 2**64 + 1, 10**30, 10**400, -(10**400)]
    tries = [fields(app, str(n))[1] for n in copies] + [fields(app, str(n))[0] for n in book_ids]
    tries += fields(app, "1" * 5_000)
    expect_nothing_done(app, tries, "took a number that is out of range")


@exercise("4.3")
@attack("RFC 8259 §6", "CWE-20")
def test_what_is_no_number_is_refused(app: App) -> None:
    """NaN, Infinity and numbers too large for a float are refused.

    NaN and Infinity are no JSON, yet Python reads them; 1e999 is JSON, and Python makes it Infinity. FastAPI then fails
    to write them into its own 422: a crash.

    Hint: a handler for `RequestValidationError` that leaves `input` out; nobody needs it back.
    """
    tries = [one for value in ("NaN", "Infinity", "-Infinity", "1e999", "-1e999") for one in fields(app, value)]
    tries += [one for value in ("[NaN]", '{"a": Infinity}') for one in fields(app, value)]
    tries += [("POST", "/orders", "NaN"), ("POST", "/orders", "[Infinity]"), (*tries[2][:2], "-Infinity")]
    expect_nothing_done(app, tries, "took what is no number")


@exercise("4.3")
@attack("RFC 8259 §8.2", "CWE-176")
def test_lone_surrogates_are_refused(app: App, draw: Draw) -> None:
    """Half a character, `"\\ud800"`, is refused wherever it stands.

    JSON can spell it, UTF-8 cannot. It fails wherever it is written: database, log, or your own refusal.

    Hint: Pydantic's `str` refuses it only where there is a `max_length` to measure. Your 422 must not repeat it.
    """
    high, low = f"\\ud8{draw.number(0x00, 0x100):02x}", f"\\udc{draw.number(0x00, 0x100):02x}"
    texts = (high, low, low + high, f"Ada{high}", f"{low}@mail.example", f"ada@mail.example{high}")
    tries = [one for text in texts for one in (*fields(app, f'"{text}"'), ("POST", "/orders", f'"{text}"'))]
    expect_nothing_done(app, tries, "took half a character")
    extra = f'{{"book_id": 1, "copies": 1, "note": "{high}"}}'
    expect(send(app, "POST", "/orders", extra), range(200, 500), "did not decide about half a character")


@exercise("4.3")
@attack("CWE-674", "RFC 8259 §9")
def test_deep_nests_are_refused(app: App) -> None:
    """A value nested 200 000 deep is refused, and so is one that is only as deep as your own code can go.

    A parser that calls itself for every bracket runs out of stack. So does whoever copies or prints what it read.

    Hint: do not walk through what was sent. FastAPI's 422 does, when it repeats the input.
    """
    nests = [nest for n in DEEP for nest in ("[" * n + "]" * n, '{"a":' * n + "1" + "}" * n)]
    tries = [one for nest in nests for one in fields(app, nest)]
    tries += [("POST", "/orders", "[" * depth) for depth in DEEP]
    expect_nothing_done(app, tries, "took a deep nest")
    extra = '{"book_id": 1, "copies": 1, "note": ' + "[" * 900 + "]" * 900 + "}"
    expect(send(app, "POST", "/orders", extra), range(200, 500), "did not decide about a nest that is not needed")


@exercise("4.3")
@attack("CWE-20", "CWE-755")
def test_null_crashes_nothing(app: App, bob: Member) -> None:
    """null for the e-mail address, the display name or both is refused or ignored, and crashes nothing.

    `{"email": null}` is JSON. Written into a column that is NOT NULL it makes the driver raise.

    Hint: `exclude_unset` leaves out what was not sent; a null was sent. Ask for `None` before you write.
    """
    for body in ({"email": None}, {"display_name": None}, {"email": None, "display_name": None}):
        expect(change(app, bob.username, body), range(200, 500), "did not decide about null")


@exercise("4.3")
@attack("CWE-20", "CWE-755")
def test_what_is_no_object_is_refused(app: App, bob: Member) -> None:
    """Lists, texts, nothing, broken JSON and bytes that are no UTF-8 are refused, not crashed upon.

    The content type is a promise of the sender's. Nobody has to keep it.

    Hint: leave parsing to FastAPI, or catch what your own parser raises.
    """
    bodies: list[str | bytes] = ["[]", "[1, 2]", '"text"', "5", "null", "true", "", " ", "{", '{"copies"', "{'a': 1}"]
    bodies += [b"\xff\xfe", b'{"book_id": 1, "copies": "\xff"}', b"\x00", b"\xf0\x9f", '{"a": 1}}', "<order/>"]
    tries = [("POST", "/orders", body) for body in bodies]
    tries += [("PATCH", f"/members/{bob.username}", body) for body in bodies if body not in ("", " ", '{"a": 1}')]
    expect_nothing_done(app, tries, "took what is no object")


@exercise("4.3")
@attack("CWE-209", "ASVS 5.0 16.5.1")
def test_no_refusal_repeats_what_was_sent(app: App, bob: Member, draw: Draw) -> None:
    """A refusal, such as a 422, does not hold a value that was sent, in whatever field and form.

    What was sent may be a password in the wrong field. The refusal ends up in logs and bug reports.

    Hint: answer where and what kind of fault, not `input`, `ctx` or the whole `exc.errors()`.
    """
    word, number = draw.secret(24), draw.number(10**15, 10**16)
    parts = [word[start : start + 8] for start in range(0, len(word), 8)] + [str(number)]
    path = f"/members/{bob.username}"
    wrong_types = [("POST", "/orders", body) for body in leaking_orders(word)]
    wrong_types += [("PATCH", path, body) for body in leaking_profiles(word)]
    for method, where, body in wrong_types:
        answer = expect(send(app, method, where, body), REFUSED, f"took a value of a wrong type: {body[:60]}")
        expect_kept(answer, parts)
    orders = [f'{{"book_id": 1, "copies": {n}}}' for n in (number, -number, f"{number}.5")] + [f'{{"book_id": "{word}"']
    profiles = [
        json.dumps({"email": text}) for text in (word, f"{word}@", f"{word} <{word}@{word}>", f"{word}@{word}@x.y")
    ]
    for method, where, bodies in (("POST", "/orders", orders), ("PATCH", path, profiles)):
        for body in bodies:  # whether these are refused is for other checks, or left open
            answer = send(app, method, where, body)
            if answer.status_code in REFUSED:
                expect_kept(answer, parts)
    for name in (word + "x" * 5_000, f"{word}\n", f"{word}\0", f"<{word}>"):  # these, too, may be taken or refused
        answer = change(app, bob.username, {"display_name": name})
        expect(answer, range(200, 500), "did not decide about a display name")
        if answer.status_code in REFUSED:
            expect_kept(answer, parts)


def expect_kept(answer: httpx.Response, parts: list[str]) -> None:
    """The answer holds no part of what was sent."""
    assert not any(part in answer.text for part in parts), f"repeated in a {answer.status_code} a value that was sent"


def leaking_orders(word: str) -> Iterator[str]:
    """Orders with a word where it does not belong."""
    bodies: list[Any] = [{"book_id": word, "copies": 1}, {"book_id": 1, "copies": word}, {"copies": [word]}]
    bodies += [{"book_id": {"a": word}, "copies": {word: word}}, {"book_id": 1, "note": word}, word, [word], [[word]]]
    yield from map(json.dumps, bodies)


def leaking_profiles(word: str) -> Iterator[str]:
    """Profiles with a word where it does not belong."""
    bodies: list[Any] = [{"email": [word]}, {"display_name": {"first": word}}, {"email": {word: 1}, "x": word}]
    bodies += [{"display_name": [word, 1]}, {"email": 5, "display_name": word}, word, [word], [{"email": word}]]
    yield from map(json.dumps, bodies)
