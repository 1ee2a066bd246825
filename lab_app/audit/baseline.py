"""Findings that somebody has accepted, with a reason, until a day.

[[accepted]]
finding = "unprotected-page at GET /welcome"     # its key, as every report names it
reason = "The proxy in front sends the headers."
expires = 2027-01-31
"""

import datetime
import tomllib
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

from lab_app.audit.errors import AuditError
from lab_app.audit.finding import Finding

FORM = 'Each [[accepted]] needs finding = "…", reason = "…" and expires = 2027-01-31.'


def accepted(file: Path, findings: Iterable[Finding], today: datetime.date) -> tuple[list[Finding], list[str]]:
    """The findings with their reasons, and a sentence for every entry that is of no use. Raises AuditError."""
    try:
        rows = tomllib.loads(file.read_text(encoding="utf-8"))["accepted"]
        entries = {row["finding"]: row for row in rows}
        good = all(str(row["reason"]).strip() and type(row["expires"]) is datetime.date for row in rows)
    except (OSError, UnicodeDecodeError) as error:
        raise AuditError(f"{file} cannot be read. Give --baseline a TOML file.") from error
    except (ValueError, KeyError, TypeError) as error:
        raise AuditError(f"{file} is no baseline. {FORM}") from error
    if not good:
        raise AuditError(f"{file} has an entry without a reason or a date. {FORM}")
    marked = [
        replace(each, accepted=f"{row['reason']} (until {row['expires']})")
        if (row := entries.get(each.key)) and row["expires"] >= today
        else each
        for each in findings
    ]
    keys = {each.key for each in marked}
    notes = [
        f"The baseline's “{key}” expired on {row['expires']}." for key, row in entries.items() if row["expires"] < today
    ]
    notes += [f"The baseline's “{key}” was not found: take it out." for key in entries if key not in keys]
    return marked, notes
