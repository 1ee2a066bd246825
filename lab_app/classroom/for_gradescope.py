"""Write an autograder for Gradescope: a zip of the workbook with a setup.sh and a run_autograder in its root."""

import json
import shutil
from pathlib import Path

from lab_app.workbook.source import all_exercises, section_of

TEXTS = Path(__file__).with_name("released")
SETTINGS = "gradescope.json"


def write(out: Path, tree: Path, chosen: list[str], names: frozenset[str]) -> None:
    """Pack the workbook in `tree` as OUT/autograder.zip, for the exercises of some sections."""
    numbers = [number for number in all_exercises() if section_of(number) in chosen]
    settings = {"exercises": numbers, "hold_back": sorted(names)}
    (tree / SETTINGS).write_text(json.dumps(settings, indent=1) + "\n", encoding="utf-8")
    for name in ("setup.sh", "run_autograder"):
        shutil.copy(TEXTS / name, tree)
        (tree / name).chmod(0o755)
    out.mkdir()
    shutil.make_archive(str(out / "autograder"), "zip", tree)
    shutil.copy(TEXTS / "gradescope.md", out / "README.md")
