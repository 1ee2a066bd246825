"""The checker's client against servers that mean it ill: it gives an answer or NoAnswer, soon, within bounds."""

import contextlib
import gzip
import socket
import ssl
import threading
import time
import zlib
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import pytest

from lab_app.runner.client import KEPT_SECONDS, Bounds, NoAnswer, client
from lab_app.runner.inside.server import config
from lab_app.runner.services.certificate import self_signed

SECONDS = 1.5
BODY = 1 << 16
Script = Callable[[socket.socket], None]
Serve = Callable[[Script], httpx.Client]


@pytest.fixture
def recorded() -> list[str]:
    return []


@pytest.fixture
def serve(recorded: list[str]) -> Iterator[Serve]:
    """A client of a server that reads one request and then does as its script says, on every connection."""
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def accept(script: Script) -> None:
            while True:
                try:
                    connection, _ = listener.accept()
                except OSError:
                    return
                threading.Thread(target=play, args=(script, connection), daemon=True).start()

        def start(script: Script) -> httpx.Client:
            threading.Thread(target=accept, args=(script,), daemon=True).start()
            bounds = Bounds(lambda: time.monotonic() + SECONDS, BODY)
            return client(listener.getsockname()[1], bounds, lambda *said: recorded.append(said[2]))

        yield start
        listener.shutdown(socket.SHUT_RDWR)


def play(script: Script, connection: socket.socket) -> None:
    with connection, contextlib.suppress(OSError):
        script(connection)


def says(*parts: bytes) -> Script:
    def script(connection: socket.socket) -> None:
        connection.recv(65536)
        for part in parts:
            connection.sendall(part)

    return script


def answer(body: bytes, *headers: str, status: str = "200 OK") -> bytes:
    lines = [f"HTTP/1.1 {status}", f"Content-Length: {len(body)}", *headers, "", ""]
    return "\r\n".join(lines).encode() + body


def drips(*parts: bytes) -> Script:
    """Every part, then its last one again and again, a byte at a time."""

    def script(connection: socket.socket) -> None:
        connection.recv(65536)
        connection.sendall(b"".join(parts[:-1]))
        while True:
            for byte in parts[-1]:
                connection.sendall(bytes([byte]))
                time.sleep(0.02)

    return script


def stops(part: bytes) -> Script:
    def script(connection: socket.socket) -> None:
        says(part)(connection)
        time.sleep(30)

    return script


def endless(head: bytes, again: bytes) -> Script:
    def script(connection: socket.socket) -> None:
        connection.recv(65536)
        connection.sendall(head)
        while True:
            connection.sendall(again)

    return script


HEAD = b"HTTP/1.1 200 OK\r\n"
CHUNKED = HEAD + b"Transfer-Encoding: chunked\r\n\r\n"
BOMB = gzip.compress(bytes(64 << 20))
SLOW = {
    "says nothing": lambda connection: time.sleep(30),
    "drips its status line": drips(b"HTTP/1.1 200 "),
    "drips its headers": drips(HEAD, b"X-Drip: 1\r\n"),
    "drips its body": drips(HEAD, b"Content-Length: 100000\r\n\r\n", b"x"),
    "drips its chunks": drips(CHUNKED, b"1\r\nx\r\n"),
    "drips early hints": drips(b"HTTP/1.1 103 Early Hints\r\n\r\n"),
    "stops amid its body": stops(HEAD + b"Content-Length: 10\r\n\r\nabc"),
}
WRONG = {
    "closes at once": lambda connection: None,
    "closes after the request": says(),
    "closes amid its body": says(HEAD + b"Content-Length: 10\r\n\r\nabc"),
    "is no HTTP": says(b"220 mail.example ESMTP\r\n"),
    "sends noise": says(bytes(range(256)) * 100),
    "sends a negative length": says(HEAD + b"Content-Length: -1\r\n\r\n"),
    "sends two lengths": says(HEAD + b"Content-Length: 1\r\nContent-Length: 2\r\n\r\nab"),
    "sends a chunk of no size": says(CHUNKED + b"zz\r\nab\r\n0\r\n\r\n"),
    "sends endless headers": endless(HEAD, b"X-Endless: " + b"x" * 1000 + b"\r\n"),
    "sends one endless header": endless(HEAD + b"X-Endless: ", b"x" * 1000),
    "sends an endless body": endless(CHUNKED, b"3e8\r\n" + b"x" * 1000 + b"\r\n"),
    "sends a body until it closes, endlessly": endless(HEAD + b"\r\n", b"x" * 1000),
    "sends a gzip bomb": says(answer(BOMB[:BODY], "Content-Encoding: gzip")),
    "sends a deflate bomb": says(answer(zlib.compress(bytes(32 << 20)), "Content-Encoding: deflate")),
    "says gzip and sends none": says(answer(b"hello", "Content-Encoding: gzip")),
    "packs twice": says(answer(gzip.compress(gzip.compress(b"x")), "Content-Encoding: gzip, gzip")),
    "packs as nobody asked": says(answer(b"x", "Content-Encoding: zstd")),
}


@pytest.mark.parametrize("script", SLOW.values(), ids=SLOW)
def test_a_slow_server_is_given_up_in_time(serve: Serve, recorded: list[str], script: Script) -> None:
    began = time.monotonic()
    with pytest.raises(NoAnswer) as error, serve(script) as api:
        api.get("/")
    assert error.value.slow
    assert recorded == ["no answer in time"]
    assert time.monotonic() - began < SECONDS + 15, "the bound is on the whole exchange, not on each step of it"


