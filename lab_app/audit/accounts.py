"""Where one registers and where one logs in, found by trying: two accounts of our own, to be thrown away."""

import re
import secrets
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import httpx

from lab_app.audit.asking import Asker
from lab_app.audit.examples import plain, properties
from lab_app.audit.operations import FORM, JSON, Operation
from lab_app.audit.people import Person, token_in

SIGN_IN = re.compile(r"token|log-?in|sign-?in|session|authenticate", re.I)
SIGN_UP = re.compile(r"register|registration|sign-?up|users?\b|members?\b|accounts?\b|customers?\b", re.I)
NAMES = {"username", "email", "login", "name", "phone", "user", "userid", "nickname"}
PASSWORDS = {"password", "passwd", "pass", "passphrase", "password1"}
SCHEMES = ("Bearer", "Token", "JWT")
TRIES = 4  # operations of each kind


@dataclass(frozen=True)
class Door:
    """An operation that takes a name and a password."""

    operation: Operation

    def knock(self, asker: Asker, known: dict[str, str], stranger: bool = False, **more: Any) -> httpx.Response | None:
        """Send those names and that password; `more` are further fields of the body."""
        sent = self.operation.request(known=in_fields(known))
        for kind in ("json", "form"):
            if isinstance(sent.get(kind), dict) and more:
                inner = next((v for v in sent[kind].values() if isinstance(v, dict)), sent[kind])
                inner.update(more)
        return asker.send(**sent, stranger=stranger)


def in_fields(known: dict[str, str]) -> dict[str, str]:
    """The value of each field that a body may have for a name or a password."""
    password = known.get("password", "")
    repeated = {
        f"{name}{end}": password
        for name in ("password", "repeat", "confirm")
        for end in ("confirm", "confirmation", "2", "repeat", "password")
    }
    return (
        repeated
        | {name: known.get("username", "") for name in NAMES}
        | {
            **dict.fromkeys(PASSWORDS, password),
            "email": known.get("email", "") or known.get("username", ""),
            "username": known.get("username", "") or known.get("email", ""),
            "phone": "+12025550123",
        }
    )


def fields_of(operation: Operation) -> set[str]:
    """The fields of a body that hold a value, not those that wrap others."""
    found = properties(operation.body, operation.document)
    return {plain(name) for name, schema in found.items() if "properties" not in schema}


def doors(operations: Sequence[Operation]) -> tuple[list[Door], list[Door]]:
    """Where one may register, and where one may log in, the likeliest first."""
    up: list[tuple[bool, Door]] = []
    into: list[tuple[bool, Door]] = []
    for each in operations:
        if (
            each.method != "POST"
            or each.secured
            or "{" in each.path
            or not (JSON.match(each.media) or each.media == FORM)
        ):
            continue
        fields = fields_of(each)
        if not fields & PASSWORDS or not fields & NAMES:
            continue
        last = each.path.rstrip("/").rsplit("/", 1)[-1]
        grants = "granttype" in fields
        if grants or SIGN_IN.search(last) or SIGN_IN.search(each.name):
            into.append((not grants, Door(each)))
        elif SIGN_UP.search(each.path) or SIGN_UP.search(each.name):
            up.append((not re.search(r"regist|sign-?up", each.where, re.I), Door(each)))
    return [door for _, door in sorted(up, key=_first)][:TRIES], [door for _, door in sorted(into, key=_first)][:TRIES]


def _first(pair: tuple[bool, Door]) -> bool:
    return pair[0]


def somebody() -> dict[str, str]:
    """A name, an address and a password that nobody has."""
    name = f"audit{secrets.token_hex(5)}"
    return {"username": name, "email": f"{name}@audit.example.com", "password": f"Aa7!{secrets.token_hex(10)}"}


def enter(asker: Asker, door: Door, known: dict[str, str], name: str) -> Person | None:
    """Log in, by name and then by address; by address only where a form asks for nothing else."""
    fields = fields_of(door.operation)
    by_address = "email" in fields and not fields & (NAMES - {"email"})
    for given in ({"username": known[each]} for each in ("username", "email")[by_address:]):
        answer = door.knock(asker, known | given)
        if answer is None or not (answer.is_success or answer.is_redirect):
            continue
        used = known | given | {"email": known["email"]}
        if token := token_in(answer):
            return Person(name, {"Authorization": f"Bearer {token}"}, used, answer)
        if cookies := [line.split(";")[0] for line in answer.headers.get_list("set-cookie")]:
            return Person(name, {"Cookie": "; ".join(cookies)}, used, answer)
    return None


def registered(asker: Asker, operations: Sequence[Operation]) -> tuple[list[Person], Door | None, Door | None]:
    """Two people of our own, where they registered and where they logged in; nobody, if no such pair of doors opens."""
    up, into = doors(operations)
    for register in up:
        ada = somebody()
        answer = register.knock(asker, ada)
        if answer is None or not answer.is_success:
            continue
        for login in into:
            if (first := enter(asker, login, ada, "a")) is None:
                continue
            eve = somebody()
            register.knock(asker, eve)
            second = enter(asker, login, eve, "b")
            both = [first, *([second] if second else [])]
            return list(_accepted(asker, both, operations)), register, login
    return [], None, None


def _accepted(asker: Asker, both: list[Person], operations: Sequence[Operation]) -> Iterator[Person]:
    """The same people, their token in the header that the app reads it from."""
    closed = _closed(asker, operations)
    if closed is None or "Authorization" not in both[0].headers:
        yield from both
        return
    token = both[0].token
    for scheme in SCHEMES:
        sent = closed.request()
        answer = asker.send(**sent | {"headers": sent["headers"] | {"Authorization": f"{scheme} {token}"}})
        if answer is not None and answer.status_code not in (401, 403):
            yield from (replace(each, headers={"Authorization": f"{scheme} {each.token}"}) for each in both)
            return
    yield from both


def _closed(asker: Asker, operations: Sequence[Operation]) -> Operation | None:
    """A route to read that refuses strangers, of which those know that name a security scheme."""
    reading = [each for each in operations if each.method == "GET" and "{" not in each.path]
    for each in sorted(reading, key=lambda each: not each.secured)[: 3 * TRIES]:
        answer = asker.send(**each.request())
        if answer is not None and answer.status_code in (401, 403):
            return each
    return None
