"""Every notebook with the reference solutions put in, in a real JupyterLab: every exercise passes."""

from collections.abc import Callable

import pytest
from playwright.sync_api import Page

from lab_app.workbook.source import exercises, sections
from tests.browser.conftest import errors, run_all


@pytest.mark.parametrize("section", sections())
def test_run_all_solved_passes_every_exercise(open_notebook: Callable[..., Page], section: str) -> None:
    page = open_notebook(section, solved=True)
    run_all(page)
    assert errors(page) == []
    for number in exercises(section):
        check = page.locator(".jp-CodeCell", has_text=f'check("{number}")').locator(".jp-OutputArea")
        assert "✓ passed" in check.first.inner_text(), number
