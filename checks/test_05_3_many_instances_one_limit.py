"""5.3 Many instances, one limit: how it is used, and how it is attacked."""

import base64
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, nullcontext
from functools import lru_cache, partial
from urllib.parse import quote

import httpx
import pytest

from checks.alike import timed
from checks.attacks import bearer
from checks.budgets import address, refused, retry_after, search, use_up
from checks.instances import (
    SHORT,
    Instances,
    Watched,
    at_once,
    most_in_a_window,
    watched,
    wrongly_refused,
)
from lab_app.harness import App, CheckFailed, attack, exercise, expect, legit
from lab_app.harness.draw import Draw
from lab_app.harness.world import Answer
from lab_app.runner.services.redis import Redis

WINDOW = 3600
FEW = 18  # a crowd whose every command is watched; more would keep answers waiting that lock
DOWN_SECONDS = 2
PATIENCE = 1  # a busy machine answers later than it would


@pytest.fixture
def limit(answer: Answer) -> int:
    """RATE_LIMIT, drawn once for all checks, which share the app."""
    return Draw(answer.seed, answer.title, "limit").random.choice((5, 7, 8))  # no multiple of 3, or races would hide


@pytest.fixture
def start(answer: Answer, redis: Redis, limit: int) -> Callable[..., Instances]:
    """Three instances, shared by the checks under one RATE_WINDOW."""

    def started(window: int = WINDOW) -> Instances:
        return several(answer.shared, redis, limit, window)

    return started


def several(launch: Callable[..., App], redis: Redis, limit: int, window: int) -> Instances:
    """Three processes of one app, each with its first connection to Redis made."""
    env = {"REDIS_URL": redis.url, "RATE_LIMIT": str(limit), "RATE_WINDOW": str(window)}
    made = tuple(launch(**env, HOSTNAME=f"larkspur-{number}") for number in range(3))
    for app in made:
        warmed(app)
    return made


@pytest.fixture
def doomed(redis: Redis) -> Iterator[Redis]:
    """A Redis for one check, which may go away: some right answers need a moment to find it again."""
    service = Redis(redis.kind, redis.jailed).start()
    yield service
    service.close()


@pytest.fixture
def instances(start: Callable[..., Instances]) -> Instances:
    """Three processes whose window is so long that it does not end amid a check."""
    return start()


@pytest.fixture
def seen(start: Callable[..., Instances], limit: int, answer: Answer) -> Watched:
    """What clients of three instances with a window of a second lived through."""
    draw = Draw(answer.seed, answer.title, "clients")
    return watched(start(SHORT), limit, (address(draw), address(draw), address(draw)))


def settle(app: App, draw: Draw, seconds: float = 10) -> httpx.Response:
    """The first answer that is no 503, or the last one."""
    until = time.monotonic() + seconds
    while (answer := search(app, address(draw))).status_code == 503 and time.monotonic() < until:
        time.sleep(0.05)
    return answer


@lru_cache(maxsize=8)
def warmed(app: App) -> None:
    """Once for each process: its first connection to Redis takes its time on a busy machine."""
    settle(app, Draw("warm", app.folder), seconds=3)


def exactly(
    instances: Instances, limit: int, draw: Draw, times: int, meanwhile: Callable[[], AbstractContextManager[None]]
) -> None:
    """Of a crowd from one address exactly `limit` get 200, and all others 429. Raises CheckFailed."""
    for _ in range(3):  # on a machine that is too busy, an answer may give Redis up: then once more
        with meanwhile():
            answers = at_once(instances, [address(draw)], times, min(times, 24))
        if all(answer.status_code != 503 for answer in answers):
            break
    for answer in answers:
        expect(answer, (200, 429), "answered a crowd with something else than 200 or 429")
    through = Counter(answer.status_code for answer in answers)[200]
    if through != limit:
        found = f"let {through} of {times} requests at once through; the limit is {limit}"
        raise CheckFailed(found, f"A safe app lets exactly {limit} through.")


@exercise("5.3")
@legit("ASVS 5.0 2.4.1", "RFC 6585 §4")
def test_instances_share_one_budget_for_each_client(instances: Instances, limit: int, draw: Draw) -> None:
    """A client is let through RATE_LIMIT times by all instances together, and every client has their own budget.

    Three instances that count for themselves allow three times as much, and nobody notices.

    Hint: keep the count in Redis, under a key with the address of the connection.
    """
    for _ in range(2):
        source, turn = address(draw), [*instances] * (limit + 1)
        use_up(lambda source=source, turn=turn: search(turn.pop(), source), limit)  # type: ignore[misc]
        expect(instances[0].at(source).get("/health"), 200, "did not say that it is well")


