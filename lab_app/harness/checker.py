"""The process that judges: JSON lines in, Verdicts out, pytest within.

    python -m lab_app.harness.checker [--jail]

It is the one way to a verdict: a notebook keeps one beside its kernel, a grading run one in a private network.
"""

import contextlib
import io
import json
import os
import queue
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import asdict
from typing import Any

import pytest

from lab_app.harness.plugin import session_key
from lab_app.harness.session import Session
from lab_app.harness.verdict import Outcome, Result, Verdict, from_json, to_json
from lab_app.runner import jail
from lab_app.runner.fresh import sandbox_for
from lab_app.runner.limits import Limits
from lab_app.runner.sandbox import Sandbox
from lab_app.workbook.source import ROOT, all_exercises, check_module, section_of, wrong_answers

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


class CheckerDied(Exception):
    """The process that judges ended before it gave a verdict."""


class Checker:
    """A checker process, as its clients see it. It starts with the first question, or with `warm`."""

    def __init__(self, jailed: bool = False, limits: Limits | None = None) -> None:
        self.jailed, self.limits = jailed, limits or Limits()
        self.process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> "Checker":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def warm(self) -> None:
        """Start the process, without waiting for it."""
        if self.process is None or self.process.poll() is not None:
            command = [sys.executable, "-m", "lab_app.harness.checker", json.dumps(asdict(self.limits))]
            self.process = subprocess.Popen(
                command + ["--jail"] * self.jailed,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                cwd=ROOT,
                start_new_session=True,
            )

    def check(self, number: str, source: str, seed: int | None = None, fresh: bool = False) -> Verdict:
        """Judge one answer. `fresh` puts it into a new jail.

        An interrupt ends the process. Raises CheckerDied and JailError.
        """
        self.warm()
        assert self.process and self.process.stdin and self.process.stdout
        question = {"number": number, "source": source, "seed": seed, "fresh": fresh}
        try:
            self.process.stdin.write(json.dumps(question).encode() + b"\n")
            self.process.stdin.flush()
            line = self.process.stdout.readline()
        except BaseException as error:
            self.close()
            if isinstance(error, OSError):
                raise CheckerDied("The checker ended before it gave a verdict.") from error
            raise
        if not line.endswith(b"\n"):
            self.close()
            raise CheckerDied("The checker ended before it gave a verdict.")
        reply = json.loads(line)
        if "refused" in reply:
            self.close()
            raise jail.JailError(reply["refused"])
        return from_json(reply)

    def close(self) -> None:
        """End the process and all that it runs."""
        if self.process is None:
            return
        process, self.process = self.process, None
        assert process.stdin and process.stdout
        with contextlib.suppress(OSError):
            process.stdin.close()
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(0.5)
        process.terminate()
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        process.stdout.close()


class Bring:
    """A pytest plugin that hands a session over."""

    def __init__(self, session: Session) -> None:
        self.session = session

    def pytest_addoption(self, parser: pytest.Parser) -> None:
        """Spare the tracebacks, which nobody sees: rendering them takes longer than the checks themselves."""
        parser.addoption("--tb", dest="tbstyle", default="native")

    @pytest.hookimpl(tryfirst=True)
    def pytest_configure(self, config: pytest.Config) -> None:
        """Before our plugin would open one of its own."""
        config.stash[session_key] = self.session


def judge(sandbox: Sandbox, number: str, source: str, seed: int | None) -> Verdict:
    """Run all checks of an exercise against an answer, in this process."""
    began = time.monotonic()
    session = Session(sandbox, {number: source})
    session.seed = session.seed if seed is None else seed
    with contextlib.redirect_stdout(io.StringIO()):
        pytest.main(arguments(number), plugins=[Bring(session)])
    sandbox.sweep()
    results = tuple(sorted(session.results, key=lambda result: session.order.index(result.name)))
    return Verdict(
        exercise=number,
        title=all_exercises()[number].title,
        outcome=outcome(session),
        results=results,
        trouble=trouble(session),
        misconceptions=misconceptions(number, results),
        seed=session.seed,
        seconds=time.monotonic() - began,
    )


def arguments(number: str) -> list[str]:
    """pytest's arguments for a quick and silent run of a section's checks."""
    quiet = [word for name in QUIET for word in ("-p", f"no:{name}")]
    return [str(check_module(number)), f"--rootdir={ROOT}", "--capture=no", "-o", "addopts=", *quiet]


def outcome(session: Session) -> Outcome:
    """The one word for an answer that was judged."""
    answer = session.current
    if answer and answer.trouble:
        return "too slow" if answer.trouble.slow else "does not start"
    if answer and answer.out_of_time:
        return "too slow"
    passed = session.results and all(result.passed for result in session.results)
    return "passed" if passed else "not yet"


def trouble(session: Session) -> str:
    """Why an answer never served, in its own words."""
    answer = session.current
    return answer.trouble.trouble if answer and answer.trouble else ""


def misconceptions(number: str, results: tuple[Result, ...]) -> tuple[str, ...]:
    """Why the known wrong answers are wrong that fail by exactly the same checks."""
    failed = {result.name for result in results if not result.passed}
    known = wrong_answers(section_of(number)) if failed else ()
    return tuple(wrong.because for wrong in known if wrong.exercise == number and set(wrong.caught_by) == failed)[:2]


def questions() -> Iterator[dict[str, Any]]:
    """Questions from stdin. When it closes, whoever asked is gone, and so is this process, also amid a check."""
    lines: queue.SimpleQueue[str] = queue.SimpleQueue()

    def read() -> None:
        for line in sys.stdin:
            lines.put(line)
        os.kill(os.getpid(), signal.SIGTERM)

    threading.Thread(target=read, daemon=True).start()
    while True:
        yield json.loads(lines.get())


def serve(limits: Limits, jailed: bool) -> None:
    """Answer questions until stdin closes."""
    replies = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    sandbox = sandbox_for(limits, jailed)

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
        for question in questions():
            if question.pop("fresh"):
                sandbox.close()
            reply = to_json(judge(sandbox, **question))
            replies.write(json.dumps(reply) + "\n")
            replies.flush()
    except jail.JailError as error:
        replies.write(json.dumps({"refused": str(error)}) + "\n")
        replies.flush()
    finally:
        sandbox.close()


if __name__ == "__main__":
    serve(Limits(**json.loads(sys.argv[1])), "--jail" in sys.argv)
