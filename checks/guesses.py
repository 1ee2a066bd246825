"""People who guess passwords: their names, their addresses, and how many of their guesses are looked at."""

from collections.abc import Iterable

import httpx

from checks.accounts import log_in
from checks.budgets import address, refused
from lab_app.harness import App, CheckFailed, expect
from lab_app.harness.draw import Draw
from lab_app.harness.evidence import exchange_of
from lab_app.harness.library import COST, Member, hashed

PAIR, NAME, ADDRESS = (4, 6), (10, 15), (20, 30)  # fewer are never refused, more always
LOOKED_AT = 401


def join(app: App, draw: Draw, number: int = 1, prefix: str = "", cost: int = COST) -> list[Member]:
    """New members, all with one password."""
    password = draw.passphrase()
    kept = hashed(password, cost)
    names = [f"{prefix}{draw.username()}{draw.secret(4)}" for _ in range(number)]
    members = [Member(0, name, draw.email(), password) for name in names]
    rows = ", ".join("(?, ?, ?)" for _ in members)
    values = [value for member in members for value in (member.username, member.email, kept)]
    app.sql(f"INSERT INTO members (username, email, password_hash) VALUES {rows}", *values)  # noqa: S608
    return members


def guess(app: App, source: str, name: str, password: str = "a wrong guess") -> httpx.Response:  # noqa: S107
    """Try to log in from an address."""
    return log_in(app.at(source), name, password)


def wrong(app: App, source: str, name: str) -> None:
    """A wrong guess that must be looked at. Raises CheckFailed."""
    expect(guess(app, source, name), LOOKED_AT, "did not answer 401 to a wrong password, although there were few")


def right(app: App, source: str, member: Member, found: str) -> None:
    """The right password lets somebody in. Raises CheckFailed."""
    expect(guess(app, source, member.username, member.password), 200, found)


def shut_out(app: App, source: str, member: Member, found: str) -> None:
    """The right password is refused like any other. Raises CheckFailed."""
    refused(guess(app, source, member.username, member.password), found)


def spend(app: App, source: str, names: Iterable[str], budget: tuple[int, int], of: str) -> int:
    """Guess one name after the other until one is refused; how many were looked at. Raises CheckFailed.

    `names` are one more than the budget's most.
    """
    for failures, name in enumerate(names):
        answer = guess(app, source, name)
        expect(answer, (401, 429), "answered a wrong password with something else than 401 or 429")
        if answer.status_code == 429:
            if failures < budget[0]:
                found = f"refused {of} after {failures} wrong guesses"
                raise CheckFailed(found, f"A safe app allows {budget[0]}.", exchange_of(answer.request, answer))
            return failures
    found = f"looked at more than {budget[1]} wrong guesses of {of}"
    raise CheckFailed(found, "A safe app answers 429.", exchange_of(answer.request, answer))


def heat(app: App, draw: Draw, name: str) -> list[str]:
    """Guess a name wrongly from as many addresses as its budget allows at most; the addresses. Raises CheckFailed."""
    sources = [address(draw) for _ in range(NAME[1])]
    for number, source in enumerate(sources):
        if number < NAME[0]:
            wrong(app, source, name)
        else:
            expect(guess(app, source, name), (401, 429), "let somebody in with a wrong password")
    return sources
