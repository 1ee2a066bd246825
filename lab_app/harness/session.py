"""One grading session: the answers to judge, the sandbox that runs them, and what the checks found."""

import secrets
import time
from dataclasses import dataclass, field

from lab_app.harness.verdict import Result
from lab_app.harness.world import Answer
from lab_app.runner.fresh import sandbox_for
from lab_app.runner.limits import Limits
from lab_app.runner.sandbox import Sandbox


@dataclass
class Session:
    """`sources`: the code of each exercise to judge, by number. `troubles`: why an exercise has none.

    `order`: the names of the checks as they are written.
    """

    sandbox: Sandbox
    sources: dict[str, str]
    about: str = "an answer"
    troubles: dict[str, str] = field(default_factory=dict)
    seed: int = field(default_factory=lambda: secrets.randbelow(10**9))
    results: list[Result] = field(default_factory=list)
    current: Answer | None = None
    number: str = ""
    order: list[str] = field(default_factory=list)

    def answer(self, number: str) -> Answer:
        """The answer of an exercise; beginning another one sweeps away all that the last one left."""
        if self.current is None or self.number != number:
            self.sandbox.sweep()
            until = time.monotonic() + self.sandbox.limits.exercise_seconds
            source, title = self.sources[number], f"Exercise {number}"
            self.current = Answer(source, title, self.sandbox, self.seed, until)
            self.number = number
        return self.current

    def close(self) -> None:
        """End everything that runs."""
        self.sandbox.close()


def plain_session(sources: dict[str, str], about: str) -> Session:
    """A session outside the jail, for code of one's own."""
    return Session(sandbox_for(Limits(), jailed=False), sources, about)
