"""Somebody else's objects: what A made or has listed, B and strangers ask for, change and delete."""

import secrets
import uuid
from typing import Any

import httpx

from lab_app.audit.operations import Operation
from lab_app.audit.people import NOBODY, Person
from lab_app.audit.site import REFUSED, Seen, Site, id_of, items_of, json_of, names, values_of

CHANGING = ("PUT", "PATCH")
GONE = (404, 410)


def probe(seen: Seen) -> None:
    """Ask for an object of A's: as B, if strangers may not see it and no list shows it to B; and as a stranger."""
    site, operation = seen.site, seen.operation
    if operation.method != "GET" or "{" not in operation.path or NOBODY in (site.a, site.b):
        return
    own = _own(site, operation)
    if own is None:
        return
    values = {operation.last: own}
    mine, nobodys = seen.ask(values, site.a), seen.ask(values, NOBODY)
    if mine is None or not mine.is_success or nobodys is None:
        return
    if not operation.path.endswith("}") and not _depends(seen, own, mine):
        return
    if not nobodys.is_success:
        _read(seen, values, mine, site.b, "B reads what A made; strangers may not, and no list shows it to B.")
    elif isinstance(own, int) and _closed(site, operation):
        _read(seen, values, mine, NOBODY, "Strangers read what A made, by counting: its list is closed to them.")


def _read(seen: Seen, values: dict[str, Any], mine: httpx.Response, person: Person, said: str) -> None:
    expected = json_of(mine)

    def same(answer: httpx.Response) -> bool:
        return answer.is_success and expected is not None and json_of(answer) == expected

    answer = seen.ask(values, person)
    seen.site.suspect("somebody-elses-object", seen.operation.where, said, answer, same, [mine])


def _depends(seen: Seen, own: Any, mine: httpx.Response) -> bool:
    """Whether what is below an object is its own: of an object that nobody has there is nothing."""
    other = seen.ask({seen.operation.last: _nobodys(own)}, seen.site.a)
    return bool(json_of(mine)) and other is not None and not other.is_success


def _nobodys(own: Any) -> Any:
    """An id of the same form that nothing has."""
    if isinstance(own, int) or own.isdigit():
        return 2**31 - 2
    try:
        return str(uuid.UUID(own)) and str(uuid.uuid4())
    except ValueError:
        return secrets.token_hex(8)


def _closed(site: Site, operation: Operation) -> bool:
    listing = site.at("GET", operation.collection)
    answer = site.send(listing.request(values_of(site, listing))) if listing else None
    return answer is not None and answer.status_code in REFUSED


def changed(site: Site) -> None:
    """With --active: a stranger and B change and delete what A made for this."""
    if NOBODY in (site.a, site.b):
        return
    for operation in site.operations:
        if operation.method in (*CHANGING, "DELETE") and operation.path.endswith("}"):
            site.looked.add("change-somebody-elses-object")
            deletes = operation.method == "DELETE"
            for who, person in (("A stranger", NOBODY), ("B", site.b)):
                if (_deleted if deletes else _changed)(site, operation, who, person):
                    break


def _changed(site: Site, operation: Operation, who: str, person: Person) -> bool:
    """Somebody sends what A may send to the same path."""
    own = _own(site, operation, authored=True)
    sent = operation.request({**values_of(site, operation), operation.last: own})
    mine = site.send(sent, site.a) if own is not None else None
    if mine is None or not mine.is_success:
        return False
    said = f"{who} changes what A made."
    name = "change-somebody-elses-object"
    return site.suspect(name, operation.where, said, site.send(sent, person), lambda each: each.is_success, [mine])


def _deleted(site: Site, operation: Operation, who: str, person: Person) -> bool:
    """Somebody deletes what A could read until then, and A cannot read it any more."""
    reading, made, shown = site.at("GET", operation.path), "", list[httpx.Response | None]()
    if reading is None:
        return False

    def read() -> httpx.Response | None:
        assert reading
        return site.send(reading.request({**values_of(site, reading), operation.last: made}), site.a)

    def deleting() -> httpx.Response | None:
        nonlocal made
        made = _own(site, operation, authored=True)
        before = read() if made is not None else None
        if before is None or not before.is_success:
            return None
        return site.send(operation.request({**values_of(site, operation), operation.last: made}), person)

    def gone(answer: httpx.Response) -> bool:
        after = read() if answer.is_success else None
        shown[:] = [after]
        return after is not None and after.status_code in GONE

    said = f"{who} deletes what A made, and A has it no more. Replay it with the id of a new one."
    return site.suspect("change-somebody-elses-object", operation.where, said, deleting(), gone, shown, deleting)


def _own(site: Site, operation: Operation, authored: bool = False) -> Any:
    """The id of an object of A's alone, made for this or found; None without one. What is to be changed is made.

    Where there is a list, it is on A's and not on B's: what B's list shows is shared on purpose, though for B to read
    only (`authored`) if it says that it is A's.
    """
    site.looked.add("somebody-elses-object")
    made, is_as = _made(site, operation)
    mine, others = (_listed(site, operation, person) for person in (site.a, site.b))
    if mine is None or (authored and (made is None or is_as)):
        return made
    alone = mine - (others or set())
    return made if made in alone else None if made is not None else min(alone, key=str, default=None)


def _made(site: Site, operation: Operation) -> tuple[Any, bool]:
    """The id of an object that A made just now, and whether it says so."""
    creating = site.at("POST", operation.collection) if site.active else None
    answer = site.send(creating.request(values_of(site, creating)), site.a) if creating else None
    if answer is None or not answer.is_success:
        return None, False
    return id_of(json_of(answer), operation.last), names(json_of(answer), site.a)


def _listed(site: Site, operation: Operation, person: Person) -> set[Any] | None:
    """The ids on a person's list of these objects; None without such a list."""
    listing = site.at("GET", operation.collection)
    answer = site.send(listing.request(values_of(site, listing)), person) if listing else None
    if answer is None or not answer.is_success:
        return None
    return {found for item in items_of(answer) if (found := id_of(item, operation.last)) is not None}
