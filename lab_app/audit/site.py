"""An app under audit: who asks, what was seen, what is suspected, and what was seen twice and so is a finding."""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import httpx

from lab_app.audit.asking import Asker, Holds
from lab_app.audit.finding import WEAKNESSES, Finding
from lab_app.audit.operations import Operation
from lab_app.audit.people import NOBODY, Person

PERSON = re.compile(r"user|member|account|customer|profile|person|people|author", re.I)
IDS = ("id", "uuid", "_id", "slug", "pk")

REFUSED = (401, 403)
Guess = Callable[..., "httpx.Response | None"]
Again = Callable[[], "httpx.Response | None"]
SignUp = Callable[..., "httpx.Response | None"]
LogIn = Callable[[dict[str, str]], "Person | None"]
Look = Callable[["Site", str, httpx.Response], None]


def nothing(known: object, **_: object) -> None:
    """Nobody can register, and nobody log in."""


@dataclass
class Site:
    """What all probes share.

    `guess` logs in with a name and a password, from a stranger's address if it must be, at the route `login`;
    `sign_up` registers somebody, with more fields in the body, at the route `register`, and `log_in` lets them in.
    `looks` see every answer of a route. `origins` are those that the source names, `patterns` those of origins, and
    `words` all its texts: a key may be among them.
    """

    asker: Asker
    operations: Sequence[Operation]
    people: Sequence[Person] = ()
    active: bool = False
    guess: Guess | None = None
    login: str = ""
    register: str = ""
    sign_up: SignUp = nothing
    log_in: LogIn = nothing
    looks: Sequence[Look] = ()
    origins: Sequence[str] = ()
    patterns: Sequence[str] = ()
    words: Sequence[str] = ()
    log: Path | None = None
    found: dict[tuple[str, str], Finding] = field(default_factory=dict)
    looked: set[str] = field(default_factory=set)
    notes: list[str] = field(default_factory=list)
    items: dict[str, dict[str, Any]] = field(default_factory=dict)  # path of a list → what is first on it
    profile: dict[str, Any] = field(default_factory=dict)  # what the app says of A
    signed: set[str] = field(default_factory=set)  # names of cookies whose key was looked for
    profile_at: Operation | None = None

    @property
    def a(self) -> Person:
        """The first user; nobody, if there is none."""
        return self.people[0] if self.people else NOBODY

    @property
    def b(self) -> Person:
        """The second user; nobody, if there is none."""
        return self.people[1] if len(self.people) > 1 else NOBODY

    def at(self, method: str, path: str) -> Operation | None:
        """The operation of that method and path, a slash at its end or not."""
        return self._by_place.get((method, path.rstrip("/")))

    @cached_property
    def _by_place(self) -> dict[tuple[str, str], Operation]:
        return {(each.method, each.path.rstrip("/")): each for each in self.operations}

    def send(self, sent: Mapping[str, Any], person: Person = NOBODY, stranger: bool = False) -> httpx.Response | None:
        """Ask as a person."""
        headers = {**sent.get("headers", {}), **person.headers}
        if {"Cookie"} <= {*sent.get("headers", {})} & {*person.headers}:
            headers["Cookie"] = f"{person.headers['Cookie']}; {sent['headers']['Cookie']}"
        return self.asker.send(**{**sent, "headers": headers}, stranger=stranger)

    def suspect(
        self,
        name: str,
        where: str,
        said: str,
        response: httpx.Response | None,
        holds: Holds,
        beside: Sequence[httpx.Response | None] = (),
        again: Again | None = None,
        details: dict[str, Any] | None = None,
    ) -> bool:
        """Whether a weakness shows: `holds` is true of an answer, and of the same request's answer a second time."""
        self.looked.add(name)
        weakness = WEAKNESSES[name]
        if response is None or not holds(response):
            return False
        known = next((key for key in self.found if key[0] == name and (weakness.wide or key[1] == where)), None)
        if known:
            self.found[known] = replace(self.found[known], times=self.found[known].times + (known[1] != where))
            return True
        second = again() if again else self.asker.again(response.request)
        if second is None or not holds(second):
            self.notes.append(f"{weakness.title}, at {where}: seen once, and not when it was asked again.")
            return False
        shown = tuple(self.asker.evidence(each) for each in beside if each is not None)
        finding = Finding(weakness, where, said, self.asker.evidence(second), shown, details=details or {})
        self.found[name, where] = finding
        return True

    def add(self, finding: Finding) -> None:
        """Keep what a look at the source found; what was seen by asking stays, and learns the place."""
        key = (finding.weakness.name, finding.where)
        self.looked.add(finding.weakness.name)
        self.found[key] = replace(self.found[key], place=finding.place) if key in self.found else finding


