"""A real JupyterLab over all notebooks, as built and solved, and a real browser in front of it."""

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest
from playwright.sync_api import Browser, Locator, Page, TimeoutError, expect

from lab_app.workbook import notebook
from lab_app.workbook.source import ROOT, sections

SETTINGS = {
    "notebook-extension/tracker": {"windowingMode": "none"},  # else cells out of sight are not in the page
    "apputils-extension/notification": {"fetchNews": "false", "checkForUpdates": False},
    "docmanager-extension/plugin": {"autosave": False},
}
SLOW = 240_000  # ms that a loaded machine may take


@dataclass(frozen=True)
class Lab:
    """Where JupyterLab answers."""

    url: str
    token: str

    def close_kernels(self) -> None:
        """End every session, and with it what its kernel runs."""
        headers = {"Authorization": f"token {self.token}"}
        with httpx.Client(base_url=self.url, headers=headers, trust_env=False, timeout=60) as api:
            for session in api.get("api/sessions").json():
                api.delete(f"api/sessions/{session['id']}")


@pytest.fixture(scope="session")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    """A JupyterLab of its own, with no settings and no progress of anybody's."""
    top = tmp_path_factory.mktemp("lab")
    for solved in (False, True):
        folder = top / "notebooks" / name_of(solved)
        folder.mkdir(parents=True)
        for section in sections():
            (folder / f"{section}.ipynb").write_text(notebook.built(section, solved), encoding="utf-8")
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


def name_of(solved: bool) -> str:
    """The folder of the notebooks as built, or with the solutions put in."""
    return "solved" if solved else "built"


def address(runtime: Path, server: "subprocess.Popen[bytes]") -> Lab:
    until = time.monotonic() + 60
    while time.monotonic() < until and server.poll() is None:
        for file in runtime.glob("jpserver-*.json"):
            about = json.loads(file.read_text())
            return Lab(about["url"], about["token"])
        time.sleep(0.05)
    raise AssertionError("JupyterLab did not start")


@pytest.fixture(scope="module")
def open_notebook(lab: Lab, chromium: Browser) -> Iterator[Callable[..., Page]]:
    """Open a section's notebook, its kernel idle; what was open before is closed, its kernel too."""
    pages: list[Page] = []

    def close() -> None:
        while pages:
            pages.pop().close()
        lab.close_kernels()

    def opened(section: str, solved: bool = False) -> Page:
        close()
        page = chromium.new_page(viewport={"width": 1300, "height": 1600})
        pages.append(page)
        page.set_default_timeout(SLOW)
        place = f"{section}-{name_of(solved)}/tree/{name_of(solved)}/{section}.ipynb"  # a workspace of its own
        page.goto(f"{lab.url}lab/workspaces/{place}?token={lab.token}")
        page.locator(".jp-Notebook-ExecutionIndicator[data-status=idle]").wait_for()
        return page

    yield opened
    close()


def run_all(page: Page) -> None:
    """Run All Cells; again if the session was not quite there yet, and JupyterLab let the command pass or undid it."""
    last = page.locator(".jp-Notebook .jp-CodeCell .jp-InputPrompt").last
    until = time.monotonic() + SLOW / 1000
    while not re.fullmatch(r"\[\d+\]:", said := last.inner_text()):
        assert time.monotonic() < until, f"the last cell says {said}"
        with suppress(AssertionError, TimeoutError):
            accept_kernel(page)
            if "*" not in said:
                page.get_by_role("menuitem", name="Run", exact=True).click(timeout=5000)
                page.get_by_text("Run All Cells", exact=True).click(timeout=5000)
                expect(last).to_have_text(re.compile(r"\[(\*|\d+)\]:"), timeout=5000)
        page.wait_for_timeout(100)


def accept_kernel(page: Page) -> None:
    """What JupyterLab asks when it is told to run before the session has its kernel: take the one that it offers."""
    dialog = page.locator("dialog.jp-Dialog")
    if dialog.count():
        picture(page, "a dialog")
        dialog.locator(".jp-mod-accept").first.click(timeout=5000)


def errors(page: Page) -> list[str]:
    """The tracebacks that the notebook shows."""
    found = page.locator(".jp-RenderedText[data-mime-type='application/vnd.jupyter.error']")
    return [error.inner_text() for error in found.all()]


def picture(what: Locator | Page, name: str) -> None:
    """A screenshot for whoever wants to look: SCREENSHOTS=folder."""
    if folder := os.environ.get("SCREENSHOTS"):
        what.screenshot(path=str(Path(folder, f"{name}.png")))
