"""Write nbgrader source assignments: solutions between its marks, and a graded cell for each exercise."""

import json
import re
import shutil
from pathlib import Path
from typing import Any

from lab_app.workbook.notebook import built
from lab_app.workbook.source import Exercise, exercises

TEXTS = Path(__file__).with_name("released")
POINTS = 10  # of each exercise
HELD_BACK = "LAB_HELD_BACK"
CHECK = re.compile(r'check\("(\d+\.\d+)"\)')


def write(out: Path, chosen: list[str], names: frozenset[str]) -> None:
    """A course folder with one assignment a section: source/SECTION/SECTION.ipynb, and nbgrader's configuration.

    `names`: the checks that are held back, which the configuration hands on to the kernels.
    """
    for section in chosen:
        folder = out / "source" / section
        folder.mkdir(parents=True)
        text = json.dumps(assignment(section), indent=1, ensure_ascii=False, sort_keys=True)
        (folder / f"{section}.ipynb").write_text(text + "\n", encoding="utf-8")
    config = (TEXTS / "nbgrader_config.py").read_text(encoding="utf-8")
    kept = (
        f'\nos.environ["{HELD_BACK}"] = "{" ".join(sorted(names))}"  # checks of which feedback shows the title only\n'
    )
    (out / "nbgrader_config.py").write_text(config + kept, encoding="utf-8")
    shutil.copy(TEXTS / "nbgrader.md", out / "README.md")


def assignment(section: str) -> dict[str, Any]:
    """A section's notebook as an instructor's version."""
    notebook: dict[str, Any] = json.loads(built(section, solved=True))
    for cell in notebook["cells"]:
        source = "".join(cell["source"])
        if number := cell["metadata"].get("lab", {}).get("exercise"):
            exercise = exercises(section)[number]
            cell["metadata"]["lab"]["starter"] = exercise.starter
            cell["source"] = marked(exercise)
        elif graded := CHECK.fullmatch(source.strip()):
            cell["metadata"]["nbgrader"] = graded_cell(graded[1])
            cell["source"] = (
                f"# Save the notebook first: this judges the file. It gives up to {POINTS} points.\n"
                "from lab_app.classroom.nbgrader import points\n\n"
                f'points("{section}.ipynb", "{graded[1]}", {POINTS})'
            )
    return notebook


def marked(exercise: Exercise) -> str:
    """A reference solution between the marks that nbgrader looks for."""
    rest = exercise.solution.removeprefix(exercise.heading).lstrip("\n")
    return f"{exercise.heading}\n### BEGIN SOLUTION\n{rest}\n### END SOLUTION"


def graded_cell(number: str) -> dict[str, Any]:
    """nbgrader's metadata for the cell that gives an exercise its points."""
    about = {"grade": True, "grade_id": f"points-{number.replace('.', '-')}", "locked": True, "points": POINTS}
    return about | {"schema_version": 3, "solution": False, "task": False}
