"""Find the notebooks of a class."""

from dataclasses import dataclass
from pathlib import Path

from lab_app.workbook.source import sections


class CollectError(Exception):
    """There is nothing to grade; the text says what to give instead."""


@dataclass(frozen=True)
class Submission:
    """One notebook of one student."""

    student: str
    path: Path


def submissions(path: Path) -> list[Submission]:
    """A notebook, or all of a folder STUDENT/NN_name.ipynb, in order of names. Raises CollectError."""
    if path.is_file():
        named = any(path.stem == section for section in sections())
        return [Submission(path.resolve().parent.name if named else path.stem, path)]
    if not path.is_dir():
        raise CollectError(f"{path} does not exist. Give a notebook, or a folder with one folder per student.")
    found = [
        Submission(student.name, file)
        for student in sorted(path.iterdir())
        if student.is_dir() and not student.name.startswith(".")
        for file in sorted(student.glob("*.ipynb"))
        if file.is_file() and not file.is_symlink()
    ]
    if not found:
        raise CollectError(
            f"{path} holds no notebooks. It should hold a folder per student: {path}/STUDENT/01_….ipynb."
        )
    return found
