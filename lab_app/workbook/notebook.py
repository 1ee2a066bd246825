"""Build the learner's notebooks from the sources: the same bytes for the same source, always."""

import hashlib
import json
from pathlib import Path
from typing import Any

from lab_app.workbook.source import NOTEBOOKS, cells, exercises
from lab_app.workbook.submission import SubmissionError, cell_id, read_submission

KERNEL = {
    "kernelspec": {"display_name": "Python 3 (ipykernel)", "language": "python", "name": "python3"},
    "language_info": {"name": "python"},
}


def path_of(section: str) -> Path:
    """Where a section's notebook is."""
    return NOTEBOOKS / f"{section}.ipynb"


def built(section: str, solved: bool = False) -> str:
    """A section's notebook as JSON text; `solved` puts the reference solutions in the place of the starters."""
    seen: set[str] = set()
    notebook = {
        "cells": [
            _cell(section, cell, solved, seen) for cell in cells(section) if cell.metadata.get("role") != "solution"
        ],
        "metadata": KERNEL,
        "nbformat": 4,
        "nbformat_minor": 5,
    }
    return json.dumps(notebook, indent=1, ensure_ascii=False, sort_keys=True) + "\n"


def build(section: str) -> bool:
    """Write a section's notebook; whether it changed. Raises SubmissionError rather than lose somebody's answers."""
    path, text = path_of(section), built(section)
    if path.exists():
        if path.read_text(encoding="utf-8") == text:
            return False
        if any(offer.source and not offer.trouble for offer in read_submission(path).values()):
            raise SubmissionError(f"{path.name} has answers in it. Move it out of notebooks/, then build again.")
    path.write_text(text, encoding="utf-8")
    return True


def _cell(section: str, cell: Any, solved: bool, seen: set[str]) -> dict[str, Any]:
    number = cell.metadata.get("exercise")
    source = exercises(section)[number].solution if number and solved else cell.source
    shape: dict[str, Any] = {
        "cell_type": cell.cell_type,
        "id": cell_id(number) if number else _stable_id(cell, seen),
        "metadata": _metadata(number) if number else {},
        "source": source.splitlines(keepends=True),
    }
    return shape | ({"execution_count": None, "outputs": []} if cell.cell_type == "code" else {})


def _metadata(number: str) -> dict[str, Any]:
    solution = {"grade": False, "grade_id": cell_id(number), "locked": False, "schema_version": 3, "solution": True}
    return {"lab": {"exercise": number}, "nbgrader": solution | {"task": False}}


def _stable_id(cell: Any, seen: set[str]) -> str:
    """From the cell's text, so that a change elsewhere leaves it alone."""
    text = f"{cell.cell_type}\n{cell.source}"
    while (found := hashlib.sha256(text.encode()).hexdigest()[:12]) in seen:
        text += "\n"
    seen.add(found)
    return found
