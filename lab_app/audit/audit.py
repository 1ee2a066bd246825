"""An audit from its beginning to its end: reach the app, ask it, look at its source, and keep what was seen twice."""

import contextlib
import datetime
import subprocess
import time
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from lab_app.audit import accounts, people
from lab_app.audit.asking import Asker, TimeUp
from lab_app.audit.baseline import accepted
from lab_app.audit.document import document
from lab_app.audit.errors import AuditError
from lab_app.audit.finding import SEVERITIES, Finding
from lab_app.audit.operations import Operation, operations, prefix_of
from lab_app.audit.probes import bodies, crashes, functions, leaks, logins, objects, strangers, texts, tokens
from lab_app.audit.project import requirements
from lab_app.audit.site import Site, see
from lab_app.audit.source import code, front, logs, packages, secrets, settings
from lab_app.audit.source.packages import Unpinned, Unreachable
from lab_app.audit.source.tree import Tree
from lab_app.audit.target import START_SECONDS, Target, reached

BASE_SECONDS, ROUTE_SECONDS = 180.0, 3.0  # how long an audit may ask: for itself, and for each route
END_SECONDS = 2.0
READING = (
    strangers.probe,
    strangers.page,
    strangers.policy,
    leaks.probe,
    leaks.logged,
    tokens.probe,
    objects.probe,
    functions.probe,
    texts.probe,
)
ACTIVE = (
    objects.changed,
    functions.accounts,
    bodies.own_rights,
    bodies.new_rights,
    logins.logged,
    logins.who_exists,
    texts.login,
)
SEEN_IN_SOURCE = {"sql-injection", "secret-in-log", "secret-in-source", "dangerous-call", "debug-on"}
LOOKS = (code.look, logs.look, secrets.look, settings.look, front.look)


@dataclass(frozen=True)
class Options:
    """What the command line says. Rates and seconds are for tests."""

    target: str
    source: Path | None = None
    requirements: Path | None = None
    auth: Path | None = None
    baseline: Path | None = None
    active: bool = False
    own_host: bool = False
    start_seconds: float = START_SECONDS
    a_second: float = 0.0
    seconds: float = 0.0


@dataclass
class Audit:
    """What an audit saw. `notes` are sentences on what it could not see, `unseen` names that it did not ask.

    `served` is where the app was, if it was started for the audit and has ended with it.
    """

    target: str
    began: datetime.datetime
    findings: list[Finding] = field(default_factory=list)
    looked: set[str] = field(default_factory=set)
    notes: list[str] = field(default_factory=list)
    unseen: list[str] = field(default_factory=list)
    routes: int = 0
    asked: int = 0
    whole: bool = True
    served: str = ""


def audit(options: Options, said: Callable[[str], None] = lambda _: None) -> Audit:
    """Make an audit; an interrupt ends it early and keeps what was found. Raises AuditError."""
    today = datetime.date.today()
    if options.baseline:
        accepted(options.baseline, [], today)  # what is wrong with it is said before the work, not after
    result = Audit(options.target, datetime.datetime.now(datetime.UTC).replace(microsecond=0))
    with reached(options.target, options.own_host, options.start_seconds) as target:
        found, result.served = target.project, target.url if target.log else ""
        source = options.source or (found.folder if found else None)
        pins = options.requirements or (found.requirements if found else None)
        pins = pins or (requirements(source) if source and source.is_dir() else None)
        tree = Tree(source) if source else None
        if pins:
            packages.read(pins)
        with Asker(target.url, time.monotonic() + BASE_SECONDS, options.a_second) as asker:
            site = _site(options, target, asker, result)
            try:
                _all(site, tree, pins, result, said)
            except KeyboardInterrupt:
                result.whole = False
                result.notes.append("Interrupted: this audit is not whole.")
            if target.process and (code := _ended(target.process, asker)) is not None:
                result.whole = False
                result.notes.append(f"The app ended while it was asked, with code {code}: the rest was not seen.")
            result.asked, result.looked = asker.asked, site.looked
            result.findings, result.notes = list(site.found.values()), [*result.notes, *site.notes]
    order = {name: rank for rank, name in enumerate(reversed(SEVERITIES))}
    result.findings.sort(key=lambda each: (each.weakness.section, order[each.severity], each.where))
    if options.baseline:
        result.findings, more = accepted(options.baseline, result.findings, today)
        result.notes += more
    return result


def _ended(process: "subprocess.Popen[bytes]", asker: Asker) -> int | None:
    """The exit code of the app, None if it lives. One that hung up on us may be about to end."""
    with contextlib.suppress(subprocess.TimeoutExpired):
        return process.wait(END_SECONDS if asker.broken else 0)
    return None


