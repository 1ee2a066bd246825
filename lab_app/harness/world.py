"""What a check acts on: the learner's app, started as production would start it, and the library behind it."""

import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import Any

import httpx

from lab_app.harness.draw import Draw
from lab_app.harness.evidence import Exchange, exchange_of
from lab_app.harness.library import Library, build
from lab_app.runner.client import Bounds, client
from lab_app.runner.sandbox import AnswerTrouble, Running, Sandbox, SandboxDied


class OutOfTime(Exception):
    """The answer has used up the time of its whole exercise."""


@dataclass
class Answer:
    """Code offered for an exercise, the time it has left, and what the running check has recorded."""

    source: str
    title: str
    sandbox: Sandbox
    seed: int
    until: float = 0.0
    trouble: AnswerTrouble | None = None
    exchanges: list[Exchange] = field(default_factory=list)
    apps: dict[str, "App"] = field(default_factory=dict)
    started: int = 0
    out_of_time: bool = False

    def deadline(self) -> float:
        """The moment by which the next exchange must be over. Raises OutOfTime."""
        now = time.monotonic()
        if now > self.until:
            self.out_of_time = True
            raise OutOfTime("The answer used up the time that all checks of its exercise have together.")
        return min(self.until, now + self.sandbox.limits.answer_seconds)

    def record(self, request: httpx.Request, response: httpx.Response | None, trouble: str) -> None:
        """Keep an exchange as evidence."""
        self.exchanges.append(exchange_of(request, response, trouble))

    def launch(self, **env: str) -> "App":
        """A fresh app over a fresh library. Raises AnswerTrouble, at once if the answer never starts."""
        if self.trouble:
            raise self.trouble
        self.deadline()
        self.started += 1
        app = App(self, build(Draw(self.seed, self.title, self.started)), f"app{self.started}", env)
        try:
            app.start()
        except AnswerTrouble as trouble:
            if self.started == 1:
                self.trouble = trouble
            raise
        return app

    def shared(self, **env: str) -> "App":
        """The app that the checks of this exercise share under one environment, replaced when it has died."""
        key = repr(sorted(env.items()))
        if key not in self.apps or not self.apps[key].alive():
            self.apps[key] = self.launch(**env)
        return self.apps[key]


class App:
    """The learner's app while it runs."""

    def __init__(self, answer: Answer, library: Library, folder: str, env: dict[str, str]) -> None:
        self.answer, self.library, self.folder = answer, library, folder
        self.sandbox = answer.sandbox
        self.where = f"{self.sandbox.folder}/{folder}"
        self.database = f"{self.where}/library.db"
        self.env = environment(Draw(answer.seed, answer.title, folder, "env"), self.where) | env
        self.sandbox.write(folder, {"library.db": library.database})
        self.running: Running | None = None
        self.clients: dict[str, httpx.Client] = {}

    def start(self) -> None:
        """Serve the answer. Raises AnswerTrouble."""
        self.running = self.sandbox.start(self.answer.source, self.answer.title, self.env, self.folder)

    def stop(self, grace: float = 5) -> str:
        """End the app, politely for `grace` seconds; what it printed."""
        assert self.running
        running, self.running = self.running, None
        for one in self.clients.values():
            one.close()
        self.clients.clear()
        return self.sandbox.stop(running, grace)

    def restart(self, **env: str) -> None:
        """Stop the process and start it again over the same database. Raises AnswerTrouble."""
        self.stop()
        self.env |= env
        self.start()

    def alive(self) -> bool:
        """Whether the process still runs."""
        with suppress(SandboxDied, AnswerTrouble):
            return self.running is not None and self.sandbox.output(self.running)[0] is None
        return False

    @property
    def port(self) -> int:
        """Where the app listens on 127.0.0.1."""
        assert self.running
        return self.running.port

    @property
    def api(self) -> httpx.Client:
        """A client who is nobody yet and keeps no cookies."""
        return self.at("127.0.0.1")

    def at(self, address: str) -> httpx.Client:
        """A client who keeps no cookies and comes from `address` in 127.0.0.0/8."""
        if address not in self.clients:
            self.clients[address] = self._client(source=address)
        return self.clients[address]

    def browser(self, public: str = "") -> httpx.Client:
        """A new client with a cookie jar of its own; `public`: the address by which it knows the app."""
        return self._client(cookies=True, public=public)

    def sql(self, statement: str, *parameters: Any) -> list[list[Any]]:
        """Rows of the app's database; changes are committed."""
        return self.sandbox.sql(self.database, statement, *parameters)

    def eventually(self, statement: str, *parameters: Any, seconds: float = 5) -> list[list[Any]]:
        """Rows of the app's database as soon as there are any; [] when none came in time.

        A dependency that yields commits only after the answer was sent.
        """
        until = time.monotonic() + seconds
        while not (rows := self.sql(statement, *parameters)) and time.monotonic() < until:
            time.sleep(0.02)
        return rows

    @contextmanager
    def locked(self) -> Iterator[None]:
        """While it lasts everybody can read the app's database, and all who write to it wait."""
        holder = self.sandbox.lock(self.database)
        try:
            yield
        finally:
            self.sandbox.stop(holder)

    def files(self) -> dict[str, bytes]:
        """Everything below the app's working folder, its database included."""
        return self.sandbox.read(self.folder)

    def _client(self, source: str = "127.0.0.1", cookies: bool = False, public: str = "") -> httpx.Client:
        limits = self.sandbox.limits
        bounds = Bounds(self.answer.deadline, limits.body)
        return client(self.port, bounds, self.answer.record, source, cookies, public)


def environment(draw: Draw, where: str) -> dict[str, str]:
    """The variables that exist for every exercise."""
    return {
        "DATABASE_URL": f"sqlite:///{where}/library.db",
        "JWT_SECRET": draw.secret(64),
        "JWT_ISSUER": "larkspur",
        "JWT_AUDIENCE": "larkspur-api",
        "LOG_FILE": f"{where}/larkspur.log",
        "PUBLIC_BASE_URL": "http://larkspur.example",
        "PATH": "/usr/local/bin:/usr/bin:/bin",
        "HOME": where,
        "LANG": "C.UTF-8",
        "TZ": "UTC",
        "PYTHONDONTWRITEBYTECODE": "1",
        "MALLOC_ARENA_MAX": "2",
    }
