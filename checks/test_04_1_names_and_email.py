"""4.1 Names and e-mail: who may join, and who must not look like whom."""

import re
from collections.abc import Iterable
from typing import Any

import httpx

from checks.accounts import settled
from lab_app.harness import REFUSED, App, attack, exercise, expect, json_of, legit
from lab_app.harness.draw import Draw
from lab_app.harness.library import Member

RESERVED = ("admin", "root", "staff", "larkspur")
CYRILLIC = str.maketrans("aeopcyixs", "аеорсуіхѕ")
FULL_WIDTH = {code: code + 0xFEE0 for code in range(0x21, 0x7F)}


def join(app: App, username: Any, email: Any) -> httpx.Response:
    """Ask to become a member."""
    return app.api.post("/members", json={"username": username, "email": email})


def expect_joined(app: App, answer: httpx.Response, username: str, email: str) -> None:
    """The newcomer was let in, and is stored and shown under this very name and address."""
    body = json_of(expect(answer, 201, "refused a newcomer"), "username", "email")
    shown = (body["username"], body["email"])
    assert shown == (username, email), f"answered {shown!r} for {username!r}, {email!r}"
    rows = app.eventually("SELECT email FROM members WHERE username = ?", username)
    assert rows == [[email]], f"stored {rows!r} in `members` for {username!r}, {email!r}"


def everybody(app: App) -> list[list[Any]]:
    """All members, once nobody is writing any more."""
    settled(app)
    return app.sql("SELECT * FROM members ORDER BY id")


def expect_names_refused(app: App, draw: Draw, names: Iterable[str], found: str) -> None:
    """Nobody joins under any of these names."""
    before = everybody(app)
    for name in names:
        expect(join(app, name, draw.email()), 422, f"did not answer 422 to {name!a}, which has {found}")
    assert everybody(app) == before, "answered 422 and changed `members` all the same"


def around(draw: Draw, character: str) -> list[str]:
    """Otherwise good names with a character before, within and after them."""
    name = draw.username()
    return [character + name, name[:4] + character + name[4:], name + character]


def amid(draw: Draw, characters: Iterable[str]) -> list[str]:
    """For each character an otherwise good name that holds it somewhere."""
    return [draw.random.choice(around(draw, character)) for character in characters]


def capitals(draw: Draw, text: str) -> str:
    """The text with capitals here and there, one at least."""
    n = draw.number(0, len(text))
    mixed = "".join(draw.random.choice((c, c.upper())) for c in text)
    return mixed[:n] + text[n].upper() + mixed[n + 1 :]


@exercise("4.1")
@legit("ASVS 5.0 2.2.1")
def test_plain_names_are_welcome(app: App, draw: Draw) -> None:
    """Names of a-z, 0-9 and _, from 3 to 32 characters, are stored as they are.

    Validation says what is good. Whatever is good must come through, with names around that differ by one character.

    Hint: `[a-z0-9_]{3,32}`, the whole of it and nothing more. To `LIKE` a `_` is any character; compare with `=`.
    """
    word = draw.username()
    for name in (word, f"{word[:4]}_{word[4:]}", f"_{word}_", f"{draw.number(100, 999)}{word}", word[:3]):
        email = draw.email()
        expect_joined(app, join(app, name, email), name, email)
    for length in (3, 32):
        name, email = draw.secret(length), draw.email()
        expect_joined(app, join(app, name, email), name, email)
    local, domain = draw.username(), f"{draw.username()}.example"
    for mailbox in (local, f"{local[:4]}_{local[5:]}"):
        name, email = draw.username(), f"{mailbox}@{domain}"
        expect_joined(app, join(app, name, email), name, email)
    name, email = f"{word[:4]}_{word[5:]}", draw.email()
    expect_joined(app, join(app, name, email), name, email)


@exercise("4.1")
@legit("CWE-178", "RFC 8265 §3.3")
def test_capitals_become_small(app: App, draw: Draw) -> None:
    """`Alice` is stored, and answered, as `alice`.

    Two names that differ in case only are one name to everybody who reads them.

    Hint: fold the case while you validate, so that all that follows sees one spelling.
    """
    for name in (draw.username().upper(), draw.username().title(), f"{draw.username().swapcase()}_X"):
        email = draw.email()
        expect_joined(app, join(app, name, email), name.lower(), email)


