"""Signing in with GitHub as a browser does it: at the app's public address, with cookies, one redirect at a time."""

import base64
import copy
import re
import zlib
from collections.abc import Callable, Iterable, Iterator
from typing import Any
from urllib.parse import unquote, urlsplit

import httpx

from lab_app.harness import App, CheckFailed, expect, json_of
from lab_app.harness.draw import Draw
from lab_app.runner.services.github import AUTHORIZE, GitHub, User

PUBLIC = "http://larkspur.example"
REDIRECTS = (301, 302, 303, 307, 308)
Site = Callable[..., App]


class Browser:
    """Somebody's browser. `answers` is all that it was sent."""

    def __init__(self, app: App, github: GitHub) -> None:
        self.app, self.github = app, github
        self.public = app.env["PUBLIC_BASE_URL"]
        github.callback = f"{self.public}/auth/github"
        self.http = app.browser(self.public)
        self.answers: list[httpx.Response] = []

    def get(self, path: str, **options: Any) -> httpx.Response:
        """Ask the app for a path; a redirect is not followed. Raises CheckFailed where it leads to no address."""
        try:
            self.answers.append(self.http.get(path, **options))
        except httpx.InvalidURL as error:
            raise CheckFailed(
                f"gave Invalid URL in location header: {error}", "A safe app redirects to an address."
            ) from error
        return self.answers[-1]

    def begin(self, **query: str) -> str:
        """Where at GitHub the app sends this browser. Raises CheckFailed."""
        answer = self.get("/login/github", params={"next": "/"} | query)
        expect(answer, REDIRECTS, "did not send the browser to GitHub")
        location = answer.headers.get("location", "")
        at_github = location.startswith(f"{self.github.url}{AUTHORIZE}?")
        assert at_github, f"sent the browser to {location!r}, not to GITHUB_BASE_URL{AUTHORIZE}"
        return str(location)

    def come_back(self, location: str) -> httpx.Response:
        """Follow GitHub's redirect, or one that somebody else made."""
        parts = urlsplit(location)
        return self.get(f"{parts.path}?{parts.query}")

    def sign_in(self, user: User, **query: str) -> httpx.Response:
        """The whole way there and back. Raises CheckFailed when the app does not send the browser on."""
        answer = self.come_back(self.github.approve(self.begin(**query), user))
        return expect(answer, REDIRECTS, "did not sign somebody in who came back from GitHub")

    def me(self) -> dict[str, Any]:
        """Who the app says this is. Raises CheckFailed."""
        answer = expect(self.get("/me"), 200, "forgot somebody who had signed in")
        return dict(json_of(answer, "id", "login"))

    def is_nobody(self, found: str) -> None:
        """The app does not know this browser. Raises CheckFailed."""
        expect(self.get("/me"), 401, found)

    def cookies(self) -> dict[str, str]:
        """The cookies that it holds, by name."""
        return {cookie.name: cookie.value or "" for cookie in self.http.cookies.jar}

    def twin(self, without: str = "", **values: str) -> "Browser":
        """Another browser that holds the same cookies, but for one, and for those whose values are given."""
        twin = Browser(self.app, self.github)
        twin.take(self, without, **values)
        return twin

    def take(self, other: "Browser", without: str = "", **values: str) -> None:
        """Put another browser's cookies into this one."""
        for cookie in other.http.cookies.jar:
            if cookie.name != without:
                taken = copy.copy(cookie)
                taken.value = values.get(cookie.name, cookie.value)
                self.http.cookies.jar.set_cookie(taken)

    def session_cookies(self) -> list[str]:
        """The names of the cookies without which the app does not know this browser."""
        return [name for name in self.cookies() if self.twin(without=name).get("/me").status_code != 200]


def somebody(draw: Draw, **known: Any) -> User:
    """A user of GitHub; half of them hide their e-mail address, as most do there."""
    email = draw.email() if draw.number(0, 2) else None
    return User(**{"id": draw.number(10_000, 300_000_000), "login": draw.username(), "email": email, **known})


def landing(location: str, public: str) -> str:
    """The path on `public` to which a browser goes for a Location; "" if it leaves the site.

    Browsers drop tabs and newlines, strip spaces, and take a backslash for a slash (WHATWG URL Standard §4.4).
    """
    seen = re.sub(r"[\t\r\n]", "", location.strip("".join(map(chr, range(33))))).replace("\\", "/")
    if seen.startswith(public) and seen[len(public) :][:1] in ("", "/", "?", "#"):
        seen = seen[len(public) :] or "/"
        return seen if seen.startswith("/") else "/" + seen
    if seen.startswith("//") or re.match(r"[A-Za-z][A-Za-z0-9+.-]*:", seen):
        return ""
    return seen if seen.startswith("/") else "/auth/" + seen


def readings(text: str, depth: int = 3) -> Iterator[str]:
    """A text, and what it may be read as: percent-decoded, its base64 parts decoded and unpacked, and those again."""
    yield text
    if depth:
        again = {unquote(text)} - {text}
        for piece in re.findall(r"[A-Za-z0-9+/_-]{8,}={0,2}", text):
            again |= set(_unpacked(piece))
        for reading in again:
            yield from readings(reading, depth - 1)


def forgeries(value: str, swaps: Iterable[tuple[str, str]]) -> set[str]:
    """A cookie's value with one text put for another, also within its base64 parts."""
    found = set()
    for mine, theirs in swaps:
        found |= {value.replace(mine, theirs), unquote(value).replace(mine, theirs)}
        for piece in re.findall(r"[A-Za-z0-9+/_-]{4,}={0,2}", value):
            for inner in _decoded(piece):
                swapped = base64.urlsafe_b64encode(inner.replace(mine.encode(), theirs.encode())).decode()
                found |= {value.replace(piece, swapped), value.replace(piece, swapped.rstrip("="))}
    return found - {value, unquote(value)}


def _decoded(piece: str) -> Iterator[bytes]:
    piece = piece.rstrip("=").replace("-", "+").replace("_", "/")
    for text in {piece, piece.lstrip("+/")}:
        if len(text) % 4 != 1:
            yield base64.b64decode(text + "=" * (-len(text) % 4))


def _unpacked(piece: str) -> Iterator[str]:
    for data in _decoded(piece):
        yield data.decode("latin-1")
        try:
            yield zlib.decompressobj(wbits=47).decompress(data, 1 << 16).decode("latin-1")
        except zlib.error:
            continue
