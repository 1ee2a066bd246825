"""Whether two kinds of answers can be told apart, by what they say or by how long they take."""

import time
from collections.abc import Callable

import httpx


def timed(action: Callable[[], httpx.Response]) -> tuple[float, httpx.Response]:
    """How many seconds an answer takes, and the answer."""
    began = time.perf_counter()
    answer = action()
    return time.perf_counter() - began, answer


def traits(answer: httpx.Response, name: str) -> dict[str, str]:
    """What an answer can be told by, the name that was sent aside."""
    headers = {f"header {key}": value for key, value in answer.headers.items() if key not in ("date", "content-length")}
    try:
        body = answer.json()
    except ValueError:
        body = answer.text
    fields = body if isinstance(body, dict) else {"": body}
    texts = {f"body {key}": str(value).replace(name, "…") for key, value in fields.items()}
    return {"status": str(answer.status_code), **headers, **texts}


def telling(ones: list[dict[str, str]], others: list[dict[str, str]]) -> list[str]:
    """The traits that tell the ones from the others; what is drawn anew for every answer tells nothing."""
    found = []
    for name in sorted({name for each in (*ones, *others) for name in each}):
        here, there = ({each.get(name) for each in some} for some in (ones, others))
        if not here & there and 1 in (len(here), len(there)):
            found.append(name)
    return found