@exercise("4.1")
@legit("RFC 5321 §2.4")
def test_addresses_keep_what_matters(app: App, draw: Draw) -> None:
    """The domain of an address becomes small, the part before the @ keeps its case, dots and plus signs.

    Domains are the same in any case. What stands before the @ is for its own mail server to read.

    Hint: Pydantic's `EmailStr` does just that.
    """
    for local in (f"First.{draw.username().title()}", f"{draw.username()}+Library", f"{draw.username().upper()}_x-y"):
        name, domain = draw.username(), f"{draw.username()}.Mail.EXAMPLE"
        expect_joined(app, join(app, name, f"{local}@{domain}"), name, f"{local}@{domain.lower()}")


@exercise("4.1")
@legit("ASVS 5.0 2.2.1")
def test_a_reserved_word_within_a_name_is_fine(app: App, draw: Draw) -> None:
    """Names that merely contain a reserved one are let in.

    Mr Stafford is no member of the staff, and Ms Grassroots no administrator.

    Hint: compare whole names with the list; `in` between two texts looks for a part.
    """
    for word in RESERVED:
        for name in (f"{word}{draw.number(100, 9999)}", f"{draw.username()[:8]}{word}"):
            email = draw.email()
            expect_joined(app, join(app, name, email), name, email)


@exercise("4.1")
@attack("CWE-1007", "CWE-176", "ASVS 5.0 2.2.1")
def test_letters_of_other_scripts_are_refused(app: App, ada: Member, draw: Draw) -> None:
    """Cyrillic, Greek, full width and ornamental letters are refused.

    `аda` with a Cyrillic а and `ada` look the same on every screen, in every mail and in every log.

    Hint: `isalnum` and `\\w` know all of Unicode. List the characters that you want: `[a-z0-9_]`.
    """
    look_alikes = ["а", "о", "ѕ", "α", "ο", "ａ", "Ａ", "ⓐ", "𝐚", "𝗔", "ᴀ", "ª", "é", "ñ", "ɑ"]
    names = amid(draw, look_alikes)
    names += [f"{ada.username[0].translate(FULL_WIDTH)}{ada.username[1:]}", "алиса", "アリス", "爱丽丝", "αλίκη"]
    expect_names_refused(app, draw, names, "a letter that is none of a-z")


@exercise("4.1")
@attack("CWE-176", "ASVS 5.0 2.2.1")
def test_digits_of_other_scripts_are_refused(app: App, draw: Draw) -> None:
    """Superscripts, Arabic and Roman digits, and other digits that are none of 0-9, are refused.

    `int("٣")` is 3, and `"²".isdigit()` is true: what one part of a program takes for a digit breaks another.

    Hint: in `re`, `\\d` means every digit of Unicode. Write `[0-9]`.
    """
    digits = ["²", "³", "⁴", "₁", "٣", "۴", "३", "１", "９", "Ⅷ", "ⅷ", "①", "½", "𝟘", "五"]
    expect_names_refused(app, draw, amid(draw, digits), "a digit that is none of 0-9")


@exercise("4.1")
@attack("CWE-1007", "CWE-176")
def test_invisible_characters_are_refused(app: App, ada: Member, draw: Draw) -> None:
    """Zero-width, combining, directional and control characters are refused.

    They make a new name of an old one, and nobody sees a difference.

    Hint: list what is allowed. What is invisible cannot be listed completely.
    """
    hidden = ["\u200b", "\u200c", "\u200d", "\u2060", "\ufeff", "\u00ad", "\u202e", "\u0301", "\ufe0f", "\0", "\x1b"]
    names = [name for character in hidden for name in around(draw, character)]
    names += [ada.username + character for character in hidden]
    expect_names_refused(app, draw, names, "a character that nobody can see")


