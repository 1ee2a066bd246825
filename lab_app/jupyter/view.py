"""How a Verdict looks, as HTML and as text. The static feedback page of a grading run shows the same HTML."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lab_app.harness.verdict import Result, Verdict
from lab_app.jupyter.markup import printable, render

STYLE = Path(__file__).with_name("view.css").read_text(encoding="utf-8")
PAGE_STYLE = STYLE + Path(__file__).with_name("page.css").read_text(encoding="utf-8")  # of a page of its own
SYMBOLS = {"passed": "✓", "not yet": "◐", "not attempted": "○", "does not start": "✗", "too slow": "◔"}
MARKS = {
    ("attack", True): "✓ blocked",
    ("attack", False): "✗ not blocked",
    ("legit", True): "✓ works",
    ("legit", False): "✗ broken",
}
SKIPPED = "– skipped"


@dataclass(frozen=True)
class View:
    """What a notebook shows: `html` where there is a browser, `text` everywhere else."""

    html: str
    text: str

    def __repr__(self) -> str:
        return self.text

    def _repr_html_(self) -> str:
        return f"<style>{STYLE}</style>{self.html}"


def note(sentence: str) -> View:
    """A single sentence."""
    return View(render("note.html", sentence=sentence), printable(sentence))


def view_of(verdict: Verdict, about: str = "") -> View:
    """A verdict and a closing line about it, for a notebook."""
    closing = [*_advice(verdict), about] if about else _advice(verdict)
    text = "\n".join([verdict_text(verdict), *map(printable, closing)])
    return View(render("verdict.html", **_shown(verdict), hints=False, closing=closing), text)


def verdict_html(verdict: Verdict) -> str:
    """A verdict as an HTML fragment that looks right under STYLE, with its hints: on paper nobody can ask for one."""
    return render("verdict.html", **_shown(verdict), hints=True, closing=[])


def verdict_text(verdict: Verdict) -> str:
    """A verdict as text."""
    return printable("\n".join(_lines(verdict)))


def in_words(verdict: Verdict) -> str:
    """14 of 18 checks; attacks count once everything that should work works"""
    if not judged(verdict):
        return ""
    made = verdict.made()
    count = f"{round(verdict.score * len(made))} of {len(made)} checks"
    if skipped := len(verdict.results) - len(made):
        count += f", {skipped} skipped"
    broken = any(result.kind == "legit" for result in verdict.failed())
    return count + "; attacks count once everything that should work works" * broken


def judged(verdict: Verdict) -> bool:
    """Whether the checks have seen the answer at work; if not, its trouble says all there is to say."""
    return bool(verdict.results) and not verdict.trouble


def _advice(verdict: Verdict) -> list[str]:
    """How to go on after a check that failed."""
    if not judged(verdict) or not verdict.failed():
        return []
    hint = f'One hint at a time: hint("{verdict.exercise}").'
    if not any(exchange.curl for result in verdict.failed() for exchange in result.evidence):
        return [hint]
    return [
        f"{hint} The app that was checked has ended: to send a curl line again, serve(app) and put that port into it."
    ]


def _shown(verdict: Verdict) -> dict[str, Any]:
    failed = verdict.failed()
    return {
        "verdict": verdict,
        "symbol": SYMBOLS[verdict.outcome],
        "words": in_words(verdict),
        "results": verdict.results if judged(verdict) else (),
        "mark": _mark,
        "first": failed[0] if failed else None,
    }


def _mark(result: Result) -> str:
    return SKIPPED if result.skipped else MARKS[result.kind, result.passed]


def _lines(verdict: Verdict) -> Iterator[str]:
    words = in_words(verdict)
    yield f"{SYMBOLS[verdict.outcome]} Exercise {verdict.exercise} — {verdict.title}: {verdict.outcome}" + (
        f" ({words})" if words else ""
    )
    if verdict.trouble:
        yield verdict.trouble
    for misconception in verdict.misconceptions:
        yield f"Often the cause: {misconception}"
    for result in verdict.results if judged(verdict) else ():
        yield f"  {_mark(result):14} {result.title}"
        if result.skipped:
            yield f"      {result.skipped}"
        elif not result.passed:
            yield from ("      " + line for line in _told(result, whole=result is verdict.failed()[0]))


def _told(result: Result, whole: bool) -> Iterator[str]:
    """What a failed check has to say; but for the first, the curl line stands for the exchange."""
    yield from result.complaint().split("\n")
    for exchange in result.evidence if whole else ():
        yield from ("Sent:", *_indented(exchange.request), "Came back:", *_indented(exchange.response))
    yield f"Why: {result.why}"
    yield f"Source: {', '.join(result.sources)}"
    yield from (f"Again: {exchange.curl}" for exchange in result.evidence if exchange.curl)


def _indented(text: str) -> Iterator[str]:
    return ("    " + line for line in text.split("\n"))
