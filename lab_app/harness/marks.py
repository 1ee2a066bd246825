"""How a check says what it is: its exercise, whether it attacks, and the sources it rests on."""

from collections.abc import Callable
from typing import Any

import pytest

Decorator = Callable[[Callable[..., None]], Callable[..., None]]


def exercise(number: str) -> Any:
    """Tie a check to an exercise such as "1.3"."""
    return pytest.mark.exercise(number)


def attack(*sources: str) -> Any:
    """The check tries to break the app. Sources: CWE, ASVS, API Security Top 10 or RFC sections."""
    return pytest.mark.check("attack", sources)


def legit(*sources: str) -> Any:
    """The check is an honest user. No attack of the exercise counts until all of these pass."""
    return pytest.mark.check("legit", sources)
