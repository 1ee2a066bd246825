"""How a check says what it is: its exercise, whether it attacks, and the sources it rests on."""

import pytest


def exercise(number: str) -> pytest.MarkDecorator:
    """Tie a check to an exercise such as "1.3"."""
    return pytest.mark.exercise(number)


def attack(*sources: str) -> pytest.MarkDecorator:
    """The check tries to break the app. Sources: CWE, ASVS, API Security Top 10 or RFC sections."""
    return pytest.mark.check("attack", sources)


def legit(*sources: str) -> pytest.MarkDecorator:
    """The check is an honest user. No attack of the exercise counts until all of these pass."""
    return pytest.mark.check("legit", sources)