@exercise("5.3")
@legit("CWE-682", "ASVS 5.0 2.4.1")
def test_a_steady_client_is_never_refused(seen: Watched, limit: int) -> None:
    """A client who always stays under the limit is let through, as long as they go on.

    A counter whose expiry is put off by every request never starts again: after a while it refuses everybody.

    Hint: what counts is how many requests lie in the last window, not how many there have been.
    """
    if wrong := wrongly_refused(seen.steady, limit):
        raise wrong.complain("refused a client who had stayed under the limit", "A safe app answers 200.")


@exercise("5.3")
@legit("RFC 9110 §10.2.3")
def test_the_budget_comes_back(seen: Watched) -> None:
    """Whoever waits as long as Retry-After says is let through again.

    A limit is no ban.

    Hint: Retry-After is what is left until the oldest request leaves the window, rounded up.
    """
    refusal = refused(seen.obedient[-1].answer, "refused nobody, however many requests there were")
    retry_after(refusal, SHORT)
    assert seen.afterwards, "refused nobody, however many requests there were"
    expect(seen.afterwards.answer, 200, "still refused somebody who had waited as long as Retry-After says")


@exercise("5.3")
@attack("CWE-362", "CWE-367", "ASVS 5.0 15.4.2")
def test_of_two_hundred_at_once_the_limit_gets_through(
    instances: Instances, redis: Redis, limit: int, draw: Draw
) -> None:
    """Of 200 requests at once to three processes exactly RATE_LIMIT get through, even if all look before any counts.

    Redis runs one command at a time, but between two of yours it runs those of the others.

    Hint: one Lua script, or one MULTI whose answer decides. GET then INCR, or ZCARD then ZADD, are two steps.
    """
    at_once(instances, [address(draw) for _ in range(FEW)], FEW, FEW)  # opens the connections that it will take
    exactly(instances, limit, draw, FEW, redis.door.in_step)
    exactly(instances, limit, draw, 200, nullcontext)


@exercise("5.3")
@attack("API4:2023", "CWE-770")
def test_no_burst_across_the_edge_of_a_window(seen: Watched, limit: int) -> None:
    """No stretch of RATE_WINDOW seconds holds more than RATE_LIMIT requests, wherever it begins.

    A counter for each minute lets through twice the limit: at the end of one minute and the beginning of the next.

    Hint: a sorted set of the times of all requests that were let through; drop those older than the window, then count.
    """
    most, first = most_in_a_window(seen.bursting)
    if most > limit:
        found = f"let {most} requests through within {SHORT} s; the limit is {limit}"
        raise first.complain(found, f"A safe app never lets more than {limit} through in a window.")


@exercise("5.3")
@attack("CWE-770", "CWE-772")
def test_every_key_expires(instances: Instances, redis: Redis, limit: int, draw: Draw) -> None:
    """Every key in Redis has a time to live, those of refused clients too.

    A key for each address that ever asked, and Redis is full one day.

    Hint: set the expiry in the same script or MULTI that writes the key.
    """
    crowds, steadies = [address(draw) for _ in range(2)], [address(draw) for _ in range(3)]
    for source in steadies:
        expect(search(instances[0], source), 200, "refused a first request")
    for source in crowds:
        use_up(lambda source=source: search(instances[1], source), limit)  # type: ignore[misc]
    keys = redis.keys()
    assert keys, "wrote nothing to the Redis of REDIS_URL"
    eternal = [key for key in keys if redis.ttl(key) < 0]
    assert not eternal, f"left keys in Redis that never expire: {eternal[:3]}"


@exercise("5.3")
@attack("CWE-312", "CWE-532", "ASVS 5.0 14.2.4")
def test_keys_hold_no_token_and_no_address_of_mail(instances: Instances, redis: Redis, limit: int, draw: Draw) -> None:
    """No key holds a bearer token, a cookie or an e-mail address, in no encoding, and none buys a new budget.

    Keys are seen by whoever looks: in MONITOR, in the slow log, in a dashboard.

    Hint: the client is the connection's address, and nothing else belongs into the key.
    """
    token, cookie, email, source = draw.secret(), draw.secret(), draw.email(), address(draw)
    headers = {**bearer(token), "Cookie": f"session={cookie}", "X-Forwarded-For": email, "From": email}
    app = instances[0]
    for _ in range(limit):
        app.at(source).get("/search", params={"email": email, "access_token": token}, headers=headers)
    told = " ".join(redis.keys()).lower()
    for secret in (token, cookie, email):
        for spelled in (secret, quote(secret), secret.encode().hex(), base64.b64encode(secret.encode()).decode()[:-4]):
            assert spelled.lower() not in told, f"wrote a secret into a key: {told[:200]}"
    refused(search(app, source), "gave whoever brings a token another budget")


