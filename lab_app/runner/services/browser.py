"""Chromium without a window: what a page of an answer does to those who visit it.

The page is hostile. It gets a fresh browser context, no network and no files: whatever it asks for, a function of the
check fetches, within its own bounds, or refuses. Every step has a deadline, and a page that hangs costs its browser.
"""

import asyncio
import atexit
import shutil
import threading
import time
from collections.abc import Callable, Coroutine, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from functools import cache
from typing import Any

from playwright.async_api import Browser, BrowserContext, Error, Page, Playwright, Route, async_playwright

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
FLAGS = (
    "--no-sandbox --disable-gpu --no-first-run --disable-background-networking --disable-component-update "
    "--disable-sync --disable-dev-shm-usage"
).split()
# No machine code out of a stranger's script, the favourite way out of a browser; and no endless memory.
FLAGS += ["--js-flags=--jitless --max-old-space-size=256"]
START_SECONDS, STEP_SECONDS = 30, 15
CLOSE_SECONDS = 3
POLL_SECONDS = 0.02
# A frame later, so that what waits for the first one has had its turn.
LOOK = """() => new Promise((done) => requestAnimationFrame(() => setTimeout(done))).then(() => ({
    marks: Object.fromEntries([document.documentElement, document.body].filter(Boolean).flatMap(
        (element) => [...element.attributes].filter((one) => one.name.startsWith("data-")).map(
            (one) => [`${element.localName} ${one.name}`, one.value]))),
    text: (document.body?.innerText ?? "").slice(0, 100000),
    attributes: [...new Set([...document.querySelectorAll("*")].flatMap(
        (element) => element.getAttributeNames()))].slice(0, 1000),
}))"""
# What no page does by itself: click what runs on a click, focus what runs on focus.
TEMPT = """() => document.querySelectorAll("[autofocus], a").forEach((one) => {
    one.focus();
    if (/^\\s*javascript:/i.test(one.getAttribute("href") ?? "")) one.click();
})"""


class NoBrowser(Exception):
    """There is no Chromium to be had here; the text says why."""


class PageHangs(Exception):
    """A page kept its browser busy until its time was up."""


@dataclass(frozen=True)
class Asked:
    """A request of a page. `document`: it is for the page itself."""

    method: str
    url: str
    headers: Mapping[str, str]
    body: bytes | None
    document: bool


@dataclass(frozen=True)
class Reply:
    """What came back for it."""

    status: int
    headers: dict[str, str]
    body: bytes


Fetch = Callable[[Asked], Reply | None]


@dataclass(frozen=True)
class Visit:
    """What a visitor's browser ended up with.

    `marks`: the data- attributes of its html and body, as "body data-x". `attributes`: the names of those of all its
    elements. `called`: what scripts gave to the function that the check named. `asked`: the URLs of all that the page
    wanted.
    """

    url: str
    marks: dict[str, str]
    text: str
    attributes: frozenset[str]
    called: tuple[str, ...]
    asked: tuple[str, ...]


@dataclass
class Tab:
    """One visitor: a browser context of its own. Every request goes to `fetch`; None refuses it."""

    chromium: "Chromium"
    page: Page
    called: list[str] = field(default_factory=list)
    asked: list[str] = field(default_factory=list)

    def visit(self, url: str, enough: Callable[[Visit], bool] = bool, seconds: float = 3) -> Visit:
        """Open a page and look at it until it shows `enough`, `seconds` after it has loaded at most.

        Raises PageHangs.
        """
        seen: Visit = self.chromium.run(self._visit(url, enough, seconds), seconds + STEP_SECONDS)
        return seen

    async def _visit(self, url: str, enough: Callable[[Visit], bool], seconds: float) -> Visit:
        self.called.clear()
        self.asked.clear()
        with suppress(Error):  # a page may send its visitor elsewhere while it loads
            await self.page.goto(url)
        with suppress(Error):
            await self.page.evaluate(TEMPT)
        until = time.monotonic() + seconds
        while True:
            seen = await self._look()
            if enough(seen) or time.monotonic() > until:
                return seen
            await asyncio.sleep(POLL_SECONDS)

    async def _look(self) -> Visit:
        seen: dict[str, Any] = {"marks": {}, "text": "", "attributes": []}
        with suppress(Error):
            seen = await self.page.evaluate(LOOK)
        attributes = frozenset(seen["attributes"])
        return Visit(self.page.url, seen["marks"], seen["text"], attributes, tuple(self.called), tuple(self.asked))


