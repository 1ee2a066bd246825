"""4.2 Passwords people can live with: which are welcome, and which fall to the first guess."""

import json
from collections.abc import Callable, Iterable
from typing import Any

import httpx

from lab_app.harness import REFUSED, App, attack, exercise, expect, legit
from lab_app.harness.draw import SYLLABLES, Draw

SOURCE = "NIST SP 800-63B-4 §3.1.1.2"
COMMON = ("passwordpassword", "123456789012345", "1234567890123456", "qwertyuiopasdfgh")
SHORTEST, LONGEST = 15, 128
SIGNS = "!\"#$%&'()*+,-./:;<=>?@[\\]^_`{|}~"


def rate(app: App, password: Any, username: Any) -> httpx.Response:
    """Ask whether a password will do."""
    return app.api.post("/password-strength", json={"username": username, "password": password})


def expect_welcome(app: App, passwords: Iterable[str], username: str, found: str) -> None:
    """Each of these passwords will do."""
    for password in passwords:
        expect(rate(app, password, username), 204, f"{found}: {password!r}")


def expect_refused(app: App, passwords: Iterable[str], username: str, found: str) -> None:
    """None of these passwords will do."""
    for password in passwords:
        expect(
            rate(app, password, username), 422, f"did not answer 422 to {password!r}, which {found}, for {username!r}"
        )


def letters(draw: Draw, length: int) -> str:
    """Small letters that make no name."""
    return "".join(draw.random.choices("bcdfghjkmnpqrtvwxz", k=length))


def digits(draw: Draw, length: int) -> str:
    """Random digits, the first no zero."""
    return str(draw.number(10 ** (length - 1), 10**length))


def given_name(draw: Draw) -> str:
    """A name of five to eight small letters."""
    return "".join(draw.random.sample([syllable for syllable in SYLLABLES if len(syllable) > 2], 2))


def names(draw: Draw) -> tuple[str, ...]:
    """Names with digits, without, short, with a sign and with a capital."""
    given = given_name(draw)
    return draw.username(), given, letters(draw, 3), f"{given}_{draw.number(10, 99)}", given_name(draw).title()


def in_other_case(draw: Draw, text: str) -> tuple[str, ...]:
    """The same text in other capitals."""
    return text.upper(), text.title(), "".join(draw.random.choice((c.lower(), c.upper())) for c in text)


@exercise("4.2")
@legit(SOURCE, "ASVS 5.0 6.2.5")
def test_passphrases_of_all_kinds_are_welcome(app: App, draw: Draw) -> None:
    """Words with spaces, letters alone, digits alone and other scripts will all do.

    Rules about capitals and signs make `Password1!` of everybody's password, and guessers know them too.

    Hint: length, the list and the names are the only rules.
    """
    passwords = [draw.passphrase(), draw.passphrase().upper(), letters(draw, 20), letters(draw, 20).upper()]
    passwords += [digits(draw, 24), draw.secret(40), "".join(draw.random.choices(SIGNS, k=20))]
    passwords += [f"häuser im schnee {draw.number(10, 99)}", f"пять синих гусей {draw.number(10, 99)}"]
    passwords += [
        f"五匹の青いガチョウが池にいる{draw.number(10, 99)}",
        f"🦆🦆 🦢🦢 🦉🦉 🦜🦜 🦩🦩 {draw.number(10, 99)}",
    ]
    expect_welcome(app, passwords, draw.username(), "refused a good password")


@exercise("4.2")
@legit(SOURCE, "ASVS 5.0 6.2.9")
def test_fifteen_to_128_characters_are_welcome(app: App, draw: Draw) -> None:
    """15 and 128 characters will do, counted as characters and not as bytes.

    A person counts letters. An ü is one, though it takes two bytes.

    Hint: `len` of a `str` counts code points. Do not encode before you count.
    """
    ascii_ones = [letters(draw, length) for length in (SHORTEST, SHORTEST + 1, 64, 72, 73, LONGEST - 1, LONGEST)]
    others = [draw.random.choice(("ü", "ж", "池", "🦆")) * 14 + "x" * (length - 14) for length in (15, 40, LONGEST)]
    wide = ["".join(draw.random.choices("äöüжщю池", k=length)) for length in (SHORTEST, LONGEST)]
    expect_welcome(app, [*ascii_ones, *others, *wide], draw.username(), "refused a password of good length")


