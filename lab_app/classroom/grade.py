"""Grade a class: read what was handed in, judge what is new, and keep every verdict as it arrives."""

import hashlib
import hmac
import secrets
import shutil
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from lab_app.classroom.alike import fingerprint
from lab_app.classroom.collect import Submission, collect, nothing_of
from lab_app.classroom.crew import cores, crew
from lab_app.classroom.store import Store, Student
from lab_app.classroom.work import Task, key_of, patiently, version
from lab_app.harness.checker import Checker
from lab_app.harness.draw import SEEDS
from lab_app.harness.verdict import Verdict
from lab_app.jupyter.markup import printable
from lab_app.runner.limits import Limits
from lab_app.trouble import Trouble
from lab_app.workbook.source import all_exercises, same_code
from lab_app.workbook.submission import Offered, SubmissionError, read_submission

LEAST_SECRET = 16  # bytes


class GradeError(Trouble):
    """What was asked for cannot be done; the text says what to do."""


@dataclass(frozen=True)
class Wish:
    """What to grade, and how. `workers` 0: as many as there are processors for."""

    jailed: bool = True
    seed: int | None = None
    secret: bytes = b""
    only: frozenset[str] = frozenset()
    students: frozenset[str] = frozenset()
    again: bool = False
    scheduler: str = ""
    workers: int = 0
    limits: Limits = field(default_factory=Limits)


@dataclass
class Tally:
    """What came of it. `troubles`: one sentence for each thing that somebody has to look at."""

    students: int = 0
    judged: int = 0
    kept: int = 0  # verdicts that still held
    troubles: list[str] = field(default_factory=list)


def grade(paths: list[Path], out: Path, wish: Wish, console: Console) -> Tally:
    """Grade into `out`/class.db; the same call goes on where a killed one stopped.

    Raises CollectError, CrewError, GradeError, JailError, OSError and StoreError.
    """
    expect_known(wish.only)
    out.mkdir(parents=True, exist_ok=True)
    unpacked = out / "unpacked"
    with Store(out / "class.db") as store, _bar(console) as bar:
        shutil.rmtree(unpacked, ignore_errors=True)  # a killed run's
        try:
            collected = collect(paths, unpacked)
            chosen = [one for one in collected.submissions if not wish.students or one.student in wish.students]
            expect_found(wish.students, {one.student for one in chosen})
            tally = Tally(len(chosen), troubles=list(collected.refused))
            store.keep_setting("left_out", collected.refused)
            with crew(wish.scheduler, wish.workers or max(1, min(cores(), len(chosen)))) as spread:
                task = bar.add_task("grading", total=len(chosen))
                plan = _Plan(store, wish, tally, lambda: bar.advance(task))
                for done, judged in spread(plan.tasks(chosen)):
                    for trouble in plan.keep(done, judged):
                        tally.troubles.append(trouble)
                        bar.console.print(printable(trouble), markup=False, highlight=False)
                    bar.update(task, advance=1, description=_short(printable(done.student)))
                    if not console.is_terminal:
                        console.print(f"{printable(done.student)}: judged", markup=False, highlight=False)
        finally:
            shutil.rmtree(unpacked, ignore_errors=True)
    return tally