@exercise("4.1")
@attack("CWE-625", "CWE-20")
def test_white_space_and_line_ends_are_refused(app: App, ada: Member, draw: Draw) -> None:
    """A line end or a space before, within or after a name is refused.

    A name with a line end writes a line of its own into your logs and mails.

    Hint: in Python's `re`, `$` also stands before a last line end. Use `re.fullmatch`, or Pydantic's `pattern`.
    """
    blanks = ["\n", "\r\n", "\r", " ", "\t", "\v", "\x85", "\u00a0", "\u2028", "\u3000"]
    names = [name for blank in blanks for name in around(draw, blank)]
    names += [f"{ada.username}\n", f"{ada.username} ", "abc\n", "a\nb", "   "]
    expect_names_refused(app, draw, names, "white space in it")


@exercise("4.1")
@attack("ASVS 5.0 2.2.1", "CWE-20")
def test_other_characters_and_lengths_are_refused(app: App, draw: Draw) -> None:
    """Signs other than _ are refused, and so is what has less than 3 or more than 32 characters.

    Names end up in addresses, file names, queries and pages. Each of them has signs of its own.

    Hint: `{3,32}` in the pattern, and no sign but `_` in the brackets.
    """
    signs = "-.@'\"<>/\\%&;:+*$!?#=,()[]{}|~^`"
    names = amid(draw, signs)
    names += ["", "a", "ab", "__", draw.secret(33), draw.secret(64), draw.secret(5_000), "é" * 3]
    expect_names_refused(app, draw, names, "a sign or a length outside the contract")


@exercise("4.1")
@attack("CWE-180", "CWE-178")
def test_what_folds_into_ascii_is_stored_as_ascii(app: App, draw: Draw) -> None:
    """The Kelvin sign and the long s are refused, or stored as the plain letters that they fold into.

    `[a-z]` with `re.IGNORECASE` matches four letters that are not ASCII: ſ, K, İ and ı.

    Hint: fold first and match afterwards, or match with capitals listed and no flag.
    """
    before = everybody(app)
    for letter in ("\u212a", "\u017f", "\u0130", "\u0131"):
        for name in around(draw, letter):
            expect(join(app, name, draw.email()), (201, 409, 422), f"did not decide about {name!a}")
    stored = [row[1] for row in everybody(app) if row not in before]
    odd = [name for name in stored if not re.fullmatch(r"[a-z0-9_]{3,32}", name)]
    assert not odd, f"stored {odd[0]!a}, which is not of a-z, 0-9 and _"


@exercise("4.1")
@attack("CWE-180", "ASVS 5.0 1.1.1")
def test_reserved_names_are_refused_however_written(app: App, draw: Draw) -> None:
    """`admin`, `root`, `staff` and `larkspur` are refused in capitals, other scripts and with extras.

    Whoever is called admin is believed.

    Hint: compare with the list after the case is folded, not before.
    """
    before = everybody(app)
    for word in RESERVED:
        spellings = [word, word.upper(), word.title(), capitals(draw, word), capitals(draw, word)]
        spellings += [word.translate(CYRILLIC), word.upper().translate(FULL_WIDTH)]
        spellings += [f"{word}\n", f" {word}", f"{word}\u200b", f"{word[:2]}\u00ad{word[2:]}"]
        spellings += [word.replace("s", "\u017f")] if "s" in word else []
        for name in spellings:
            expect(join(app, name, draw.email()), REFUSED, f"let somebody be {name!a}")
    assert everybody(app) == before, "refused a reserved name and stored it all the same"


@exercise("4.1")
@attack("CWE-180", "CWE-178")
def test_taken_names_conflict_in_any_case(app: App, ada: Member, bob: Member, draw: Draw) -> None:
    """A name that is taken is 409, whatever its capitals, whoever came first.

    If `Ada` is looked up and `ada` is stored, both are there, or the database breaks the tie with a crash.

    Hint: normalise, then look, then store; and let a UNIQUE constraint have the last word.
    """
    newcomer = draw.username()
    expect_joined(app, join(app, newcomer.upper(), email := draw.email()), newcomer, email)
    before = everybody(app)
    for name in (ada.username, bob.username, newcomer):
        for spelling in (name, name.upper(), name.title(), capitals(draw, name)):
            expect(join(app, spelling, draw.email()), 409, f"did not answer 409 to {spelling!r}, which is taken")
    assert everybody(app) == before, "answered 409 and changed `members` all the same"


