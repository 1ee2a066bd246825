"""A learner's first evening: the notebook in a real JupyterLab, in a real browser."""

import json
from collections.abc import Callable

import pytest
from playwright.sync_api import Page, expect

from lab_app.workbook import notebook
from lab_app.workbook.source import exercises, wrong_answers
from tests.browser.conftest import SLOW, errors, picture, run_all

SECTION = "01_authentication"


@pytest.fixture(scope="module")
def page(open_notebook: Callable[..., Page]) -> Page:
    """The first notebook."""
    return open_notebook(SECTION)


def wait_until_idle(page: Page) -> None:
    expect(page.locator(".jp-InputPrompt", has_text="[*]:")).to_have_count(0, timeout=SLOW)


def cell(page: Page, begins: str) -> int:
    """The place of the code cell that begins with a text."""
    cells = json.loads(notebook.built(SECTION))["cells"]
    return next(n for n, one in enumerate(cells) if "".join(one["source"]).startswith(begins))


def answer(page: Page, number: str, source: str) -> str:
    """Put an answer into its cell, run it, run its check; what the verdict says."""
    place = cell(page, f"# Exercise {number} ")
    cells = page.locator(".jp-Notebook .jp-Cell")
    editor = cells.nth(place).locator(".cm-content")
    editor.scroll_into_view_if_needed()
    editor.click()
    page.keyboard.press("ControlOrMeta+a")
    page.keyboard.insert_text(source)
    page.keyboard.press("Shift+Enter")
    wait_until_idle(page)
    check = next(n for n in range(place, place + 3) if f'check("{number}")' in cells.nth(n).inner_text())
    cells.nth(check).locator(".cm-content").click()
    page.keyboard.press("ControlOrMeta+Enter")
    page.locator(".jp-InputPrompt", has_text="[*]:").first.wait_for()
    wait_until_idle(page)
    verdict = cells.nth(check).locator(".jp-OutputArea")
    said = verdict.inner_text()
    picture(verdict, f"{number} passed" if "✓ passed" in said else f"{number} not yet")
    return said


def test_run_all_unsolved_has_no_error(page: Page) -> None:
    run_all(page)
    assert errors(page) == []
    verdicts = page.locator(".jp-OutputArea", has_text="not attempted")
    assert verdicts.count() >= len(exercises(SECTION))
    for name in ("Which of these", "exercises passed", "on Larkspur"):
        picture(page.locator(".jp-Cell", has_text=name).last, name)


def test_a_wrong_then_a_right_answer_get_their_verdicts(page: Page) -> None:
    wrong = next(one for one in wrong_answers(SECTION) if one.exercise == "1.1")
    said = answer(page, "1.1", wrong.cell)
    assert "not yet" in said
    assert wrong.because in said
    right = answer(page, "1.1", exercises(SECTION)["1.1"].solution)
    assert "✓ passed" in right


def test_the_link_of_a_served_app_opens(page: Page) -> None:
    with page.context.expect_page() as opened:
        page.locator(".jp-OutputArea a[target=_blank]", has_text="127.0.0.1").first.click()
    expect(opened.value.locator("h1")).to_have_text("Larkspur Library")
    opened.value.close()
