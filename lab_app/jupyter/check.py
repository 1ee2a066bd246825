"""`check("1.3")`: judge the cell of an exercise as it was last run."""

from collections.abc import Iterator
from contextlib import contextmanager, suppress

from IPython.display import display

from lab_app.harness.checker import CheckerDied
from lab_app.harness.verdict import Verdict
from lab_app.jupyter import store
from lab_app.jupyter.exercises import NoSuchExercise, exercise
from lab_app.jupyter.kernel import last_run, ready
from lab_app.jupyter.view import View, note, view_of
from lab_app.workbook.source import Exercise, same_code


def check(number: object) -> View:
    """Attack your answer to an exercise, such as "1.3", and use it as an honest user would."""
    try:
        return _judged(exercise(number))
    except NoSuchExercise as trouble:
        return note(str(trouble))
    except CheckerDied as trouble:
        return note(f"{trouble} Check again; nothing was kept.")
    except KeyboardInterrupt:
        ready().checker.warm()
        return note(f"The check of {number} was stopped. Nothing was kept; check again whenever you like.")


def _judged(wanted: Exercise) -> View:
    run = last_run(wanted.number)
    if run is None:
        return note(
            f"Run the cell of exercise {wanted.number} first, then check again. It begins with “{wanted.heading}”."
        )
    source, n = run
    if same_code(source, wanted.starter):
        trouble = "This is still the starter. Change its code, run the cell, then check again."
        return view_of(Verdict(wanted.number, wanted.title, "not attempted", trouble=trouble))
    kernel = ready()
    with _live(f"Checking {wanted.number} …"):
        verdict = kernel.checker.check(wanted.number, source)
    kernel.verdicts[wanted.number] = verdict
    about = f"Judged: the cell as you ran it in [{n}], in {verdict.seconds:.1f} s."
    try:
        store.record(verdict)
    except store.StoreError as trouble:
        about += f" {trouble}"
    return view_of(verdict, about)


@contextmanager
def _live(line: str) -> Iterator[None]:
    """Show a line while something runs."""
    shown = display({"text/plain": line}, raw=True, display_id=True)  # type: ignore[no-untyped-call]
    try:
        yield
    finally:
        with suppress(KeyboardInterrupt):
            if shown:
                shown.update({"text/plain": "", "text/html": ""}, raw=True)
