"""What Gradescope's run_autograder calls: from ROOT/submission to ROOT/results/results.json.

The format is that of https://gradescope-autograders.readthedocs.io/en/latest/specs/.
"""

import json
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from lab_app.classroom.for_gradescope import SETTINGS
from lab_app.classroom.grade import read, verdicts
from lab_app.classroom.unpack import in_folder
from lab_app.harness.checker import Checker
from lab_app.harness.plugin import told
from lab_app.harness.verdict import Verdict, counted
from lab_app.runner.jail import JailError
from lab_app.workbook.source import ROOT, all_exercises
from lab_app.workbook.submission import Offered

POINTS = 10  # of each exercise


def main(root: Path) -> None:
    """Grade what was handed in; whatever happens, there is a result that says it."""
    began = time.monotonic()
    settings = json.loads((ROOT / SETTINGS).read_text(encoding="utf-8"))
    notes: list[str] = []
    judged = {verdict.exercise: verdict for verdict in graded(root / "submission", notes)}
    wanted = settings["exercises"]
    results = {
        "score": round(sum(POINTS * judged[number].score for number in wanted if number in judged), 4),
        "execution_time": round(time.monotonic() - began),
        "output": "\n".join(notes),
        "output_format": "text",
        "tests": [test for n in wanted for test in tests(n, judged.get(n), frozenset(settings["hold_back"]))],
    }
    (root / "results").mkdir(exist_ok=True)
    (root / "results" / "results.json").write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")


def graded(folder: Path, notes: list[str]) -> list[Verdict]:
    """The verdicts of all notebooks in a folder; what is wrong with a file goes into `notes`."""
    files = [entry.path for entry in in_folder(folder) if entry.path and not entry.folder and not entry.trouble]
    offered, troubles = read(path for path in files if path.suffix.casefold() == ".ipynb")
    notes += troubles
    if not offered and not troubles:
        notes.append("There is no notebook (.ipynb) in this submission. Hand in the notebook that you were given.")
    return verdicts_of(offered)


def verdicts_of(offered: dict[str, Offered]) -> list[Verdict]:
    """The verdicts of what was handed in, jailed where that can be."""
    try:
        with Checker(jailed=True) as checker:
            return list(verdicts(checker, offered))
    except JailError as error:
        # Gradescope shows this to the teacher alone.
        sys.stdout.write(f"Graded without the jail. {error}\n")
    with Checker() as checker:
        return list(verdicts(checker, offered))


def tests(number: str, verdict: Verdict | None, held: frozenset[str]) -> Iterator[dict[str, Any]]:
    """An exercise as Gradescope's test cases: one for each check, or a single one if there is nothing to judge."""
    if verdict is None or not verdict.results:
        trouble = verdict.trouble if verdict else "No notebook with this exercise was handed in."
        name = f"{number} {all_exercises()[number].title}"
        yield {"name": name, "number": number, "score": 0, "max_score": POINTS, "output": trouble}
        return
    worth, earned = POINTS / len(verdict.made() or verdict.results), counted(verdict.results)
    for n, result in enumerate(verdict.results, 1):
        hidden = result.name in held
        test: dict[str, Any] = {"name": f"{number} {result.title}", "number": f"{number}.{n}"}
        if result.skipped:
            yield test | {"status": "passed", "output": "" if hidden else f"Not checked here: {result.skipped}"}
            continue
        test |= {"score": worth if result in earned else 0, "max_score": worth, "output_format": "text"}
        test["status"] = "passed" if result.passed else "failed"
        if hidden:
            yield test | {"visibility": "after_published", "output": ""}
        else:
            yield test | {"output": "" if result.passed else told(result)}


if __name__ == "__main__":
    main(Path(sys.argv[1]))
