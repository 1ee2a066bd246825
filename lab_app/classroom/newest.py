"""Of several notebooks for one section, the one that its student handed in last."""

import filecmp
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path

from lab_app.classroom.unpack import Age
from lab_app.classroom.whose import section, short


@dataclass(frozen=True)
class Found:
    """A notebook, what its student calls it, and its age if that can be compared."""

    path: Path
    file: str
    age: Age | None


def sift(found: list[Found]) -> tuple[list[Found], list[str]]:
    """One notebook for each section, the newest, and a sentence for each that it was chosen over.

    Notebooks that are named for no section are all kept: whoever reads them will know.
    """
    by_section: defaultdict[str, list[Found]] = defaultdict(list)
    for one in found:
        by_section[section(one.file)].append(one)
    kept, sentences = by_section.pop("", []), []
    for several in by_section.values():
        newest = newest_of(several)
        files = sorted({short(one.file) for one in several})
        if newest is None:
            sentences.append(f"{' and '.join(files)} are for one section, and nothing says which is newer. Keep one.")
            continue
        kept.append(newest)
        older = sorted(short(one.file) for one in several if one is not newest and not _alike(newest, one))
        sentences += [f"{file} was left out: {short(newest.file)} is newer." for file in older]
    return kept, sentences


def newest_of(several: list[Found]) -> Found | None:
    """The newest, or any if all are alike; None if that cannot be told."""
    if all(_alike(several[0], one) for one in several[1:]):
        return several[0]
    if len({one.age and one.age[0] for one in several}) > 1 or not several[0].age:
        return None
    ages = [one.age[1] for one in several if one.age]
    return several[ages.index(max(ages))] if ages.count(max(ages)) == 1 else None


def _alike(one: Found, other: Found) -> bool:
    try:
        return filecmp.cmp(one.path, other.path, shallow=False)
    except OSError:
        return False
