"""What a worker does: judge the answers of one student, in a jail of their own."""

import atexit
import hashlib
from contextlib import suppress
from dataclasses import dataclass, field
from functools import cache

from lab_app.harness.checker import Checker, CheckerDied
from lab_app.harness.verdict import Verdict
from lab_app.runner.limits import Limits
from lab_app.trouble import Trouble
from lab_app.workbook.source import CHECKS, ROOT, check_module

PROGRAM = ("lab_app/harness", "lab_app/runner", "lab_app/larkspur", "lab_app/workbook")


class OtherVersion(Trouble):
    """A worker has another version of the workbook; the text says what to do."""


@dataclass(frozen=True)
class Task:
    """One student's answers by exercise, with the seed of each. `version`: of the program that must judge them."""

    student: str
    answers: dict[str, str]
    seeds: dict[str, int]
    version: str
    jailed: bool = True
    lanes: int = 1
    limits: Limits = field(default_factory=Limits)


def judge(task: Task) -> dict[str, Verdict]:
    """The verdict of each exercise; without a verdict where the checker died twice. Raises JailError, OtherVersion."""
    if task.version != version():
        raise OtherVersion(f"A worker has another version of the workbook in {ROOT}. Bring it up to date.")
    judged, fresh = {}, True
    for number, source in task.answers.items():
        with suppress(CheckerDied):
            judged[number] = patiently(
                checker(task.jailed, task.lanes, task.limits), number, source, task.seeds[number], fresh
            )
        fresh = number not in judged
    return judged


def patiently(checker: Checker, number: str, source: str, seed: int | None, fresh: bool) -> Verdict:
    """Judge an answer, once more in a new jail if the checker dies. Raises CheckerDied and JailError."""
    try:
        return checker.check(number, source, seed, fresh)
    except CheckerDied:
        return checker.check(number, source, seed, fresh=True)


@cache
def checker(jailed: bool, lanes: int, limits: Limits) -> Checker:
    """The one checker of this process, which ends with it."""
    made = Checker(jailed, limits, lanes)
    atexit.register(made.close)
    return made


def key_of(number: str, source: str, jailed: bool) -> str:
    """What a verdict rests on: the answer, the checks, the program and the jail."""
    return digest([source.encode(errors="surrogatepass"), checks_of(number).encode(), b"jailed" * jailed])


@cache
def checks_of(number: str) -> str:
    """The version of all that judges an exercise."""
    helpers = [path for path in sorted(CHECKS.glob("*.py")) if not path.name.startswith("test_")]
    return digest([version().encode(), *(path.read_bytes() for path in [check_module(number), *helpers])])


@cache
def version() -> str:
    """The version of the program, as far as it judges."""
    files = [path for folder in PROGRAM for path in sorted((ROOT / folder).rglob("*.py"))]
    return digest([path.read_bytes() for path in [*files, ROOT / "requirements.txt"]])


def digest(parts: list[bytes]) -> str:
    """One word for some bytes."""
    return hashlib.sha256(b"".join(hashlib.sha256(part).digest() for part in parts)).hexdigest()
