"""Section 3 in a real browser: what Chromium lets pages of two origins read, and what the API does all the same."""

import importlib
import os
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest
from fastapi import FastAPI
from fastapi.responses import HTMLResponse
from playwright.sync_api import Browser, FrameLocator, Page, expect

from lab_app.jupyter.serve import Served, serve, stop_all
from lab_app.larkspur import cors
from lab_app.workbook.source import exercises

SLOW = 60_000  # ms that a loaded machine may take
REFUSED = "TypeError: Failed to fetch"


@pytest.fixture(scope="module")
def pages() -> Iterator[ModuleType]:
    """The two pages, and the environment that a kernel sets, for the length of this module."""
    before = dict(os.environ)
    service = importlib.import_module("lab_app.jupyter.services.pages")
    if not service.frontend.thread.is_alive():  # another module's tests have stopped whatever was served
        importlib.reload(service)
    os.environ["FRONTEND_ORIGINS"] = ", ".join(service.origins(service.frontend)) + " ,"
    yield service
    stop_all()
    os.environ.clear()
    os.environ.update(before)


class Notebook:
    """A tab with cookies of its own, that shows what a notebook opened at `host` would show."""

    def __init__(self, tab: Page, host: str, pages: ModuleType) -> None:
        self.tab, self.host, self.pages = tab, host, pages

    def show(self, api: Served, story: str) -> tuple[FrameLocator, FrameLocator]:
        """The frontend and Mallory's page, once they are there."""
        output, notebook = self.pages.show(api, story)._repr_html_(), FastAPI()
        notebook.get("/", response_class=HTMLResponse)(lambda: f"<!doctype html><body>{output}")
        self.tab.goto(f"http://{self.host}:{serve(notebook, 'notebook').port}/")
        frontend, mallory = (self.tab.frame_locator("iframe").nth(n) for n in (0, 1))
        for frame in (frontend, mallory):
            frame.locator("body[data-done]").wait_for()
        return frontend, mallory

    def transfer(self, api: Served) -> list[str]:
        """Ada signs in, and claims Mallory's tote bag; what Mallory's page says of that."""
        frontend, mallory = self.show(api, "transfer")
        frontend.get_by_role("button").click()
        expect(frontend.locator("tbody")).to_contain_text("POST → 200")
        mallory.get_by_role("button").click()
        mallory.locator("tbody tr").wait_for()
        return told(mallory)[0]

    def picture(self, name: str) -> None:
        """A screenshot for whoever wants to look: SCREENSHOTS=folder."""
        if folder := os.environ.get("SCREENSHOTS"):
            self.tab.screenshot(path=str(Path(folder, f"{name}.png")))


@pytest.fixture(params=["127.0.0.1", "localhost"])
def notebook(request: pytest.FixtureRequest, chromium: Browser, pages: ModuleType) -> Iterator[Notebook]:
    context = chromium.new_context(viewport={"width": 860, "height": 420})
    context.set_default_timeout(SLOW)
    yield Notebook(context.new_page(), request.param, pages)
    context.close()


def solved(number: str) -> Served:
    """The reference solution of an exercise."""
    names: dict[str, object] = {"__name__": f"exercise_{number}"}
    exec(compile(exercises("03_cors")[number].solution, f"<Exercise {number}>", "exec"), names)
    return serve(names["app"], f"solution {number}")  # type: ignore[arg-type]


def told(frame: FrameLocator) -> list[list[str]]:
    """The rows of a page: what it asked, what it got to read, what the API did."""
    rows = frame.locator("tbody tr").all()
    return [[cell.strip() for cell in row.locator("td").all_inner_texts()] for row in rows]


def test_without_cors_nobody_reads_and_simple_requests_are_executed(notebook: Notebook) -> None:
    for frame in notebook.show(serve(cors.closed, "closed"), "read"):
        assert told(frame) == [
            ["GET /profile", REFUSED, "GET → 200"],
            ["POST /reviews", REFUSED, "POST → 201"],
            ["PUT /profile", REFUSED, "OPTIONS → 405"],
        ]
    notebook.picture("3 closed")


def test_a_star_with_credentials_lets_everybody_read(notebook: Notebook) -> None:
    _, mallory = notebook.show(serve(cors.wildcard, "wildcard"), "read")
    read, _, put = told(mallory)
    assert read[1].startswith("200 ada")
    assert put[1:] == ["200 ada · mallory@evil.example", "OPTIONS → 200\nPUT → 200"]
    notebook.picture("3 wildcard")


def test_the_solution_serves_its_frontend_and_nobody_else(notebook: Notebook) -> None:
    frontend, mallory = notebook.show(solved("3.1"), "profile")
    assert [row[1][:3] for row in told(frontend)] == ["200", "200", "200"]
    assert [row[2].split("\n")[-1] for row in told(frontend)] == ["GET → 200", "PUT → 200", "DELETE → 200"]
    assert told(mallory) == [
        ["GET /profile", REFUSED, "GET → 200"],
        ["PUT /profile", REFUSED, "OPTIONS → 400"],
        ["DELETE /profile", REFUSED, "OPTIONS → 400"],
    ]
    notebook.picture("3.1 solved")


def test_a_page_that_may_read_nothing_takes_a_loan(notebook: Notebook) -> None:
    api = serve(cors.forgeable(notebook.pages.origins(notebook.pages.frontend)), "forgeable")
    assert notebook.transfer(api) == ["POST /transfer", REFUSED, "POST → 200"]
    notebook.picture("3 forgeable")


def test_the_solution_does_not_hand_it_over(notebook: Notebook) -> None:
    assert notebook.transfer(solved("3.4")) == ["POST /transfer", REFUSED, "POST → 403"]
    notebook.picture("3.4 solved")


def test_a_refused_fetch_gives_its_reason_in_the_console_only(notebook: Notebook) -> None:
    said: list[str] = []
    notebook.tab.on("console", lambda message: said.append(message.text))
    notebook.show(serve(cors.closed, "closed"), "read")
    assert any("blocked by CORS policy" in text for text in said)
