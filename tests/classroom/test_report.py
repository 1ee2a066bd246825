"""What comes out of a class, in a browser and in other programs."""

import csv
import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET

import pytest
from playwright.sync_api import Browser, Page

from lab_app.classroom.policy import Override, Policy
from lab_app.classroom.report import A_PAGE, file_name, policy_of, report
from lab_app.classroom.store import Store, Student
from lab_app.harness.evidence import Exchange
from lab_app.harness.verdict import Result, Verdict
from lab_app.trouble import Trouble

EVIL = '"><img src=x onerror=alert(1)><script>alert(2)</script>\x1b[2J\u202e{{ 7*7 }}'
DUE = datetime(2026, 12, 1, tzinfo=UTC)


def verdict(number: str, *passed: bool, said: str = "answered 200", because: tuple[str, ...] = ()) -> Verdict:
    seen = (Exchange(said, said, said),)
    results = tuple(
        Result(f"test_{n}", "attack", f"check {n}", "why", "hint", ("CWE-1",), one, "" if one else said, said, seen)
        for n, one in enumerate(passed)
    )
    outcome = "passed" if all(passed) else "not yet"
    return Verdict(number, "a title", outcome, results, misconceptions=because, seconds=1.5)


@pytest.fixture(scope="module")
def out(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The report of a class whose members are as nasty as names, code and answers can be."""
    out = tmp_path_factory.mktemp("report")
    with Store(out / "class.db") as store:
        people = {
            "ada": verdict("1.1", True, True),
            EVIL: verdict("1.1", True, False, said=EVIL, because=(EVIL,)),
            "=cmd|' /C calc'!A0": verdict("1.1", False, False, because=("A belief.",)),
            "李四": verdict("1.1", False, False, because=("A belief.",)),
        }
        for name, one in people.items():
            store.enroll(Student(name, DUE, (f"{name}: a file was left out",)), {"1.1": "same" if one.results else ""})
            judged = {"1.1": ("key", one), "1.2": ("", Verdict("1.2", "b", "not attempted", trouble="untouched"))}
            store.keep(name, judged, jailed=name != "ada")
        report(store, out, Policy(overrides={"ada": {"1.2": Override(0.5, EVIL)}}))
    return out


def test_a_spreadsheet_runs_nothing(out: Path) -> None:
    with (out / "grades.csv").open(newline="") as file:
        rows = {row["student"]: row for row in csv.DictReader(file)}
    assert set(rows) == {"ada", EVIL, "'=cmd|' /C calc'!A0", "李四"}
    assert {name: row["total"] for name, row in rows.items() if name in ("ada", EVIL)} == {
        "ada": "1.5000",
        EVIL: "0.5000",
    }


def test_canvas_and_moodle_know_their_own_by_number(tmp_path: Path) -> None:
    with Store(tmp_path / "class.db") as store:
        store.enroll(Student("Ada Lovelace", number="4711"), {})
        store.enroll(Student("somebody"), {})
        store.keep("Ada Lovelace", {"1.1": ("key", verdict("1.1", True))}, jailed=True)
        report(store, tmp_path, Policy())
    tables = {}
    for name in ("canvas", "moodle"):
        with (tmp_path / f"{name}.csv").open(newline="") as file:
            tables[name] = list(csv.DictReader(file))
    possible, ada, somebody = tables["canvas"]
    assert possible["FastAPI Security Workbook"] == "1"
    assert (ada["Student"], ada["ID"], ada["FastAPI Security Workbook"]) == ("Ada Lovelace", "4711", "1.00")
    assert (somebody["ID"], somebody["FastAPI Security Workbook"]) == ("", "0.00")
    ada, somebody = tables["moodle"]
    assert (ada["Identifier"], ada["Grade"], ada["Maximum Grade"]) == ("Participant 4711", "1.00", "1")
    assert somebody["Identifier"] == ""


def test_every_line_of_the_verdicts_is_json(out: Path) -> None:
    lines = [json.loads(line) for line in (out / "verdicts.jsonl").read_text().splitlines()]
    assert len(lines) == 8
    assert {line["student"] for line in lines if not line["jailed"]} == {"ada"}


def test_junit_says_what_passed_and_what_failed(out: Path) -> None:
    suites = ET.parse(out / "junit" / f"{file_name(EVIL)}.xml").getroot()
    first, second = suites
    assert (first.get("tests"), first.get("failures")) == ("2", "1")
    assert [case.get("name") for case in first] == ["check 0", "check 1"]
    assert [case.find("failure") is not None for case in first] == [False, True]
    assert second[0].find("failure") is not None, "what was not attempted has not passed"


@pytest.fixture
def page(chromium: Browser) -> Page:
    """A page in which a dialog is a failure."""
    page = chromium.new_page()
    page.on("dialog", lambda dialog: pytest.fail(f"a script ran: {dialog.message}"))
    return page


def test_no_page_runs_a_script_or_loads_anything(out: Path, page: Page) -> None:
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    files = [*out.glob("*.html"), *(out / "feedback").glob("*.html")]
    assert len(files) == 6
    for file in files:
        page.goto(file.as_uri())
        assert page.locator("img, script, iframe, object, link").count() == 0
        assert page.title()
    assert asked == [file.as_uri() for file in files]


def test_links_lead_from_the_class_to_a_student(out: Path, page: Page) -> None:
    page.goto((out / "class.html").as_uri())
    page.get_by_role("link", name="page 1").click()
    page.get_by_role("link", name="李四").click()
    assert page.get_by_role("heading", level=1).inner_text() == "Feedback for 李四"
    assert page.get_by_text("hint", exact=True).count() == 2, "a page on paper has no hint() to ask"


def test_the_class_page_says_what_to_teach(out: Path, page: Page) -> None:
    page.goto((out / "class.html").as_uri())
    beliefs = page.get_by_role("table").filter(has_text="What they believed")
    assert beliefs.get_by_role("row").nth(1).inner_text().split("\t") == ["2", "1.1", "A belief."]
    hardest = page.get_by_role("table").filter(has_text="how many failed it")
    assert "3 of 4" in hardest.get_by_role("row").nth(1).inner_text()
    assert "李四" in page.get_by_role("table").filter(has_text="handed in the same").inner_text()


def test_the_class_page_names_what_was_left_out(tmp_path: Path) -> None:
    with Store(tmp_path / "class.db") as store:
        store.enroll(Student("ada"), {})
        report(store, tmp_path, Policy())
        assert "left out" not in (tmp_path / "class.html").read_text()
        store.keep_setting("left_out", [f"{EVIL}: homework.pdf: no notebook."])
        report(store, tmp_path, Policy())
    text = (tmp_path / "class.html").read_text()
    assert "homework.pdf: no notebook." in text
    assert EVIL not in text


def test_pages_are_tables_with_headers_and_a_language(out: Path, page: Page) -> None:
    for file in (out / "class.html", out / "students-1.html", out / "feedback" / "ada.html"):
        page.goto(file.as_uri())
        assert page.locator("html[lang]").count() == 1
        assert page.get_by_role("main").count() == 1
        assert page.locator("table:not(:has(th[scope]))").count() == 0
        assert page.evaluate("document.documentElement.scrollWidth <= window.innerWidth"), (
            f"{file.name} scrolls sideways"
        )


def contrast(page: Page, selector: str) -> float:
    """The least contrast of text and background among some elements (WCAG 2.2 §1.4.3)."""
    return float(
        page.evaluate(
            """selector => {
        const light = colour => colour.match(/[\\d.]+/g).slice(0, 3).map(v => v / 255)
            .map(v => v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4)
            .reduce((sum, v, i) => sum + v * [0.2126, 0.7152, 0.0722][i], 0);
        return Math.min(...[...document.querySelectorAll(selector)].map(cell => {
            const style = getComputedStyle(cell);
            const [low, high] = [light(style.color), light(style.backgroundColor)].sort((a, b) => a - b);
            return (high + 0.05) / (low + 0.05);
        }));
    }""",
            selector,
        )
    )


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_every_shade_can_be_read(out: Path, page: Page, scheme: str) -> None:
    page.emulate_media(color_scheme=scheme)  # type: ignore[arg-type]
    page.goto((out / "class.html").as_uri())
    assert page.locator("td[class*=lab-shade]").count() == 12
    assert contrast(page, "td[class*=lab-shade]") >= 4.5


def test_scores_alone_show_no_evidence(tmp_path: Path) -> None:
    with Store(tmp_path / "class.db") as store:
        store.enroll(Student("ada"), {})
        store.keep("ada", {"1.1": ("key", verdict("1.1", False, said="the evidence"))}, jailed=True)
        report(store, tmp_path, Policy(feedback="scores"))
        assert "the evidence" not in (tmp_path / "feedback" / "ada.html").read_text()
        report(store, tmp_path, Policy())
        assert "the evidence" in (tmp_path / "feedback" / "ada.html").read_text()


@pytest.mark.parametrize("rule", [{"overrides": {"nobody": {}}}, {"held_back": frozenset({"test_nothing_of_ours"})}])
def test_rules_about_nobody_are_refused_and_not_kept(tmp_path: Path, rule: dict[str, Any]) -> None:
    with Store(tmp_path / "class.db") as store:
        store.enroll(Student("ada"), {})
        with pytest.raises(Trouble):
            policy_of(store, **rule)
        assert policy_of(store) == Policy()


def test_a_large_class_has_several_pages(tmp_path: Path) -> None:
    with Store(tmp_path / "class.db") as store:
        for number in range(A_PAGE + 1):
            store.enroll(Student(f"s{number:04}"), {})
        store.keep("s0000", {"1.1": ("key", verdict("1.1", True))}, jailed=True)
        report(store, tmp_path, Policy())
    assert {path.name for path in tmp_path.glob("students-*.html")} == {"students-1.html", "students-2.html"}