def _site(options: Options, target: Target, asker: Asker, result: Audit) -> Site:
    """The app with its routes and its users."""
    if asker.send("GET", "/") is None and asker.slow == 0 and "://" in options.target:
        raise AuditError(f"Nothing answers at {target.url}. Start the app, or give module:app.")
    users = people.people(options.auth, asker) if options.auth else []
    described = target.document or document(asker, users[0] if users else people.NOBODY)
    result.unseen += target.unseen
    if described is None:
        result.notes.append(
            f"{options.target} shows no OpenAPI document, so no route of it was asked. Give module:app, or --auth."
        )
    listed: list[Operation] = []
    with _noted("The OpenAPI document", result):
        listed = operations(described or {}, _prefix(asker, described or {}))
    result.routes = len(listed)
    asker.until = time.monotonic() + (options.seconds or BASE_SECONDS + ROUTE_SECONDS * len(listed))
    site = Site(asker, listed, users, options.active, log=target.log, looks=(leaks.look, tokens.look))
    if options.active:
        _enter(options, site)
    if len(site.people) < 2:
        result.notes.append("Without two users (--auth) nobody has asked for what is somebody else's.")
    if not options.active:
        result.notes.append("Without --active nothing was sent that changes state, logins included.")
    return site


def _prefix(asker: Asker, described: dict[str, Any]) -> str:
    """The document's own prefix, if the app is reached under it and not without it."""
    prefix = prefix_of(described)
    first = next((each for each in operations(described) if each.method == "GET" and "{" not in each.path), None)
    if not prefix or first is None:
        return ""
    plain, under = asker.send("GET", first.path), asker.send("GET", prefix + first.path)
    missing = plain is None or plain.status_code == 404
    return prefix if missing and under is not None and under.status_code != 404 else ""


def _enter(options: Options, site: Site) -> None:
    """Two accounts, unless `--auth` gave some; and the ways to log in and to register."""
    if options.auth:
        login = people.login_of(options.auth)
        if login:
            site.login, site.guess = f"{login.method} {login.path}", people.guesser(options.auth, login, site.asker)
        return
    site.people, register, login_door = accounts.registered(site.asker, site.operations)
    if register and login_door:
        site.login, site.register = login_door.operation.where, register.operation.where
        site.guess = lambda name, password, stranger=False: login_door.knock(
            site.asker, {"username": name, "password": password}, stranger
        )
        site.sign_up = lambda known, **more: register.knock(site.asker, known, **more)
        site.log_in = lambda known: accounts.enter(site.asker, login_door, known, "new")


def _all(site: Site, tree: Tree | None, pins: Path | None, result: Audit, said: Callable[[str], None]) -> None:
    if tree:
        tree.operations = site.operations
        site.origins, site.patterns, site.words = tree.origins, tree.patterns, tree.words
    with ThreadPoolExecutor(2) as beside:
        seen: list[Finding] = []
        looks: list[Future[None]] = [beside.submit(_gather, look, tree, seen) for look in LOOKS if tree]
        looks += [beside.submit(_gather, packages.look, pins, seen)] if pins else []
        site.looked |= SEEN_IN_SOURCE if tree else set()
        with contextlib.suppress(TimeUp):
            _ask(site, result, said)
        for look in looks:
            try:
                look.result()
            except Unreachable as error:
                result.notes.append(f"Section 9 is open: pip-audit could not ask for advisories ({error}).")
            except Unpinned as error:
                result.notes.append(f"Section 9 is open: {error}.")
            except (OSError, ValueError, LookupError) as error:
                result.notes.append(f"A look at the source failed: {type(error).__name__}: {error}"[:300])
    for finding in seen:
        site.add(finding)
    if tree is None:
        result.notes.append("Without --source nobody has looked at code, settings and front server.")
    if pins is None:
        result.notes.append("Without --requirements nobody has looked at the dependencies.")


def _gather(look: Callable[[Any], Iterator[Finding]], what: Any, into: list[Finding]) -> None:
    """One at a time: what was found before a look fails is kept."""
    for finding in look(what):
        into.append(finding)


def _ask(site: Site, result: Audit, said: Callable[[str], None]) -> None:
    """Read-only methods first; what changes state after that, guesses last."""
    leaks.files(site)
    logins.cookie(site)
    generated = crashes.Generated(site.operations[0].document if site.operations else {})
    left = deque(each for each in site.operations if each.method == "GET")
    try:
        while left:
            said(left[0].where)
            with _noted(left[0].where, result):
                _read(site, left[0], generated, result)
            left.popleft()
        for probe in ACTIVE if site.active else ():
            said(probe.__name__.replace("_", " "))
            with _noted(probe.__name__, result):
                probe(site)
        for operation in [each for each in site.operations if not each.reads] if site.active else ():
            said(operation.where)
            with _noted(operation.where, result):
                crashes.write(site, operation, generated)
        if site.active:
            with _noted("guesses", result):
                logins.guesses(site)
    except TimeUp:
        result.whole = False
        result.unseen += [f"{each.where}: time was up" for each in left]
        raise


@contextlib.contextmanager
def _noted(what: str, result: Audit) -> Iterator[None]:
    """An app that a probe does not understand ends that probe, not the audit."""
    try:
        yield
    except TimeUp:
        raise
    except Exception as error:
        result.notes.append(f"{what} was left in the middle: {type(error).__name__}: {error}"[:300])


def _read(site: Site, operation: Operation, generated: crashes.Generated, result: Audit) -> None:
    seen = see(site, operation)
    if seen is None:
        result.unseen.append(f"{operation.where}: no whole answer in time")
        return
    for probe in READING:
        probe(seen)
    crashes.probe(seen, generated)
