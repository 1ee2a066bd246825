"""Every notebook as a learner finds it, in a real JupyterLab: Run All leaves no error."""

from collections.abc import Callable

import pytest
from playwright.sync_api import Page

from lab_app.workbook.source import exercises, sections
from tests.browser.conftest import errors, picture, run_all


@pytest.mark.parametrize("section", sections())
def test_run_all_unsolved_has_no_error(open_notebook: Callable[..., Page], section: str) -> None:
    page = open_notebook(section)
    run_all(page)
    assert errors(page) == []
    assert page.locator(".jp-OutputArea", has_text="not attempted").count() >= len(exercises(section))
    for n, plot in enumerate(page.locator(".jp-OutputArea-output img").all()):
        picture(plot, f"{section} picture {n}")
