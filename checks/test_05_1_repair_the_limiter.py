"""5.1 Repair the limiter: how it is used, and how it is attacked."""

from checks.limiter import COUNT, DRIVER, OBEY, STARTS, Play, Step, call, later, moment, play
from lab_app.harness import Desk, attack, exercise, legit
from lab_app.harness.draw import Draw

KEYS = 100_000


def busy(draw: Draw, keys: list[str], window: float) -> list[Step]:
    """Calls of some keys at odd moments, bursts among them, for about ten windows."""
    steps: list[Step] = []
    for _ in range(120):
        steps += [*call(draw.random.choice(keys), draw.number(1, 4)), later(moment(draw, window / 5))]
    return steps


@exercise("5.1")
@legit("ASVS 5.0 2.4.1")
def test_calls_within_the_limit_are_allowed(desk: Desk, draw: Draw) -> None:
    """Every key has `limit` calls of its own in any window; they are allowed at once, wait 0.

    A limiter that refuses too early keeps out the people whom it is for.

    Hint: refuse only if `limit` calls of this key were allowed in the last `window` seconds.
    """
    for start in STARTS:
        limit, window = draw.number(2, 6), draw.random.choice((0.5, 2.5, 10.0, 60.0))
        keys = [draw.username(), draw.username().upper(), "", "a:b", "ключ", draw.secret(300)]
        keys += [keys[0].title(), keys[1].lower(), f" {keys[0]}"]
        full = play(desk, limit, window, [step for key in keys for step in call(key, limit)], start)
        full.lets_through_what_fits()
        waits = {one.wait for one in full.calls}
        assert waits == {0}, f"told callers to wait whom it had allowed: {waits}"
        play(desk, limit, window, busy(draw, keys[:3], window), start).lets_through_what_fits()


@exercise("5.1")
@legit("CWE-770")
def test_len_counts_keys_with_live_calls(desk: Desk, draw: Draw) -> None:
    """`len()` is the number of keys with a call in the last `window` seconds, also when nobody has called since.

    It is what you would watch in production: who is using the API right now?

    Hint: forget what has expired before you count.
    """
    window, many = 10.0, draw.number(5, 50)
    early, late = [f"early{n}" for n in range(many)], [draw.username() for _ in range(4)]
    steps = [COUNT, *(step for key in early for step in call(key, 5)), COUNT, later(6.25)]
    steps += [*(step for key in late for step in call(key)), COUNT, later(5.5), COUNT, later(5.5), COUNT]
    counts = play(desk, 3, window, [*steps, *call(early[0]), COUNT]).counts
    wanted = [0, many, many + 4, 4, 0, 1]
    assert counts == wanted, f"counted {counts} keys with live calls where there are {wanted}"


@exercise("5.1")
@attack("API4:2023", "CWE-770")
def test_no_window_holds_more_than_the_limit(desk: Desk, draw: Draw) -> None:
    """No stretch of `window` seconds holds more than `limit` allowed calls, wherever it begins.

    Whoever counts by the minute lets two minutes' worth through in one second: the last and the first.

    Hint: keep the times of the calls that you allowed, and count those of the last `window` seconds.
    """
    for start, window in zip(STARTS, draw.random.sample((2.5, 10.0, 60.0), 3), strict=True):
        limit = draw.number(2, 6)
        crowd, late = draw.username(), draw.username()
        play(desk, limit, window, call(crowd, 3 * limit), start).holds_the_limit()
        for key in (crowd, late):  # all of its calls but one are late in a window, or all of them
            first = [*call(crowd), later(window * 0.75), *call(key, limit)]
            edge: list[Step] = [step for _ in range(16) for step in (later(window / 16), *call(key, limit))]
            play(desk, limit, window, first + edge, start).holds_the_limit()
        play(desk, limit, window, busy(draw, [crowd, draw.username()], window), start).holds_the_limit()


@exercise("5.1")
@attack("RFC 9110 §10.2.3", "RFC 6585 §4")
def test_waiting_as_long_as_told_is_enough(desk: Desk, draw: Draw) -> None:
    """Somebody who is refused, and waits the whole seconds that they are told, is allowed.

    The number goes into Retry-After. Rounded down, it sends honest clients into the next refusal.

    Hint: `math.ceil` of what is left until the oldest live call expires; and expired is the opposite of live.
    """
    for window, gap in ((10.0, 0.0), (10.0, moment(draw, 3)), (60.0, 0.25), (2.5, 0.375), (0.5, 1 / 64), (60.0, 9.0)):
        limit, key = draw.number(2, 5), draw.username()
        steps: list[Step] = []
        for _ in range(3):
            steps += [*(step for _ in range(limit) for step in (*call(key), later(gap))), *call(key), OBEY]
        told = play(desk, limit, window, [*steps, *call(key)])
        for before, after in zip(told.calls, told.calls[1:], strict=False):
            wait = before.wait
            assert isinstance(wait, int | float) and wait == int(wait) >= 0, f"told somebody to wait {wait!r} seconds"
            if not before.allowed and after.at - before.at >= wait:
                assert after.allowed, f"refused a call, said wait {wait} s, and refused again after {wait} s"