@exercise("4.2")
@legit(SOURCE, "ASVS 5.0 6.2.8")
def test_spaces_are_characters(app: App, draw: Draw) -> None:
    """Spaces before, within and after a password count like any other character.

    Whoever types them wants them. What is cut here is missing at the next login.

    Hint: no `strip`, and no `str_strip_whitespace` for this field.
    """
    passwords = [f" {letters(draw, 13)} ", f"{letters(draw, 12)}   ", f"   {letters(draw, 12)}"]
    passwords += [f"{letters(draw, 7)}  {letters(draw, 6)}", " ".join(letters(draw, 8))]
    expect_welcome(app, passwords, draw.username(), "did not count spaces")


@exercise("4.2")
@legit(SOURCE)
def test_a_passphrase_may_contain_a_name(app: App, draw: Draw) -> None:
    """The user name, `larkspur` or a common password amid other words does no harm.

    NIST: the entire password is compared, not words that are in it.

    Hint: ask whether anything is left once the name is taken out, not whether the name is in there.
    """
    for name in (draw.username(), given_name(draw)):
        passwords = [f"{name} {draw.passphrase()}", f"{letters(draw, 9)}{name}{letters(draw, 9)}"]
        passwords += [f"my friend {name} has 3 geese", f"larkspur grows by the {letters(draw, 6)}"]
        passwords += [f"{draw.passphrase()} passwordpassword", f"{letters(draw, 5)} {COMMON[1]}"]
        expect_welcome(app, passwords, name, "refused a passphrase for a word that is in it")
    long = letters(draw, 12)
    expect_welcome(app, [f"{long} {letters(draw, 3)}"], long, "refused a passphrase that is like a name")


@exercise("4.2")
@attack(SOURCE, "CWE-521", "ASVS 5.0 6.2.1")
def test_short_and_overlong_passwords_are_refused(app: App, draw: Draw) -> None:
    """14 characters and fewer are refused, and so are 129 and more, counted as characters.

    Fifteen random letters withstand guessing; without an upper bound somebody sends you a book to hash.

    Hint: `Field(min_length=15, max_length=128)`.
    """
    short = [letters(draw, length) for length in (1, 8, 12, SHORTEST - 1)]
    short += ["", " ", "Xy7!Xy7!Xy7!aB", "äöüжщю池🦆äöüжщю"[: SHORTEST - 1], "🦆" * 5 + letters(draw, 9)]
    overlong = [letters(draw, length) for length in (LONGEST + 1, 200, 1_000, 50_000)]
    overlong += [f"{letters(draw, LONGEST)} ", " ".join(letters(draw, 65)), "ü" * 60 + letters(draw, 69)]
    expect_refused(app, [*short, *overlong], draw.username(), "is too short or too long")


@exercise("4.2")
@attack(SOURCE, "ASVS 5.0 6.2.4")
def test_common_passwords_are_refused(app: App, draw: Draw) -> None:
    """What is on the list of common passwords is refused, in any case.

    The list is where every guesser begins, and capitals are the first thing they vary.

    Hint: fold the case of what was sent before you look it up.
    """
    for common in COMMON:
        expect_refused(app, (common, *in_other_case(draw, common)), draw.username(), "is on the list")


