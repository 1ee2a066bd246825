"""The pytest plugin: which answers are judged, and what their checks found.

`pytest checks` judges the reference solutions, `--submission FILE` a learner's notebook, `--prove` the checks.
"""

import random
import re
from collections.abc import Generator
from inspect import cleandoc
from pathlib import Path
from typing import Any

import httpx
import pytest

from lab_app.harness import prove
from lab_app.harness.expect import CheckFailed
from lab_app.harness.session import Session, plain_session, postgres_url
from lab_app.harness.verdict import Result
from lab_app.harness.world import OutOfTime
from lab_app.runner import jail
from lab_app.runner.client import NoAnswer
from lab_app.runner.fresh import sandbox_for
from lab_app.runner.limits import Limits
from lab_app.runner.sandbox import AnswerTrouble
from lab_app.workbook.source import SourceError, all_exercises
from lab_app.workbook.submission import SubmissionError, read_submission

pytest_plugins = ("lab_app.harness.fixtures",)
session_key = pytest.StashKey[Session]()


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add what the checks judge."""
    group = parser.getgroup("workbook", "what the checks judge")
    group.addoption("--submission", metavar="FILE", help="a learner's notebook, graded in the jail")
    group.addoption("--trust-submissions", action="store_true", help="grade a submission without the jail")
    group.addoption("--prove", action="store_true", help="run every known right and wrong answer through its checks")
    group.addoption("--seed", type=int, help="draw the same values again")


def pytest_configure(config: pytest.Config) -> None:
    """Open the session, unless the checker has brought its own."""
    config.addinivalue_line("markers", "exercise(number): the exercise that a check belongs to")
    config.addinivalue_line("markers", "check(kind, sources): attack or legit, and what it rests on")
    if session_key in config.stash:
        return
    if config.option.submission:
        try:
            session = submission_session(Path(config.option.submission), not config.option.trust_submissions)
        except (jail.JailError, SubmissionError) as error:
            raise pytest.UsageError(str(error)) from error
    else:
        sources = {number: exercise.solution for number, exercise in all_exercises().items()}
        session = plain_session(sources, "the reference solutions")
    given = getattr(config, "workerinput", {}).get("seed", config.option.seed)
    session.seed = config.option.seed = session.seed if given is None else given
    config.stash[session_key] = session
    config.add_cleanup(session.close)


@pytest.hookimpl(optionalhook=True)
def pytest_configure_node(node: Any) -> None:
    """Have the workers of pytest-xdist draw the same values, in the same order."""
    node.workerinput["seed"] = node.config.option.seed


def submission_session(path: Path, jailed: bool) -> Session:
    """A session over one notebook. Raises SubmissionError and JailError."""
    offered = read_submission(path)
    if jailed:
        jail.enter_private_network()
    sources = {number: offer.source for number, offer in offered.items()}
    troubles = {number: offer.trouble for number, offer in offered.items() if offer.trouble}
    about = f"{path.name}, {'jailed' if jailed else 'NOT JAILED: --trust-submissions'}"
    sandbox = sandbox_for(Limits(), jailed)
    sandbox.self_test()
    return Session(sandbox, sources, about, troubles)


def pytest_report_header(config: pytest.Config) -> str:
    """Say what is judged, and how to draw the same values again."""
    session = config.stash[session_key]
    where = "; section 7 on PostgreSQL" if postgres_url() and not session.sandbox.jailed else ""
    return f"workbook: judging {session.about}{where}; values drawn with --seed {session.seed}"


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(session: pytest.Session, config: pytest.Config, items: list[pytest.Item]) -> None:
    """Keep the checks of the exercises that are judged; with --prove, put the kill matrix in their place."""
    judged = config.stash[session_key].sources
    items[:] = [item for item in items if number_of(item) in ("", *judged)]
    if config.option.prove:
        try:
            items[:] = prove.items(session, {number_of(item) for item in items} - {""})
        except SourceError as error:
            raise pytest.UsageError(str(error)) from error
        return
    judging = config.stash[session_key]
    lane, lanes = judging.share
    judging.order = [item.name for item in items]
    items[:] = shuffled(items, judging.seed)[lane::lanes]


def shuffled(items: list[pytest.Item], seed: int) -> list[pytest.Item]:
    """The checks of each exercise in a drawn order, or an answer would earn points by counting requests."""
    order = random.Random(seed)  # noqa: S311 - repeatable on purpose
    groups: dict[str, list[pytest.Item]] = {}
    for item in items:
        groups.setdefault(number_of(item), []).append(item)
    return [item for number, group in groups.items() for item in (order.sample(group, len(group)) if number else group)]


def number_of(item: pytest.Item) -> str:
    """The exercise of a check; "" for a test that belongs to none."""
    mark = item.get_closest_marker("exercise")
    return str(mark.args[0]) if mark else ""


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Keep what a check found, and say it in plain words."""
    report = yield
    if number_of(item) and (call.when == "call" or (call.when == "setup" and call.excinfo)):
        session = item.config.stash[session_key]
        result = result_of(item, call.excinfo.value if call.excinfo else None, session)
        session.results.append(result)
        if not result.passed and not result.skipped:
            report.longrepr = told(result)
            report.when = "call"  # what is wrong is the answer, not our set-up: a failure, no error
    return report


