"""Bytes by hand against servers of all manners: an answer, a closed connection or NoAnswer, soon, within bounds."""

import contextlib
import itertools
import socket
import threading
import time
from collections.abc import Callable, Iterable, Iterator

import httpx
import pytest

from lab_app.harness.evidence import exchange_of
from lab_app.runner.client import Bounds, NoAnswer
from lab_app.runner.raw import exchange

SECONDS = 1.0
BODY = 1 << 16
HEAD = b"POST / HTTP/1.1\r\nHost: x\r\n\r\n"
OK = b"HTTP/1.1 201 Created\r\nContent-Length: 2\r\n\r\n{}"
Script = Callable[[socket.socket], None]
Talk = Callable[..., httpx.Response | None]


@pytest.fixture
def recorded() -> list[tuple[httpx.Request, httpx.Response | None, str]]:
    return []


@pytest.fixture
def talk(recorded: list[tuple[httpx.Request, httpx.Response | None, str]]) -> Iterator[Talk]:
    """Write to a server that does as its script says."""
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def start(script: Script, written: Iterable[bytes] = (HEAD,), pause: float = 0) -> httpx.Response | None:
            def serve() -> None:
                connection, _ = listener.accept()
                with connection, contextlib.suppress(OSError):
                    script(connection)

            threading.Thread(target=serve, daemon=True).start()
            bounds = Bounds(lambda: time.monotonic() + SECONDS, BODY)
            return exchange(listener.getsockname()[1], written, bounds, lambda *said: recorded.append(said), pause)

        yield start


def says(*parts: bytes) -> Script:
    def script(connection: socket.socket) -> None:
        connection.recv(65536)
        for part in parts:
            connection.sendall(part)

    return script


def forever(first: bytes, part: bytes, pause: float = 0) -> Script:
    def script(connection: socket.socket) -> None:
        connection.recv(65536)
        connection.sendall(first)
        while True:
            connection.sendall(part)
            time.sleep(pause)

    return script


def test_an_answer_is_read(talk: Talk) -> None:
    answer = talk(says(b"HTTP/1.1 100 Continue\r\n\r\n", OK))
    assert answer is not None
    assert (answer.status_code, answer.json()) == (201, {})


def test_an_answer_that_comes_early_ends_the_writing(talk: Talk) -> None:
    endless = itertools.chain([HEAD], itertools.repeat(b"x" * 65536))
    answer = talk(says(b"HTTP/1.1 413 Too Large\r\nContent-Length: 0\r\n\r\n"), endless)
    assert answer is not None
    assert answer.status_code == 413


def test_an_answer_without_a_length_ends_with_the_connection(talk: Talk) -> None:
    answer = talk(says(b"HTTP/1.1 200 OK\r\n\r\n", b"hello"))
    assert answer is not None
    assert answer.text == "hello"


@pytest.mark.parametrize("script", [lambda connection: None, says()], ids=["at once", "after the request"])
def test_a_closed_connection_is_none(talk: Talk, recorded: list[object], script: Script) -> None:
    assert talk(script, itertools.chain([HEAD], itertools.repeat(b"x" * 65536))) is None
    assert len(recorded) == 1


SLOW = {
    "says nothing": lambda connection: time.sleep(5),
    "drips its headers": forever(b"HTTP/1.1 200 OK\r\n", b"X-Drip: 1\r\n", 0.05),
    "drips its body": forever(b"HTTP/1.1 200 OK\r\nContent-Length: 9999\r\n\r\n", b"x", 0.05),
}
WRONG = {
    "is no HTTP": says(b"220 mail.example ESMTP\r\n"),
    "stops amid its body": says(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nabc"),
    "stops amid its headers": says(b"HTTP/1.1 200 OK\r\nContent-"),
    "sends endless headers": forever(b"HTTP/1.1 200 OK\r\n", b"X-Endless: " + b"x" * 1000 + b"\r\n"),
    "sends an endless body": forever(b"HTTP/1.1 200 OK\r\n\r\n", b"x" * 1000),
}


@pytest.mark.parametrize("script", SLOW.values(), ids=SLOW)
def test_a_slow_server_is_given_up_in_time(talk: Talk, recorded: list[object], script: Script) -> None:
    began = time.monotonic()
    with pytest.raises(NoAnswer) as error:
        talk(script, itertools.chain([HEAD], itertools.repeat(b"x")), pause=0.05)
    assert error.value.slow
    assert len(recorded) == 1
    assert time.monotonic() - began < SECONDS + 10


@pytest.mark.parametrize("script", WRONG.values(), ids=WRONG)
def test_a_wrong_answer_is_none_at_all(talk: Talk, recorded: list[object], script: Script) -> None:
    with pytest.raises(NoAnswer) as error:
        talk(script)
    assert not error.value.slow, str(error.value)
    assert len(recorded) == 1


def test_a_pause_lies_between_the_parts(talk: Talk) -> None:
    heard: list[bytes] = []

    def listens(connection: socket.socket) -> None:
        for _ in range(3):
            heard.append(connection.recv(65536))
        connection.sendall(OK)

    talk(listens, [HEAD, b"one", b"two"], pause=0.2)
    assert heard == [HEAD, b"one", b"two"]


def test_evidence_shows_what_was_written(talk: Talk, recorded: list[tuple[httpx.Request, httpx.Response, str]]) -> None:
    written = [b"POST /reviews HTTP/1.1\r\nContent-Length: 3000\r\n\r\n", b"x" * 3000]

    def hears_it_out(connection: socket.socket) -> None:
        left = sum(map(len, written))
        while left:
            left -= len(connection.recv(65536))
        connection.sendall(OK)

    talk(hears_it_out, written)
    shown = exchange_of(*recorded[0])
    assert shown.request.startswith("POST /reviews HTTP/1.1\nContent-Length: 3000\n\nxxx")
    assert f"{sum(map(len, written))} bytes in all" in shown.request
    assert len(shown.request) < 600
    assert shown.response.startswith("201 Created")
    assert not shown.curl


def test_a_server_that_is_gone_is_no_answer() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    with pytest.raises(NoAnswer):
        exchange(port, [HEAD], Bounds(lambda: time.monotonic() + SECONDS, BODY), lambda *said: None)
