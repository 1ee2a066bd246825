"""Find the notebooks of a class, in whatever way they came, and say by name what was left out."""

import shutil
import stat
from collections import defaultdict
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from lab_app.classroom.newest import Found, sift
from lab_app.classroom.timestamp import handed_in
from lab_app.classroom.unpack import (
    CLASS_DIRECTORY,
    STUDENT_DIRECTORY,
    Entry,
    Unreadable,
    copy,
    in_folder,
    in_zip,
    is_course,
    unwrapped,
)
from lab_app.classroom.whose import Claim, Owner, folded, named, section, short, shown, whose
from lab_app.trouble import Trouble
from lab_app.workbook.submission import MOST_BYTES

MOST_OF_ONE = 3 * MOST_BYTES  # what one student's files may come to, unpacked
MOST_NOTEBOOKS = 50  # of one student
LONGEST_NAME = 200


class CollectError(Trouble):
    """There is nothing to grade; the text says what to give instead."""


@dataclass(frozen=True)
class Submission:
    """One student's notebooks, of which there may be none, and when they came, in UTC, if anything says so.

    `number`: by which Canvas or Moodle knows the student, if the download came from there.
    """

    student: str
    notebooks: tuple[Path, ...]
    when: datetime | None = None
    number: str = ""


@dataclass(frozen=True)
class Collected:
    """A class in order of names. `refused`: one sentence, which begins with a name, for all that was left out."""

    submissions: list[Submission]
    refused: list[str]


def collect(paths: list[Path], work: Path) -> Collected:
    """Folders, zips and notebooks of a class; what must be unpacked goes into `work`/collected. Raises CollectError.

    The only time that is trusted is nbgrader's timestamp.txt: in the zips of Canvas and Moodle all files carry the time
    of the download.
    """
    for path in paths:
        if work.resolve().is_relative_to(path.resolve()):
            raise CollectError(f"{work} lies within {path}. Choose another place for the results.")
    unpacked = work / "collected"
    shutil.rmtree(unpacked, ignore_errors=True)
    heap = _Heap(unpacked)
    for n, path in enumerate(paths):
        heap.add(path, str(n))
    submissions, refused = heap.sorted_out()
    if not submissions and not refused:
        raise CollectError(
            f"{paths[0]} holds no notebooks. It should hold a folder per student: {paths[0]}/STUDENT/01_….ipynb."
        )
    return Collected(submissions, refused)


def nothing_of(student: str) -> str:
    """What is said of somebody who is there without a notebook."""
    return f"{student}: there is no notebook to grade."


