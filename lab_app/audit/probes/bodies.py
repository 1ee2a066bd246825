"""Fields of a body that decide about rights, with --active: sent by a member, read again, put back."""

from functools import partial
from typing import Any

import httpx

from lab_app.audit.accounts import somebody
from lab_app.audit.examples import plain
from lab_app.audit.operations import Operation
from lab_app.audit.people import Person
from lab_app.audit.site import Site, json_of

RIGHTS = {
    "role", "roles", "isadmin", "admin", "issuperuser", "superuser", "isstaff", "staff", "isverified", "verified",
    "emailverified", "permissions", "scopes", "scope", "usertype", "accounttype", "isowner", "ismoderator", "balance",
    "credits", "tier", "plan",
}  # fmt: skip


def own_rights(site: Site) -> None:
    """Change such a field of one's own profile."""
    for operation in site.operations:
        reading = site.at("GET", operation.path)
        if operation.method in ("PATCH", "PUT") and reading and "{" not in operation.path and site.b.headers:
            before = json_of(site.send(reading.request(), site.b))
            own = (
                operation.path.endswith("/me")
                if not site.b.known
                else isinstance(before, dict) and _is_about(before, site.b)
            )
            if isinstance(before, dict) and own:
                _change(site, operation, reading, before)


def _change(site: Site, operation: Operation, reading: Operation, before: dict[str, Any]) -> None:
    site.looked.add("role-in-body")
    sent = operation.request(known={plain(name): value for name, value in before.items() if isinstance(value, str)})
    if not isinstance(sent.get("json"), dict):
        return
    body = {name: before.get(name, value) for name, value in sent["json"].items() if "password" not in name.lower()}
    for name, old in before.items():
        new = other(old)
        if plain(name) not in RIGHTS or new == old:
            continue

        def taken(answer: httpx.Response | None, name: str = name, new: Any = new) -> bool:
            after = json_of(site.send(reading.request(), site.b))
            return answer is not None and answer.is_success and isinstance(after, dict) and after.get(name) == new

        answer = site.send(sent | {"json": body | {name: new}}, site.b)
        said = f"A member sent {name}={new!r} and had it: it was {old!r}."
        if site.suspect("role-in-body", operation.where, said, answer, taken):
            site.send(sent | {"json": body | {name: old}}, site.b)
            return


def other(value: Any) -> Any:
    """Another value of the same type."""
    if isinstance(value, bool):
        return not value
    if isinstance(value, int | float):
        return value + 1000
    if isinstance(value, str):
        word = "admin" if value.lower() != "admin" else "superuser"
        return word.upper() if value.isupper() else word.title() if value.istitle() else word
    return ["admin"] if isinstance(value, list) else value


def _is_about(profile: dict[str, Any], person: Person) -> bool:
    names = {person.known.get("username"), person.known.get("email")} - {None, ""}
    return bool(names & {value for value in profile.values() if isinstance(value, str)})


def new_rights(site: Site) -> None:
    """Register with such a field, if a registration's answer shows one."""
    if not site.register:
        return
    site.looked.add("role-in-body")
    first = site.sign_up(somebody())
    shown = {name: old for name, old in _flat(json_of(first)).items() if plain(name) in RIGHTS}
    for name, old in shown.items():
        new = other(old)
        answer = site.sign_up(somebody(), **{name: new})

        def taken(answer: httpx.Response, name: str = name, new: Any = new) -> bool:
            return answer.is_success and _flat(json_of(answer)).get(name) == new

        said = f"Somebody registered with {name}={new!r} and had it; without, it is {old!r}. Replay it with a new name."
        if new != old:
            site.suspect(
                "role-in-body",
                site.register,
                said,
                answer,
                taken,
                [first],
                partial(_sign_up, site, **{name: new}),
            )
    if not shown:
        _new_rights_later(site)


def _sign_up(site: Site, **more: Any) -> httpx.Response | None:
    return site.sign_up(somebody(), **more)


def _new_rights_later(site: Site) -> None:
    """The same where only the profile shows them, after a login."""
    reading, known = site.profile_at, somebody()
    if reading is None:
        return

    shown: list[httpx.Response | None] = []

    def profile() -> dict[str, Any]:
        person = site.log_in(known)
        headers = (
            {key: value.replace(site.a.token, person.token) for key, value in site.a.headers.items()} if person else {}
        )
        shown[:] = [site.send(reading.request(), Person("new", headers))]
        return _flat(json_of(shown[0]))

    for name, old in site.profile.items():
        new = other(old)
        if plain(name) not in RIGHTS or new == old:
            continue

        def signing_up(name: str = name, new: Any = new) -> httpx.Response | None:
            nonlocal known
            known = somebody()
            return site.sign_up(known, **{name: new})

        def taken(answer: httpx.Response, name: str = name, new: Any = new) -> bool:
            return answer.is_success and profile().get(name) == new

        said = f"Somebody registered with {name}={new!r} and had it; A has {old!r}. Replay it with a new name."
        if site.suspect("role-in-body", site.register, said, signing_up(), taken, shown, signing_up):
            return


def _flat(value: Any) -> dict[str, Any]:
    """An object's members, and those of the one object that it may be wrapped in."""
    if not isinstance(value, dict):
        return {}
    inner = [one for one in value.values() if isinstance(one, dict)]
    return {**(inner[0] if len(inner) == 1 else {}), **value}
