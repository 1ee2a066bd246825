"""The recorded HTTP exchanges of a check, also as curl commands."""

import shlex
from dataclasses import dataclass
from typing import Any

import httpx

SHOWN = 1500
LONG = 8000
OWN_HEADERS = {"host", "connection", "accept", "accept-encoding", "user-agent", "content-length"}


@dataclass(frozen=True)
class Exchange:
    """One request or call and what came back, cut to what a person reads. `curl` is empty for what it cannot repeat."""

    request: str
    response: str
    curl: str


def exchange_of(request: httpx.Request, response: httpx.Response | None, trouble: str = "") -> Exchange:
    """Evidence of one exchange; `trouble` says why there is no response."""
    came_back = _response(response) if response is not None else trouble
    if written := request.extensions.get("written"):  # byte by byte, as no curl would
        return Exchange(_cut(written, SHOWN), came_back, "")
    return Exchange(_request(request), came_back, curl(request))


def call_of(function: str, arguments: dict[str, Any], came_back: str) -> Exchange:
    """Evidence of one function call."""
    given = ", ".join(f"{name}={value!r}" for name, value in arguments.items())
    return Exchange(_cut(f"{function}({given})", SHOWN), _cut(came_back, SHOWN), "")


def curl(request: httpx.Request) -> str:
    """A command line that sends the same request again."""
    words = ["curl", "-i", *(["--insecure"] if request.url.scheme == "https" else [])]
    if request.method == "HEAD":
        words.append("--head")
    elif request.method != "GET":
        words += ["-X", request.method]
    for name, value in _own_headers(request):
        words += ["-H", f"{name}: {value}"]
    if request.content:
        words += ["--data-binary", request.content.decode("latin-1")]
    return _cut(shlex.join([*words, str(request.url)]), LONG)


def _own_headers(request: httpx.Request) -> list[tuple[str, str]]:
    given = [(n.decode("latin-1"), v.decode("latin-1")) for n, v in request.headers.raw]
    return [(name, value) for name, value in given if name.lower() not in OWN_HEADERS]


def _request(request: httpx.Request) -> str:
    target = request.url.raw_path.decode("latin-1")
    lines = [f"{request.method} {target}", *(f"{n}: {v}" for n, v in _own_headers(request))]
    return _message(lines, request.content)


def _response(response: httpx.Response) -> str:
    headers = [f"{n}: {v}" for n, v in response.headers.multi_items() if n not in ("date", "server", "content-length")]
    return _message([f"{response.status_code} {response.reason_phrase}".strip(), *headers], response.content)


def _message(lines: list[str], body: bytes) -> str:
    head = "\n".join(_cut(line, 400) for line in lines)
    return head + ("\n\n" + _cut(body.decode(errors="backslashreplace"), SHOWN) if body else "")


def _cut(text: str, most: int) -> str:
    return text if len(text) <= most else f"{text[:most]}… ({len(text)} characters)"