class _Heap:
    """What has been found so far, by owner."""

    def __init__(self, unpacked: Path) -> None:
        self.unpacked = unpacked
        self.found: defaultdict[Owner, list[Found]] = defaultdict(list)
        self.when: dict[Owner, datetime] = {}
        self.left: defaultdict[Owner, int] = defaultdict(lambda: MOST_OF_ONE)
        self.copies = 0
        self.left_out: dict[tuple[Owner | None, str], list[str]] = {}
        self.strangers: list[str] = []

    def add(self, path: Path, scope: str) -> None:
        """Take in one of the inputs. Raises CollectError."""
        try:
            mode = path.stat().st_mode
        except OSError as error:
            raise CollectError(
                f"{path} cannot be read: {error.strerror}. Give a notebook, or a folder with one folder per student."
            ) from error
        if stat.S_ISDIR(mode):
            self._add_folder(path, scope)
        elif path.suffix.casefold() == ".zip":
            self._add_zip(path, scope)
        elif path.suffix.casefold() != ".ipynb" or not stat.S_ISREG(mode):
            raise CollectError(f"{path} is neither a notebook (.ipynb) nor a zip. Give one of these, or a folder.")
        else:
            student = path.resolve().parent.name if section(path.name) else path.stem
            self.found[Owner(student)].append(Found(path, path.name, None))

    def _add_folder(self, path: Path, scope: str) -> None:
        try:
            top = path / "submitted" if is_course({one.name for one in path.iterdir()}) else path
            for entry in in_folder(top):
                self._sort(entry, whose(entry, top.resolve().name, scope))
        except OSError as error:
            raise CollectError(f"{error.filename} cannot be read: {error.strerror}.") from error

    def _add_zip(self, path: Path, scope: str) -> None:
        try:
            with in_zip(path, CLASS_DIRECTORY) as entries:
                for entry in unwrapped(entries, path.stem):
                    self._sort(entry, whose(entry, path.stem, scope))
        except Unreadable as reason:
            raise CollectError(f"{path}: {reason}. Download it again, or give the folder.") from reason

    def _sort(self, entry: Entry, claim: Claim | None, nested: bool = False) -> None:
        """One entry to its owner."""
        if claim is None or (entry.trouble and len(entry.parts) == 1 and not nested):
            self._leave(None, "/".join(entry.parts), entry.trouble or "neither a notebook nor a zip")
            return
        self.found[claim.owner]  # whoever is there is named, even with nothing
        if entry.folder:
            return
        kind = claim.file.casefold().rpartition(".")[2]
        try:
            if claim.file == "timestamp.txt" and not nested and not claim.owner.scope:  # written by nbgrader
                self._time(entry, claim.owner)
            elif kind == "ipynb":
                self._take(entry, claim)
            elif kind == "zip" and not nested:
                self._open(entry, claim.owner)
            else:
                raise Unreadable(entry.trouble or ("a zip within a zip" if kind == "zip" else "no notebook"))
        except Unreadable as reason:
            self._leave(claim.owner, claim.file, str(reason))

    def _take(self, entry: Entry, claim: Claim) -> None:
        """Keep a notebook, unpacked if it must be. Raises Unreadable."""
        if entry.trouble:
            raise Unreadable(entry.trouble)
        if len(self.found[claim.owner]) >= MOST_NOTEBOOKS:
            raise Unreadable(f"more than {MOST_NOTEBOOKS} notebooks")
        plain = entry.path and shown(entry.path.name) == entry.path.name
        name = f"{section(claim.file) or 'notebook'}.ipynb"
        path = entry.path if entry.path and plain else self._copy(entry, claim.owner, name)
        self.found[claim.owner].append(Found(path, claim.file, claim.age))

    def _open(self, entry: Entry, owner: Owner) -> None:
        """Take in a zip that a student handed in. Raises Unreadable."""
        if entry.trouble:
            raise Unreadable(entry.trouble)
        path = entry.path or self._copy(entry, owner, "archive.zip")
        try:
            with in_zip(path, STUDENT_DIRECTORY) as entries:
                for inner in entries:
                    self._sort(inner, Claim(owner, inner.parts[-1], inner.age), nested=True)
        finally:
            if path != entry.path:
                path.unlink()

    def _copy(self, entry: Entry, owner: Owner, name: str) -> Path:
        """Unpack an entry under a name of ours. Raises Unreadable."""
        self.copies += 1
        target, most = self.unpacked / f"{self.copies:06}" / name, min(MOST_BYTES, self.left[owner])
        self.left[owner] -= most
        self.left[owner] += most - copy(entry, target, most)  # a bomb costs all that it might have taken
        return target

    def _time(self, entry: Entry, owner: Owner) -> None:
        """Keep the last time of several assignments. Raises Unreadable."""
        when = handed_in(entry)
        self.when[owner] = max(when, self.when.get(owner, when))

    def _leave(self, owner: Owner | None, file: str, reason: str) -> None:
        if owner is None:
            self.strangers.append(f"{short(file)}: {reason}.")
        else:
            self.left_out.setdefault((owner, reason), []).append(short(file))

    def sorted_out(self) -> tuple[list[Submission], list[str]]:
        """The submissions in order of names, and a sentence for everything that is in none of them."""
        names = named(list(self.found))
        refused = [
            f"{short(names[owner])}: {files[0]}{f' and {len(files) - 1} more' * (len(files) > 1)}: {reason}."
            for (owner, reason), files in self.left_out.items()
            if owner
        ]
        same: defaultdict[str, list[Owner]] = defaultdict(list)
        for owner in self.found:
            same[folded(names[owner])].append(owner)
        submissions = [
            submission
            for owners in same.values()
            if (submission := self._submission(owners, names, refused)) is not None
        ]
        submissions.sort(key=lambda submission: submission.student)
        return submissions, sorted(refused + self.strangers)

    def _submission(self, owners: list[Owner], names: dict[Owner, str], refused: list[str]) -> Submission | None:
        name = names[owners[0]]
        if len(spelled := {owner.name for owner in owners}) > 1:
            others = " and ".join(short(ascii(one)) for one in sorted(spelled))
            refused.append(
                f"{short(name)}: {others} read as one name. Rename one of them, or put both into one folder."
            )
            return None
        if not name or len(name) > LONGEST_NAME:
            refused.append(f"{short(name) or '(empty)'}: a name of 1 to {LONGEST_NAME} characters is needed.")
            return None
        found = [one for owner in owners for one in self.found[owner]]
        kept, sentences = sift(found)
        refused += [f"{name}: {sentence}" for sentence in sentences]
        if not kept:
            refused.append(nothing_of(name))
        times = [self.when[owner] for owner in owners if owner in self.when]
        numbers = {owner.number for owner in owners}
        number = numbers.pop() if len(numbers) == 1 else ""
        return Submission(name, tuple(sorted(one.path for one in kept)), max(times, default=None), number)
