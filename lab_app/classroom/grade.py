"""Grade notebooks one after the other; every verdict is written as it arrives."""

import csv
import json
from collections.abc import Iterator
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from lab_app.classroom.collect import Submission
from lab_app.classroom.feedback import write_feedback
from lab_app.harness.checker import Checker, CheckerDied
from lab_app.harness.verdict import Verdict, to_json
from lab_app.workbook.source import all_exercises
from lab_app.workbook.submission import Offered, SubmissionError, read_submission

Graded = dict[str, dict[str, Verdict]]  # student → exercise → verdict


def grade_all(submissions: list[Submission], out: Path, seed: int | None, jailed: bool, console: Console) -> list[str]:
    """Write verdicts.jsonl, grades.csv and feedback/ into `out`; one sentence for each file that cannot be read.

    Raises JailError and OSError.
    """
    out.mkdir(parents=True, exist_ok=True)
    graded: Graded = {}
    unread = []
    with (
        (out / "verdicts.jsonl").open("w", encoding="utf-8") as lines,
        Checker(jailed=jailed) as checker,
        _bar(console) as bar,
    ):
        task = bar.add_task("", total=len(submissions))
        for submission in submissions:
            bar.update(task, description=submission.student)
            mine = graded.setdefault(submission.student, {})
            try:
                for verdict in verdicts(checker, submission.path, seed=seed):
                    mine[verdict.exercise] = verdict
                    about = {"student": submission.student, "file": str(submission.path), "jailed": jailed}
                    lines.write(json.dumps(about | to_json(verdict)) + "\n")
                    lines.flush()
            except SubmissionError as error:
                unread.append(f"{submission.student}: {error}")
            write_feedback(out, submission.student, mine, unread, jailed)
            bar.advance(task)
    write_grades(out / "grades.csv", graded)
    return unread


def verdicts(checker: Checker, path: Path, only: str | None = None, seed: int | None = None) -> Iterator[Verdict]:
    """The verdict of each exercise of a notebook, in a jail of its own. Raises SubmissionError and JailError."""
    fresh = True
    for number, offered in read_submission(path).items():
        if only in (None, number):
            yield verdict_of(checker, number, offered, seed, fresh)
            fresh = False


def verdict_of(checker: Checker, number: str, offered: Offered, seed: int | None, fresh: bool) -> Verdict:
    """The verdict of one exercise; one that brings the checker itself down counts as broken."""
    title = all_exercises()[number].title
    if offered.trouble:
        return Verdict(number, title, "not attempted", trouble=offered.trouble)
    try:
        return checker.check(number, offered.source, seed, fresh)
    except CheckerDied as error:
        return Verdict(number, title, "does not start", trouble=str(error))


def write_grades(path: Path, graded: Graded) -> None:
    """One row a student, one column an exercise (0–1), and their sum; the old file stays until the new one is whole."""
    numbers = [number for number in all_exercises() if any(number in mine for mine in graded.values())]
    draft = path.with_suffix(".part")
    with draft.open("w", newline="", encoding="utf-8") as file:
        table = csv.writer(file)
        table.writerow(["student", *numbers, "total"])
        for student, mine in graded.items():
            scores = [mine[number].score if number in mine else 0.0 for number in numbers]
            table.writerow([student, *(f"{score:.4f}" for score in scores), f"{sum(scores):.4f}"])
    draft.replace(path)


def _bar(console: Console) -> Progress:
    return Progress(
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
        console=console,
        transient=True,
    )
