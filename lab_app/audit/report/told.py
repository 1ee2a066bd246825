"""What all reports say of a finding, by the same names."""

from typing import Any

from lab_app.audit.audit import Audit
from lab_app.audit.finding import Finding
from lab_app.harness.evidence import Exchange


def as_data(audit: Audit) -> dict[str, Any]:
    """An audit as JSON has it."""
    return {
        "target": audit.target,
        "began": audit.began.isoformat(),
        "served": audit.served,
        "whole": audit.whole,
        "routes": audit.routes,
        "requests": audit.asked,
        "findings": [finding_data(each) for each in audit.findings],
        "looked_for": sorted(audit.looked),
        "unseen": audit.unseen,
        "notes": audit.notes,
    }


def finding_data(finding: Finding) -> dict[str, Any]:
    """A finding as JSON has it."""
    weakness = finding.weakness
    return {
        "key": finding.key,
        "section": weakness.section,
        "title": weakness.title,
        "where": finding.where,
        "times": finding.times,
        "cwe": f"CWE-{weakness.cwe}",
        "asvs": weakness.asvs,
        "severity": finding.severity,
        "said": finding.said,
        "fix": weakness.fix,
        "exercise": weakness.exercise,
        "accepted": finding.accepted,
        "place": {"file": finding.place.file, "line": finding.place.line} if finding.place else None,
        "evidence": exchange_data(finding.evidence),
        "beside": [exchange_data(each) for each in finding.beside],
    }


def exchange_data(exchange: Exchange) -> dict[str, str]:
    """One piece of evidence."""
    return {"request": exchange.request, "response": exchange.response, "curl": exchange.curl}


def how_to_replay(audit: Audit) -> str:
    """What to do before a curl line is sent again; nothing, where the app runs on."""
    return (
        f"The app was at {audit.served} and ended with the audit. Serve it there again before you send a curl line, "
        "and give the line a token of today: users that were registered for the audit may be gone."
        if audit.served and any(each.evidence.curl for each in audit.findings)
        else ""
    )


def routes_in_words(finding: Finding) -> str:
    """Where, and at how many more routes."""
    more = finding.times - 1
    return finding.where + (f" and {more} other route{'s' * (more > 1)}" if more else "")
