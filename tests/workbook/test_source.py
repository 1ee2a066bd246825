"""The rules that every source and answers file keeps."""

import pytest

from lab_app.workbook.source import (
    all_exercises,
    cells,
    check_module,
    right_answers,
    same_code,
    section_of,
    sections,
    wrong_answers,
)

PROSE_WORDS, CELL_LINES, STARTER_LINES = 120, 15, 60
SOLUTION_LINES = {"10.4": 95}  # all others: 80


def lines(source: str) -> int:
    """Blank ones do not count: they are there to be easy on the eye."""
    return sum(bool(line.strip()) for line in source.splitlines())


@pytest.mark.parametrize("number", all_exercises())
def test_an_exercise_keeps_its_measure(number: str) -> None:
    exercise = all_exercises()[number]
    assert lines(exercise.starter) <= STARTER_LINES
    assert lines(exercise.solution) <= SOLUTION_LINES.get(number, 80)
    assert exercise.solution.startswith(exercise.heading)
    assert exercise.starter.startswith(exercise.heading)
    assert "INSECURE" in exercise.starter.splitlines()[0]
    assert not same_code(exercise.starter, exercise.solution)


@pytest.mark.parametrize("number", all_exercises())
def test_an_exercise_is_proven(number: str) -> None:
    section = section_of(number)
    wrong = [answer for answer in wrong_answers(section) if answer.exercise == number]
    right = [answer for answer in right_answers(section) if answer.exercise == number]
    assert len(wrong) >= 5
    assert len(right) >= 2
    names = [answer.name for answer in [*wrong, *right]]
    assert len(set(names)) == len(names)
    assert all(answer.because and answer.caught_by for answer in wrong)
    written = check_module(number).read_text()
    assert all(f"def {check}(" in written for answer in wrong for check in answer.caught_by)


@pytest.mark.parametrize("section", sections())
def test_prose_is_short_and_cells_do_one_thing(section: str) -> None:
    for cell in cells(section):
        if cell.cell_type == "markdown":
            prose = cell.source.split("```")[::2]
            assert len(" ".join(prose).split()) <= PROSE_WORDS, cell.source[:60]
        elif "exercise" not in cell.metadata:
            assert lines(cell.source) <= CELL_LINES, cell.source[:60]


@pytest.mark.parametrize("section", sections())
def test_the_five_beats_are_there_in_order(section: str) -> None:
    text = "\n".join(cell.source for cell in cells(section) if cell.cell_type == "markdown")
    beats = [text.index(f"## {beat}\n") for beat in ("See", "Break", "Fix", "Prove", "Apply")]
    assert beats == sorted(beats)


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("a = 1", "a  =  1  # one", True),
        ("a = 1", "a = 2", False),
        ("a = (", "a  = (", True),
        ("a = (", "b = (", False),
        ("a = '\0'", "a = 1", False),
    ],
)
def test_same_code_ignores_comments_and_spaces(one: str, other: str, same: bool) -> None:
    assert same_code(one, other) is same
