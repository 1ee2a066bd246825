"""The process that judges: questions in as JSON lines, what the checks found out, pytest within.

    python -m lab_app.harness.judge LIMITS [--jail]

`lab_app.harness.checker` keeps one or several of them and makes verdicts of what they find.
"""

import contextlib
import json
import os
import queue
import signal
import sys
import threading
from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import pytest

from lab_app.harness.plugin import session_key
from lab_app.harness.session import Session
from lab_app.harness.verdict import Result
from lab_app.runner import jail
from lab_app.runner.fresh import sandbox_for
from lab_app.runner.limits import Limits
from lab_app.runner.sandbox import Sandbox
from lab_app.workbook.source import CHECKS, ROOT, check_module

QUIET = [
    "terminal",
    "cacheprovider",
    "logging",
    "unraisableexception",
    "threadexception",
    "debugging",
    "pastebin",
    "doctest",
    "junitxml",
]


@dataclass(frozen=True)
class Question:
    """An answer to an exercise, and which share of its checks to run. `fresh`: in a new jail."""

    number: str
    source: str
    seed: int
    fresh: bool = False
    lane: int = 0
    lanes: int = 1


@dataclass(frozen=True)
class Findings:
    """What the checks found. `order`: the names of all checks of the exercise as they are written.

    `trouble`: why the answer never served. `slow`: its time was up, at the start or later.
    """

    results: tuple[Result, ...]
    order: tuple[str, ...]
    trouble: str
    slow: bool


class Loop:
    """A pytest plugin that answers questions in pytest's place: what to collect and to run, each of them says.

    So pytest starts once, and not for every answer. `reply` gets the findings of each question.
    """

    def __init__(self, sandbox: Sandbox, questions: Iterable[Question], reply: Callable[[Findings], object]) -> None:
        self.sandbox, self.questions, self.reply = sandbox, questions, reply

    def pytest_addoption(self, parser: pytest.Parser) -> None:
        """Spare the tracebacks, which nobody sees: rendering them takes longer than the checks themselves."""
        parser.addoption("--tb", dest="tbstyle", default="native")

    @pytest.hookimpl(tryfirst=True)
    def pytest_configure(self, config: pytest.Config) -> None:
        """Before our plugin would open a session of its own."""
        config.stash[session_key] = Session(self.sandbox, {})

    @pytest.hookimpl(tryfirst=True)
    def pytest_collection(self, session: pytest.Session) -> bool:
        """Collect nothing yet."""
        return bool(session)

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtestloop(self, session: pytest.Session) -> bool:
        """Answer the questions."""
        for question in self.questions:
            if question.fresh:
                self.sandbox.close()
            self.reply(self.findings(session, question))
        return True

    def findings(self, session: pytest.Session, question: Question) -> Findings:
        """Run the checks that a question asks for against its answer."""
        mine = Session(self.sandbox, {question.number: question.source})
        mine.seed, mine.share = question.seed, (question.lane, question.lanes)
        session.config.stash[session_key] = mine
        items = session.perform_collect([str(check_module(question.number))])
        for item, after in zip(items, [*items[1:], None], strict=True):
            session.config.hook.pytest_runtest_protocol(item=item, nextitem=after)
        mine.sweep()
        answer = mine.current
        trouble = answer.never_ran() if answer else None
        return Findings(
            results=tuple(mine.results),
            order=tuple(mine.order),
            trouble=trouble.trouble if trouble else "",
            slow=bool(answer and (trouble.slow if trouble else answer.out_of_time)),
        )


def judge(sandbox: Sandbox, questions: Iterable[Question], reply: Callable[[Findings], object]) -> None:
    """Answer questions in this process, quietly. Raises JailError."""
    quiet = [word for name in QUIET for word in ("-p", f"no:{name}")]
    options = [f"--rootdir={ROOT}", "--capture=no", "--disable-plugin-autoload", "-o", "addopts=", *quiet]
    with Path(os.devnull).open("w") as nowhere, contextlib.redirect_stdout(nowhere):
        pytest.main([str(CHECKS), *options], plugins=[Loop(sandbox, questions, reply)])


def questions() -> Iterator[Question]:
    """Questions from stdin. When it closes, whoever asked is gone, and so is this process, also amid a check."""
    lines: queue.SimpleQueue[str] = queue.SimpleQueue()

    def read() -> None:
        for line in sys.stdin:
            lines.put(line)
        os.kill(os.getpid(), signal.SIGTERM)

    threading.Thread(target=read, daemon=True).start()
    while True:
        yield Question(**json.loads(lines.get()))


def serve(limits: Limits, jailed: bool) -> None:
    """Answer questions until stdin closes."""
    replies = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    sandbox = sandbox_for(limits, jailed)

    def say(reply: dict[str, Any]) -> None:
        replies.write(json.dumps(reply) + "\n")
        replies.flush()

    def end(*_: object) -> None:
        """Leave at once: amid a check, pytest would take a SystemExit for a failure and go on."""
        try:
            sandbox.close()
        finally:
            os._exit(0)

    signal.signal(signal.SIGTERM, end)
    try:
        if jailed:
            jail.enter_private_network()
        sandbox.warm()
        sandbox.self_test()
        judge(sandbox, questions(), lambda findings: say(asdict(findings)))
    except jail.JailError as error:
        say({"refused": str(error)})
    finally:
        sandbox.close()


if __name__ == "__main__":
    serve(Limits(**json.loads(sys.argv[1])), "--jail" in sys.argv)
