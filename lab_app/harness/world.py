"""What a check acts on: the learner's app, started as production would start it, and the library behind it."""

import copy
import json
import math
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import httpx

from lab_app.harness.draw import Draw
from lab_app.harness.evidence import Exchange, call_of, exchange_of
from lab_app.harness.library import Library, build
from lab_app.runner import raw
from lab_app.runner.client import Bounds, client
from lab_app.runner.patience import Patience
from lab_app.runner.sandbox import AnswerTrouble, Running, Sandbox, SandboxDied

if TYPE_CHECKING:
    from lab_app.harness.postgres import Server
    from lab_app.runner.services.certificate import Certificate


IN_VAIN = 0.25  # of the time that checks wait for what an answer does later, once it has let one wait in vain


class OutOfTime(Exception):
    """The answer has used up the time of its whole exercise."""


@dataclass
class Answer:
    """Code offered for an exercise, the time it has left, and what the running check has recorded.

    `server`: where its libraries are, if not in SQLite files.
    """

    source: str
    title: str
    sandbox: Sandbox
    seed: int
    until: float = 0.0
    trouble: AnswerTrouble | None = None
    ran: bool = False  # the cell, to its end, at least once
    stumbled: AnswerTrouble | None = None  # why it did not, the first time that it did not
    exchanges: list[Exchange] = field(default_factory=list)
    apps: dict[str, "App"] = field(default_factory=dict)
    patience: Patience = field(default_factory=lambda: Patience(IN_VAIN))
    kept: dict[str, Any] = field(default_factory=dict)  # what else the checks of this exercise share
    started: int = 0
    out_of_time: bool = False
    server: "Server | None" = None

    def never_ran(self) -> AnswerTrouble | None:
        """Why the cell has not run to its end a single time, under whatever environment; None if it has."""
        return self.trouble or (None if self.ran else self.stumbled)

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

    def launch(self, certificate: "Certificate | None" = None, /, **env: str) -> "App":
        """A fresh app over a fresh library. Raises AnswerTrouble, at once if the answer never starts.

        With a `certificate` it is served over TLS, with what the answer's `tls_settings` makes of it.
        """
        if self.trouble:
            raise self.trouble
        self.deadline()
        self.started += 1
        library = build(Draw(self.seed, self.title, self.started))
        app = App(self, library, f"app{self.started}", env, certificate)
        try:
            app.start()
        except AnswerTrouble as trouble:
            if self.started == 1:
                self.trouble = trouble
            raise
        self.ran = True
        return app

    def shared(self, certificate: "Certificate | None" = None, /, **env: str) -> "App":
        """The app that the checks of this exercise share under one environment, replaced when it has died."""
        key = repr((certificate, sorted(env.items())))
        if key not in self.apps or not self.apps[key].alive():
            self.apps[key] = self.launch(certificate, **env)
        return self.apps[key]


class Desk:
    """A fresh working folder of its own, in which functions of the learner's cell are called."""

    def __init__(self, answer: Answer) -> None:
        answer.started += 1
        self.answer, self.folder = answer, f"desk{answer.started}"
        self.where = f"{answer.sandbox.folder}/{self.folder}"
        self.env = environment(Draw(answer.seed, answer.title, self.folder, "env"), self.where)
        self.write({})

    def call(self, function: str, /, env: dict[str, str] | None = None, driver: str = "", **arguments: Any) -> Any:
        """The JSON value of a function of the cell, or of `driver`, source that sees the cell's names beside its own.

        Every call is a process of its own; files stay. Raises AnswerTrouble, `ran` when the cell itself had run.
        """
        if self.answer.trouble:
            raise self.answer.trouble
        self.answer.deadline()
        about = (self.answer.source, self.answer.title, self.env | (env or {}), self.folder)
        came_back = ""
        try:
            value = self.answer.sandbox.call(*about, function, driver=driver, **arguments)
            came_back = json.dumps(value)
            self.answer.ran = True
            return value
        except AnswerTrouble as trouble:
            came_back = trouble.trouble
            self.answer.ran |= trouble.ran
            if not trouble.ran:
                self.answer.stumbled = self.answer.stumbled or trouble
                self.answer.trouble = self.answer.trouble if env else trouble
            raise
        finally:
            self.answer.exchanges.append(call_of(function, arguments, came_back))

    def write(self, files: dict[str, bytes]) -> None:
        """Put files, by their relative paths, into the working folder."""
        self.answer.sandbox.write(self.folder, files)

    def below(self, name: str) -> "Desk":
        """The same desk, with a folder in its working folder as the working folder."""
        inner = copy.copy(self)
        inner.folder, inner.where = f"{self.folder}/{name}", f"{self.where}/{name}"
        inner.write({})
        return inner

    def files(self) -> dict[str, bytes]:
        """Everything below the working folder."""
        return self.answer.sandbox.read(self.folder)


