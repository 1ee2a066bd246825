"""What comes out of a class: tables, a page for each student, and pages for whoever teaches."""

import hashlib
import re
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from lab_app.classroom.alike import solved
from lab_app.classroom.hold_back import concealed, held
from lab_app.classroom.marks import Marks, exercises_of, marks
from lab_app.classroom.policy import Policy, PolicyError, from_json, to_json
from lab_app.classroom.statistics import BANDS, Statistics, band
from lab_app.classroom.store import Store
from lab_app.classroom.tables import draft, tables, write_junit
from lab_app.harness.verdict import Verdict
from lab_app.jupyter.markup import render
from lab_app.jupyter.view import PAGE_STYLE, verdict_html
from lab_app.workbook.source import all_exercises

TEMPLATES = Path(__file__).with_name("templates")
A_PAGE = 500  # rows of a heat map


@dataclass(frozen=True)
class Row:
    """One student in a heat map: name, page, cells of (shade, score), total, and what there is to say."""

    name: str
    page: str
    cells: list[tuple[int, str]]
    total: str
    note: str


def policy_of(store: Store, **changes: Any) -> Policy:
    """The rules in the store, with the changes that are not None, which stay there. Raises PolicyError, SourceError."""
    kept = store.setting("policy")
    policy = replace(from_json(kept) if kept else Policy(), **{k: v for k, v in changes.items() if v is not None})
    expect_known(store, policy)
    store.keep_setting("policy", to_json(policy))
    return policy


def report(store: Store, out: Path, policy: Policy) -> None:
    """Write everything into `out`: tables, feedback/, junit/, class.html. Raises OSError, StoreError."""
    numbers, counted, rows = exercises_of(store), Statistics(exercises_of(store)), Rows(out, exercises_of(store))
    for name in ("feedback", "junit"):
        (out / name).mkdir(exist_ok=True)
    with tables(out, numbers, policy) as written:
        for mine in marks(store, policy):
            written.add(mine)
            counted.add(mine)
            told = [concealed(verdict, policy.held_back) for verdict in mine.verdicts.values()]
            name = file_name(mine.student.name)
            write(out / "feedback" / f"{name}.html", student_page(mine, told, policy))
            write_junit(out / "junit" / f"{name}.xml", mine, told)
            rows.add(mine, f"feedback/{name}.html")
    rows.close()
    write(out / "class.html", class_page(store, counted, rows.pages))


def expect_known(store: Store, policy: Policy) -> None:
    """Raises PolicyError and SourceError for rules about somebody or something that is not there."""
    strangers = sorted(set(policy.overrides) - {student.name for student in store.students()})
    if strangers:
        raise PolicyError(
            f"A score is set by hand for {strangers[0]}, who has handed in nothing. Correct the name or take the line "
            "out, and give the rules to `report` again: what is written follows the rules as they were."
        )
    held(policy.held_back)


def student_page(mine: Marks, told: list[Verdict], policy: Policy) -> str:
    """A student's page."""
    notes = list(mine.student.troubles)
    if mine.unjailed:
        notes.append(f"Judged without the jail (--trust-submissions): {', '.join(sorted(mine.unjailed))}.")
    if mine.days_late:
        notes.append(f"Handed in late: {mine.days_late} × {policy.penalty:.0%} of the total were taken off.")
    if policy.due and not mine.student.handed_in:
        notes.append("Nothing says when this was handed in, so it counts as in time.")
    scores = [(n, all_exercises()[n].title, f"{score:.2f}", mine.overrides.get(n)) for n, score in mine.scores.items()]
    return page(
        "student.html",
        f"Feedback for {mine.student.name}",
        total=f"{mine.total:.2f} of {len(mine.scores)}",
        notes=notes,
        scores=scores,
        verdicts=[verdict_html(one) for one in told] if policy.feedback == "full" else [],
    )


def class_page(store: Store, counted: Statistics, pages: list[str]) -> str:
    """The page for whoever teaches: what was hard, what was misunderstood, who wrote the same, what was left out."""
    alike = [
        (number, names, print_ == solved(number), all_exercises()[number].title)
        for number, print_, names in store.alike()
    ]
    return page(
        "class.html",
        "The class",
        counted=counted,
        titles={number: exercise.title for number, exercise in all_exercises().items()},
        hardest=counted.hardest(),
        misconceptions=counted.misconceptions.most_common(15),
        alike=alike,
        left_out=store.setting("left_out") or [],
        pages=pages,
        bands=range(BANDS + 1),
    )


class Rows:
    """The heat map of students × exercises, A_PAGE students to a page."""

    def __init__(self, out: Path, numbers: list[str]) -> None:
        self.out, self.numbers = out, numbers
        self.rows: list[Row] = []
        self.pages: list[str] = []
        for old in out.glob("students-*.html"):
            old.unlink()

    def add(self, mine: Marks, link: str) -> None:
        """One student."""
        cells = [(band(mine.scores[number]), shown(mine, number)) for number in self.numbers]
        said = ["judged without the jail"] * bool(mine.unjailed) + [f"{mine.days_late} days late"] * bool(
            mine.days_late
        )
        note = "; ".join([*said, *mine.student.troubles])
        self.rows.append(Row(mine.student.name, link, cells, f"{mine.total:.2f}", note))
        if len(self.rows) == A_PAGE:
            self.close()

    def close(self) -> None:
        """Write what is left."""
        if self.rows:
            name = f"students-{len(self.pages) + 1}.html"
            write(self.out / name, page("students.html", "Students × exercises", rows=self.rows, numbers=self.numbers))
            self.pages.append(name)
            self.rows = []


def shown(mine: Marks, number: str) -> str:
    """A score in a cell; a star where a person has set it, a dash where nothing was attempted."""
    verdict = mine.verdicts.get(number)
    if number in mine.overrides:
        return f"{mine.scores[number]:.2f}*"
    return "–" if verdict is None or verdict.outcome == "not attempted" else f"{mine.scores[number]:.2f}"


def page(template: str, title: str, **values: Any) -> str:
    """A whole page: static, without a script, and with nothing to load."""
    return render(template, folder=TEMPLATES, title=title, style=PAGE_STYLE, **values)


def write(path: Path, text: str) -> None:
    """Write a page; the old one stays until the new one is whole."""
    with draft(path) as file:
        file.write(text)


def file_name(student: str) -> str:
    """A student's name as a file name that no system trips over; two names never give the same, in any case."""
    plain = re.sub(r"[^\w.-]+", "_", student).strip("._")[:60]
    if plain and plain == student == student.casefold():
        return plain
    return f"{plain or 'student'}-{hashlib.sha256(student.encode(errors='replace')).hexdigest()[:8]}"
