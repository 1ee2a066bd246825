"""How a check says what it wanted."""

from collections.abc import Container
from typing import Any

import httpx

from lab_app.harness.evidence import Exchange, exchange_of

REFUSED = range(400, 500)  # any refusal; a crash (5xx) is never one


class CheckFailed(AssertionError):
    """`found`: what the app did, in a few words. `safe`: what a safe app answers."""

    def __init__(self, found: str, safe: str = "", exchange: Exchange | None = None) -> None:
        super().__init__(found)
        self.found, self.safe, self.exchange = found, safe, exchange


def expect(answer: httpx.Response, status: int | Container[int], found: str) -> httpx.Response:
    """The answer itself, if its status is the one, or one of those, wanted.

    `found` completes the sentence "your app …" for the case that it is not. Raises CheckFailed.
    """
    wanted: Container[int] = (status,) if isinstance(status, int) else status
    if answer.status_code in wanted:
        return answer
    if answer.status_code >= 500:
        found = f"crashed with {answer.status_code}; a crash is no defence"
    raise CheckFailed(found, f"A safe app answers {described(status)}.", exchange_of(answer.request, answer))


def json_of(answer: httpx.Response, *fields: str) -> Any:
    """The JSON body of an answer, an object that has these fields if any are named. Raises CheckFailed."""
    try:
        body = answer.json()
    except (ValueError, RecursionError):
        body = None
    missing = [name for name in fields if not isinstance(body, dict) or body.get(name) is None]
    if missing or body is None:
        wanted = " and ".join(fields) or "JSON"
        raise CheckFailed(
            f"answered without {wanted}", f"The contract asks for {wanted} here.", exchange_of(answer.request, answer)
        )
    return body


def described(status: int | Container[int]) -> str:
    """401 · any 4xx · 403 or 404"""
    if isinstance(status, int):
        return str(status)
    if status == REFUSED:
        return "with a 4xx"
    return " or ".join(str(code) for code in range(100, 600) if code in status)
