"""Whose a file is, by the names that Canvas and Moodle give, or by its folder.

Canvas (lib/content_zipper.rb): name[_LATE]_USER_FILE_filename, or [LATE_]anon_ID_FILE_filename, all in one folder.
Moodle (mod/assign/classes/downloader.php): Full Name_NUMBER_assignsubmission_file, a folder or the start of a name.
"""

import re
import unicodedata
from dataclasses import dataclass
from functools import cache

from lab_app.classroom.unpack import Age, Entry
from lab_app.workbook.source import sections

CANVAS = re.compile(
    r"(?:(?:LATE_)?(?P<anon>anon)_(?P<code>[0-9A-Za-z]+)|(?P<name>.+?)_(?:LATE_)?(?P<user>\d{1,20}))"
    r"_(?P<file>\d{1,20})_(?P<rest>.+)",
    re.DOTALL,
)
MOODLE = re.compile(r"(?P<name>[^_]*)_(?P<number>\d{1,20})_assignsubmission_[a-z]+(?:_(?P<rest>.*))?", re.DOTALL)
JOINERS = "\u200c\u200d"  # invisible, and part of Persian and Indic names


@dataclass(frozen=True)
class Owner:
    """A student as a source names one. A `number` tells namesakes apart, and holds within its `scope` only."""

    name: str
    number: str = ""
    scope: str = ""


@dataclass(frozen=True)
class Claim:
    """Whose a file is, its name as the student chose it, and its age where that says what was handed in later."""

    owner: Owner
    file: str
    age: Age | None


def whose(entry: Entry, top: str, scope: str) -> Claim | None:
    """Whose an entry is; None if its name does not say. `top`: the name of the folder or zip around it."""
    first, flat = entry.parts[0], len(entry.parts) == 1 and not entry.folder
    if moodle := MOODLE.fullmatch(first):
        file = (moodle["rest"] or first) if flat else entry.parts[-1]
        return Claim(Owner(moodle["name"], moodle["number"], scope), file, None)  # all times are the download's
    if not flat:
        return Claim(Owner(first), entry.parts[-1], entry.age)
    if canvas := CANVAS.fullmatch(first):
        owner = Owner(canvas["name"] or canvas["anon"], canvas["user"] or canvas["code"], "canvas")
        return Claim(owner, canvas["rest"], ("canvas", (int(canvas["file"]),)))  # numbered in order of upload
    if not first.casefold().endswith((".ipynb", ".zip")):
        return None
    return Claim(Owner(top if section(first) else first.rpartition(".")[0]), first, entry.age)


def section(file: str) -> str:
    """The section, such as `01_authentication`, that a file is named for; "" if for none."""
    return _sections().get(file[:3], "")


@cache
def _sections() -> dict[str, str]:
    return {section[:3]: section for section in sections()}


def shown(name: str) -> str:
    """A stranger's name as text that no terminal, page or file obeys: control and direction marks escaped."""
    return "".join(map(_shown, unicodedata.normalize("NFC", name))).strip()


def short(file: str, most: int = 80) -> str:
    """A file's name for a sentence."""
    text = shown(file)
    return text if len(text) <= most else f"{text[: most - 1]}…"


def folded(name: str) -> str:
    """What two names have in common that a reader would take for the same."""
    plain = unicodedata.normalize("NFKC", shown(name)).casefold()
    return " ".join("".join(mark for mark in plain if mark not in JOINERS).split())


def named(owners: list[Owner]) -> dict[Owner, str]:
    """What to call each owner: the name, with the number where namesakes in one scope need it."""
    numbers: dict[tuple[str, str], set[str]] = {}
    for owner in owners:
        numbers.setdefault((folded(owner.name), owner.scope), set()).add(owner.number)
    shared = {name for (name, _), known in numbers.items() if len(known) > 1}
    return {
        owner: shown(owner.name) + (f" ({owner.number})" if owner.number and folded(owner.name) in shared else "")
        for owner in owners
    }


def _shown(mark: str) -> str:
    if unicodedata.category(mark) == "Zs":
        return " "
    return mark if mark.isprintable() or mark in JOINERS else mark.encode("unicode_escape").decode()