@dataclass
class Seen:
    """An operation that reads, and how it answers an example of a request: to nobody, to A and to B."""

    site: Site
    operation: Operation
    values: dict[str, Any]
    nobody: httpx.Response | None = None
    a: httpx.Response | None = None
    b: httpx.Response | None = None

    @property
    def reader(self) -> Person:
        """Nobody, where nobody is let in; else A: where strangers are refused, sent to a login or not understood."""
        refused = self.nobody is not None and self.nobody.status_code in REFUSED
        let_in = self.nobody is not None and self.nobody.is_success
        return self.site.a if refused or (self.a is not None and self.a.is_success and not let_in) else NOBODY

    @property
    def plain(self) -> httpx.Response | None:
        """The reader's answer."""
        return self.nobody if self.reader is NOBODY else self.a

    def ask(
        self,
        values: Mapping[str, Any] | None = None,
        person: Person | None = None,
        headers: Mapping[str, str] | None = None,
        stranger: bool = False,
    ) -> httpx.Response | None:
        """The answer to the same request with other values and more headers, by default the reader's."""
        sent = self.operation.request({**self.values, **(values or {})})
        sent["headers"] |= dict(headers or {})
        answer = self.site.send(sent, self.reader if person is None else person, stranger)
        if answer is not None:
            for look in self.site.looks:
                look(self.site, self.operation.where, answer)
        return answer


def see(site: Site, operation: Operation) -> Seen | None:
    """Ask an operation that reads, as everybody; None if it gives no whole answer in time."""
    seen = Seen(site, operation, values_of(site, operation))
    seen.nobody = seen.ask(person=NOBODY)
    if seen.nobody is None:
        return None
    if site.people:
        seen.a = seen.ask(person=site.a)
        seen.b = seen.ask(person=site.b) if site.b is not NOBODY else None
    if not site.profile and "{" not in operation.path and (about := _about(seen.a, site.a)):
        site.profile, site.profile_at = about, operation
    if seen.plain is not None and seen.plain.is_success and (items := items_of(seen.plain)):
        site.items[operation.path.rstrip("/")] = items[0]
    return seen


def values_of(site: Site, operation: Operation) -> dict[str, Any]:
    """Values for the parameters of a path: A's own for a person's, else from the lists above that were read before."""
    values = {}
    for each in operation.parameters:
        above, found, _ = operation.path.partition("{" + each.name + "}")
        persons = PERSON.search(each.name) or PERSON.search(above.rstrip("/").rpartition("/")[2])
        item = (site.profile if persons else None) or site.items.get(above.rstrip("/"))
        if each.place == "path" and found and item:
            value = id_of(item, each.name)
            if value is not None and value != "":
                values[each.name] = value
    return values


def items_of(response: httpx.Response) -> list[dict[str, Any]]:
    """The objects of a JSON list, or of the first list in a JSON object."""
    value = json_of(response)
    if isinstance(value, dict):
        value = next((inner for inner in value.values() if isinstance(inner, list)), None)
    return [each for each in value if isinstance(each, dict)] if isinstance(value, list) else []


def id_of(value: Any, last: str) -> Any:
    """The id in an object, or in the object within it: under the parameter's own name, or under one of the usual."""
    if not isinstance(value, dict):
        return None
    for name in (last, *IDS):
        if isinstance(value.get(name), str | int):
            return value[name]
    inner = [one for one in value.values() if isinstance(one, dict)]
    return id_of(inner[0], last) if len(inner) == 1 else None


def names(value: Any, person: Person, depth: int = 0) -> bool:
    """Whether JSON has a person's name or e-mail address in it."""
    if isinstance(value, dict | list) and depth < 4:
        inner = value.values() if isinstance(value, dict) else value[:50]
        return any(names(each, person, depth + 1) for each in inner)
    return bool(value) and value in (person.known.get("username"), person.known.get("email"))


def address_of(person: Person) -> str:
    """A person's e-mail address, if we know it."""
    known = (person.known.get("email", ""), person.known.get("username", ""))
    return next((each.lower() for each in known if "@" in each), "")


def _about(answer: httpx.Response | None, person: Person) -> dict[str, Any]:
    """What an answer says of a person: an object, or the one object that it is wrapped in, with the person's name."""
    value = json_of(answer) if answer is not None and answer.is_success else None
    if isinstance(value, dict) and len(value) == 1:
        value = next(iter(value.values()))
    flat = {key: each for key, each in value.items() if isinstance(each, str)} if isinstance(value, dict) else {}
    return value if isinstance(value, dict) and names(flat, person) else {}


def json_of(response: httpx.Response | None) -> Any:
    """The JSON of an answer; None if it is none."""
    try:
        return response.json() if response is not None else None
    except (ValueError, RecursionError):
        return None


def is_html(response: httpx.Response | None) -> bool:
    """Whether a browser would take an answer for a page."""
    return response is not None and "html" in response.headers.get("content-type", "")
