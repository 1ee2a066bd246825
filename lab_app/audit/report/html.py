"""The report as a page: static, without a script, whatever an app's answers hold."""

from pathlib import Path

from lab_app.audit.audit import Audit
from lab_app.audit.finding import SEVERITIES
from lab_app.audit.report.told import how_to_replay, routes_in_words
from lab_app.jupyter.markup import printable, render
from lab_app.jupyter.view import PAGE_STYLE

HERE = Path(__file__).parent
STYLE = (HERE / "report.css").read_text(encoding="utf-8")


def html(audit: Audit) -> str:
    """The report as HTML."""
    title = f"Security audit of {printable(audit.target)}"
    count = {name: sum(each.severity == name for each in audit.findings) for name in reversed(SEVERITIES)}
    values = {"audit": audit, "count": count, "routes": routes_in_words, "replay": how_to_replay(audit)}
    return render("report.html", folder=HERE, title=title, style=PAGE_STYLE + STYLE, **values)
