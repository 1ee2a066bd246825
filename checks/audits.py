"""What an audit says of an app, held against the flaws that the app was given, and its evidence sent again."""

import json
import re
from contextlib import suppress
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlencode

import httpx

from checks.calls import Call
from lab_app.larkspur.audited import PIN, Audited
from lab_app.runner.client import NoAnswer

ANY_ROUTE = ""
SHOWN_BY = 12  # what one answer does not show, this many do: the limit on guesses is below
PLUMBING = {"host", "content-length", "transfer-encoding", "connection", "accept-encoding", "date", "server"}
BLANK_LINE = re.compile(r"\r?\n\r?\n")
STATUS_LINE = re.compile(r"(HTTP/\S+ )?\d{3}\b")


class Finding:
    """A finding in the form that the contract gives it. Raises ValueError."""

    def __init__(self, said: Any) -> None:
        if not isinstance(said, dict) or said.get("section") not in range(1, 11):
            raise ValueError(f"returned a finding without a section from 1 to 10: {str(said)[:200]}")
        where, cwe, severity = (str(said.get(name) or "").strip() for name in ("where", "cwe", "severity"))
        number = re.search(r"\d+", cwe)
        if not where or not severity or not number:
            raise ValueError(f"returned a finding without where, severity, or a cwe with a number: {str(said)[:200]}")
        self.section, self.cwe = int(said["section"]), int(number[0])
        word, _, rest = where.partition(" ")
        self.where = f"{word if ':' in word else word.upper()} {rest.strip()}"
        evidence = said.get("evidence")
        self.evidence: dict[str, Any] = evidence if isinstance(evidence, dict) else {}


@dataclass(frozen=True)
class Flaw:
    """What a finding may call a flaw: no CWE named is any, and a place with drawn words in it; "" is any route."""

    sections: frozenset[int]
    cwes: frozenset[int]
    where: str

    def is_named(self, finding: Finding, app: Audited) -> bool:
        """Whether a finding is about this flaw."""
        place = self.where.format_map(app.words)
        there = finding.where == place if place else finding.where in routes(app)
        return there and finding.section in self.sections and (not self.cwes or finding.cwe in self.cwes)


def flaw(sections: str, cwes: str, where: str = ANY_ROUTE) -> Flaw:
    """A flaw, from numbers with spaces between them."""
    return Flaw(frozenset(map(int, sections.split())), frozenset(map(int, cwes.split())), where)


# The weakness itself, its parents and its neighbours: who names one of these has seen it.
FLAWS = {
    "signature": flaw("1", "284 285 287 290 294 302 303 306 327 345 346 347 354 863 1390"),
    "loan": flaw("1", "200 284 285 359 425 552 566 639 668 862 863 1220", "GET /loans/{{{loan_id}}}"),
    "names": flaw("1 5 10", "200 203 204 205 208 209 307 497 1390", "POST /token"),
    "proxy": flaw("2 5 10", "16 20 284 287 290 291 302 345 346 348 350 441 451 471 693 807 940"),
    "cors": flaw("3", "16 183 284 200 285 345 346 352 668 693 732 863 923 942"),
    "role": flaw("1 4", "20 250 266 269 276 284 285 471 472 639 732 862 863 915", "PATCH /members/me"),
    "guesses": flaw("1 5", "287 307 400 521 770 799 837 1390", "POST /token"),
    "settings_shown": flaw(
        "1 6 10", "200 201 215 260 284 306 312 359 402 497 522 526 538 552 668 798", "GET {settings}"
    ),
    "sql": flaw("4 7", "20 74 89 116 138 564 707 943", "GET {search}"),
    "html": flaw("4 8", "20 74 79 80 83 87 116 138 707", "GET {page}"),
    "headers": flaw("8", "16 79 116 358 430 451 693 755 1021 1032 1173"),
    PIN: flaw("9", "", "requirements.txt: {pin}"),
    "log": flaw("10", "117 200 201 215 256 257 312 313 359 522 532 533 538 552"),
    "traceback": flaw(
        "6 10", "200 201 209 210 211 215 248 388 390 489 497 536 544 550 703 755", "GET {shelves}/{{code}}"
    ),
}
BY_HTTP = tuple(name for name in FLAWS if name not in (PIN, "log"))