@pytest.mark.parametrize("script", WRONG.values(), ids=WRONG)
def test_a_wrong_answer_is_none(serve: Serve, recorded: list[str], script: Script) -> None:
    with pytest.raises(NoAnswer) as error, serve(script) as api:
        api.get("/")
    assert not error.value.slow, str(error.value)
    assert len(recorded) == 1
    assert recorded[0].startswith("no answer: ")


def test_a_server_that_sips_a_large_request_is_given_up_in_time(serve: Serve) -> None:
    def sips(connection: socket.socket) -> None:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        while connection.recv(4096):
            time.sleep(0.05)

    with pytest.raises(NoAnswer) as error, serve(sips) as api:
        api.post("/", content=bytes(64 << 20))
    assert error.value.slow


def test_packed_answers_are_opened(serve: Serve) -> None:
    with serve(says(answer(gzip.compress(b"hello"), "Content-Encoding: gzip"))) as api:
        assert api.get("/").text == "hello"


@pytest.mark.parametrize("charset", ["bz2", "zlib", "punycode", "idna", "rot13", "utf-7", "no-such"])
def test_the_charset_of_an_answer_chooses_no_codec(serve: Serve, charset: str) -> None:
    with serve(says(answer(b"a" * 60_000 + b"\xff", f"Content-Type: text/html; charset={charset}"))) as api:
        assert api.get("/").text == "a" * 60_000 + "�"


def test_cookies_made_to_be_parsed_slowly_are_not(serve: Serve) -> None:
    junk = ["; ".join(["a=" + '"' + "\\" * 30_000]), "a=b; expires=" + "1" * 30_000, "a=b" + ";" * 30_000]
    with serve(says(answer(b"x", *(f"Set-Cookie: {value}" for value in junk)))) as api:
        began = time.thread_time()
        api.get("/")
        assert time.thread_time() - began < 20 * SECONDS


def test_a_client_keeps_cookies_only_as_a_browser(serve: Serve, recorded: list[str]) -> None:
    with serve(says(answer(b"", "Set-Cookie: s=1; Secure; HttpOnly; Path=/", "Connection: close"))) as api:
        api.get("/")
        assert not list(api.cookies.jar)
        port = api.base_url.port or 0
        bounds = Bounds(lambda: time.monotonic() + SECONDS, BODY)
        with client(port, bounds, lambda *said: None, cookies=True) as browser:
            browser.get("/")
            assert [cookie.name for cookie in browser.cookies.jar] == ["s"]
            assert browser.get("/").request.headers["cookie"] == "s=1"


def test_a_client_comes_from_its_address(serve: Serve) -> None:
    def names_you(connection: socket.socket) -> None:
        connection.recv(65536)
        connection.sendall(answer(connection.getpeername()[0].encode(), "Connection: close"))

    port = serve(names_you).base_url.port or 0
    bounds = Bounds(lambda: time.monotonic() + SECONDS, BODY)
    for source in ("127.0.0.1", "127.0.0.9", "127.3.2.1"):
        with client(port, bounds, lambda *said: None, source) as api:
            assert api.get("/").text == source


def test_nothing_in_a_request_says_who_asks(serve: Serve) -> None:
    def tells(connection: socket.socket) -> None:
        connection.sendall(answer(connection.recv(65536)))

    with serve(tells) as api:
        head, _ = api.get("/members", headers={"Authorization": "Bearer x"}).text.lower().split("\r\n\r\n")
    names = {line.split(":")[0] for line in head.splitlines()[1:]}
    assert names == {"host", "user-agent", "accept", "accept-encoding", "connection", "authorization"}
    assert not any(word in head for word in ("httpx", "pytest", "check", "lab", "grade"))


def test_a_server_that_is_gone_is_no_answer() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    bounds = Bounds(lambda: time.monotonic() + SECONDS, BODY)
    with pytest.raises(NoAnswer), client(port, bounds, lambda *said: None) as api:
        api.get("/")


def test_over_tls_the_name_is_asked_for(tmp_path: Path) -> None:
    pair, asked = self_signed("localhost"), []
    for name, content in (("cert", pair.cert), ("key", pair.key)):
        (tmp_path / name).write_bytes(content)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(tmp_path / "cert", tmp_path / "key")
    context.sni_callback = lambda connection, name, context: asked.append(name)

    def serve_two(listener: socket.socket) -> None:
        for _ in range(2):
            connection, _ = listener.accept()
            with context.wrap_socket(connection, server_side=True) as line:
                line.recv(65536)
                line.sendall(answer(b"hello"))

    with socket.create_server(("127.0.0.1", 0)) as listener:
        threading.Thread(target=serve_two, args=(listener,), daemon=True).start()
        bounds, port = Bounds(lambda: time.monotonic() + 20, BODY), listener.getsockname()[1]
        with client(port, bounds, lambda *said: None, public="https://larkspur.example", tls=True) as api:
            assert api.get("/").text == "hello"
            assert api.get("https://other.example/").text == "hello"
    assert asked == ["larkspur.example", "other.example"], "each request shakes hands by its own name"


def test_a_connection_closed_after_a_crash_is_given_to_nobody_else(serve: Serve) -> None:
    def alternates(connection: socket.socket) -> None:
        while asked := connection.recv(65536):
            status = b"500 No" if b"/crash" in asked else b"200 OK"
            connection.sendall(b"HTTP/1.1 " + status + b"\r\nContent-Length: 2\r\n\r\nhi")

    api = serve(alternates)
    with ThreadPoolExecutor(8) as crowd:
        answers = list(crowd.map(lambda n: api.get("/crash" if n % 2 else "/well"), range(400)))
    assert [answer.status_code for answer in answers] == [200, 500] * 200


def test_an_idle_connection_is_dropped_by_the_client_first() -> None:
    """A server that closes it at the moment of the next request would lose that request."""
    assert config(None).timeout_keep_alive >= 2 * KEPT_SECONDS
