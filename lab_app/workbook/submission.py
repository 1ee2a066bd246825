"""Read a learner's notebook: the code offered for each exercise, or one sentence on what is wrong with it."""

import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lab_app.trouble import Trouble
from lab_app.workbook.source import Exercise, exercises, same_code, sections

MOST_BYTES = 100 << 20


class SubmissionError(Trouble):
    """The file as a whole cannot be read; the text says what to do."""


@dataclass(frozen=True)
class Offered:
    """A cell's code, or why there is none to judge (`trouble`, one sentence)."""

    source: str = ""
    trouble: str = ""


def read_submission(path: Path) -> dict[str, Offered]:
    """What a notebook offers for each exercise of its section. Raises SubmissionError."""
    code = [cell for cell in _read(path) if cell.get("cell_type") == "code"]
    found = exercises(_section(path, code))
    return {number: _offered(code, exercise) for number, exercise in found.items()}


def _section(path: Path, code: list[dict[str, Any]]) -> str:
    """The section that most exercise cells belong to; without any, the one that the file is named for."""

    def cells_of(section: str) -> int:
        return sum(_belongs(cell, number) for number in exercises(section) for cell in code)

    named = [section for section in sections() if path.name.startswith(section[:3])]
    best = max(named + sections(), key=cells_of)
    if cells_of(best) or named:
        return best
    raise SubmissionError(
        f"{path.name} holds no exercise of the workbook. Hand in the notebook that you were given, under its name."
    )


def _read(path: Path) -> list[dict[str, Any]]:
    again = "Save it in JupyterLab as a notebook (.ipynb) and hand it in again."
    try:
        size = path.stat().st_size
        if size > MOST_BYTES:
            raise SubmissionError(
                f"{path.name} is {size >> 20} MiB, more than {MOST_BYTES >> 20}. Clear its outputs "
                "(Edit → Clear Outputs of All Cells), save it and hand it in again."
            )
        notebook = json.loads(path.read_text(encoding="utf-8-sig"))
    except OSError as error:
        raise SubmissionError(f"{path.name} cannot be read: {error.strerror}.") from error
    except UnicodeDecodeError as error:
        raise SubmissionError(f"{path.name} is no text file. {again}") from error
    except (ValueError, RecursionError) as error:
        what = "is empty" if not size else "is no notebook: it is not valid JSON"
        raise SubmissionError(f"{path.name} {what}. {again}") from error
    if not isinstance(notebook, dict) or "nbformat" not in notebook:
        raise SubmissionError(f"{path.name} is JSON, but no notebook. {again}")
    if notebook["nbformat"] != 4:
        raise SubmissionError(f"{path.name} is a notebook of format {str(notebook['nbformat'])[:9]}, not 4. {again}")
    if not isinstance(notebook.get("cells"), list):
        raise SubmissionError(f"{path.name} has no list of cells. {again}")
    return [cell for cell in notebook["cells"] if isinstance(cell, dict)]


def _offered(cells: list[dict[str, Any]], exercise: Exercise) -> Offered:
    number = exercise.number
    own = [cell for cell in cells if _belongs(cell, number)] or [cell for cell in cells if _resembles(cell, number)]
    candidates = [_source(cell) for cell in own]
    if not candidates:
        return Offered(trouble=f"The cell of exercise {number} is missing: it begins with “{exercise.heading}”.")
    written = [source for source in candidates if source.strip()]
    if not written:
        return Offered(trouble=f"The cell of exercise {number} is empty.")
    touched = [source for source in written if not same_code(source, exercise.starter)]
    if not touched:
        return Offered(exercise.starter, trouble=f"The cell of exercise {number} is still the starter.")
    if any(not same_code(source, touched[0]) for source in touched):
        return Offered(
            trouble=f"Exercise {number} stands in {len(touched)} cells that differ. Keep the one that you mean."
        )
    return Offered(touched[0])


def _belongs(cell: dict[str, Any], number: str) -> bool:
    """By id, which Colab moves into the metadata, by metadata, or by the first line: editors keep one of the three."""
    key = cell_id(number)
    metadata = cell.get("metadata")
    metadata = metadata if isinstance(metadata, dict) else {}
    known = [metadata.get(name) for name in ("lab", "nbgrader")]
    named = [entry.get(k) for entry in known if isinstance(entry, dict) for k in ("exercise", "grade_id")]
    named += [cell.get("id"), metadata.get("id")]
    return number in named or key in named or _source(cell).lstrip().startswith(f"# Exercise {number} ")


def _resembles(cell: dict[str, Any], number: str) -> bool:
    """By a first line that was typed anew. Of several cells it would find notes and trials too, so it comes last."""
    return re.match(rf"\s*#\s*exercise\s+{re.escape(number)}(?!\.?\d)", _source(cell), re.IGNORECASE) is not None


def _source(cell: dict[str, Any]) -> str:
    source = cell.get("source", "")
    lines = source if isinstance(source, list) else [source]
    return "".join(line for line in lines if isinstance(line, str))


def cell_id(number: str) -> str:
    """The id of an exercise's cell in every notebook, which is its nbgrader id too."""
    return "exercise-" + number.replace(".", "-")