class Audit:
    """What `audit` said of an app. Raises CheckFailed."""

    def __init__(self, call: Call, app: Audited) -> None:
        said = call.value
        formed = isinstance(said, dict) and isinstance(said.get("findings"), list)
        call.expect(formed, "returned something else than {findings: […]}")
        self.call, self.app = call, app
        try:
            self.findings = [Finding(each) for each in said["findings"]]
        except ValueError as error:
            raise call.failed(str(error)) from error
        self.named = {
            name: [finding for finding in self.findings if FLAWS[name].is_named(finding, app)] for name in app.flaws
        }

    @property
    def recall(self) -> float:
        """Flaws found, of those that are there."""
        return sum(map(bool, self.named.values())) / len(self.named)

    @property
    def precision(self) -> float:
        """Findings that name a flaw that is there, of all findings; 1 if there are none."""
        good = {id(finding) for findings in self.named.values() for finding in findings}
        return len(good) / len(self.findings) if self.findings else 1.0

    @property
    def alarms(self) -> str:
        """The findings that name no flaw, in a few words."""
        good = [finding for findings in self.named.values() for finding in findings]
        others = [each for each in self.findings if each not in good]
        return ", ".join(f"CWE-{each.cwe} of section {each.section} at {each.where}" for each in others)[:300]

    def expect_found(self, name: str) -> None:
        """The one flaw is among the findings, and false alarms are no more than what is true."""
        missed = f"did not find the one flaw of an app, but reported {self.alarms or 'nothing'}"
        self.call.expect(bool(self.named[name]), missed, f"It is at {self.place(name)}.")
        self.call.expect(self.precision >= 0.5, f"found one flaw, and beside it {self.alarms}, where nothing is wrong")

    def expect_nothing(self) -> None:
        """An app without a flaw has no findings."""
        self.call.expect(not self.findings, f"found {self.alarms}, and there is nothing wrong with that")

    def place(self, name: str) -> str:
        """Where a flaw is."""
        return FLAWS[name].where.format_map(self.app.words) or "every route"


def routes(app: Audited) -> set[str]:
    """The routes of an app as its OpenAPI document names them."""
    paths = app.names["app"].openapi()["paths"]
    return {f"{method.upper()} {path}" for path, methods in paths.items() for method in methods}


@dataclass(frozen=True)
class Message:
    """A request or an answer: its first words, its headers by small letters, its body, which may be JSON."""

    first: tuple[str, ...]
    headers: dict[str, str]
    body: Any


def message(said: Any, *first: str) -> Message:
    """A message from its parts, of which `first` names the first ones, or from its text. Raises ValueError."""
    if isinstance(said, dict):
        words = tuple(str(said[name]) for name in first if said.get(name) is not None)
        pairs, body = dict(said.get("headers") or {}).items(), said.get("body") or ""
    elif isinstance(said, str):
        head, body = [*BLANK_LINE.split(said.lstrip(), maxsplit=1), ""][:2]
        line, *lines = head.splitlines() or [""]
        words = tuple(word for word in line.split(" ") if not word.startswith("HTTP/"))
        pairs = dict(line.split(":", 1) for line in lines).items()
    else:
        raise ValueError("neither parts nor a text")
    return Message(words, {k.lower(): str(v).strip() for k, v in pairs if k.lower() not in PLUMBING}, body)


def response(said: Any) -> Message:
    """A response from its parts or its text; a text without a status is a part of its body. Raises ValueError."""
    if isinstance(said, str) and not STATUS_LINE.match(said.lstrip()):
        return Message((), {}, said)
    return message(said, "status")


def send(http: httpx.Client, request: Message) -> httpx.Response | None:
    """What comes back; None if that cannot be sent, or nothing comes back."""
    plain = isinstance(request.body, str)
    kind = {} if plain else {"content-type": "application/json"}
    form = request.headers.get("content-type", "").startswith("application/x-www-form-urlencoded")
    written = urlencode if form and isinstance(request.body, dict) else json.dumps
    content = request.body if plain else written(request.body)
    with suppress(NoAnswer, httpx.HTTPError, httpx.InvalidURL, ValueError, TypeError):
        method, path = request.first
        return http.request(method, path, headers=kind | request.headers, content=content.encode())
    return None


def same(answer: httpx.Response, told: Message) -> bool:
    """Whether an answer is the one that was told: its status, and as much of headers and body as was told."""
    status = told.first[:1]
    if not (status or told.body) or (status and status != (str(answer.status_code),)):
        return False
    if any(answer.headers.get(name) != value for name, value in told.headers.items()):
        return False
    if isinstance(told.body, str):
        return told.body.strip() in answer.text
    with suppress(ValueError):
        return bool(answer.json() == told.body)
    return False


def seen(answer: httpx.Response | None) -> tuple[Any, ...]:
    """What a client sees of an answer."""
    if answer is None:
        return ()
    return answer.status_code, sorted(h for h in answer.headers.items() if h[0] not in PLUMBING), answer.text
