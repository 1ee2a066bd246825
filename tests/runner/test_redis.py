"""Both kinds of Redis keep the same promises, and the door makes a race certain."""

import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import Any

import pytest
import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from lab_app.runner.services.redis import Redis, redis_for
from lab_app.workbook.source import ROOT

SCRIPT = "return {redis.call('INCR', KEYS[1]), redis.call('PEXPIRE', KEYS[1], ARGV[1])}"
CROWD = 12


@pytest.fixture(scope="module", params=["real", "embedded"])
def made(request: pytest.FixtureRequest) -> Iterator[Redis]:
    if request.param == "real" and not shutil.which("redis-server"):
        missing = "no redis-server is installed here, so only the embedded one was tried (apt install redis-server)"
        pytest.fail(missing) if "CI" in os.environ else pytest.skip(missing)
    service = Redis(request.param).start()
    yield service
    service.close()


@pytest.fixture
def service(made: Redis) -> Redis:
    made.flush()
    return made


def visitor(service: Redis, retries: int = 1, **options: Any) -> redis.Redis:
    options = {"retry": Retry(NoBackoff(), retries), "decode_responses": True, "socket_timeout": 5} | options
    return redis.Redis.from_url(service.url, **options)


def test_shows_what_a_visitor_stored(service: Redis) -> None:
    client = visitor(service)
    assert client.eval(SCRIPT, 1, "a", 60_000) == [1, 1]
    client.set("b", "for ever")
    assert service.keys() == ["a", "b"]
    assert 50 < service.ttl("a") <= 60 and service.ttl("b") < 0
    service.flush()
    assert service.keys() == []


def test_is_down_and_back_empty_at_the_same_address(service: Redis) -> None:
    url, client = service.url, visitor(service)
    script = client.register_script(SCRIPT)
    script(["a"], [60_000])
    with service.down():
        assert not service.running()
        with pytest.raises(redis.ConnectionError):
            client.ping()
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection(("127.0.0.1", service.door.port), 1)
    assert service.url == url and service.keys() == []
    with pytest.raises(redis.exceptions.NoScriptError):
        client.evalsha(script.sha, 1, "a", 60_000)
    assert script(["a"], [60_000]) == [1, 1]


def test_is_silent_and_speaks_again(service: Redis) -> None:
    known, new = visitor(service), visitor(service, retries=0, socket_timeout=0.2)
    known.ping()
    with service.door.silent(), pytest.raises(redis.TimeoutError):
        new.ping()
    assert known.ping() and new.ping()


def get_then_incr(client: redis.Redis) -> int:
    seen = int(client.get("n") or 0)
    client.incr("n")
    return seen


def pipelined(client: redis.Redis) -> int:
    return int(client.pipeline(transaction=False).get("n").incr("n").execute()[0] or 0)


def transaction(client: redis.Redis) -> int:
    return int(client.pipeline().get("n").incr("n").execute()[0] or 0)


def in_step(service: Redis, act: Any) -> list[int]:
    clients = [visitor(service) for _ in range(CROWD)]
    for client in clients:
        client.ping()
    with service.door.in_step(), ThreadPoolExecutor(CROWD) as threads:
        return sorted(threads.map(act, clients))


@pytest.mark.parametrize("act", [get_then_incr, pipelined])
def test_in_step_everybody_reads_before_anybody_writes(service: Redis, act: Any) -> None:
    assert in_step(service, act) == [0] * CROWD


def test_in_step_a_transaction_stays_whole(service: Redis) -> None:
    assert in_step(service, transaction) == list(range(CROWD))


def test_in_step_nobody_waits_for_ever(service: Redis) -> None:
    client = visitor(service)
    with service.door.in_step():
        began = time.monotonic()
        client.ping()
    assert time.monotonic() - began < 3
    assert client.ping()


@pytest.mark.parametrize("command", [b"*1\r\n$99999999999\r\n", b"*9999999\r\n" + b"$9\r\nlarkspur!\r\n" * 100_000])
def test_a_command_without_an_end_is_not_kept(service: Redis, command: bytes) -> None:
    with socket.create_connection(("127.0.0.1", service.door.port), timeout=10) as there, suppress(ConnectionError):
        for _ in range(200):
            there.sendall(command + b"x" * (1 << 20))
        pytest.fail("it went on reading")
    assert visitor(service).ping()


def test_nobody_answers_in_its_place(service: Redis) -> None:
    """Whoever takes its port while it is down would tell the checks whatever they like to hear."""
    before = service.place.port
    with service.down():
        squatter = socket.create_server(("127.0.0.1", before or 0))
    with squatter:
        visitor(service).set("a", "b")
        assert service.keys() == ["a"]


def test_large_values_pass(service: Redis) -> None:
    client, value = visitor(service), "larkspur\r\n" * 20_000
    client.set("a", value)
    assert client.get("a") == value


def test_takes_the_redis_that_is_given_if_it_is_empty(service: Redis, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("REDIS_URL", service.url)
    taken = redis_for()
    assert taken.given == service.url and taken.url != service.url
    visitor(taken).set("a", "b")
    assert service.keys() == ["a"]
    with taken.down():
        with pytest.raises(redis.ConnectionError):
            visitor(taken, retries=0).ping()
        assert service.running()
    assert visitor(taken).get("a") is None
    taken.close()


def test_leaves_the_redis_alone_that_holds_something(service: Redis, monkeypatch: pytest.MonkeyPatch) -> None:
    visitor(service).set("a", "precious")
    monkeypatch.setenv("REDIS_URL", service.url)
    own = redis_for()
    assert not own.given and own.keys() == []
    own.close()
    assert service.keys() == ["a"]


JAILED = """
import sys
from lab_app.runner import jail
from lab_app.runner.services.redis import Redis
jail.enter_private_network()
service = Redis(sys.argv[1], jailed=True).start()
service.client.set("a", "b")
with service.down():
    assert not service.running()
assert service.keys() == []
for code in ("open('/etc/shadow').read()", f"__import__('os').listdir({sys.argv[2]!r})"):
    try:
        print("REACHED", service.client.eval("return python.eval(ARGV[1])", 0, code))
    except Exception as refused:
        print("refused")
service.close()
"""


@pytest.mark.skipif(sys.platform != "linux", reason="bubblewrap is for Linux")
def test_jailed_it_sees_no_more_than_an_answer_does(made: Redis) -> None:
    command = [sys.executable, "-c", JAILED, made.kind, str(ROOT / "solutions")]
    ran = subprocess.run(command, capture_output=True, text=True, timeout=60, cwd=ROOT)
    assert ran.returncode == 0 and ran.stdout.split() == ["refused", "refused"], ran.stdout + ran.stderr
