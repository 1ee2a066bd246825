"""How a check calls a function of the learner's cell many times over, and says what came back."""

import json
from collections.abc import Iterable, Sequence
from typing import Any

from lab_app.harness import CheckFailed
from lab_app.harness.evidence import call_of
from lab_app.harness.world import Desk

# One process for all calls of a check; an exception is what came back from that call, and no end of the others.
MANY = """
def _many(function, calls):
    came_back = []
    for arguments in calls:
        try:
            came_back.append([globals()[function](**arguments), ""])
        except Exception as error:
            came_back.append([None, f"{type(error).__name__}: {error}"])
    return came_back
"""


class Call:
    """One call of a function of the cell, and what it returned."""

    def __init__(self, function: str, arguments: dict[str, Any], value: Any, raised: str) -> None:
        self.function, self.arguments, self.value, self.raised = function, arguments, value, raised

    def failed(self, found: str, safe: str = "") -> CheckFailed:
        """`found` completes "your app …"; what it raised, if it raised, says more."""
        found = f"raised {self.raised}; a crash is no answer" if self.raised else found
        came_back = self.raised or json.dumps(self.value, ensure_ascii=False, default=repr)
        return CheckFailed(found, safe, call_of(self.function, self.arguments, came_back))

    def expect(self, holds: bool, found: str, safe: str = "") -> None:
        """Raises CheckFailed."""
        if self.raised or not holds:
            raise self.failed(found, safe)


def many(desk: Desk, function: str, calls: Iterable[dict[str, Any]], **env: str) -> Sequence[Call]:
    """The calls of a function of the cell, in their order. Raises AnswerTrouble when the cell itself does not run."""
    calls = list(calls)
    came_back = desk.call("_many", env, MANY, function=function, calls=calls)
    return [Call(function, given, *back) for given, back in zip(calls, came_back, strict=True)]
