"""A local OSV: `POST /v1/query` over advisories that were frozen, or drawn for a check.

It answers as api.osv.dev does, whose rules are at https://google.github.io/osv.dev/post-v1-query/: names are matched in
their normal form, withdrawn records are not served, and what is too long for one answer comes in pages. It can also
fail, in every way that a client must survive.
"""

import asyncio
import json
import re
import tomllib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from packaging.utils import canonicalize_name
from packaging.version import VERSION_PATTERN, Version
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, Response
from starlette.routing import Route

from lab_app.runner.services.serving import Served

Record = dict[str, Any]
QUERY = "/v1/query"
PAGE = 1000  # records in one answer of api.osv.dev
SLOW_SECONDS = 0.4
TABLE = Path(__file__).with_name("advisories.toml")
HTML = "<!doctype html><title>Gateway</title><h1>Sign in to this network</h1>"
ANYTHING = ""
VERSION = re.compile(VERSION_PATTERN, re.VERBOSE | re.IGNORECASE)


def record(
    id_: str,
    package: str,
    *ranges: list[dict[str, str]],
    aliases: list[str] | None = None,
    versions: list[str] | None = None,
    **more: Any,
) -> Record:
    """An OSV record of a PyPI package; every range is a list of events."""
    affected: dict[str, Any] = {"package": {"ecosystem": "PyPI", "name": package}}
    affected |= {"ranges": [{"type": "ECOSYSTEM", "events": events} for events in ranges]} if ranges else {}
    affected |= {"versions": versions} if versions else {}
    about = {"schema_version": "1.6.0", "id": id_, "modified": "2026-11-23T00:00:00Z", "affected": [affected]}
    return about | ({"aliases": aliases} if aliases else {}) | more


def frozen() -> list[Record]:
    """The advisories of `advisories.toml` as OSV records."""
    table = tomllib.loads(TABLE.read_text(encoding="utf-8"))["advisory"]
    return [_thawed(**row) for row in table]


def _thawed(id: str, package: str, events: list[str], cwe: tuple[str, ...] = (), **more: Any) -> Record:
    happened = [dict([event.split()]) for event in events]
    return record(id, package, happened, **more, database_specific={"cwe_ids": list(cwe)})


class Advisories:
    """`records` is what it knows, `asked` the queries since it was made."""

    def __init__(self, records: list[Record], page: int = PAGE) -> None:
        self.records, self.page = records, page
        self.asked: list[Record] = []
        self.troubles: dict[str, int | str] = {}
        self.app = Starlette(routes=[Route("/", self._home), Route(QUERY, self._query, methods=["POST"])])
        self.served = Served(self.app)

    @property
    def url(self) -> str:
        """The full address of the query; it stands in for https://api.osv.dev/v1/query."""
        return f"http://127.0.0.1:{self.served.port}{QUERY}"

    def start(self) -> "Advisories":
        """Listen, on the same port as before if it ran before."""
        self.served.start()
        return self

    def stop(self) -> None:
        """Close the port."""
        self.served.stop()

    @contextmanager
    def fails(self, how: int | str, package: str = ANYTHING) -> Iterator[None]:
        """Meanwhile a query about `package`, or any, gets a status, or 200 with what is no answer.

        "html" is a page, "empty" nothing, "cut" an answer that breaks off, "slow" a right one that takes its time.
        """
        self.troubles[canonicalize_name(package)] = how
        try:
            yield
        finally:
            del self.troubles[canonicalize_name(package)]

    async def _home(self, request: Request) -> Response:
        rows = (
            f"<li><code>{r['id']}</code> {r['affected'][0]['package']['name']}: {r.get('summary', '')}"
            for r in self.records
        )
        return HTMLResponse(f"<!doctype html><title>Advisories</title><h1>Advisories</h1><ul>{''.join(rows)}</ul>")

    async def _query(self, request: Request) -> Response:
        try:
            asked = json.loads(await request.body())  # whatever its content type: pip-audit names none
            self.asked.append(asked)
            name, version = package_of(asked)
            start = int(asked.get("page_token") or 0)
        except (ValueError, KeyError, TypeError, AttributeError):
            return JSONResponse({"code": 3, "message": "Invalid query."}, 400)
        how = self.troubles.get(name, self.troubles.get(ANYTHING))
        if how is not None and how != "slow":
            return broken(how)
        await asyncio.sleep(SLOW_SECONDS if how else 0)
        found = [one for one in self.records if affects(one, name, version)]
        page: Record = {"vulns": found[start : start + self.page]} if found else {}
        more = len(found) > start + self.page
        return JSONResponse(page | ({"next_page_token": str(start + self.page)} if more else {}))


def package_of(asked: Mapping[str, Any]) -> tuple[str, str]:
    """The normal name and the version, "" for all, that a query asks about, by name or by package URL."""
    name, version = asked["package"].get("name"), asked.get("version", "")
    if purl := asked["package"].get("purl"):
        name, _, within = purl.removeprefix("pkg:pypi/").partition("@")
        version = version or within
    elif asked["package"]["ecosystem"] != "PyPI":
        raise ValueError("unknown ecosystem")
    return canonicalize_name(name), version


def affects(one: Record, name: str, version: str) -> bool:
    """OSV's own evaluation: https://ossf.github.io/osv-schema/#evaluation"""
    if "withdrawn" in one:
        return False
    for affected in one["affected"]:
        ranges = affected.get("ranges", []) if VERSION.fullmatch(version) else []
        if canonicalize_name(affected["package"]["name"]) == name and (
            not version
            or version in affected.get("versions", [])
            or any(_within(each["events"], Version(version)) for each in ranges)
        ):
            return True
    return False


def _within(events: list[dict[str, str]], version: Version) -> bool:
    state = False
    for kind, at in sorted(((k, v) for event in events for k, v in event.items()), key=lambda pair: Version(pair[1])):
        if kind == "introduced" and (at == "0" or version >= Version(at)):
            state = True
        elif (kind == "fixed" and version >= Version(at)) or (kind == "last_affected" and version > Version(at)):
            state = False
    return state


def broken(how: int | str) -> Response:
    """What a service in trouble answers."""
    if isinstance(how, int):
        return JSONResponse({"code": 13, "message": "Something went wrong."}, how)
    if how == "html":
        return HTMLResponse(HTML)
    return Response(b'{"vulns": [{"id": "PYS' if how == "cut" else b"", media_type="application/json")
