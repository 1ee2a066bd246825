"""Three instances of one app that share a Redis, and what clients of theirs lived through in a window of a second."""

import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import lru_cache
from itertools import cycle

import httpx

from checks.budgets import retry_after, search
from lab_app.harness import App, CheckFailed
from lab_app.harness.evidence import exchange_of

SHORT = 1  # the shortest RATE_WINDOW that is a whole number of seconds
Instances = tuple[App, ...]


@dataclass(frozen=True)
class Asked:
    """One request: when it was sent, when its answer was there, and the answer."""

    sent: float
    came: float
    answer: httpx.Response

    @property
    def let_through(self) -> bool:
        """Whether the answer is 200."""
        return self.answer.status_code == 200

    def complain(self, found: str, safe: str) -> CheckFailed:
        """A failure with this request as its evidence."""
        return CheckFailed(found, safe, exchange_of(self.answer.request, self.answer))


@dataclass(frozen=True)
class Watched:
    """What three clients asked at the same time, each from an address of its own."""

    bursting: list[Asked]
    steady: list[Asked]
    obedient: list[Asked]
    afterwards: Asked | None  # what the obedient one asked after as long as it was told to wait


def ask(app: App, source: str) -> Asked:
    """Ask for /search, and take the time."""
    sent = time.monotonic()
    answer = search(app, source)
    return Asked(sent, time.monotonic(), answer)


def at_once(instances: Instances, sources: list[str], times: int, threads: int) -> list[httpx.Response]:
    """Ask all instances in turn, from all addresses in turn, as many at a time as there are threads."""
    turns = [(instances[number % len(instances)], sources[number % len(sources)]) for number in range(times)]
    with ThreadPoolExecutor(threads) as pool:
        return list(pool.map(lambda turn: search(*turn), turns))


@lru_cache(maxsize=1)
def watched(instances: Instances, limit: int, sources: tuple[str, str, str]) -> Watched:
    """A window and a half, lived through once for all checks that ask about it.

    It begins when a second of the clock will end well within the burst: there begins anew who counts by the clock.
    """
    one, two, three = sources
    past = time.time() % SHORT
    if 0.35 * SHORT < past < 0.7 * SHORT:
        time.sleep(0.7 * SHORT - past)
    with ThreadPoolExecutor(3) as pool:
        bursting = pool.submit(bursts, instances, limit, one)
        steady = pool.submit(steps, instances, limit, two)
        obedient = pool.submit(obeys, instances, limit, three)
        return Watched(bursting.result(), steady.result(), *obedient.result())


def bursts(instances: Instances, limit: int, source: str) -> list[Asked]:
    """One request; late in the window all others but the last; then as many as possible until those have expired."""
    turn, began = cycle(instances), time.monotonic()
    asked = [ask(next(turn), source)]
    wait_until(began + 0.6 * SHORT)
    asked += [ask(next(turn), source) for _ in range(limit - 1)]
    wait_until(began + 0.95 * SHORT)
    while time.monotonic() < began + 1.55 * SHORT:
        asked.append(ask(next(turn), source))
        time.sleep(0.01)
    return asked


def steps(instances: Instances, limit: int, source: str) -> list[Asked]:
    """More requests than the limit, but at any time fewer than the limit within a window."""
    turn = cycle(instances)
    asked = [ask(next(turn), source)]
    for _ in range(limit + 1):
        wait_until(asked[-1].came + SHORT / (limit - 1))
        asked.append(ask(next(turn), source))
    return asked


def obeys(instances: Instances, limit: int, source: str) -> tuple[list[Asked], Asked | None]:
    """Requests until one is refused, and one more after as long as it says."""
    turn = cycle(instances)
    asked = [ask(next(turn), source)]
    while asked[-1].let_through and len(asked) <= 4 * limit:
        asked.append(ask(next(turn), source))
    try:
        wait = retry_after(asked[-1].answer, SHORT)
    except CheckFailed:  # for the check to say, not for those that ask about the others
        return asked, None
    time.sleep(max(0.05, wait))
    return asked, ask(next(turn), source)


def wait_until(moment: float) -> None:
    """Sleep until the clock shows a moment."""
    time.sleep(max(0.0, moment - time.monotonic()))


def most_in_a_window(asked: list[Asked]) -> tuple[int, Asked]:
    """The largest number of requests that were surely let through within one window, and the last of them.

    A request is counted at some moment between being sent and being answered.
    """
    through = [one for one in asked if one.let_through]
    counts = [
        (sum(first.sent <= one.sent and one.came < first.sent + SHORT for one in through), first) for first in through
    ]
    return max(counts, key=lambda count: count[0], default=(0, asked[0]))


def wrongly_refused(asked: list[Asked], limit: int) -> Asked | None:
    """A request that was refused although fewer than `limit` others can have been counted in its window."""
    for number, one in enumerate(asked):
        recent = [other for other in asked[:number] if other.let_through and one.sent - other.came < SHORT]
        if not one.let_through and len(recent) < limit:
            return one
    return None
