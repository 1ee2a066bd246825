"""What nbgrader's graded cells call: as many points as the gradebook would give for the same file."""

import os
from pathlib import Path

from IPython.display import display

from lab_app.classroom.for_nbgrader import HELD_BACK
from lab_app.classroom.grade import verdict_of
from lab_app.classroom.hold_back import concealed
from lab_app.jupyter.kernel import ready
from lab_app.jupyter.view import view_of
from lab_app.workbook.submission import read_submission


def points(notebook: str, number: str, most: float) -> float:
    """Judge an exercise of a notebook in the current folder, as saved; show the verdict, and give its share of `most`.

    Of the checks that the course's nbgrader_config.py holds back, only titles are shown. Raises SubmissionError.
    """
    offered = read_submission(Path(notebook))[number]
    verdict = verdict_of(ready().checker, number, offered, fresh=False)
    held = frozenset(os.environ.get(HELD_BACK, "").split())
    display(view_of(concealed(verdict, held)))  # type: ignore[no-untyped-call]
    return verdict.score * most
