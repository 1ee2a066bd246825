"""The local OSV answers as api.osv.dev does, and fails as told."""

import json
from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from lab_app.runner.services.advisories import Advisories, affects, frozen, record

ADVISORY = record("PYSEC-1", "foo-bar", [{"introduced": "1.2"}, {"fixed": "1.10"}], aliases=["CVE-1"])
PATCHED = "PYSEC-2023-192"  # urllib3, whose intervals stand in the wrong order


@pytest.fixture
def osv() -> Iterator[Advisories]:
    service = Advisories([ADVISORY]).start()
    yield service
    service.stop()


def ask(osv: Advisories, name: str = "foo-bar", version: str = "1.9", **more: Any) -> httpx.Response:
    query = {"package": {"name": name, "ecosystem": "PyPI"}, "version": version} | more
    return httpx.post(osv.url, content=json.dumps(query))  # no content type, like pip-audit


@pytest.mark.parametrize(("name", "version"), [("foo-bar", "1.9"), ("Foo_Bar", "1.2"), ("foo.bar", "1.10rc1")])
def test_an_affected_version_gets_its_records(osv: Advisories, name: str, version: str) -> None:
    assert ask(osv, name, version).json() == {"vulns": [ADVISORY]}


@pytest.mark.parametrize(
    ("name", "version"), [("foo-bar", "1.10"), ("foo-bar", "1.1"), ("other", "1.9"), ("foo-bar", "one")]
)
def test_others_get_nothing(osv: Advisories, name: str, version: str) -> None:
    assert ask(osv, name, version).json() == {}


@pytest.mark.parametrize("query", [{"purl": "pkg:pypi/foo-bar@1.9"}, {"purl": "pkg:pypi/Foo_Bar"}])
def test_a_package_url_will_do(osv: Advisories, query: dict[str, str]) -> None:
    assert httpx.post(osv.url, json={"package": query}).json() == {"vulns": [ADVISORY]}


@pytest.mark.parametrize(
    "body", [b"", b"[]", b"{", b'{"package": {}}', b'{"package": {"name": "a", "ecosystem": "npm"}}']
)
def test_what_is_no_query_is_400(osv: Advisories, body: bytes) -> None:
    assert httpx.post(osv.url, content=body).status_code == 400


def test_long_answers_come_in_pages(osv: Advisories) -> None:
    osv.records[:] = [record(f"PYSEC-{n}", "foo-bar", [{"introduced": "0"}]) for n in range(5)]
    osv.page, found, token = 2, [], ""
    while True:
        answer = ask(osv, page_token=token).json()
        found += [one["id"] for one in answer["vulns"]]
        if "next_page_token" not in answer:
            break
        token = answer["next_page_token"]
    assert found == [one["id"] for one in osv.records]


def test_it_fails_as_told_and_for_whom(osv: Advisories) -> None:
    with osv.fails(503):
        assert ask(osv).status_code == ask(osv, "other").status_code == 503
    with osv.fails("html", "Foo_Bar"):
        assert ask(osv).text.startswith("<!doctype") and ask(osv, "other").json() == {}
    for how in ("cut", "empty"):
        with osv.fails(how), pytest.raises(ValueError, match=r"Expecting value|Unterminated"):
            ask(osv).json()
    with osv.fails("slow"):
        assert ask(osv).json() == {"vulns": [ADVISORY]}
    assert ask(osv).json() == {"vulns": [ADVISORY]}


@pytest.mark.parametrize(
    ("version", "affected"), [("2.0.3", True), ("2.0.6", False), ("1.26.5", True), ("1.26.17", False)]
)
def test_frozen_records_mean_what_they_say(version: str, affected: bool) -> None:
    (one,) = (one for one in frozen() if one["id"] == PATCHED)
    assert affects(one, "urllib3", version) is affected


def test_withdrawn_records_are_not_served() -> None:
    assert not [one for one in frozen() if affects(one, "fastapi", "0.136.3")]
