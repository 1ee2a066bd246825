"""Checks that cannot be made everywhere; `test_skipped.py` has them run as an exercise's own."""

import pytest

from lab_app.harness import attack, exercise, legit


@pytest.fixture
def nothing() -> None:
    pytest.skip("Nothing here.")


@exercise("1.1")
@legit("CWE-1")
def test_works() -> None:
    """It works."""


@exercise("1.1")
@attack("CWE-1")
def test_in_its_setup(nothing: None) -> None:
    """It is skipped before it begins."""


@exercise("1.1")
@attack("CWE-1")
def test_midway() -> None:
    """It is skipped midway."""
    pytest.skip("Nothing there.")


@exercise("1.2")
@legit("CWE-1")
def test_alone() -> None:
    """It is the only check, and skipped."""
    pytest.skip("Nothing at all.")
