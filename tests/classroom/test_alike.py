"""Which answers count as the same."""

import pytest

from lab_app.classroom.alike import fingerprint, solved
from lab_app.workbook.source import all_exercises, right_answers, section_of, wrong_answers

NUMBER = "3.1"
ANSWER = all_exercises()[NUMBER].solution


def test_names_and_comments_make_no_other_answer() -> None:
    renamed = "# mine alone\n" + ANSWER.replace("read_profile", "show")
    assert renamed != "# mine alone\n" + ANSWER
    assert fingerprint(renamed, NUMBER) == fingerprint(ANSWER, NUMBER) == solved(NUMBER) != ""


def test_a_value_that_differs_makes_another_answer() -> None:
    assert fingerprint(ANSWER.replace("600", "601"), NUMBER) != solved(NUMBER)


def test_the_starter_tells_nothing_and_neither_does_what_is_no_python() -> None:
    assert fingerprint(all_exercises()[NUMBER].starter, NUMBER) == ""
    assert fingerprint(all_exercises()[NUMBER].starter + "\nmine = 1\n", NUMBER) == ""
    for text in ("def", "\0", "(" * 100_000, "-" * 100_000 + "1", ""):
        assert fingerprint(text, NUMBER) == ""


@pytest.mark.parametrize("number", all_exercises())
def test_answers_that_were_written_apart_are_apart(number: str) -> None:
    section = section_of(number)
    cells = [right.cell for right in right_answers(section) if right.exercise == number]
    prints = [solved(number), *(fingerprint(cell, number) for cell in cells)]
    assert "" not in prints
    assert len(set(prints)) == len(prints)
    wrong = [fingerprint(one.cell, number) for one in wrong_answers(section) if one.exercise == number]
    assert solved(number) not in wrong