@exercise("5.3")
@attack("CWE-348", "ASVS 5.0 15.3.4")
def test_headers_buy_nothing(instances: Instances, limit: int, draw: Draw) -> None:
    """Another X-Forwarded-For, token or user agent is no other client.

    Here the client is the connection's address. No proxy is trusted.

    Hint: `scope["client"]`, or `request.client.host`.
    """
    source = address(draw)

    def forged() -> dict[str, str]:
        names = ("X-Forwarded-For", "X-Real-IP", "User-Agent", "Authorization", "X-API-Key", "Cookie")
        values = {name: f"198.51.100.{draw.number(1, 255)}" for name in names[:2]}
        return values | {name: f"Bearer {draw.secret(20)}" for name in names[2:]}

    use_up(lambda: search(instances[0], source, **forged()), limit)
    for app in instances:
        refused(search(app, source, **forged()), "gave a new budget for what a client can choose")


@exercise("5.3")
@attack("CWE-770", "ASVS 5.0 2.4.1")
def test_a_restart_keeps_the_count(instances: Instances, limit: int, draw: Draw) -> None:
    """Whoever has used up their budget has none after the process was restarted.

    Apps are restarted all the time: by deployments, by crashes, by whoever can make them crash.

    Hint: keep nothing in the process that has to survive it.
    """
    source, app = address(draw), instances[1]
    use_up(lambda: search(app, source), limit)
    app.restart()
    refused(search(app, source), "gave a new budget after a restart")


def without_redis(instances: Instances, draw: Draw, what: str, times: int) -> None:
    """`/search` is 503 with Retry-After, soon, and `/health` is 200. Raises CheckFailed."""
    with ThreadPoolExecutor(16) as pool:
        ask = [lambda app=app: app.at(address(draw)).get("/search") for app in instances * times]
        searches = [pool.submit(timed, one) for one in ask]
        healths = [pool.submit(timed, partial(app.at(address(draw)).get, "/health")) for app in instances]
    for took, answer in (one.result() for one in searches):
        if answer.status_code != 503:
            raise CheckFailed(f"answered {answer.status_code} while Redis was {what}", "A safe app answers 503.")
        assert took < DOWN_SECONDS + PATIENCE, f"took {took:.1f} s to say 503 while Redis was {what}; 2 s are enough"
        retry_after(answer, WINDOW)
    for took, answer in (one.result() for one in healths):
        expect(answer, 200, f"did not say that it is well while Redis was {what}")
        assert took < DOWN_SECONDS + PATIENCE, f"took {took:.1f} s to say that it is well while Redis was {what}"


def recovers(app: App, limit: int, draw: Draw) -> None:
    """The app lets a new client through by and by, and limits them. Raises CheckFailed."""
    answer = settle(app, draw)
    if answer.status_code != 200:
        raise CheckFailed(f"still answered {answer.status_code} 10 s after Redis was back", "A safe app answers 200.")
    source = address(draw)
    use_up(lambda: search(app, source), limit)


@exercise("5.3")
@attack("ASVS 5.0 16.5.3", "CWE-636", "RFC 9110 §15.6.4")
def test_without_redis_nobody_gets_through(launch: Callable[..., App], doomed: Redis, limit: int, draw: Draw) -> None:
    """While Redis is down, `/search` is 503 with Retry-After within 2 s, and `/health` is 200; then all is well again.

    Open while the counter is away is what an attacker would arrange. A server that is restarted for it helps nobody.

    Hint: catch RedisError, let `/health` ask no Redis, and give redis-py a `Retry` that does not pause.
    """
    instances = several(launch, doomed, limit, WINDOW)
    with doomed.down():
        without_redis(instances, draw, "down", times=4)
    for app in instances:
        recovers(app, limit, draw)


@exercise("5.3")
@attack("ASVS 5.0 13.2.6", "ASVS 5.0 16.5.2", "CWE-400")
def test_a_silent_redis_holds_nobody_up(launch: Callable[..., App], doomed: Redis, limit: int, draw: Draw) -> None:
    """The same while Redis takes connections and says nothing, as a host does that hangs, to four who ask at once.

    A connection that is refused fails at once. One that is never answered holds a request for ever, and all behind it.

    Hint: `socket_timeout` and `socket_connect_timeout`, few retries, and nobody who waits for Redis in others' way.
    """
    instances = several(launch, doomed, limit, WINDOW)
    with doomed.door.silent():
        without_redis(instances, draw, "silent", times=4)
    for app in instances:
        recovers(app, limit, draw)


@exercise("5.3")
@attack("RFC 6585 §4", "RFC 9110 §10.2.3")
def test_a_refusal_says_when(instances: Instances, limit: int, draw: Draw) -> None:
    """A 429 carries Retry-After.

    Without it clients come back at once, all of them, again and again.

    Hint: an exception that a middleware raises becomes a 500; send a response instead.
    """
    source = address(draw)
    use_up(lambda: search(instances[0], source), limit)
    for app in instances:
        retry_after(refused(search(app, source), "let more than the limit through"), WINDOW)