class App:
    """The learner's app while it runs."""

    def __init__(
        self, answer: Answer, library: Library, folder: str, env: dict[str, str], certificate: "Certificate | None"
    ) -> None:
        self.answer, self.library, self.folder = answer, library, folder
        self.sandbox = answer.sandbox
        self.where = f"{self.sandbox.folder}/{folder}"
        self.database = f"{self.where}/library.db"
        self.env = environment(Draw(answer.seed, answer.title, folder, "env"), self.where) | env
        self.postgres = answer.server.create(library) if answer.server else None
        if self.postgres:
            self.env["DATABASE_URL"] = self.postgres.url
        files = {"cert.pem": certificate.cert, "key.pem": certificate.key} if certificate else {}
        self.tls = [f"{self.where}/{name}" for name in files]
        self.sandbox.write(folder, files if self.postgres else {"library.db": library.database, **files})
        self.running: Running | None = None
        self.clients: dict[str, httpx.Client] = {}

    def start(self) -> None:
        """Serve the answer. Raises AnswerTrouble."""
        self.running = self.sandbox.start(self.answer.source, self.answer.title, self.env, self.folder, self.tls)

    def stop(self, grace: float = 5) -> str:
        """End the app, politely for `grace` seconds; what it printed."""
        return self.sandbox.stop(self._leave(), grace)

    def kill(self) -> None:
        """End the app, and do not wait until it has ended."""
        self.sandbox.kill(self._leave())

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

    def raw(self, written: Iterable[bytes], pause: float = 0, seconds: float = math.inf) -> httpx.Response | None:
        """Write these bytes to a connection of their own, with `pause` seconds after each, until there is an answer.

        None if the app hung up instead. Raises NoAnswer when neither has happened after `seconds`.
        """

        def deadline() -> float:
            return min(self.answer.deadline(), time.monotonic() + seconds)

        bounds = Bounds(deadline, self.sandbox.limits.body)
        return raw.exchange(self.port, written, bounds, self.answer.record, pause)

    def peak(self) -> int:
        """The most memory, in bytes, that the app's processes have held so far."""
        assert self.running
        return self.sandbox.peak(self.running)

    def sql(self, statement: str, *parameters: Any) -> list[list[Any]]:
        """Rows of the app's database; changes are committed."""
        if self.postgres:
            return self.postgres.sql(statement, *parameters)
        return self.sandbox.sql(self.database, statement, *parameters)

    def eventually(self, statement: str, *parameters: Any, seconds: float = 5) -> list[list[Any]]:
        """Rows of the app's database as soon as there are any; [] when none came in time.

        A dependency that yields commits only after the answer was sent.
        """
        rows: list[list[Any]] = []

        def there() -> bool:
            rows[:] = self.sql(statement, *parameters)
            return bool(rows)

        self.answer.patience.until(there, seconds)
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

    def _leave(self) -> Running:
        """Close all connections; what ran."""
        assert self.running
        running, self.running = self.running, None
        for one in self.clients.values():
            one.close()
        self.clients.clear()
        return running

    def _client(self, source: str = "127.0.0.1", cookies: bool = False, public: str = "") -> httpx.Client:
        limits = self.sandbox.limits
        bounds = Bounds(self.answer.deadline, limits.body)
        return client(self.port, bounds, self.answer.record, source, cookies, public, tls=bool(self.tls))


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
