"""Input that a description allows, or that must be refused, and that brings a route to 500: generated, and known edges.

schemathesis generates what the OpenAPI document allows; the edges are what databases and encoders trip over.
"""

import logging
import warnings
from collections.abc import Iterator, Sequence
from typing import Any

import httpx

from lab_app.audit.operations import Operation
from lab_app.audit.people import NOBODY, Person
from lab_app.audit.probes import texts
from lab_app.audit.site import REFUSED, Seen, Site

EXAMPLES = 3
HUGE, NUL = 2**63, "a\x00b"  # one more than a database's integer, and what PostgreSQL refuses in a text
NUMBERS = (HUGE, 0, -1)  # the others: what one divides by, and where a list ends
SKIPPED_HEADERS = {
    "user-agent",
    "accept",
    "accept-encoding",
    "connection",
    "x-schemathesis-testcaseid",
    "content-length",
}
FORMS = ("2026-01-31", "1", "7c9e6679-7425-40de-944b-e07fc1f90ae7", "2026-01-31T12:00:00", "12:00", "1,2")
PASSING = ("DELETE",)  # never generated: what it takes away cannot be put back


class Generated:
    """What schemathesis makes of a document; nothing, if it cannot read it."""

    def __init__(self, document: Any) -> None:
        self.by_place: dict[tuple[str, str], Any] = {}
        with _quiet():
            try:
                import schemathesis
                from schemathesis.core.result import Ok

                for result in schemathesis.openapi.from_dict(document).get_all_operations():
                    if not isinstance(result, Ok):
                        continue
                    operation = result.ok()
                    self.by_place[operation.method.upper(), operation.path] = operation
            except Exception as error:  # whatever it says of a document that is not as it should be
                logging.getLogger(__name__).debug("schemathesis: %s", error)

    def requests(self, operation: Operation) -> Iterator[dict[str, Any]]:
        """A few requests that the document allows, the same each time."""
        found = self.by_place.get((operation.method, operation.path))
        if found is not None:
            yield from _examples(found, operation)


def _examples(found: Any, operation: Operation) -> Sequence[dict[str, Any]]:
    import hypothesis
    from schemathesis import GenerationMode

    made: list[dict[str, Any]] = []

    def keep(case: Any) -> None:
        sent = case.as_transport_kwargs(base_url="http://app")
        headers = {k: v for k, v in dict(sent.get("headers") or {}).items() if k.lower() not in SKIPPED_HEADERS}
        request = {"method": operation.method, "path": operation.prefix + sent["url"].removeprefix("http://app")}
        request |= {"headers": headers, "params": sent.get("params")}
        body = {"json": "json", "data": "form" if isinstance(sent.get("data"), dict) else "content"}
        made.append(request | {ours: sent[theirs] for theirs, ours in body.items() if sent.get(theirs) is not None})

    settings = hypothesis.settings(
        max_examples=EXAMPLES,
        database=None,
        deadline=None,
        derandomize=True,
        phases=[hypothesis.Phase.generate],
        suppress_health_check=list(hypothesis.HealthCheck),
    )
    with _quiet():
        try:
            given = hypothesis.given(found.as_strategy(generation_mode=GenerationMode.POSITIVE))
            settings(given(keep))()  # type: ignore[no-untyped-call]
        except Exception as error:  # a schema that nothing satisfies, a pattern that Python does not know
            logging.getLogger(__name__).debug("schemathesis: %s", error)
    return made


def edges(operation: Operation, values: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """A number too large, none, or negative, and a text with NUL, in one parameter or member of the body at a time."""
    for each in operation.parameters:
        if each.place in ("path", "query"):
            if each.takes_number:
                yield from (operation.request({**values, each.name: number}) for number in NUMBERS)
            elif each.takes_text:
                yield operation.request({**values, each.name: NUL})
    sent = operation.request(values)
    for name, value in (sent["json"] if isinstance(sent.get("json"), dict) else {}).items():
        if isinstance(value, str | int | float) and not isinstance(value, bool):
            for odd in (NUL,) if isinstance(value, str) else NUMBERS:
                yield sent | {"json": sent["json"] | {name: odd}}


def probe(seen: Seen, generated: Generated) -> None:
    """Send them to a route that reads, unless it crashes on anything, or its crash has a name already."""
    plain = seen.plain
    if plain is not None and plain.status_code == 500:
        _by_form(seen, plain)
    elif plain is not None and (seen.operation.parameters or seen.operation.media):
        _try(seen.site, seen.operation, generated, seen.values, seen.reader)


def _by_form(seen: Seen, plain: httpx.Response) -> None:
    """A text that is no date, number or id brings it to 500, and nothing in its description asks for one."""
    texts = [each.name for each in seen.operation.parameters if each.takes_text and each.place in ("path", "query")]
    for form in FORMS if texts else ():
        answer = seen.ask(dict.fromkeys(texts, form))
        if answer is not None and answer.status_code < 500:
            said = f"What is not like {form} is answered with 500, and the description asks for any text."
            seen.site.suspect("crash", seen.operation.where, said, plain, _crashed, [answer])
            return


def write(site: Site, operation: Operation, generated: Generated) -> None:
    """The same for a route that changes something."""
    if operation.method in PASSING or not (operation.parameters or operation.media):
        return
    values: dict[str, Any] = {}
    plain = site.send(operation.request(values))
    person = site.a if plain is not None and plain.status_code in REFUSED else NOBODY
    plain = site.send(operation.request(values), person) if person is not NOBODY else plain
    if plain is not None and plain.status_code != 500:
        texts.bodies(site, operation, person)
        _try(site, operation, generated, values, person)


def _try(site: Site, operation: Operation, generated: Generated, values: dict[str, Any], person: Person) -> None:
    site.looked.add("crash")
    if ("sql-injection", operation.where) in site.found:
        return
    for sent in (*edges(operation, values), *generated.requests(operation)):
        answer = site.send(sent, person)
        if answer is None:
            continue
        for look in site.looks:
            look(site, operation.where, answer)
        if site.suspect("crash", operation.where, "Valid or merely odd input is answered with 500.", answer, _crashed):
            return


def _crashed(answer: httpx.Response) -> bool:
    return answer.status_code == 500


def _quiet() -> "warnings.catch_warnings[None]":
    return warnings.catch_warnings(action="ignore")
