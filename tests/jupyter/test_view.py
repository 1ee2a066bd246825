"""How verdicts look: every outcome, in words as well as in HTML, whatever a hostile answer put into them."""

from dataclasses import replace
from html.parser import HTMLParser

import pytest

from lab_app.harness.evidence import Exchange
from lab_app.harness.verdict import Result, Verdict
from lab_app.jupyter.markup import link
from lab_app.jupyter.view import note, verdict_html, verdict_text, view_of
from tests.jupyter.conftest import result, verdict

HOSTILE = "<script>x</script><img src=x onerror=y>'\"&\x1b[31m\x00\u202e\ud800{{ 7 * 7 }}"
VERDICTS = {
    "passed": verdict("passed", result(text="a"), result(kind="legit", text="b")),
    "not yet": verdict("not yet", result(False, text="a"), result(False, text="b"), misconceptions=("known cause",)),
    "does not start": verdict("does not start", result(False), trouble="ModuleNotFoundError: x"),
    "too slow": verdict("too slow", result(False), trouble="still running"),
    "not attempted": verdict("not attempted", trouble="still the starter"),
}


class Text(HTMLParser):
    """What a reader of the HTML sees, and the elements it is made of."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.text, self.tags = "", []
        self.feed(html)

    def handle_data(self, data: str) -> None:
        self.text += data

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))


@pytest.mark.parametrize("outcome", VERDICTS)
def test_every_outcome_is_said_in_words(outcome: str) -> None:
    for shown in (Text(verdict_html(VERDICTS[outcome])).text, verdict_text(VERDICTS[outcome])):
        assert outcome in shown
        assert "Exercise 1.1 — Read the token" in shown
        assert VERDICTS[outcome].trouble in shown


def test_a_failed_check_tells_all_in_both() -> None:
    html, text = Text(view_of(VERDICTS["not yet"]).html).text, verdict_text(VERDICTS["not yet"])
    parts = "title found safe request response why source curl".split()
    for shown in (html, text):
        assert "✗ not blocked" in shown
        assert "known cause" in shown
        assert [part for part in parts if f"{part} a" not in shown] == []
        assert "Hint" not in shown, "a notebook gives one hint at a time"
    assert "hint a" in Text(verdict_html(VERDICTS["not yet"])).text, "a page on paper has no hint() to ask"
    assert "curl b" in text
    assert "request b" in html


def test_a_traceback_keeps_its_last_line() -> None:
    raised = replace(result(False), found="raised:\nNameError: name 'lock' is not defined", safe="", crashed=True)
    for shown in (Text(verdict_html(verdict("not yet", raised))).text, verdict_text(verdict("not yet", raised))):
        assert "is not defined\n" in shown


def test_only_who_has_a_curl_line_is_told_where_to_send_it() -> None:
    silent = replace(result(False), evidence=(Exchange("call()", "7", ""),))
    assert "serve(app)" in view_of(VERDICTS["not yet"]).text
    assert "serve(app)" not in view_of(verdict("not yet", silent)).text


def test_only_the_first_failure_is_open() -> None:
    details = [attrs for tag, attrs in Text(verdict_html(VERDICTS["not yet"])).tags if tag == "details"]
    assert ["open" in attrs for attrs in details] == [True, False]


@pytest.mark.parametrize(
    ("results", "words"),
    [
        ((result(), result(False), result(kind="legit")), "2 of 3 checks"),
        ((result(), result(), result(False, "legit")), "0 of 3 checks; attacks count once everything that should work"),
    ],
)
def test_the_score_is_said_in_words(results: tuple[Result, ...], words: str) -> None:
    judged = verdict("not yet", *results)
    assert words in Text(verdict_html(judged)).text
    assert words in verdict_text(judged)


def test_a_skipped_check_says_why_and_counts_neither_way() -> None:
    judged = verdict("passed", result(text="a"), result(False, text="b", skipped="No browser here."))
    for shown in (Text(verdict_html(judged)).text, verdict_text(judged)):
        assert "1 of 1 checks, 1 skipped" in shown
        assert "– skipped" in shown
        assert "No browser here." in shown
        assert "found b" not in shown
    assert judged.score == 1
    assert judged.failed() == ()


def test_an_answer_that_was_not_judged_has_no_table() -> None:
    for outcome in ("does not start", "not attempted", "too slow"):
        assert "<table" not in verdict_html(VERDICTS[outcome])
        assert "title one" not in verdict_text(VERDICTS[outcome])
        assert "hint(" not in view_of(VERDICTS[outcome]).text


def test_out_of_time_amid_the_checks_keeps_what_they_found() -> None:
    judged = verdict("too slow", result(text="a"), result(False, text="b"))
    assert "title a" in verdict_html(judged)
    assert "found b" in verdict_text(judged)


@pytest.mark.parametrize(
    "judged",
    [
        verdict("not yet", result(False, text=HOSTILE), result(text=HOSTILE), misconceptions=(HOSTILE,)),
        verdict("does not start", trouble=HOSTILE),
    ],
)
def test_hostile_text_stays_text(judged: Verdict) -> None:
    view = view_of(judged, about=HOSTILE)
    shown = Text(view.html)
    assert not {tag for tag, _ in shown.tags} & {"script", "img"}
    assert not [name for _, attrs in shown.tags for name in attrs if name.startswith("on")]
    assert "<script>x</script>" in shown.text
    assert "{{ 7 * 7 }}" in shown.text
    for text in (shown.text, view.text):
        assert all(c.isprintable() or c in "\n\t" for c in text)
        assert "\\x1b[31m\\x00\\u202e\\ud800" in text
        text.encode()


def test_sources_lead_to_where_they_can_be_read() -> None:
    assert link("CWE-347") == "https://cwe.mitre.org/data/definitions/347.html"
    assert link("RFC 8725 §3.1") == "https://www.rfc-editor.org/rfc/rfc8725#section-3.1"
    assert link("RFC 7519") == "https://www.rfc-editor.org/rfc/rfc7519"
    assert link("CSP3 #security-nonces") == "https://www.w3.org/TR/CSP3/#security-nonces"
    assert link("javascript:alert(1)") == ""


def test_names_in_our_prose_are_set_as_code() -> None:
    assert note("Require `exp`, `<b>`.").html.count("<code>") == 2
    assert "<code>&lt;b&gt;</code>" in note("Require `exp`, `<b>`.").html
