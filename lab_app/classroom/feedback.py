"""A page for each student: every verdict with its evidence, static, without a script."""

import hashlib
import re
from html import escape
from pathlib import Path

from lab_app.harness.verdict import Verdict
from lab_app.jupyter.view import STYLE, verdict_html

PAGE_STYLE = STYLE + Path(__file__).with_name("page.css").read_text(encoding="utf-8")
PAGE = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; style-src 'unsafe-inline'">
<title>{title}</title>
<style>{style}</style>
</head>
<body class="lab-page">
<h1>{title}</h1>
{body}
</body>
</html>
"""


def write_feedback(out: Path, student: str, verdicts: dict[str, Verdict], troubles: list[str], jailed: bool) -> Path:
    """Write a student's page into `out`/feedback and give its path."""
    notes = [trouble for trouble in troubles if trouble.startswith(f"{student}: ")]
    if not jailed:
        notes.append("Graded without the jail (--trust-submissions).")
    total = sum(verdict.score for verdict in verdicts.values())
    summary = f"<p>{total:.2f} of {len(verdicts)} exercises.</p>"
    parts = [summary, *(f"<p>{escape(note)}</p>" for note in notes), *map(verdict_html, verdicts.values())]
    path = out / "feedback" / f"{file_name(student)}.html"
    path.parent.mkdir(exist_ok=True)
    page = PAGE.format(title=escape(f"Feedback for {student}"), style=PAGE_STYLE, body="\n".join(parts))
    path.write_text(page, encoding="utf-8", errors="replace")
    return path


def file_name(student: str) -> str:
    """A student's name as a file name that no system trips over; two names never give the same, in any case."""
    plain = re.sub(r"[^\w.-]+", "_", student).strip("._")[:60]
    if plain and plain == student == student.casefold():
        return plain
    return f"{plain or 'student'}-{hashlib.sha256(student.encode(errors='replace')).hexdigest()[:8]}"