@exercise("5.1")
@attack("CWE-682", "CWE-770")
def test_refused_calls_do_not_extend(desk: Desk, draw: Draw) -> None:
    """Somebody who goes on calling while refused is allowed again as soon as somebody who waits.

    An impatient retry loop would otherwise keep itself out for ever, and you would call it an attack.

    Hint: record a call only if you allow it.
    """
    for start in STARTS:
        limit, window, key = draw.number(2, 5), draw.random.choice((10.0, 60.0)), draw.username()
        hammering: list[Step] = [step for _ in range(30) for step in (later(window * 3 / 64), *call(key, limit))]
        play(desk, limit, window, [*call(key, limit), *hammering], start).lets_through_what_fits()


@exercise("5.1")
@attack("CWE-401", "CWE-770", "API4:2023")
def test_idle_keys_are_forgotten(desk: Desk) -> None:
    """Of 100 000 keys that have long expired, next to nothing is left in memory.

    Keys are addresses, and an attacker has more of them than you have memory.

    Hint: in every `check`, drop some keys whose newest call has expired, not just that of the caller.
    """
    left, length = desk.call("crowd", driver=DRIVER, keys=KEYS, batches=500, window=10.0, patience=4.0)
    assert left < KEYS // 10, f"still holds {left} objects for {KEYS} keys that expired long ago"
    assert length == 1, f"counts {length} keys with live calls where there is one"


@exercise("5.1")
@attack("CWE-770", "API4:2023")
def test_a_crowd_of_live_keys_pushes_nobody_out(desk: Desk) -> None:
    """However many keys have live calls, each is counted, and none gets a fresh budget.

    Who may make room in your memory by calling under many names, makes the limiter forget their own.

    Hint: what has live calls is not forgotten, the oldest of many keys neither.
    """
    called, length, again = desk.call("throng", driver=DRIVER, keys=12_000, seconds=3.0)
    assert length == called, f"counts {length} keys with live calls where there are {called}"
    assert not again, (
        f"forgot live calls, of {called} keys: {again} of a hundred that had used up their budget were allowed"
    )


def stepping_back(desk: Desk, draw: Draw, back: float, used: int) -> Play:
    """Some calls, a clock that is set back, more calls in the same second, and one after as long as told."""
    limit, key = 3, draw.username()
    steps = [*call("somebody else"), later(0.5), *call(key, used), later(1.0), later(-back), *call(key, limit + 1)]
    steps += [later(0.25), *call(key), later(-back), *call(key), OBEY, *call(key), *call("somebody else")]
    return play(desk, limit, 60.0, steps, 1_790_000_000.0)


BACK = (0.75, 59.0, 61.0, 3600.0, 86_400.0 * 365)


@exercise("5.1")
@attack("CWE-682")
def test_a_clock_set_back_locks_nobody_out(desk: Desk, draw: Draw) -> None:
    """After the clock was set back by an hour nobody waits for an hour.

    Clocks are corrected, by NTP and by people. Calls "from the future" must not count until the future comes.

    Hint: when the clock shows less than before, take it that no time has passed.
    """
    for back in BACK:
        for used in (1, 3):
            after = stepping_back(desk, draw, back, used)
            waits = [one.wait for one in after.calls]
            assert max(waits) <= 61, f"told somebody to wait {max(waits)} s after the clock went back {back:.0f} s"
            assert after.calls[-2].allowed, f"refused a call {waits[-3]} s after saying: wait {waits[-3]} s"
            assert after.calls[-1].allowed, "refused somebody else after the clock was set back"
            fresh = after.calls[1 + used : 4]
            assert all(one.allowed for one in fresh), "refused calls that were left after the clock was set back"


@exercise("5.1")
@attack("CWE-770", "CWE-682")
def test_a_clock_set_back_gives_nothing_away(desk: Desk, draw: Draw) -> None:
    """After the clock was set back nobody has a fresh budget.

    A limiter that drops whatever does not lie in the last window drops the future too.

    Hint: a time that lies ahead of the clock has not expired.
    """
    for back in BACK:
        for used in (1, 3):
            stepping_back(desk, draw, back, used).holds_the_limit()


@exercise("5.1")
@attack("CWE-362", "ASVS 5.0 15.4.1")
def test_threads_share_one_budget(desk: Desk, draw: Draw) -> None:
    """Eight threads that call at the same moment get `limit` calls together, and nothing is raised, by `len()` neither.

    FastAPI runs `def` routes in threads. Between counting and recording, others count too.

    Hint: one `threading.Lock`, held from the first look to the last change; `len()` looks too.
    """
    limit, keys = draw.number(3, 7), [draw.username() for _ in range(5)]
    allowed, raised = desk.call("race", driver=DRIVER, limit=limit, threads=8, keys=keys)
    assert not raised, f"raised in one thread what another had caused: {raised[0]}"
    assert allowed == [limit] * len(keys), f"allowed {allowed} calls at once where the limit is {limit}"
