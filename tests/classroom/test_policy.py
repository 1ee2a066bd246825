"""The teacher's rules, and what they make of verdicts."""

import csv
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from lab_app.classroom.hold_back import concealed
from lab_app.classroom.marks import marks
from lab_app.classroom.policy import Override, Policy, PolicyError, from_json, read_due, read_overrides, to_json
from lab_app.classroom.report import report
from lab_app.classroom.store import Store, Student
from lab_app.harness.evidence import Exchange
from lab_app.harness.verdict import Result, Verdict

DUE = datetime(2026, 12, 1, 17, tzinfo=UTC)
SECRET = "what nobody is to read"


def check(name: str, passed: bool) -> Result:
    seen = (Exchange(SECRET, SECRET, SECRET),)
    return Result(name, "attack", f"title of {name}", SECRET, SECRET, ("CWE-1",), passed, SECRET, SECRET, seen)


def verdict(number: str, *passed: bool) -> Verdict:
    results = tuple(check(f"test_{n}", one) for n, one in enumerate(passed))
    return Verdict(number, "a title", "not yet", results, misconceptions=(SECRET,))


@pytest.fixture
def store(tmp_path: Path) -> Store:
    """Two students, one of whom is a day and a second late."""
    store = Store(tmp_path / "class.db")
    for name, when in (("ada", DUE), ("bob", DUE + timedelta(days=1, seconds=1))):
        store.enroll(Student(name, when), {})
        store.keep(name, {"1.1": ("key", verdict("1.1", True, False)), "1.2": ("", verdict("1.2"))}, jailed=True)
    return store


def totals(store: Store, policy: Policy) -> dict[str, float]:
    return {mine.student.name: mine.total for mine in marks(store, policy)}


def test_every_day_begun_costs_its_share(store: Store) -> None:
    assert totals(store, Policy()) == {"ada": 0.5, "bob": 0.5}
    assert totals(store, Policy(due=DUE, penalty=0.1)) == {"ada": 0.5, "bob": pytest.approx(0.4)}
    assert totals(store, Policy(due=DUE - timedelta(days=99), penalty=0.1)) == {"ada": 0.0, "bob": 0.0}


def test_what_nobody_knows_the_time_of_is_in_time() -> None:
    assert Policy(due=DUE, penalty=1).factor(None) == 1


def test_a_score_set_by_hand_takes_the_place_of_the_verdict(store: Store) -> None:
    policy = Policy(overrides={"ada": {"1.1": Override(1.0, "as agreed"), "1.2": Override(0.25, "by mail")}})
    assert totals(store, policy) == {"ada": 1.25, "bob": 0.5}


def test_a_check_that_is_held_back_tells_its_title_alone() -> None:
    told = concealed(verdict("1.1", True, False), frozenset({"test_1"}))
    assert SECRET not in repr(told.results[1])
    assert SECRET not in told.misconceptions
    assert told.results[1].title == "title of test_1"
    assert told.results[0].why == SECRET
    assert told.score == verdict("1.1", True, False).score


def test_rules_are_kept_as_they_were(store: Store) -> None:
    policy = Policy(DUE, 0.1, "scores", frozenset({"test_1"}), {"ada": {"1.1": Override(1.0, "as agreed")}})
    store.keep_setting("policy", to_json(policy))
    assert from_json(store.setting("policy")) == policy


def test_a_due_time_is_that_of_its_own_place() -> None:
    assert read_due("2026-12-01T18:00+01:00") == DUE


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("name,score\nada,1\n", "needs the columns student, exercise, score, reason"),
        ("student,exercise,score,reason\nada,99.1,1,x\n", r"marks.csv:2: there is no exercise 99.1"),
        ("student,exercise,score,reason\nada,1.1,1.5,x\n", "is not between 0 and 1"),
        ("student,exercise,score,reason\nada,1.1,nan,x\n", "is not between 0 and 1"),
        ("student,exercise,score,reason\nada,1.1,all,x\n", "is not between 0 and 1"),
        ("student,exercise,score,reason\nada,1.1\n", "needs a reason"),
        ("student,exercise,score,reason\nada,1.1,1, \n", "needs a reason"),
    ],
)
def test_overrides_that_cannot_be_followed_are_one_sentence(tmp_path: Path, text: str, said: str) -> None:
    path = tmp_path / "marks.csv"
    path.write_text(text)
    with pytest.raises(PolicyError, match=said):
        read_overrides(path)


def test_a_spreadsheet_is_no_csv(tmp_path: Path) -> None:
    path = tmp_path / "marks.csv"
    path.write_bytes(b"PK\x03\x04\xff\xfe\x00")
    with pytest.raises(PolicyError):
        read_overrides(path)


def test_a_delay_that_nobody_knows_is_no_number(store: Store, tmp_path: Path) -> None:
    store.enroll(Student("eve", None), {})
    report(store, tmp_path, Policy(due=DUE))
    with (tmp_path / "grades.csv").open(newline="") as file:
        assert {row["student"]: row["days_late"] for row in csv.DictReader(file)} == {"ada": "0", "bob": "2", "eve": ""}
