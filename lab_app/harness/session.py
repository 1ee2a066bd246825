"""One grading session: the answers to judge, the sandbox that runs them, and what the checks found."""

import os
import secrets
import time
from contextlib import suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from lab_app.harness.draw import SEEDS
from lab_app.harness.verdict import Result
from lab_app.harness.world import Answer
from lab_app.runner.fresh import sandbox_for
from lab_app.runner.limits import Limits
from lab_app.runner.sandbox import Sandbox, SandboxDied

if TYPE_CHECKING:
    from lab_app.harness.postgres import Server

SQL_SECTION = "7."  # its exercises are judged on PostgreSQL when DATABASE_URL names such a server


@dataclass
class Session:
    """`sources`: the code of each exercise to judge, by number. `troubles`: why an exercise has none.

    `order`: the names of the checks as they are written. `share`: (1, 3) runs the second of three parts of the checks.
    """

    sandbox: Sandbox
    sources: dict[str, str]
    about: str = "an answer"
    troubles: dict[str, str] = field(default_factory=dict)
    seed: int = field(default_factory=lambda: secrets.randbelow(SEEDS))
    results: list[Result] = field(default_factory=list)
    current: Answer | None = None
    number: str = ""
    order: list[str] = field(default_factory=list)
    share: tuple[int, int] = (0, 1)

    def answer(self, number: str) -> Answer:
        """The answer of an exercise; beginning another one sweeps away all that the last one left."""
        if self.current is None or self.number != number:
            self.sweep()
            with suppress(SandboxDied):  # which whoever asks it next will hear
                self.sandbox.settle()
            until = time.monotonic() + self.sandbox.limits.exercise_seconds
            source, title = self.sources[number], f"Exercise {number}"
            self.current = Answer(source, title, self.sandbox, self.seed, until, server=self._server(number))
            self.number = number
        return self.current

    def sweep(self) -> None:
        """Kill all that runs and remove all that was written, also on a database server."""
        self.sandbox.sweep()
        if self.current and self.current.server:
            self.current.server.drop()

    def close(self) -> None:
        """End everything that runs."""
        self.sandbox.close()
        if self.current and self.current.server:
            self.current.server.drop()

    def _server(self, number: str) -> "Server | None":
        if self.sandbox.jailed or not number.startswith(SQL_SECTION) or not postgres_url():
            return None  # a jail reaches no server
        from lab_app.harness.postgres import Server  # brings a driver that nobody else needs

        return Server(postgres_url())


def postgres_url() -> str:
    """The PostgreSQL server that DATABASE_URL names; "" if it names none."""
    url = os.environ.get("DATABASE_URL", "")
    return url if url.startswith("postgres") else ""


def plain_session(sources: dict[str, str], about: str) -> Session:
    """A session outside the jail, for code of one's own."""
    return Session(sandbox_for(Limits(), jailed=False), sources, about)
