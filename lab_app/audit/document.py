"""The OpenAPI document of an app that is only an address."""

import re
from collections.abc import Iterator
from typing import Any

import httpx

from lab_app.audit.asking import Asker
from lab_app.audit.people import NOBODY, Person
from lab_app.audit.site import json_of

USUAL = ("/openapi.json", "/api/openapi.json", "/api/v1/openapi.json", "/v1/openapi.json", "/api/v1/docs/openapi.json")
PAGES = ("/docs", "/redoc", "/api/docs")
NAMED = re.compile(r"(?:url|spec-url)\s*[:=]\s*['\"]([^'\"]+\.json[^'\"]*)['\"]")


def document(asker: Asker, person: Person = NOBODY) -> dict[str, Any] | None:
    """What is served where it usually is, or where the docs page says; asked as `person` if nobody gets it."""
    for who in (NOBODY, person):
        for path in (*USUAL, *_named(asker, who)):
            answer = asker.fetch(path, who.headers)
            value = json_of(answer) if answer is not None and answer.is_success else None
            if isinstance(value, dict) and isinstance(value.get("paths"), dict):
                return value
    return None


def _named(asker: Asker, person: Person) -> Iterator[str]:
    for page in PAGES:
        answer = asker.send("GET", page, headers=person.headers)
        if answer is not None and answer.is_success:
            yield from (httpx.URL(found).path for found in NAMED.findall(answer.text[:100_000])[:2])
