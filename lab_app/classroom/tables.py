"""Marks for other programs: spreadsheets, JSON lines and JUnit."""

import csv
import json
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TextIO
from xml.etree import ElementTree as ET

from lab_app.classroom.marks import Marks
from lab_app.classroom.policy import Policy
from lab_app.harness.verdict import Result, Verdict, to_json
from lab_app.jupyter.markup import printable

NAMES = ("grades", "canvas", "moodle")
# What Canvas reads back into its gradebook, and Moodle as an assignment's offline grading worksheet.
CANVAS = ("Student", "ID", "SIS User ID", "SIS Login ID", "Section", "FastAPI Security Workbook")
MOODLE = ("Identifier", "Full name", "Grade", "Maximum Grade")


class Tables:
    """The tables of a class, written row by row."""

    def __init__(self, files: dict[str, TextIO], numbers: list[str], policy: Policy) -> None:
        self.grades, self.canvas, self.moodle = (csv.writer(files[f"{name}.csv"]) for name in NAMES)
        self.lines, self.numbers = files["verdicts.jsonl"], numbers
        self.late = policy.due is not None
        self.grades.writerow(["student", *numbers, "total", *["days_late"] * self.late])
        self.canvas.writerows([CANVAS, ("    Points Possible", "", "", "", "", str(len(numbers)))])
        self.moodle.writerow(MOODLE)

    def add(self, mine: Marks) -> None:
        """One student: a row, and a line for each verdict."""
        scores = [f"{mine.scores[number]:.4f}" for number in self.numbers]
        days_late = str(mine.days_late) if mine.student.handed_in else ""  # nobody knows
        late, name, number = [days_late] * self.late, no_formula(mine.student.name), mine.student.number
        self.grades.writerow([name, *scores, f"{mine.total:.4f}", *late])
        self.canvas.writerow([name, number, "", "", "", f"{mine.total:.2f}"])
        self.moodle.writerow([f"Participant {number}" * bool(number), name, f"{mine.total:.2f}", len(self.numbers)])
        for number, verdict in mine.verdicts.items():
            about = {"student": mine.student.name, "jailed": number not in mine.unjailed}
            self.lines.write(json.dumps(about | to_json(verdict)) + "\n")


@contextmanager
def tables(out: Path, numbers: list[str], policy: Policy) -> Iterator[Tables]:
    """The tables of a class, put into `out` once they are whole; until then the old ones stay."""
    with ExitStack() as stack:
        names = [*(f"{name}.csv" for name in NAMES), "verdicts.jsonl"]
        yield Tables({name: stack.enter_context(draft(out / name)) for name in names}, numbers, policy)


@contextmanager
def draft(path: Path) -> Iterator[TextIO]:
    """A file that takes the place of `path` once it is whole."""
    part = path.with_name(path.name + ".part")
    with part.open("w", newline="", encoding="utf-8", errors="replace") as file:
        yield file
    part.replace(path)


def no_formula(text: str) -> str:
    """A text that a spreadsheet takes for text (CWE-1236)."""
    return f"'{text}" if text.startswith(("=", "+", "-", "@", "\t", "\r")) else text


def write_junit(path: Path, mine: Marks, told: list[Verdict]) -> None:
    """A student's checks as JUnit XML: a suite an exercise, a case a check."""
    top = ET.Element("testsuites", name=printable(mine.student.name))
    for verdict in told:
        results = verdict.results or (unjudged(verdict),)
        failed = sum(not result.passed and not result.skipped for result in results)
        suite = ET.SubElement(
            top,
            "testsuite",
            name=f"{verdict.exercise} {verdict.title}",
            tests=str(len(results)),
            failures=str(failed),
            errors="0",
            skipped=str(sum(bool(result.skipped) for result in results)),
            time=f"{verdict.seconds:.3f}",
        )
        for result in results:
            case = ET.SubElement(suite, "testcase", classname=verdict.exercise, name=result.title)
            if result.skipped:
                ET.SubElement(case, "skipped", message=printable(result.skipped))
            elif not result.passed:
                failure = ET.SubElement(case, "failure", message=printable(result.found)[:500])
                failure.text = printable("\n".join(e.request + "\n\n" + e.response for e in result.evidence))
    ET.indent(top)
    path.write_bytes(ET.tostring(top, encoding="utf-8", xml_declaration=True))


def unjudged(verdict: Verdict) -> Result:
    """What stands for the checks of an answer that none of them has seen."""
    return Result("", "legit", verdict.outcome, "", "", (), passed=False, found=verdict.trouble)
