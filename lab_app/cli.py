"""The command line: start · test · check · grade · report · release · checklist · audit · build."""

import os
import signal
import subprocess
import sys
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Literal

import typer
from rich.console import Console

from lab_app.jupyter.markup import printable
from lab_app.trouble import Trouble
from lab_app.workbook import notebook
from lab_app.workbook.source import ROOT, sections

app = typer.Typer(add_completion=False, no_args_is_help=True, help="The FastAPI Security Workbook.")
console = Console()
errors = Console(stderr=True, style="bold red")
Due = Annotated[str | None, typer.Option(help="when it was due, such as 2026-12-01T18:00+01:00")]
Penalty = Annotated[float | None, typer.Option(help="share of the total that a day of delay costs", min=0, max=1)]
Overrides = Annotated[Path | None, typer.Option(help="scores set by hand: a CSV of student,exercise,score,reason")]
FeedbackOption = Annotated[Literal["full", "scores"] | None, typer.Option("--feedback", help="what students read")]
HoldBack = Annotated[list[str] | None, typer.Option(help="a check of which students read the title only")]
# More workers of pytest-xdist than two cores have, for half of it is waiting; what shares an app or a browser stays
# together, and what takes longest begins first.
SHARED = ("-n3", "--dist=loadfile", "--no-loadscope-reorder")


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
    for arguments in (["tests", *SHARED], ["checks", *SHARED], ["checks", "--prove", "-n5"]):
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
    from lab_app.workbook.submission import read_submission

    offered = {n: one for n, one in read_submission(notebook_file).items() if exercise in (None, n)}
    with Checker() as checker:
        for verdict in verdicts(checker, offered):
            console.print(verdict_text(verdict), markup=False, highlight=False)


@app.command()
def grade(
    paths: Annotated[list[Path], typer.Argument(help="notebooks, folders STUDENT/NN_name.ipynb, downloads of an LMS")],
    out: Annotated[Path, typer.Option(help="where the store, grades.csv, class.html and feedback/ go")],
    only: Annotated[list[str] | None, typer.Option(help="an exercise such as 1.3; may be given again")] = None,
    student: Annotated[list[str] | None, typer.Option(help="somebody's name; may be given again")] = None,
    again: Annotated[bool, typer.Option(help="judge what is unchanged, too")] = False,
    scheduler: Annotated[str, typer.Option(help="a Dask scheduler such as tls://10.0.0.1:8786")] = "",
    workers: Annotated[int, typer.Option(help="processes on this machine; 0: one for each core", min=0)] = 0,
    seed_file: Annotated[Path | None, typer.Option(help="a secret of yours, from which values are drawn")] = None,
    seed: Annotated[int | None, typer.Option(help="draw the same values again")] = None,
    trust_submissions: Annotated[bool, typer.Option(help="grade without the jail")] = False,
    due: Due = None,
    penalty: Penalty = None,
    overrides: Overrides = None,
    feedback: FeedbackOption = None,
    hold_back: HoldBack = None,
) -> None:
    """Grade a class, each answer in a jail. The same command goes on where it was stopped."""
    from lab_app.classroom import grade as classroom

    wish = classroom.Wish(
        jailed=not trust_submissions,
        seed=seed,
        secret=classroom.read_secret(seed_file) if seed_file else b"",
        only=frozenset(only or ()),
        students=frozenset(student or ()),
        again=again,
        scheduler=scheduler,
        workers=workers,
    )
    rules = _rules(due, penalty, overrides, feedback, hold_back)
    tally = classroom.grade(paths, out, wish, console)
    _report(out, rules)
    console.print(
        f"{tally.students} students: {tally.judged} answers judged, {tally.kept} unchanged. See {out}/class.html.",
        highlight=False,
    )
    for trouble in tally.troubles:
        errors.print(printable(trouble), markup=False, highlight=False, soft_wrap=True)
    raise typer.Exit(1 if tally.troubles else 0)


@app.command()
def report(
    out: Annotated[Path, typer.Argument(help="what grade has written")],
    due: Due = None,
    penalty: Penalty = None,
    overrides: Overrides = None,
    feedback: FeedbackOption = None,
    hold_back: HoldBack = None,
) -> None:
    """Write the tables and pages of a graded class again, by these rules; those not given stay as they were."""
    if not (out / "class.db").is_file():
        raise typer.BadParameter(f"{out} holds no class.db. Give what `grade --out` has written.")
    _report(out, _rules(due, penalty, overrides, feedback, hold_back))
    console.print(f"Wrote {out}/class.html, grades.csv and feedback/.", highlight=False)