@exercise("4.1")
@attack("CWE-180", "RFC 5321 §2.4")
def test_taken_addresses_conflict(app: App, ada: Member, bob: Member, draw: Draw) -> None:
    """An address that is taken is 409, also when its domain is written in capitals.

    Two accounts with one mailbox: whoever resets one password may get the other.

    Hint: the same order as for names: normalise, look, store.
    """
    local, domain = draw.username().title(), f"{draw.username()}.example"
    name = draw.username()
    expect_joined(app, join(app, name, f"{local}@{domain.upper()}"), name, f"{local}@{domain}")
    before = everybody(app)
    for email in (ada.email, bob.email, f"{local}@{domain}"):
        mailbox, _, host = email.partition("@")
        for spelling in (email, f"{mailbox}@{host.upper()}", f"{mailbox}@{capitals(draw, host)}"):
            expect(join(app, draw.username(), spelling), 409, f"did not answer 409 to {spelling!r}, which is taken")
    assert everybody(app) == before, "answered 409 and changed `members` all the same"


@exercise("4.1")
@attack("ASVS 5.0 1.3.11", "CWE-20")
def test_only_the_bare_address_is_stored(app: App, draw: Draw) -> None:
    """`Alice <a@x.example>` and its like are refused, or stored as the bare address.

    What stands around the address is for people to read, and can say anything.

    Hint: store what the validator returns, not what was sent.
    """
    for form in ("Alice <{}>", '"Alice" <{}>', "<{}>", "  {}  ", "{}\n", "{} (Alice)", "staff@larkspur.example <{}>"):
        name, email = draw.username(), draw.email()
        answer = expect(join(app, name, form.format(email)), (201, 422), "did not decide about an address")
        if answer.status_code == 201:
            expect_joined(app, answer, name, email)


@exercise("4.1")
@attack("CWE-93", "ASVS 5.0 1.3.11", "ASVS 5.0 2.2.1")
def test_what_is_no_address_is_refused(app: App, draw: Draw) -> None:
    """Text without one mailbox and one domain, several addresses, and line ends are refused.

    `a@x.example\\nBcc: everybody@x.example` sends your next mail to everybody.

    Hint: use a validator that knows the grammar. `EmailStr` needs the package email-validator.
    """
    before = everybody(app)
    one, other = draw.email(), draw.email()
    mailbox, _, domain = one.partition("@")
    broken = ["", " ", mailbox, f"@{domain}", f"{mailbox}@", f"{mailbox}@@{domain}", f"{mailbox} x@{domain}"]
    several = [f"{one},{other}", f"{one};{other}", f"{one} {other}", f"{mailbox}@{other}"]
    injected = [f"{one}\nBcc: {other}", f"{one}\r\nBcc: {other}", f"{mailbox}\n@{domain}", f"{mailbox}@{domain}\n\nHi!"]
    for email in (*broken, *several, *injected):
        expect(join(app, draw.username(), email), 422, f"did not answer 422 to {email!r}, which is no address")
    assert everybody(app) == before, "answered 422 and changed `members` all the same"


@exercise("4.1")
@attack("CWE-1287", "ASVS 5.0 15.3.5")
def test_what_is_no_text_is_refused(app: App, draw: Draw) -> None:
    """Numbers, lists, objects and null are refused with 422, and so are bodies that lack a field.

    JSON has six types, and a client may send any of them.

    Hint: declare a model; FastAPI refuses the rest.
    """
    before = everybody(app)
    for odd in (12345, 1.5, True, None, [draw.username()], {"username": draw.username()}):
        expect(join(app, odd, draw.email()), 422, f"did not answer 422 to {odd!r} for a name")
        expect(join(app, draw.username(), odd), 422, f"did not answer 422 to {odd!r} for an address")
    for body in ({"username": draw.username()}, {"email": draw.email()}, {}, [], [draw.username(), draw.email()]):
        expect(app.api.post("/members", json=body), REFUSED, f"took {body!r} for a newcomer")
    assert everybody(app) == before, "answered 422 and changed `members` all the same"
