"""A learner's first evening: the notebook in a real JupyterLab, in a real browser."""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest
from playwright.sync_api import Locator, Page, expect, sync_playwright

from lab_app.workbook import notebook
from lab_app.workbook.source import ROOT, exercises, wrong_answers

SECTION = "01_authentication"
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
FLAGS = "--no-sandbox --disable-gpu --no-first-run --disable-background-networking --disable-component-update".split()
SETTINGS = {
    "notebook-extension/tracker": {"windowingMode": "none"},  # else cells out of sight are not in the page
    "apputils-extension/notification": {"fetchNews": "false", "checkForUpdates": False},
    "docmanager-extension/plugin": {"autosave": False},
}
SLOW = 180_000  # ms that a loaded machine may take

pytestmark = pytest.mark.skipif(
    CHROMIUM is None and "CI" not in os.environ, reason="Chromium is not installed (apt install chromium)"
)


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of a JupyterLab over a copy of the notebooks."""
    top = tmp_path_factory.mktemp("lab")
    (top / "notebooks").mkdir()
    (top / "notebooks" / f"{SECTION}.ipynb").write_text(notebook.built(SECTION), encoding="utf-8")
    for name, setting in SETTINGS.items():
        path = top / "settings" / "@jupyterlab" / f"{name}.jupyterlab-settings"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(setting))
    env = os.environ | {
        "HOME": str(top),
        "JUPYTER_RUNTIME_DIR": str(top / "runtime"),
        "JUPYTERLAB_SETTINGS_DIR": str(top / "settings"),
        "LAB_HOME": str(top / "progress"),
        "PYTHONPATH": str(ROOT),
    }
    command = [sys.executable, "-m", "jupyter", "lab", "--no-browser", "--ServerApp.ip=127.0.0.1", "--allow-root"]
    with (top / "log").open("w") as log:
        server = subprocess.Popen(
            command, cwd=top / "notebooks", env=env, stdout=log, stderr=log, start_new_session=True
        )
    try:
        yield address(top / "runtime", server)
    finally:
        os.killpg(server.pid, signal.SIGTERM)
        server.wait()


def address(runtime: Path, server: "subprocess.Popen[bytes]") -> str:
    until = time.monotonic() + 60
    while time.monotonic() < until and server.poll() is None:
        for file in runtime.glob("jpserver-*.json"):
            about = json.loads(file.read_text())
            return f"{about['url']}lab/tree/{SECTION}.ipynb?token={about['token']}"
        time.sleep(0.05)
    raise AssertionError("JupyterLab did not start")


@pytest.fixture(scope="module")
def page(lab: str) -> Iterator[Page]:
    """The notebook, opened, its kernel idle."""
    assert CHROMIUM, "CI must have Chromium"
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        page = browser.new_page(viewport={"width": 1300, "height": 1600})
        page.set_default_timeout(SLOW)
        page.goto(lab)
        page.locator(".jp-Notebook-ExecutionIndicator[data-status=idle]").wait_for()
        yield page
        browser.close()


def run_all(page: Page) -> None:
    """Run All Cells; again if the session was not quite there yet, and JupyterLab let the command pass."""
    last = page.locator(".jp-Notebook .jp-Cell").last.locator(".jp-InputPrompt")
    for _ in range(3):
        page.get_by_role("menuitem", name="Run", exact=True).click()
        page.get_by_text("Run All Cells", exact=True).click()
        with suppress(AssertionError):
            expect(last).to_have_text(re.compile(r"\[\d+\]:"), timeout=SLOW / 3)
            return
    raise AssertionError("Run All Cells did not come to the last cell")


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


def picture(what: Locator | Page, name: str) -> None:
    """A screenshot for whoever wants to look: SCREENSHOTS=folder."""
    if folder := os.environ.get("SCREENSHOTS"):
        what.screenshot(path=str(Path(folder, f"{name}.png")))


def test_run_all_unsolved_has_no_error(page: Page) -> None:
    run_all(page)
    assert page.locator(".jp-RenderedText[data-mime-type='application/vnd.jupyter.error']").count() == 0
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
