"""SARIF 2.1.0, as code hosts read it: https://docs.oasis-open.org/sarif/sarif/v2.1.0/."""

import hashlib
from typing import Any

from lab_app.audit.audit import Audit
from lab_app.audit.finding import Finding, Weakness
from lab_app.audit.report.told import exchange_data, routes_in_words

SCHEMA = "https://json.schemastore.org/sarif-2.1.0-rtm.5.json"
LEVELS = {"critical": "error", "high": "error", "medium": "warning", "low": "note"}
SCORES = {"critical": "9.5", "high": "8.0", "medium": "5.5", "low": "2.0"}  # the middles of CVSS's own bands


def sarif(audit: Audit) -> dict[str, Any]:
    """The report as SARIF."""
    kinds = {each.weakness.name: each.weakness for each in audit.findings}
    notes = [*audit.notes, *(f"Not seen: {name}" for name in audit.unseen)]
    invocation = {
        "executionSuccessful": audit.whole,
        "startTimeUtc": audit.began.isoformat().replace("+00:00", "Z"),
        "toolExecutionNotifications": [{"level": "note", "message": {"text": note}} for note in notes],
    }
    tool = {"name": "FastAPI Security Workbook audit", "rules": [*map(_rule, kinds.values())]}
    run = {
        "tool": {"driver": tool},
        "invocations": [invocation],
        "results": [_result(each, list(kinds)) for each in audit.findings],
    }
    return {"$schema": SCHEMA, "version": "2.1.0", "runs": [run]}


def _rule(weakness: Weakness) -> dict[str, Any]:
    return {
        "id": weakness.name,
        "shortDescription": {"text": weakness.title},
        "help": {"text": f"{weakness.fix} Exercise {weakness.exercise} of the workbook teaches it."},
        "helpUri": f"https://cwe.mitre.org/data/definitions/{weakness.cwe}.html",
        "properties": {
            "security-severity": SCORES[weakness.severity],
            "tags": ["security", f"external/cwe/cwe-{weakness.cwe}", f"ASVS 5.0 {weakness.asvs}"],
        },
    }


def _result(finding: Finding, rules: list[str]) -> dict[str, Any]:
    name = finding.weakness.name
    location: dict[str, Any] = {"logicalLocations": [{"fullyQualifiedName": finding.where, "kind": "resource"}]}
    if finding.place:
        location["physicalLocation"] = {
            "artifactLocation": {"uri": finding.place.file},
            "region": {"startLine": finding.place.line},
        }
    result = {
        "ruleId": name,
        "ruleIndex": rules.index(name),
        "level": LEVELS[finding.severity],
        "message": {"text": f"{finding.weakness.title}: {routes_in_words(finding)}. {finding.said}"},
        "locations": [location],
        "partialFingerprints": {"key/v1": hashlib.sha256(finding.key.encode()).hexdigest()},
        "properties": {"evidence": exchange_data(finding.evidence)},
    }
    suppressed = [{"kind": "external", "justification": finding.accepted}] if finding.accepted else []
    return result | ({"suppressions": suppressed} if suppressed else {})
