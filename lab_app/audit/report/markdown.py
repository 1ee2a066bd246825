"""The checklist of all sections, findings under its lines. No line is ever ticked: that is for a person to do."""

import re
from collections.abc import Iterator

from lab_app.audit.audit import Audit
from lab_app.audit.finding import WEAKNESSES, Finding
from lab_app.audit.report.told import how_to_replay, routes_in_words
from lab_app.jupyter.markup import printable
from lab_app.workbook.checklist import items, title_of
from lab_app.workbook.source import sections

HEAD = """# Security audit of {target}

{began}. {routes} routes, {asked} requests. {count}

A line with findings needs mending, a line marked *nothing seen* was looked at and is yours to judge, all others no tool
can see. Tick what you know to hold.
"""
SPECIAL = re.compile(r"([\\`*_\[\]<>#|~&])")


def markdown(audit: Audit) -> str:
    """The report as Markdown."""
    count = f"{len(audit.findings)} finding{'s' * (len(audit.findings) != 1)}."
    head = HEAD.format(
        target=escaped(audit.target), began=audit.began.isoformat(), routes=audit.routes, asked=audit.asked, count=count
    )
    parts = [head, *_notes(audit)]
    for section in sections():
        parts += [f"## {title_of(section)}\n", *(_line(item, audit) for item in items(section)), ""]
    if audit.findings:
        parts += [
            "## Evidence\n",
            *([escaped(how_to_replay(audit)) + "\n"] if how_to_replay(audit) else ()),
            *(text for number, each in enumerate(audit.findings, 1) for text in _evidence(number, each)),
        ]
    return "\n".join(parts) + "\n"


def _notes(audit: Audit) -> Iterator[str]:
    if audit.notes or audit.unseen:
        yield "## What this audit did not see\n"
        yield from (f"- {escaped(note)}" for note in audit.notes)
        yield from (f"- {escaped(name)}" for name in audit.unseen)
        yield ""


def _line(item: str, audit: Audit) -> str:
    """A line of the checklist and what was found under it."""
    lines = [item]
    for number, each in enumerate(audit.findings, 1):
        if each.weakness.line in item:
            accepted = f" Accepted: {escaped(each.accepted)}" if each.accepted else ""
            where = escaped(routes_in_words(each))
            lines.append(f"  - **{each.severity}** {escaped(each.weakness.title)}: {where} ({number}).{accepted}")
    if len(lines) == 1 and any(WEAKNESSES[name].line in item for name in audit.looked if name in WEAKNESSES):
        lines.append("  - *nothing seen*")
    return "\n".join(lines)


def _evidence(number: int, finding: Finding) -> Iterator[str]:
    weakness = finding.weakness
    yield f"### {number}. {escaped(weakness.title)}: {escaped(finding.where)}\n"
    numbers = f"CWE-{weakness.cwe}, ASVS 5.0 {weakness.asvs}"
    yield f"{finding.severity}, section {weakness.section}, {numbers}. Exercise {weakness.exercise} teaches it.\n"
    yield f"{escaped(finding.said)}\n"
    yield f"Mend it: {escaped(weakness.fix)}\n"
    yield f"In a baseline: {code(finding.key)}\n"
    yield from (block(f"{each.request}\n\n{each.response}") for each in (finding.evidence, *finding.beside))
    if finding.evidence.curl:
        yield block(finding.evidence.curl)


def escaped(text: str) -> str:
    """Text of somebody else's in one line, without a meaning in Markdown or HTML."""
    return SPECIAL.sub(r"\\\1", printable(" ".join(text.split())))


def code(text: str) -> str:
    """Text as code within a line."""
    return "`` " + printable(" ".join(text.split())).replace("`", "'") + " ``"


def block(text: str) -> str:
    """Text as a block that it cannot close."""
    fence = "`" * max(3, 1 + max((len(run) for run in re.findall("`+", text)), default=0))
    return f"{fence}text\n{printable(text)}\n{fence}\n"