def _rules(
    due: str | None, penalty: float | None, overrides: Path | None, feedback: str | None, hold_back: list[str] | None
) -> dict[str, object]:
    from lab_app.classroom import policy

    return {
        "due": due and policy.read_due(due),
        "penalty": penalty,
        "overrides": overrides and policy.read_overrides(overrides),
        "feedback": feedback,
        "held_back": frozenset(hold_back) if hold_back else None,
    }


def _report(out: Path, rules: dict[str, object]) -> None:
    from lab_app.classroom.report import policy_of
    from lab_app.classroom.report import report as write
    from lab_app.classroom.store import Store

    with Store(out / "class.db") as store:
        try:
            policy = policy_of(store, **rules)
        except Trouble:
            write(store, out, policy_of(store))  # what was judged is not lost for a mistake in the rules
            raise
        write(store, out, policy)


@app.command()
def release(
    out: Annotated[Path, typer.Option(help="a new folder")],
    audience: Annotated[Literal["", "nbgrader", "gradescope", "github"], typer.Option("--for")] = "",
    section: Annotated[list[str] | None, typer.Option(help="such as 01; all without it")] = None,
    hold_back: Annotated[list[str] | None, typer.Option(help="a check that stays with you, by its function")] = None,
) -> None:
    """Write what students get: notebooks and checks, no solutions."""
    from lab_app.classroom.release import release as write

    write(out, audience, section or [], hold_back or [])
    console.print(f"Wrote {out}. Its README.md says what to do with it.", highlight=False)


@app.command()
def checklist(out: Annotated[Path, typer.Argument(help="the Markdown file to write")]) -> None:
    """Write the audit checklist of all sections, for an app of your own."""
    from lab_app.workbook.checklist import checklist as text

    with out.open("x", encoding="utf-8") as file:  # ticks that are there already are not lost
        file.write(text())
    console.print(f"Wrote {out}.", highlight=False)


class Severity(StrEnum):
    """From which severity on an audit fails."""

    LOW = "low"
    MEDIUM = "medium"
    HIGH = "high"
    CRITICAL = "critical"


@app.command()
def audit(
    target: Annotated[str, typer.Argument(help="module:app, a URL on this machine, or a project folder")],
    out: Annotated[Path, typer.Option(help="where audit.md, audit.html, audit.sarif and audit.json go")],
    source: Annotated[Path | None, typer.Option(help="the app's source, a file or a folder")] = None,
    requirements: Annotated[Path | None, typer.Option(help="its requirements or lock file")] = None,
    auth: Annotated[
        Path | None,
        typer.Option(help="a TOML file with two users: tables a and b of the headers they send, or a login"),
    ] = None,
    active: Annotated[bool, typer.Option(help="send what changes state too; registers two users of its own")] = False,
    i_own_this_host: Annotated[bool, typer.Option(help="ask a host that is not this machine")] = False,
    fail_on: Annotated[Severity | None, typer.Option(help="exit with 3 for a finding this severe or worse")] = None,
    baseline: Annotated[Path | None, typer.Option(help="findings that are accepted, in TOML, until a day")] = None,
) -> None:
    """Audit an app of your own: a checklist with findings, each with evidence that replays.

    Read-only unless --active. README.md shows the files for --auth and --baseline. OSV_URL names another service for
    advisories than PyPI. Exit code: 1 for trouble, 3 for --fail-on.
    """
    from lab_app.audit.audit import Options
    from lab_app.audit.audit import audit as made
    from lab_app.audit.finding import SEVERITIES, worst
    from lab_app.audit.report import files

    files.reserve(out)
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    with console.status("Starting …") as status:
        options = Options(target, source, requirements, auth, baseline, active, i_own_this_host)
        result = made(options, lambda text: status.update(f"Asking {text[:60]}"))
    files.write(result, out)
    for finding in result.findings:
        mark = "accepted" if finding.accepted else finding.severity
        text = f"{mark:9} {finding.weakness.title}: {finding.where}"
        console.print(printable(text), markup=False, highlight=False, soft_wrap=True)
    console.print(
        f"{len(result.findings)} findings in {result.routes} routes. Read {out / 'audit.md'}.", highlight=False
    )
    if not result.whole:
        raise typer.Exit(1)
    if fail_on and worst(result.findings) >= SEVERITIES.index(fail_on):
        raise typer.Exit(3)


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
    except Trouble as error:
        errors.print(str(error), markup=False, highlight=False, soft_wrap=True)
        sys.exit(1)
    except OSError as error:
        errors.print(
            f"{error.filename or 'The work'}: {error.strerror}.", markup=False, highlight=False, soft_wrap=True
        )
        sys.exit(1)


if __name__ == "__main__":
    main(sys.argv[1:])
