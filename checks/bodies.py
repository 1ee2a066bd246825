"""Bodies as a well-mannered client would not send them: written by hand, byte by byte."""

import json
from collections.abc import Iterator

from lab_app.runner.client import AGENT

KIB = 1024


def head(*headers: str, path: str = "/reviews", kind: str = "application/json") -> bytes:
    """The first lines of a POST, of JSON if nothing else is said, up to the empty one."""
    lines = [f"POST {path} HTTP/1.1", "Host: larkspur.example", f"User-Agent: {AGENT}", "Accept: */*"]
    return "\r\n".join([*lines, f"Content-Type: {kind}", *headers, "", ""]).encode()


def review(book_id: int, text: str = "", size: int = 0) -> bytes:
    """A review as JSON; with `size`, its text grows until the whole has so many bytes."""
    least = len(json.dumps({"book_id": book_id, "body": text}, ensure_ascii=False).encode())
    whole = {"book_id": book_id, "body": text + "x" * max(0, size - least)}
    return json.dumps(whole, ensure_ascii=False).encode()


def with_length(body: bytes, *headers: str) -> Iterator[bytes]:
    """A request that says how long it is, and keeps to it."""
    yield head(f"Content-Length: {len(body)}", *headers)
    yield body


def in_chunks(body: bytes, size: int, *headers: str, extension: str = "") -> Iterator[bytes]:
    """A request that does not say how long it is: chunks of `size` bytes."""
    yield head("Transfer-Encoding: chunked", *headers)
    for start in range(0, len(body), size):
        yield chunk(body[start : start + size], extension)
    yield b"0\r\n\r\n"


def chunk(data: bytes, extension: str = "") -> bytes:
    """One chunk, RFC 9112 §7.1."""
    return f"{len(data):x}{extension}\r\n".encode() + data + b"\r\n"


def endless(first: bytes, part: bytes) -> Iterator[bytes]:
    """The same part, again and again."""
    yield first
    while True:
        yield part
