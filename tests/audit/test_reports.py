"""What is written: the four files, the baseline, and the words for what is wrong with the question."""

import datetime
import json
import re
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path

import jsonschema
import pytest

from lab_app.audit.audit import Audit, Options, audit
from lab_app.audit.baseline import accepted
from lab_app.audit.errors import AuditError
from lab_app.audit.finding import SEVERITIES, WEAKNESSES, worst
from lab_app.audit.report.files import NAMES
from lab_app.audit.report.html import html
from lab_app.audit.report.markdown import markdown
from lab_app.audit.report.sarif import sarif
from lab_app.workbook.checklist import items
from lab_app.workbook.source import ROOT, all_exercises, sections

SCHEMA = json.loads(Path(__file__).with_name("sarif-2.1.0-rtm.5.json").read_text())
PAGES = "tests.audit.apps.pages:app"


@pytest.fixture(scope="module")
def report() -> Audit:
    """An audit of an app whose answers would script any page that shows them."""
    return audit(Options(PAGES, a_second=5000))


def run(*arguments: object) -> "subprocess.CompletedProcess[str]":
    command = [sys.executable, "-m", "lab_app.cli", "audit", *map(str, arguments)]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=120)


class Page(HTMLParser):
    """The elements of a page, and whatever could run in it."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: set[str] = set()
        self.attributes: set[str] = set()
        self.links: set[str] = set()
        self.text = ""
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        self.attributes |= {name for name, _ in attrs}
        self.links |= {value or "" for name, value in attrs if name in ("href", "src")}

    def handle_data(self, data: str) -> None:
        self.text += data


def test_it_says_where_the_app_was_that_a_curl_line_asks(report: Audit) -> None:
    assert report.served in report.findings[0].evidence.curl
    assert report.served in Page(html(report)).text
    assert report.served in markdown(report)


def test_no_answer_becomes_part_of_the_page(report: Audit) -> None:
    page = Page(html(report))
    assert report.findings
    assert "document.title='owned'" in page.text
    assert not page.tags & {"script", "img", "iframe", "object", "form", "svg"}
    assert not {name for name in page.attributes if name.startswith("on")}
    assert all(link.startswith("https://cwe.mitre.org/") for link in page.links)


def test_no_answer_gets_out_of_its_block_in_markdown(report: Audit) -> None:
    outside, fence = [], ""
    for line in markdown(report).splitlines():
        run = line[: len(line) - len(line.lstrip("`"))]
        if not fence and len(run) >= 3:
            fence = run
        elif fence and line == fence:
            fence = ""
        elif not fence:
            outside.append(line)
    assert not fence
    assert "<script" not in re.sub(r"``.*?``", "", "\n".join(outside)).replace("\\<", "")
    assert "document.title='owned'" in markdown(report)


def test_the_checklist_is_whole_and_nothing_in_it_is_ticked(report: Audit) -> None:
    text = markdown(report)
    assert all(line in text for section in sections() for line in items(section))
    assert "[x]" not in text.lower()


def test_sarif_keeps_its_schema(report: Audit) -> None:
    written = sarif(report)
    jsonschema.Draft4Validator(SCHEMA).validate(written)
    results = written["runs"][0]["results"]
    assert len(results) == len(report.findings) > 0


@pytest.mark.parametrize("name", WEAKNESSES)
def test_every_weakness_is_taught_and_has_one_line_in_the_checklist(name: str) -> None:
    weakness = WEAKNESSES[name]
    lines = [(section, line) for section in sections() for line in items(section) if weakness.line in line]
    assert len(lines) == 1
    assert weakness.exercise in all_exercises()
    assert weakness.severity in SEVERITIES
    assert int(lines[0][0][:2]) in {weakness.section, int(weakness.exercise.split(".")[0])}


def test_what_is_accepted_is_shown_and_does_not_count_until_it_expires(report: Audit, tmp_path: Path) -> None:
    key = report.findings[0].key
    (tmp_path / "b.toml").write_text(
        f'[[accepted]]\nfinding = {json.dumps(key)}\nreason = "A demo."\nexpires = 2026-05-01\n'
        '[[accepted]]\nfinding = "gone at GET /"\nreason = "Was there."\nexpires = 2026-05-01\n'
    )
    before, notes = accepted(tmp_path / "b.toml", report.findings, datetime.date(2026, 5, 1))
    assert before[0].accepted == "A demo. (until 2026-05-01)"
    assert worst(before) < worst(report.findings)
    assert len(notes) == 1
    after, notes = accepted(tmp_path / "b.toml", report.findings, datetime.date(2026, 5, 2))
    assert not after[0].accepted
    assert any("expired" in note for note in notes)
    written = sarif(Audit("x", report.began, before))
    jsonschema.Draft4Validator(SCHEMA).validate(written)
    assert "suppressions" in written["runs"][0]["results"][0]


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[[accepted]]\nfinding = 'x'",
        "[[accepted]]\nfinding = 'x'\nreason = ''\nexpires = 2026-01-01",
        "[[accepted]]\nfinding = 'x'\nreason = 'y'\nexpires = 'soon'",
        "= broken",
    ],
)
def test_a_baseline_without_reason_or_date_is_one_sentence(tmp_path: Path, text: str) -> None:
    (tmp_path / "b.toml").write_text(text)
    with pytest.raises(AuditError, match="reason"):
        accepted(tmp_path / "b.toml", [], datetime.date(2026, 1, 1))


def test_the_command_writes_four_files_once_and_fails_when_told_to(tmp_path: Path) -> None:
    out = tmp_path / "out"
    ran = run(PAGES, "--out", out, "--fail-on", "high")
    assert ran.returncode == 3, ran.stderr
    assert {path.name for path in out.iterdir()} == set(NAMES)
    data = json.loads((out / "audit.json").read_text())
    assert f"{len(data['findings'])} findings" in ran.stdout
    jsonschema.Draft4Validator(SCHEMA).validate(json.loads((out / "audit.sarif").read_text()))
    ticked = (out / "audit.md").read_text() + "- [x] mine"
    (out / "audit.md").write_text(ticked)
    again = run(PAGES, "--out", out)
    assert again.returncode == 1
    assert "another folder" in again.stderr
    assert (out / "audit.md").read_text() == ticked


def test_a_command_that_cannot_be_followed_is_one_sentence(tmp_path: Path) -> None:
    ran = run("http://192.0.2.1", "--out", tmp_path / "out")
    assert ran.returncode == 1
    assert len(ran.stderr.strip().splitlines()) == 1
    assert "Traceback" not in ran.stderr
