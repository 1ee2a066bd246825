"""The four files of a report, whole or not at all."""

import json
from pathlib import Path

from lab_app.audit.audit import Audit
from lab_app.audit.errors import AuditError
from lab_app.audit.report.html import html
from lab_app.audit.report.markdown import markdown
from lab_app.audit.report.sarif import sarif
from lab_app.audit.report.told import as_data

NAMES = ("audit.md", "audit.html", "audit.sarif", "audit.json")


def reserve(out: Path) -> None:
    """Make the folder, and see that no report is there whose ticks would be lost. Raises AuditError and OSError."""
    if any((out / name).exists() for name in NAMES):
        raise AuditError(f"{out} holds an audit already, perhaps with your ticks in it. Give another folder to --out.")
    out.mkdir(parents=True, exist_ok=True)


def write(audit: Audit, out: Path) -> None:
    """Write all four. Raises OSError."""
    texts = (
        markdown(audit),
        html(audit),
        json.dumps(sarif(audit), indent=1),
        json.dumps(as_data(audit), indent=1),
    )
    drafts = [(out / f"{name}.part", out / name, text) for name, text in zip(NAMES, texts, strict=True)]
    for draft, _, text in drafts:
        draft.write_text(text, encoding="utf-8", errors="backslashreplace")
    for draft, path, _ in drafts:
        draft.replace(path)