class Chromium:
    """A browser that stays open between checks. It runs in a thread of its own, whose loop nobody else meets."""

    def __init__(self) -> None:
        """Start it. Raises NoBrowser."""
        path = next(filter(None, map(shutil.which, NAMES)), None)
        if path is None:
            raise NoBrowser("Chromium is not installed")
        self.path = path
        self.loop = asyncio.new_event_loop()
        threading.Thread(target=self.loop.run_forever, name="chromium", daemon=True).start()
        self.playwright: Playwright | None = None
        self.browser: Browser | None = None
        try:
            self.run(self._start(), START_SECONDS)
        except (Error, PageHangs, OSError) as error:
            self.close()
            raise NoBrowser(f"Chromium does not start: {str(error).splitlines()[0]}") from error

    def run(self, work: Coroutine[Any, Any, Any], seconds: float) -> Any:
        """The result of a step. Raises PageHangs."""
        try:
            return asyncio.run_coroutine_threadsafe(asyncio.wait_for(work, seconds), self.loop).result()
        except TimeoutError as error:
            raise PageHangs from error

    @contextmanager
    def tab(self, fetch: Fetch, function: str) -> Iterator[Tab]:
        """A new visitor, in whose pages scripts can call `function`. Raises PageHangs."""
        if self.browser is None or not self.browser.is_connected():
            self.run(self._start(), START_SECONDS)
        context, tab = self.run(self._open(fetch, function), STEP_SECONDS)
        try:
            yield tab
        finally:
            try:
                self.run(context.close(), CLOSE_SECONDS)
            except (Error, PageHangs):
                self._end()

    def close(self) -> None:
        """End the browser and its thread."""
        self._end()
        self.loop.call_soon_threadsafe(self.loop.stop)

    def _end(self) -> None:
        browser, self.browser = self.browser, None
        playwright, self.playwright = self.playwright, None
        for closing in (browser and browser.close(), playwright and playwright.stop()):
            if closing:
                with suppress(Error, PageHangs):
                    self.run(closing, CLOSE_SECONDS)

    async def _start(self) -> None:
        self.playwright = self.playwright or await async_playwright().start()
        self.browser = await self.playwright.chromium.launch(executable_path=self.path, args=FLAGS, headless=True)

    async def _open(self, fetch: Fetch, function: str) -> tuple[BrowserContext, Tab]:
        assert self.browser
        context = await self.browser.new_context(service_workers="block", accept_downloads=False)
        tab = Tab(self, await context.new_page())
        await context.expose_function(function, lambda *said: tab.called.append(" ".join(map(str, said))))
        await context.route("**/*", lambda route: answer(route, tab, fetch))
        await context.route_web_socket("**/*", lambda socket: socket.close())
        return context, tab


async def answer(route: Route, tab: Tab, fetch: Fetch) -> None:
    """Give a page what it asked for, if the check does."""
    request = route.request
    tab.asked.append(request.url)
    document = request.is_navigation_request() and request.frame.parent_frame is None
    asked = Asked(request.method, request.url, request.headers, request.post_data_buffer, document)
    reply = await asyncio.to_thread(fetch, asked)
    with suppress(Error):  # the page may be gone by now
        if reply is None:
            await route.abort()
        else:
            await route.fulfill(status=reply.status, headers=reply.headers, body=reply.body)


@cache
def chromium() -> Chromium:
    """The one browser of this process, started when first asked for. Raises NoBrowser."""
    started = Chromium()
    atexit.register(started.close)
    return started
