"""The command line: start · test · check · grade · build."""

import os
import subprocess
import sys
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from lab_app.classroom import collect
from lab_app.classroom.grade import grade_all
from lab_app.runner.jail import JailError
from lab_app.workbook import notebook
from lab_app.workbook.source import ROOT, sections
from lab_app.workbook.submission import SubmissionError

app = typer.Typer(add_completion=False, no_args_is_help=True, help="The FastAPI Security Workbook.")
console = Console()
errors = Console(stderr=True, style="bold red")


@app.command()
def start() -> None:
    """Open the workbook in JupyterLab."""
    options = ["--ServerApp.ip=127.0.0.1", "--LabApp.check_for_updates_class=jupyterlab.NeverCheckForUpdate"]
    if hasattr(os, "geteuid") and os.geteuid() == 0:
        options.append("--allow-root")
    first = notebook.path_of(sections()[0])
    console.print(f"Opening {first.relative_to(ROOT)} in JupyterLab. Stop it with Ctrl-C.")
    os.chdir(ROOT)
    command = [sys.executable, "-m", "jupyter", "lab", *options, str(first.relative_to(ROOT))]
    if os.name == "nt":
        raise typer.Exit(subprocess.call(command))
    os.execv(sys.executable, command)  # noqa: S606 - no shell is wanted


@app.command()
def test() -> None:
    """Run the whole suite: the program, the checks against their solutions, and the proof of the checks."""
    codes = []
    for arguments in (["tests", "-n2", "--dist=loadfile"], ["checks"], ["checks", "--prove", "-n2"]):
        console.rule("pytest " + " ".join(arguments))
        codes.append(subprocess.call([sys.executable, "-m", "pytest", "-q", *arguments], cwd=ROOT))
    raise typer.Exit(max(codes))


@app.command()
def check(
    notebook_file: Annotated[Path, typer.Argument(metavar="NOTEBOOK")],
    exercise: Annotated[str | None, typer.Argument(help="such as 1.3; all of the notebook's without it")] = None,
) -> None:
    """Judge a notebook of your own, as the gradebook would, without the jail."""
    from lab_app.classroom.grade import verdicts
    from lab_app.harness.checker import Checker
    from lab_app.jupyter.view import verdict_text

    with Checker() as checker:
        for verdict in verdicts(checker, notebook_file, exercise):
            console.print(verdict_text(verdict), markup=False, highlight=False)


@app.command()
def grade(
    path: Annotated[Path, typer.Argument(help="a notebook, or a folder STUDENT/NN_name.ipynb")],
    out: Annotated[Path, typer.Option(help="where grades.csv, verdicts.jsonl and feedback/ go")],
    seed: Annotated[int | None, typer.Option(help="draw the same values again")] = None,
    trust_submissions: Annotated[bool, typer.Option(help="grade without the jail")] = False,
) -> None:
    """Grade notebooks, each in its jail."""
    submissions = collect.submissions(path)
    unread = grade_all(submissions, out, seed, jailed=not trust_submissions, console=console)
    console.print(f"Graded {len(submissions) - len(unread)} of {len(submissions)} notebooks into {out}.")
    for trouble in unread:
        errors.print(trouble, markup=False, highlight=False)
    raise typer.Exit(1 if unread else 0)


@app.command()
def build() -> None:
    """Write the notebooks from solutions/."""
    for section in sections():
        changed = notebook.build(section)
        console.print(f"{notebook.path_of(section).relative_to(ROOT)}: {'written' if changed else 'as it was'}")


def main(arguments: list[str]) -> None:
    """Run a command; what goes wrong is one sentence and exit code 1."""
    try:
        app(arguments)
    except (JailError, SubmissionError, collect.CollectError) as error:
        errors.print(str(error), markup=False, highlight=False)
        sys.exit(1)
    except OSError as error:
        errors.print(f"{error.filename or 'The work'}: {error.strerror}.", markup=False, highlight=False)
        sys.exit(1)


if __name__ == "__main__":
    main(sys.argv[1:])