def result_of(item: pytest.Item, error: BaseException | None, session: Session) -> Result:
    """What a check found."""
    title, why, hint = parts(item)
    mark = item.get_closest_marker("check")
    kind, sources = mark.args if mark else ("legit", ())
    if isinstance(error, pytest.skip.Exception):
        return Result(item.name, kind, title, why, hint, sources, passed=False, skipped=str(error))
    found, safe = told_by(error) if error else ("", "")
    recorded = session.current.exchanges if session.current else []
    shown = getattr(error, "exchange", None)
    evidence = ((shown,) if shown else tuple(recorded[-1:])) if error else ()
    crashed = isinstance(error, AnswerTrouble)
    return Result(item.name, kind, title, why, hint, sources, error is None, found, safe, evidence, crashed=crashed)


def told_by(error: BaseException) -> tuple[str, str]:
    """What an app did, and what a safe one does, in the words of a failed check."""
    if isinstance(error, CheckFailed):
        return error.found, error.safe
    if isinstance(error, AnswerTrouble):
        what = "was too slow" if error.slow else "raised" if error.ran else "did not start"
        return f"{what}:\n{error.trouble.strip()}", ""
    if isinstance(error, NoAnswer | httpx.HTTPError):  # of the latter kind is a redirect to what is no address
        return f"gave {error}", "A safe app answers every request, and soon."
    if isinstance(error, OutOfTime | AssertionError):
        return str(error).split("\nassert ")[0], ""
    return f"made the check itself fail ({type(error).__name__}: {error})", ""


def parts(item: pytest.Item) -> tuple[str, str, str]:
    """A check's title, why it matters and its hint, from the paragraphs of its docstring."""
    text = cleandoc(getattr(item, "obj", item).__doc__ or item.name)
    title, *rest = [re.sub(r"\s+", " ", paragraph) for paragraph in re.split(r"\n\s*\n", text)]
    hint = "".join(paragraph.removeprefix("Hint: ") for paragraph in rest if paragraph.startswith("Hint: "))
    return title, " ".join(paragraph for paragraph in rest if not paragraph.startswith("Hint: ")), hint


def told(result: Result) -> str:
    """A failed check as text."""
    lines = [result.title, result.complaint(), f"Why: {result.why}", f"Hint: {result.hint}"]
    for exchange in result.evidence:
        lines += ["Sent:", exchange.request, "Came back:", exchange.response]
        lines += ["Again:", exchange.curl] if exchange.curl else []
    lines.append("Sources: " + "; ".join(result.sources))
    return "\n".join(line for line in lines if line)
