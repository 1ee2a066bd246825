"""Pages: what a parser sees in their HTML, and what a browser makes of them."""

import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from html.parser import HTMLParser
from typing import TYPE_CHECKING
from urllib.parse import urljoin, urlsplit

import httpx

from lab_app.harness import App, CheckFailed
from lab_app.harness.evidence import exchange_of
from lab_app.harness.world import OutOfTime
from lab_app.runner.client import NoAnswer

if TYPE_CHECKING:
    from lab_app.runner.services.browser import Asked, Chromium, Reply, Tab, Visit

Start = Callable[[], "Chromium"]
# What the browser says of itself and of its connection is not what the checker's client says.
UNSENT = {"host", "connection", "accept-encoding", "user-agent", "content-length"}
UNKEPT = {"content-length", "transfer-encoding", "connection"}
# Elements that load what they point at, and by which attribute.
LOADS = {"object": "data", "link": "href"} | dict.fromkeys("audio embed iframe img script source video".split(), "src")
ONLY_NAMED = {"alternate", "author", "bookmark", "canonical", "help", "license", "next", "prev", "search"}  # link rel=
TOP = re.compile(r"<head[^>]*>|<body[^>]*>|$", re.I)
IN_STYLE = re.compile(r"@import\s+[\"']([^\"']+)|url\([\"']?([^\"')]+)", re.I)


@dataclass
class Element:
    """A start tag, and the text of it if it is a script or a style."""

    tag: str
    attributes: dict[str, str]
    text: str = ""

    @property
    def runs(self) -> bool:
        """Whether it is a script that a browser runs, and no block of data."""
        kind = self.attributes.get("type", "").strip().lower()
        return self.tag == "script" and (kind in ("", "module") or kind.endswith(("javascript", "ecmascript")))

    @property
    def loads(self) -> bool:
        """Whether a browser fetches what it points at."""
        return self.tag != "link" or not ONLY_NAMED & set(self.attributes.get("rel", "").lower().split())


class Html(HTMLParser):
    """A page's elements, and the text that a reader sees."""

    def __init__(self, source: str) -> None:
        super().__init__()
        self.source, self.text = source, ""
        self.elements: list[Element] = []
        self.inside: Element | None = None
        self.feed(source)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Keep an element."""
        self.elements.append(Element(tag, {name: value or "" for name, value in reversed(attrs)}))
        self.inside = self.elements[-1] if tag in ("script", "style") else None

    def handle_endtag(self, tag: str) -> None:
        """Leave a script or a style."""
        self.inside = None

    def handle_data(self, data: str) -> None:
        """Keep text."""
        if self.inside:
            self.inside.text += data
        else:
            self.text += data

    def all(self, *tags: str) -> list[Element]:
        """The elements of these kinds."""
        return [element for element in self.elements if element.tag in tags]

    def says(self, words: str) -> bool:
        """Whether it has these words for a reader, or in an attribute or a block of data for a script to show."""
        held = [self.text, *(one.text for one in self.elements)]
        held += [value for one in self.elements for value in one.attributes.values()]
        return any(plain(words) in plain(text) for text in held)

    def marks(self) -> dict[str, str]:
        """The data- attributes of html and body as they were sent."""
        return {
            f"{one.tag} {name}": value
            for one in self.all("html", "body")
            for name, value in one.attributes.items()
            if name.startswith("data-")
        }

    def loads(self, page: str) -> list[str]:
        """The addresses of all that it loads."""
        named = [one.attributes.get(LOADS[one.tag], "") for one in self.elements if one.tag in LOADS and one.loads]
        styles = [one.text for one in self.all("style")] + [one.attributes.get("style", "") for one in self.elements]
        named += [one or other for one, other in IN_STYLE.findall("\n".join(styles))]
        return [urljoin(page, url) for url in named if url]


def plain(text: str) -> str:
    """Text whose white space and case do not matter."""
    return " ".join(text.split()).casefold()


def html_of(answer: httpx.Response) -> Html:
    """The page in an answer. Raises CheckFailed if it is none."""
    if answer.headers.get("content-type", "").split(";")[0].strip().lower() != "text/html":
        found = f"answered with {answer.headers.get('content-type', 'no content type')} where a page was asked for"
        raise CheckFailed(found, "The contract asks for HTML here.", exchange_of(answer.request, answer))
    return Html(answer.text)


class Visitor:
    """Somebody who opens pages of the app in a browser, at its public address.

    `injected` is slipped into every page on its way; `elsewhere` is the script that all other hosts answer with.
    """

    def __init__(self, app: App, elsewhere: str) -> None:
        self.public, self.deadline = app.env["PUBLIC_BASE_URL"], app.answer.deadline
        self.http = app.browser(self.public)
        self.injected, self.elsewhere = "", elsewhere
        self.answer: httpx.Response | None = None
        self.tab: Tab | None = None

    def open(self, path: str, enough: Callable[["Visit"], bool] = bool) -> "Visit":
        """What the browser ends up with, once it shows `enough` or has been given its time. Raises CheckFailed."""
        from lab_app.runner.services.browser import PageHangs

        assert self.tab
        self.deadline()
        try:
            return self.tab.visit(self.public + path, enough)
        except PageHangs as error:
            raise self.failed("served a page that hangs in a browser") from error

    def ran(self, visit: "Visit") -> bool:
        """Whether the page's own script has set its mark."""
        return self.answer is not None and not visit.marks.items() <= html_of(self.answer).marks().items()

    def failed(self, found: str, safe: str = "") -> CheckFailed:
        """A failure, with the page as its evidence."""
        return CheckFailed(found, safe, exchange_of(self.answer.request, self.answer) if self.answer else None)

    def fetch(self, asked: "Asked") -> "Reply | None":
        """What the page gets for a request: the app's answer if it is for the app."""
        from lab_app.runner.services.browser import Reply

        url = urlsplit(asked.url)
        if url.hostname != urlsplit(self.public).hostname:
            return Reply(200, {"content-type": "text/javascript"}, self.elsewhere.encode()) if self.elsewhere else None
        headers = {name: value for name, value in asked.headers.items() if name not in UNSENT | {"cookie"}}
        path = url._replace(scheme="", netloc="").geturl() or "/"
        try:
            answer = self.http.request(asked.method, path, headers=headers, content=asked.body)
        except (NoAnswer, OutOfTime):
            return None
        kept = {name: value for name, value in answer.headers.items() if name not in UNKEPT}
        if not asked.document:
            return Reply(answer.status_code, kept, answer.content)
        self.answer = answer
        page = TOP.sub(lambda found: found[0] + self.injected, answer.text, count=1)
        return Reply(answer.status_code, kept, page.encode())


@contextmanager
def visitor(app: App, start: Start, function: str, elsewhere: str = "") -> Iterator[Visitor]:
    """A new visitor, in whose browser scripts can call `function`."""
    one = Visitor(app, elsewhere)
    with start().tab(one.fetch, function) as tab:
        one.tab = tab
        yield one