@exercise("4.2")
@attack(SOURCE, "ASVS 5.0 6.2.11")
def test_names_repeated_are_refused(app: App, draw: Draw) -> None:
    """The user name, or `larkspur`, over and over is refused, in any case.

    The name stands on the page. Twice the name is the second guess.

    Hint: `password.replace(name, "")` is empty when there is nothing else.
    """
    for name in names(draw):
        for word in (name, "larkspur"):
            times = -(-SHORTEST // len(word))
            repeated = [word * times, word * (times + 1)]
            repeated += [other for text in repeated for other in in_other_case(draw, text)]
            expect_refused(app, repeated, name, "is a name, repeated")


@exercise("4.2")
@attack(SOURCE, "ASVS 5.0 6.2.11")
def test_names_with_digits_and_signs_are_refused(app: App, draw: Draw) -> None:
    """A name with nothing but digits and punctuation before, between and after is refused.

    `Larkspur2026!!!` has a capital, a digit and a sign, and is on every guesser's first page.

    Hint: take the name out; is there anything left that is neither a digit nor punctuation?
    """
    for name in names(draw):
        for word in (name, "larkspur"):
            number, sign = digits(draw, 11), draw.random.choice("!.-_#$%*+?")
            trimmed = [f"{word}{number}", f"{number}{word}", f"{sign}{word}{sign}{number}", f"{word}{sign * 14}"]
            trimmed += [f"{word}{number[:4]}{sign}{word}{number[4:]}", f"{word}{sign}{word}{sign}{word}{sign}1"]
            trimmed += [f"{word.title()}{draw.number(2000, 2030)}{sign * 8}", f"{word.upper()}-{number}"]
            expect_refused(app, trimmed, name, "is a name with trimmings")


@exercise("4.2")
@attack("CWE-209", "ASVS 5.0 16.5.1")
def test_no_answer_repeats_the_password(app: App, draw: Draw) -> None:
    """Whatever is wrong with a request, the answer does not hold the password.

    Answers are kept in logs, by proxies and by clients, and in bug reports. FastAPI's own 422 repeats what was sent.

    Hint: an exception handler for `RequestValidationError` that leaves out `input` and `ctx`.
    """
    name = draw.username()
    short, overlong, secret = letters(draw, 12), letters(draw, 140), draw.passphrase()
    derived = f"{name}{digits(draw, 9)}"
    tries: list[tuple[str, Any]] = [(short, {"username": name, "password": short})]
    tries += [(overlong, {"username": name, "password": overlong}), (derived, {"username": name, "password": derived})]
    tries += [(secret, {"username": name, "password": secret}), (secret, {"password": secret})]
    tries += [(common, {"username": name, "password": common}) for common in COMMON]
    tries += [(secret, {"username": name, "password": odd}) for odd in ([secret], {"is": secret}, [[secret, 1]])]
    tries += [(secret, {"username": odd, "password": secret}) for odd in (None, 5, [name], {"is": name})]
    tries += [(secret, {"username": name, "pass_word": secret}), (secret, [name, secret]), (secret, secret)]
    for password, body in tries:
        expect_kept(app.api.post("/password-strength", json=body), password)
    text = json.dumps({"username": name, "password": secret})
    for content, kind in ((text, "text/plain"), (text[:-1], "application/json"), (f"password={secret}", "text/plain")):
        expect_kept(app.api.post("/password-strength", content=content, headers={"Content-Type": kind}), secret)
    expect_kept(app.api.post("/password-strength", data={"username": name, "password": secret}), secret)


def expect_kept(answer: httpx.Response, password: str) -> None:
    """The answer is none of a crash, and does not hold the password."""
    expect(answer, range(200, 500), "did not decide about a password")
    said = answer.text + "".join(answer.headers.values())
    assert password not in said, f"repeated the password in a {answer.status_code} answer"


@exercise("4.2")
@attack("CWE-1333")
def test_no_password_keeps_the_app_busy(launch: Callable[..., App], draw: Draw) -> None:
    """A name, many digits and signs, and one word more: the answer comes all the same.

    A pattern that can read the signs between two names in many ways tries them all before it gives up. A name may
    itself be of digits or signs.

    Hint: in `(?:[\\W\\d_]*name[\\W\\d_]*)+` two stars read the same signs, and the name too if it is `11`. `replace`
    needs no star.
    """
    app = launch()
    for name in (letters(draw, 3), "larkspur"):
        for filling in ("1" * 9, "-" * 9, digits(draw, 9)):
            password = (name + filling) * (110 // (len(name) + 9)) + " " + letters(draw, 6)
            expect(rate(app, password, name), range(200, 500), f"did not decide about {password!r}")
    for name in (str(draw.number(1, 10)) * 2, "--"):
        password = name * 60 + letters(draw, 1)
        expect(rate(app, password, name), range(200, 500), f"did not decide about {password!r}")


@exercise("4.2")
@attack("CWE-1287", "CWE-20", "CWE-755")
def test_what_is_no_text_is_refused(app: App, draw: Draw) -> None:
    """A password that is no text is refused; a name with signs in it is no trouble.

    A name goes into patterns and messages. Whoever chooses it, chooses what they mean.

    Hint: compare texts with `==` and `replace`. In a pattern, a name needs `re.escape`.
    """
    name, good = draw.username(), draw.passphrase()
    for odd in (10**20, 1.5, True, None, [good], {"password": good}):
        expect(rate(app, odd, name), 422, f"did not answer 422 to {odd!r} for a password")
    for body in ({"username": name}, {}, [], [name, good]):
        expect(app.api.post("/password-strength", json=body), REFUSED, f"took {body!r} for a password")
    for sign in ("(", "[", "*", "\\", "?", "+{", "(?P<", ")", "%s", "{0}", "", "'; --"):
        for password in (good, f"{sign}{letters(draw, 18)}"):
            expect(rate(app, password, sign), range(200, 500), f"did not decide, for a member called {sign!r}")
