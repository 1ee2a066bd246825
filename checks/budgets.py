"""What the checks of section 5 share: clients at addresses of their own, budgets that are used up, and Retry-After."""

import email.utils
import math
import time
from collections.abc import Callable

import httpx

from lab_app.harness import App, CheckFailed, expect
from lab_app.harness.draw import Draw
from lab_app.harness.evidence import exchange_of

Ask = Callable[[], httpx.Response]


def address(draw: Draw) -> str:
    """An address of loopback that nobody else has."""
    return f"127.{draw.number(1, 255)}.{draw.number(0, 255)}.{draw.number(20, 250)}"


def search(app: App, source: str, **headers: str) -> httpx.Response:
    """Ask for /search from an address."""
    return app.at(source).get("/search", headers=headers)


def use_up(ask: Ask, limit: int) -> None:
    """Ask as often as is allowed, and once more. Raises CheckFailed."""
    for _ in range(limit):
        expect(ask(), 200, f"refused somebody who had not used up {limit} requests")
    refused(ask(), f"let more than {limit} requests through")


def refused(answer: httpx.Response, found: str) -> httpx.Response:
    """The answer, if it is a 429. Raises CheckFailed."""
    return expect(answer, 429, found)


def retry_after(answer: httpx.Response, most: float) -> int:
    """How many seconds an answer says to wait, at most `most`. Raises CheckFailed.

    A number or a date (RFC 9110 §10.2.3). Who waits these seconds has waited until that date, whatever is left of the
    second that it is now.
    """
    said = answer.headers.get("retry-after", "").strip()
    if said.isascii() and said.isdigit():
        wait = int(said)
    else:
        try:
            wait = math.ceil(email.utils.parsedate_to_datetime(said).timestamp() - time.time())
        except ValueError:
            wait = -1
    if not 0 <= wait <= most + 1:
        found = f"sent a {answer.status_code} with Retry-After {said!r}" if said else "did not say when to come back"
        safe = f"A safe app says Retry-After, in seconds or as a date, at most {most:.0f} s ahead."
        raise CheckFailed(found, safe, exchange_of(answer.request, answer))
    return wait
