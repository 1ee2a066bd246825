"""A RateLimiter under a clock that the checker holds: what it was asked, when, and what it said."""

from dataclasses import dataclass
from typing import Any

from lab_app.harness import Desk
from lab_app.harness.draw import Draw

# It is loaded before the learner's cell, and takes what it measures by while that is still the library's own. Opcode by
# opcode, threads give way to each other where the scheduler seldom would.
DRIVER = '''
from gc import collect
from random import random
from sys import getallocatedblocks, settrace
from threading import Barrier, BrokenBarrierError, Thread
from time import monotonic, sleep


class _Clock:
    def __init__(self, now):
        self.now = now

    def __call__(self):
        return self.now


def _length(limiter):
    return len(limiter) if hasattr(limiter, "__len__") else limiter.len()


def play(limit, window, start, steps):
    clock, said = _Clock(start), []
    limiter, wait = RateLimiter(limit, window, clock), 0
    for step, value in steps:
        if step == "call":
            allowed, wait = limiter.check(value)
            said.append([bool(allowed), wait])
        elif step == "obey":
            clock.now += wait
            said.append(wait)
        elif step == "count":
            said.append(_length(limiter))
        else:
            clock.now += value
            said.append(None)
    return said


def crowd(keys, batches, window, patience):
    """How many objects stay alive for keys that are long gone."""
    clock = _Clock(1000.0)
    limiter = RateLimiter(3, window, clock)
    limiter.check("first")
    collect()
    before = getallocatedblocks()
    for batch in range(batches):
        for key in range(keys // batches):
            limiter.check(f"{batch}.{key}")
        clock.now += 2 * window
    until = monotonic() + patience
    while True:
        clock.now += 2 * window
        for _ in range(1000):
            limiter.check("last")
        collect()
        left = getallocatedblocks() - before
        if left < keys // 10 or monotonic() > until:
            return [left, _length(limiter)]


def throng(keys, seconds):
    """How many keys called once, how many are counted, and how many of some are allowed once more, of one call each."""
    limiter, until, called = RateLimiter(1, 60.0, _Clock(1000.0)), monotonic() + seconds, 0
    while called < keys and monotonic() < until:
        limiter.check(str(called))
        called += 1
    length = _length(limiter)
    return [called, length, sum(bool(limiter.check(str(key))[0]) for key in range(0, called, 1 + called // 100))]


def race(limit, threads, keys):
    """How many calls each key was allowed, and what was raised."""
    clock = _Clock(1000.0)
    limiter = RateLimiter(limit, 60, clock)
    allowed, raised = {}, []
    start = Barrier(threads)

    def tracer(frame, event, argument):
        frame.f_trace_opcodes = True
        if event == "opcode" and random() < 0.1:
            sleep(1e-6)
        return tracer

    def work(me):
        try:
            for key in keys:
                start.wait()
                settrace(tracer)
                said = [limiter.check(key)[0] for _ in range(2)]
                _length(limiter)
                limiter.check(f"{key} of {me}")
                _length(limiter)
                settrace(None)
                allowed[key, me] = sum(map(bool, said))
                start.wait()
                if not me:
                    clock.now += 61
        except BrokenBarrierError:
            pass
        except BaseException as error:
            settrace(None)
            raised.append(f"{type(error).__name__}: {error}")
            start.abort()

    workers = [Thread(target=work, args=(me,), daemon=True) for me in range(threads)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join(10)
    return [[sum(allowed.get((key, me), 0) for me in range(threads)) for key in keys], raised]
'''

Step = tuple[str, str | float]
COUNT: Step = ("count", "")
OBEY: Step = ("obey", "")


def call(key: str, times: int = 1) -> list[Step]:
    """Ask for a key, several times at one moment."""
    return [("call", key)] * times


def later(seconds: float) -> Step:
    """The clock goes on, or back."""
    return ("pass", seconds)


@dataclass(frozen=True)
class Said:
    """What the limiter said of one call. `at`: how much time had really passed, whatever the clock showed."""

    key: str
    at: float
    allowed: bool
    wait: Any


@dataclass(frozen=True)
class Play:
    """What came of some steps. `counts`: every len() that was asked for."""

    limit: int
    window: float
    calls: list[Said]
    counts: list[Any]

    def recent(self, number: int) -> list[float]:
        """How long ago the calls of its key were that had been allowed before a call."""
        one = self.calls[number]
        return [one.at - other.at for other in self.calls[:number] if other.allowed and other.key == one.key]

    def lets_through_what_fits(self) -> None:
        """No call is refused that has fewer than `limit` before it. Raises AssertionError."""
        for number, one in enumerate(self.calls):
            before = sum(ago <= self.window for ago in self.recent(number))  # what is just over may still count
            assert one.allowed or before >= self.limit, (
                f"refused a call although only {before} of {self.limit} had been allowed in the last {self.window} s"
            )

    def holds_the_limit(self) -> None:
        """No window holds more allowed calls than `limit`. Raises AssertionError."""
        for number, one in enumerate(self.calls):
            count = sum(ago < self.window for ago in self.recent(number)) + one.allowed
            assert count <= self.limit, f"allowed {count} calls within {self.window} s, where {self.limit} is the limit"


def play(desk: Desk, limit: int, window: float, steps: list[Step], start: float = 1000.0) -> Play:
    """Let the learner's limiter live through some steps. Raises AnswerTrouble."""
    said = desk.call("play", driver=DRIVER, limit=limit, window=window, start=start, steps=steps)
    now, calls, counts = 0.0, [], []
    for (step, value), answer in zip(steps, said, strict=True):
        if step == "call":
            calls.append(Said(str(value), now, *answer))
        elif step == "count":
            counts.append(answer)
        else:
            now += answer if step == "obey" else max(0.0, float(value))
    return Play(limit, window, calls, counts)


def moment(draw: Draw, most: float) -> float:
    """Some seconds, a multiple of 1/64: sums of such numbers are exact, so nothing hangs on a rounding."""
    return draw.number(1, max(2, int(most * 64))) / 64


STARTS = (0.0, 1000.0, 1_790_000_000.5)  # a clock may count from the start of the machine, or from 1970
