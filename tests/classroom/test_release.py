"""`python -m lab_app release`: what students get works, and gives nothing away."""

import ast
import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import nbformat
import pytest
import yaml
from nbclient import NotebookClient

from lab_app.classroom.hold_back import checks_in, concealed, known_checks, without
from lab_app.classroom.release import ReleaseError
from lab_app.classroom.release import release as write_release
from lab_app.harness.checker import Checker
from lab_app.harness.evidence import Exchange
from lab_app.harness.verdict import Result, Verdict, to_json
from lab_app.workbook.source import (
    CHECKS,
    SourceError,
    all_exercises,
    check_module,
    exercises,
    right_answers,
    sections,
    wrong_answers,
)
from tests.classroom.classes import answered
from tests.classroom.released import HALF, HELD, RIGHT, SECTION, answers, environment, release


@pytest.fixture(scope="module")
def everything(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A release of all sections, less one check."""
    out = tmp_path_factory.mktemp("all") / "students"
    ran = release(out, "--hold-back", HELD)
    assert ran.returncode == 0, ran.stderr
    return out


def lines(text: str) -> list[str]:
    """The lines of code that say something of their own; every module imports the same things."""
    stripped = (line.strip() for line in text.splitlines())
    return [line for line in stripped if line and not line.startswith(("import ", "from ", "#"))]


def runs(text: str) -> set[tuple[str, ...]]:
    """Every four lines in a row: fewer are often the same by chance."""
    found = lines(text)
    return {tuple(found[n : n + 4]) for n in range(max(1, len(found) - 3))}


def known_answers() -> Iterator[str]:
    for exercise in all_exercises().values():
        yield exercise.solution
    for section in sections():
        yield from (wrong.cell for wrong in wrong_answers(section))
        yield from (right.cell for right in right_answers(section))


def test_no_answer_is_in_a_release(everything: Path) -> None:
    files = {path: path.read_text(encoding="utf-8") for path in everything.rglob("*") if path.is_file()}
    given = {
        run
        for path in (everything / "notebooks").iterdir()
        for cell in json.loads(files[path])["cells"]
        for run in runs("".join(cell["source"]))
    }
    secret = {run for answer in known_answers() for run in runs(answer)} - given
    assert len(secret) > 1000
    assert not {path: found for path, text in files.items() if (found := runs(text) & secret)}
    why = {wrong.because for section in sections() for wrong in wrong_answers(section)}
    assert not {path: said for path, text in files.items() if (said := [one for one in why if one in text])}


def test_what_stands_beside_the_notebooks_says_no_more_than_they_do(everything: Path) -> None:
    for section in sections():
        cells = json.loads((everything / "notebooks" / f"{section}.ipynb").read_text())["cells"]
        shown = {line for cell in cells for line in "".join(cell["source"]).splitlines()}
        source = (everything / "starters" / f"{section}.py").read_text()
        front, *body = re.split(r"(?m)^# %%.*\n", source)
        assert "kernelspec" in front
        told = {line for block in body for line in block.splitlines()}
        assert {line for line in told if line not in shown and line.removeprefix("# ") not in shown} <= {"#", ""}


def test_a_held_back_check_is_not_there_and_still_the_teachers(everything: Path) -> None:
    module = check_module(RIGHT)
    had, has = checks_in(module.read_text()), checks_in((everything / "checks" / module.name).read_text())
    assert [name for name in had if name not in has] == [HELD]
    assert not [path for path in everything.rglob("*") if path.is_file() and HELD in path.read_text(encoding="utf-8")]


JUDGE = """
import json, sys
from dataclasses import asdict
import lab_app
from lab_app.harness.checker import Checker
from lab_app.harness.evidence import Exchange
from lab_app.harness.verdict import Result, Verdict, to_json
with Checker() as checker:
    verdicts = {name: asdict(checker.check(*answer)) for name, answer in json.load(sys.stdin).items()}
print(json.dumps({"program": lab_app.__file__, "verdicts": verdicts}))
"""


def test_checks_work_in_a_release(everything: Path) -> None:
    """The same answers get the same verdicts, less what was held back and what known answers would explain."""
    asked = {number: (number, source) for number, source in answers().items()}
    asked["starter"] = (RIGHT, exercises(SECTION)[RIGHT].starter)
    ran = subprocess.run(
        [sys.executable, "-c", JUDGE],
        input=json.dumps(asked),
        cwd=everything,
        env=environment(everything),
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert ran.returncode == 0, ran.stderr
    said = json.loads(ran.stdout)
    assert Path(said["program"]).is_relative_to(everything)
    verdicts = said["verdicts"]
    assert verdicts[RIGHT]["outcome"] == "passed"
    assert verdicts["starter"]["outcome"] == "not yet"
    assert len(verdicts[RIGHT]["results"]) == len(checks_in(check_module(RIGHT).read_text())) - 1
    assert not verdicts[HALF]["misconceptions"]
    with Checker() as checker:
        ours = checker.check(HALF, answers()[HALF])
    assert verdicts[HALF]["score"] == ours.score
    assert [result["passed"] for result in verdicts[HALF]["results"]] == [result.passed for result in ours.results]


def test_a_learners_session_works_in_a_release(
    everything: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PYTHONPATH", str(everything))
    monkeypatch.setenv("LAB_HOME", str(tmp_path))
    cells = [
        "from lab_app.jupyter import check, hint, serve, progress",
        exercises(SECTION)[HALF].starter,
        f'check("{HALF}")',
        answers()[HALF],
        f'check("{HALF}")',
        f'hint("{HALF}")',
        "progress()",
    ]
    v4: Any = nbformat.v4
    notebook = v4.new_notebook(cells=[v4.new_code_cell(cell) for cell in cells])
    NotebookClient(notebook, timeout=120, resources={"metadata": {"path": str(everything / "notebooks")}}).execute()
    shown = ["".join(out.get("text") or out.data["text/plain"] for out in cell.outputs) for cell in notebook.cells]
    assert "not attempted" in shown[2]
    assert "not yet" in shown[4]
    assert shown[5].startswith("Hint: ")
    assert HALF in shown[6]


def test_a_release_of_one_section_holds_one(tmp_path: Path) -> None:
    write_release(tmp_path / "one", "", [SECTION[:2]])
    assert [path.stem for path in (tmp_path / "one" / "notebooks").iterdir()] == [SECTION]
    assert [path.stem for path in (tmp_path / "one" / "starters").iterdir()] == [SECTION]
    assert {path.name[5:7] for path in (tmp_path / "one" / "checks").glob("test_*.py")} == {SECTION[:2]}


@pytest.mark.parametrize(
    ("only", "hold_back", "word"),
    [
        ([], ["x"], "no check 'x'"),
        (["11"], [], "There are: 1, 2"),
        ([], checks_in(check_module(RIGHT).read_text()), "at least one"),
    ],
)
def test_what_cannot_be_released_is_refused_whole(
    only: list[str], hold_back: list[str], word: str, tmp_path: Path
) -> None:
    with pytest.raises((ReleaseError, SourceError), match=word):
        write_release(tmp_path / "out", "", only, hold_back)
    assert not list(tmp_path.iterdir())


def test_an_unknown_check_is_one_sentence(tmp_path: Path) -> None:
    ran = release(tmp_path / "out", "--hold-back", HELD[:-4])
    assert ran.returncode == 1
    assert HELD in ran.stderr
    assert len(ran.stderr.splitlines()) == 1


def test_nothing_is_overwritten(tmp_path: Path) -> None:
    (tmp_path / "mine.txt").write_text("mine")
    with pytest.raises(ReleaseError, match="is there already"):
        write_release(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["mine.txt"]


def test_any_check_can_be_taken_out(tmp_path: Path) -> None:
    """What stays is whole: it lacks nothing that it names."""
    for module in CHECKS.glob("test_*.py"):
        text = module.read_text()
        names = checks_in(text)
        for part in (names[:1], names[1::2], names[:-1]):
            left = without(text, frozenset(part))
            assert checks_in(left) == [one for one in names if one not in part]
            (tmp_path / f"{module.stem}_{len(part)}.py").write_text(left)
    command = [sys.executable, "-m", "ruff", "check", "--isolated", "--no-cache", "--select", "F821,E9", str(tmp_path)]
    ran = subprocess.run(command, capture_output=True, text=True)
    assert ran.returncode == 0, ran.stdout


def test_what_only_a_held_back_check_uses_goes_with_it() -> None:
    stays = "B = 2\ndef test_two():\n    B\n"
    text = f"A = 1\n# of one\ndef _help():\n    return A\n\ndef test_one():\n    _help()\n\n{stays}"
    assert ast.dump(ast.parse(without(text, frozenset({"test_one"})))) == ast.dump(ast.parse(stays))
    with pytest.raises(SourceError, match="at least one"):
        without(text, frozenset({"test_one", "test_two"}))
    assert without(text, frozenset({"test_three"})) == text


def test_of_a_concealed_check_a_title_is_left() -> None:
    def result(name: str, passed: bool) -> Result:
        secret = () if passed else (Exchange("a request", "an answer", "a curl line"),)
        return Result(
            name, "attack", f"title of {name}", "why", "a hint", ("a source",), passed, "found", "safe", secret
        )

    verdict = Verdict("1.1", "", "not yet", (result("a", True), result("b", False)), misconceptions=("because",))
    shown = concealed(verdict, frozenset("b"))
    assert shown.score == verdict.score
    assert shown.results[0] == verdict.results[0]
    assert shown.results[1].title == "title of b"
    kept = json.dumps(to_json(shown)["results"][1])
    assert not [word for word in ("a request", "an answer", "curl line", "a hint", "a source") if word in kept]
    assert shown.misconceptions == ()  # they would say which check failed
    assert concealed(verdict, frozenset("a")).misconceptions == ("because",)


def test_every_check_is_known_by_its_name() -> None:
    known = known_checks()
    assert check_module(RIGHT) in known[HELD]
    assert {path for paths in known.values() for path in paths} == set(CHECKS.glob("test_*.py"))


# --for github

SHA = re.compile(r"[\w.-]+/[\w.-]+@[0-9a-f]{40}")


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("github") / "template"
    ran = release(out, "--for", "github", "--section", SECTION[:2])
    assert ran.returncode == 0, ran.stderr
    return out


def test_the_workflow_may_do_nothing_but_read(template: Path) -> None:
    workflow = yaml.safe_load((template / ".github/workflows/check.yml").read_text())
    assert workflow["permissions"] == {"contents": "read"}
    assert workflow[True] == "push"  # YAML 1.1 reads `on` so
    (job,) = workflow["jobs"].values()
    assert set(job) == {"runs-on", "timeout-minutes", "steps"}
    for step in job["steps"]:
        assert bool(SHA.fullmatch(step.get("uses", ""))) != ("run" in step)
        assert "${{" not in json.dumps(step)  # neither secrets nor what a stranger may write


def test_the_workflow_writes_every_verdict_into_the_summary(template: Path, tmp_path: Path) -> None:
    path = template / "notebooks" / f"{SECTION}.ipynb"
    path.write_text(json.dumps(answered(json.loads(path.read_text()), answers())))
    path.with_name("00_broken.ipynb").write_text("no notebook")
    (job,) = yaml.safe_load((template / ".github/workflows/check.yml").read_text())["jobs"].values()
    (tmp_path / "python3").write_text(f'#!/bin/sh\nshift 2\nexec {sys.executable} -m lab_app.cli "$@"\n')  # no set-up
    (tmp_path / "python3").chmod(0o755)
    for step in job["steps"]:
        if "run" in step and step["name"] != "Set up":
            ran = subprocess.run(
                ["bash", "--noprofile", "--norc", "-eo", "pipefail", "-c", step["run"]],  # as GitHub runs it
                cwd=template,
                env=environment(
                    template,
                    PATH=f"{tmp_path}{os.pathsep}{os.environ['PATH']}",
                    GITHUB_STEP_SUMMARY=str(tmp_path / "summary.md"),
                    **step.get("env", {}),
                ),
                capture_output=True,
                text=True,
                timeout=120,
            )
            assert ran.returncode == 1, ran.stderr  # for the one that cannot be read
    summary = (tmp_path / "summary.md").read_text()
    assert f"## notebooks/{SECTION}.ipynb" in summary
    assert "00_broken.ipynb is no notebook" in summary
    assert all(number in summary for number in exercises(SECTION))
    assert summary.count("not attempted") == len(exercises(SECTION)) - 2
