"""Write what students get: no reference solution, no known answer, and no check that is held back."""

import re
import shutil
import tempfile
from collections.abc import Callable, Iterable
from pathlib import Path

from lab_app.classroom import for_gradescope, for_nbgrader
from lab_app.classroom.hold_back import held, without
from lab_app.trouble import Trouble
from lab_app.workbook.notebook import built
from lab_app.workbook.source import CHECKS, RELEASED, ROOT, SOURCES, sections

FILES = ("conftest.py", "pyproject.toml", "requirements.in", "requirements.txt", "LICENSE", ".gitignore")
TEXTS = Path(__file__).with_name("released")
SOLUTION = re.compile(r'# %%.*\brole="solution"')


class ReleaseError(Trouble):
    """Nothing was released; the text says why."""


def release(out: Path, audience: str = "", only: Iterable[str] = (), hold_back: Iterable[str] = ()) -> None:
    """Write a release into a new folder. `audience`: nbgrader, gradescope or github; students themselves without one.

    `only`: numbers of sections. `hold_back`: names of checks. Raises ReleaseError and SourceError.
    """
    if RELEASED:
        raise ReleaseError("This is a release already. Release from the workbook that has the solutions.")
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise ReleaseError(f"{out} is there already. Choose a new folder, so that nothing in it is lost.")
    write = AUDIENCES[audience]
    chosen, names = chosen_sections(only), held(hold_back)
    out.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=out.parent, prefix=".release-") as draft:
        write(Path(draft) / "release", chosen, names)
        if out.exists():
            out.rmdir()
        (Path(draft) / "release").rename(out)


def chosen_sections(only: Iterable[str]) -> list[str]:
    """The sections of some numbers, such as 1 or 01; all without any. Raises ReleaseError."""
    numbers = [number.partition("_")[0].lstrip("0") for number in only]
    known = {section[:2].lstrip("0"): section for section in sections()}
    if unknown := [number for number in numbers if number not in known]:
        raise ReleaseError(f"There is no section {unknown[0]!r:.40}. There are: {', '.join(known)}.")
    return [section for number, section in known.items() if number in numbers or not numbers]


def for_students(out: Path, chosen: list[str], names: frozenset[str]) -> None:
    """Notebooks, and what `check` and its like need."""
    copy_program(out)
    for folder in ("notebooks", "starters", "checks"):
        (out / folder).mkdir()
    for section in chosen:
        (out / "notebooks" / f"{section}.ipynb").write_text(built(section), encoding="utf-8")
        source = (SOURCES / f"{section}.py").read_text(encoding="utf-8")
        (out / "starters" / f"{section}.py").write_text(unsolved(source), encoding="utf-8")
    for path in CHECKS.glob("*.py"):
        if not path.name.startswith("test_") or any(path.name[5:8] == section[:3] for section in chosen):
            text = without(path.read_text(encoding="utf-8"), names)
            (out / "checks" / path.name).write_text(text, encoding="utf-8")
    shutil.copy(TEXTS / "students.md", out / "README.md")


def for_github(out: Path, chosen: list[str], names: frozenset[str]) -> None:
    """A template repository whose notebooks are checked on every push."""
    for_students(out, chosen, names)
    workflows = out / ".github" / "workflows"
    workflows.mkdir(parents=True)
    shutil.copy(TEXTS / "check.yml", workflows)
    shutil.copy(TEXTS / "github.md", out / "README.md")


def for_nbgrader_course(out: Path, chosen: list[str], names: frozenset[str]) -> None:
    """A course folder of nbgrader, and beside it the program that its students need."""
    for_students(out / "workbook", chosen, names)
    for path in (out / "workbook" / "notebooks").iterdir():
        path.unlink()  # students get nbgrader's
    for_nbgrader.write(out, chosen, names)


def for_gradescope_upload(out: Path, chosen: list[str], names: frozenset[str]) -> None:
    """A zip to upload as an autograder, with the solutions and all checks in it."""
    with tempfile.TemporaryDirectory() as draft:
        tree = Path(draft)
        copy_program(tree)
        for folder in ("checks", "solutions"):
            shutil.copytree(ROOT / folder, tree / folder, ignore=shutil.ignore_patterns("__pycache__"))
        for_gradescope.write(out, tree, chosen, names)


def copy_program(out: Path) -> None:
    """The program without what judges and what is taught."""
    shutil.copytree(ROOT / "lab_app", out / "lab_app", ignore=shutil.ignore_patterns("__pycache__"), dirs_exist_ok=True)
    for name in FILES:
        shutil.copy(ROOT / name, out)


def unsolved(source: str) -> str:
    """A section's source less the cells of its solutions."""
    return "".join(cell for cell in re.split(r"(?m)^(?=# %%)", source) if not SOLUTION.match(cell))


AUDIENCES: dict[str, Callable[[Path, list[str], frozenset[str]], None]] = {
    "": for_students,
    "nbgrader": for_nbgrader_course,
    "gradescope": for_gradescope_upload,
    "github": for_github,
}
