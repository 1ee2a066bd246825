"""The one way to a verdict: answers go to processes that judge, and what these find becomes a Verdict.

A notebook keeps a checker beside its kernel, a grading run one whose processes live in private networks.
"""

import contextlib
import json
import os
import queue
import secrets
import subprocess
import sys
import threading
import time
from dataclasses import asdict

from lab_app.harness.draw import SEEDS
from lab_app.harness.judge import Findings, Question
from lab_app.harness.verdict import Outcome, Result, Verdict, made, results_of
from lab_app.runner.jail import JailError
from lab_app.runner.limits import Limits
from lab_app.trouble import Trouble
from lab_app.workbook.source import ROOT, all_exercises, section_of, wrong_answers

OWN_SECONDS = 60  # for pytest, services and stops, beyond the time that an answer has


class CheckerDied(Trouble):
    """A process that judges ended, or hung, before it gave a verdict."""


class Checker:
    """Processes that share the checks of an exercise; by default two, where there are two cores for them.

    They start with the first question, or with `warm`.
    """

    def __init__(self, jailed: bool = False, limits: Limits | None = None, lanes: int = 0) -> None:
        limits = limits or Limits()
        self.lanes = [Lane(jailed, limits) for _ in range(lanes or min(2, os.cpu_count() or 1))]

    def __enter__(self) -> "Checker":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def warm(self) -> None:
        """Start the processes, without waiting for them."""
        for lane in self.lanes:
            lane.warm()

    def check(self, number: str, source: str, seed: int | None = None, fresh: bool = False) -> Verdict:
        """Judge one answer. `fresh` puts it into a new jail.

        An interrupt ends the processes. Raises CheckerDied and JailError.
        """
        began = time.monotonic()
        seed = secrets.randbelow(SEEDS) if seed is None else seed
        try:
            for n, lane in enumerate(self.lanes):
                lane.ask(Question(number, source, seed, fresh, n, len(self.lanes)))
            findings = [lane.found() for lane in self.lanes]
        except BaseException:
            self.close()
            raise
        return verdict(number, findings, seed, time.monotonic() - began)

    def close(self) -> None:
        """End the processes and all that they run."""
        for lane in self.lanes:
            lane.close()


class Lane:
    """A process that judges, as its client sees it."""

    def __init__(self, jailed: bool, limits: Limits) -> None:
        self.jailed, self.limits = jailed, limits
        self.process: subprocess.Popen[bytes] | None = None
        self.replies: queue.SimpleQueue[bytes] = queue.SimpleQueue()

    def warm(self) -> None:
        """Start the process, without waiting for it."""
        if self.process is None or self.process.poll() is not None:
            command = [sys.executable, "-m", "lab_app.harness.judge", json.dumps(asdict(self.limits))]
            self.process = subprocess.Popen(
                command + ["--jail"] * self.jailed,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                cwd=ROOT,
                start_new_session=True,
            )
            self.replies = queue.SimpleQueue()
            threading.Thread(target=read, args=(self.process, self.replies), daemon=True).start()

    def ask(self, question: Question) -> None:
        """Send a question. Raises CheckerDied."""
        self.warm()
        assert self.process and self.process.stdin
        try:
            self.process.stdin.write(json.dumps(asdict(question)).encode() + b"\n")
            self.process.stdin.flush()
        except OSError as error:
            raise CheckerDied("The checker ended before it gave a verdict.") from error

    def found(self) -> Findings:
        """Wait for the answer to the question. Raises CheckerDied and JailError."""
        try:
            line = self.replies.get(timeout=self.limits.exercise_seconds + OWN_SECONDS)
        except queue.Empty:
            raise CheckerDied("The checker hung, and was ended.") from None
        if not line.endswith(b"\n"):
            raise CheckerDied("The checker ended before it gave a verdict.")
        reply = json.loads(line)
        if "refused" in reply:
            raise JailError(reply["refused"])
        return Findings(results_of(reply["results"]), tuple(reply["order"]), reply["trouble"], reply["slow"])

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


def read(process: "subprocess.Popen[bytes]", replies: "queue.SimpleQueue[bytes]") -> None:
    """Hand over what a process says, line by line; b"" once it is gone."""
    assert process.stdout
    with process.stdout:
        for line in process.stdout:
            replies.put(line)
    replies.put(b"")


def verdict(number: str, findings: list[Findings], seed: int, seconds: float) -> Verdict:
    """What the shares of an exercise's checks found, put together."""
    order = findings[0].order
    results = sorted((one for part in findings for one in part.results), key=lambda result: order.index(result.name))
    return Verdict(
        exercise=number,
        title=all_exercises()[number].title,
        outcome=outcome(findings),
        results=tuple(results),
        trouble=findings[0].trouble if all(part.trouble for part in findings) else "",
        misconceptions=misconceptions(number, results),
        seed=seed,
        seconds=seconds,
    )


def outcome(findings: list[Findings]) -> Outcome:
    """The one word for an answer that was judged."""
    if all(part.trouble for part in findings):
        return "too slow" if all(part.slow for part in findings) else "does not start"
    if any(part.slow for part in findings):
        return "too slow"
    results = made(result for part in findings for result in part.results)
    return "passed" if results and all(result.passed for result in results) else "not yet"


def misconceptions(number: str, results: list[Result]) -> tuple[str, ...]:
    """Why the known wrong answers are wrong that fail by exactly the same checks; none for code that only crashes."""
    if all(result.crashed for result in made(results)):
        return ()
    failed = {result.name for result in made(results) if not result.passed}
    skipped = {result.name for result in results if result.skipped}
    known = wrong_answers(section_of(number)) if failed else ()
    alike = (wrong for wrong in known if wrong.exercise == number and set(wrong.caught_by) - skipped == failed)
    return tuple(wrong.because for wrong in alike)[:2]