class _Plan:
    """What has to be judged, and what becomes of it."""

    def __init__(self, store: Store, wish: Wish, tally: Tally, skip: Callable[[], None]) -> None:
        self.store, self.wish, self.tally, self.skip = store, wish, tally, skip
        self.run = (store.setting("run") or 0) + (1 if wish.again else 0)
        store.keep_setting("run", self.run)
        self.secret = wish.secret or secrets.token_bytes(LEAST_SECRET)
        self.lanes = 0 if tally.students == 1 and not wish.scheduler else 1

    def tasks(self, submissions: Iterable[Submission]) -> Iterator[Task]:
        """The tasks of those who have any; what needs no judging is kept at once."""
        for submission in submissions:
            offered, why = read(submission.notebooks)
            troubles = [f"{submission.student}: {one}" for one in why]
            self.tally.troubles += troubles
            prints = {number: fingerprint(one.source, number) for number, one in offered.items() if not one.trouble}
            told = troubles if submission.notebooks else [nothing_of(submission.student)]
            student = Student(submission.student, submission.when, tuple(told), submission.number)
            self.store.enroll(student, prints)
            missing = {n: ("", untried(n, one)) for n, one in offered.items() if one.trouble}
            self.store.keep(submission.student, missing, self.wish.jailed)
            answers = self.pending(submission.student, offered)
            if not answers:
                self.skip()
                continue
            seeds = {number: self.seed(submission.student, number) for number in answers}
            yield Task(submission.student, answers, seeds, version(), self.wish.jailed, self.lanes, self.wish.limits)

    def pending(self, student: str, offered: dict[str, Offered]) -> dict[str, str]:
        """The answers that no verdict in the store rests on."""
        keys = {} if self.wish.again else self.store.keys(student)
        answers = {n: one.source for n, one in offered.items() if not one.trouble and n in (self.wish.only or offered)}
        new = {n: source for n, source in answers.items() if keys.get(n) != key_of(n, source, self.wish.jailed)}
        self.tally.kept += len(answers) - len(new)
        return new

    def keep(self, task: Task, judged: dict[str, Verdict] | Exception) -> Iterator[str]:
        """Keep the verdicts of a student; a sentence for each exercise that has none."""
        verdicts = {} if isinstance(judged, Exception) else judged
        keyed = {n: (key_of(n, task.answers[n], task.jailed), verdict) for n, verdict in verdicts.items()}
        lost = [number for number in task.answers if number not in verdicts]
        keyed |= {number: ("", ungraded(number)) for number in lost}
        self.store.keep(task.student, keyed, task.jailed)
        self.tally.judged += len(verdicts)
        why = f" ({type(judged).__name__}: {judged})" if isinstance(judged, Exception) else ""
        for number in lost:
            yield f"{task.student}: exercise {number} could not be judged{why}. Run the command again, or read it."

    def seed(self, student: str, number: str) -> int:
        """Another seed for every student, exercise and run, which nobody can know without the secret."""
        if self.wish.seed is not None:
            return self.wish.seed
        about = f"{self.run}\0{number}\0{student}".encode(errors="surrogatepass")
        return int.from_bytes(hmac.digest(self.secret, about, hashlib.sha256)) % SEEDS


def read(notebooks: Iterable[Path]) -> tuple[dict[str, Offered], list[str]]:
    """What a student's notebooks offer for each exercise, and a sentence for each of them that cannot be read."""
    offered: dict[str, list[Offered]] = {}
    troubles = []
    for path in notebooks:
        try:
            for number, one in read_submission(path).items():
                offered.setdefault(number, []).append(one)
        except SubmissionError as error:
            troubles.append(str(error))
    return {number: agreed(number, several) for number, several in offered.items()}, troubles


def agreed(number: str, several: list[Offered]) -> Offered:
    """What several notebooks offer for one exercise, if that is one answer: which of two is meant, no name tells."""
    answers = [one for one in several if not one.trouble]
    if any(not same_code(one.source, answers[0].source) for one in answers):
        return Offered(
            trouble=f"Exercise {number} stands in {len(answers)} notebooks that differ. Hand in the one that you mean."
        )
    return (answers or several)[0]


def verdicts(checker: Checker, offered: dict[str, Offered], seed: int | None = None) -> Iterator[Verdict]:
    """The verdict of each exercise of one student. Raises CheckerDied and JailError."""
    fresh = True
    for number, one in offered.items():
        yield verdict_of(checker, number, one, seed, fresh)
        fresh = fresh and bool(one.trouble)


def verdict_of(checker: Checker, number: str, offered: Offered, seed: int | None = None, fresh: bool = True) -> Verdict:
    """The verdict of one exercise. Raises CheckerDied and JailError."""
    return untried(number, offered) if offered.trouble else patiently(checker, number, offered.source, seed, fresh)


def untried(number: str, offered: Offered) -> Verdict:
    """The verdict of an exercise for which there is no answer to judge."""
    return Verdict(number, all_exercises()[number].title, "not attempted", trouble=offered.trouble)


def ungraded(number: str) -> Verdict:
    """The verdict of an answer that brought the checker itself down, twice."""
    told = "The checker died under this answer, twice. Your teacher has been told, and will look at it."
    return Verdict(number, all_exercises()[number].title, "does not start", trouble=told)


def expect_known(numbers: Iterable[str]) -> None:
    """Raises GradeError if one of these is no exercise."""
    for number in numbers:
        if number not in all_exercises():
            raise GradeError(f"There is no exercise {number}. There are {', '.join(all_exercises())}.")


def expect_found(wanted: frozenset[str], found: set[str]) -> None:
    """Raises GradeError if somebody who was asked for has handed in nothing."""
    for name in sorted(wanted - found):
        raise GradeError(f"Nobody by the name of {name} has handed anything in.")


def read_secret(path: Path) -> bytes:
    """The secret that values are drawn from. Raises GradeError and OSError."""
    secret = path.read_bytes().strip()
    if len(secret) < LEAST_SECRET:
        raise GradeError(f"{path} holds less than {LEAST_SECRET} bytes. Make one by: openssl rand -hex 32 > {path}")
    return secret


def _short(name: str) -> str:
    return name if len(name) < 24 else f"{name[:22]}…"


def _bar(console: Console) -> Progress:
    return Progress(
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
        console=console,
        transient=True,
    )
