"""8.4 Docs and reports: what the documentation loads and when it is there, and what a report can do to the log."""

import json
import re
from collections.abc import Callable
from typing import Any
from urllib.parse import urlsplit

import httpx
import pytest

from checks.csp import csp_of
from checks.pages import Html, Start, Visitor, html_of, visitor
from lab_app.harness import REFUSED, App, CheckFailed, attack, exercise, expect, legit
from lab_app.harness.draw import Draw
from lab_app.harness.evidence import exchange_of
from lab_app.harness.world import Answer

KIB = 1024
MOST = 16 * KIB
TAKEN, ANSWERED = range(200, 300), range(200, 500)
LEGACY, MODERN = "application/csp-report", "application/reports+json"
LISTED = "/csp-report"
FLOOD, BUDGET = 75, 60
SECONDS = 5  # until a line must be there
SAID_TO_BE = ("X-Forwarded-For", "X-Real-IP", "X-Client-IP", "True-Client-IP", "CF-Connecting-IP")
NOT_IN_A_LINE = {*map(chr, range(32)), "\x85", "\u2028", "\u2029"} - {"\t"}
Launch = Callable[..., App]


@pytest.fixture
def development(answer: Answer) -> App:
    """The app on a developer's machine, shared by the checks."""
    return answer.shared(ENVIRONMENT="development")


@pytest.fixture
def production(answer: Answer) -> App:
    """The app in production, shared by the checks."""
    return answer.shared(ENVIRONMENT="production")


def legacy(draw: Draw, **fields: Any) -> bytes:
    """A report as `report-uri` has it sent."""
    told = {
        "document-uri": f"https://larkspur.example/reviews/{draw.number(1, 99)}",
        "violated-directive": "script-src-elem",
        "blocked-uri": f"https://{draw.username()}.example/x.js",
        "status-code": 200,
    }
    return json.dumps({"csp-report": told | fields}).encode()


def modern(draw: Draw, reports: int = 1, **fields: Any) -> bytes:
    """Reports as `report-to` has them sent, several in one go."""
    told = {
        "documentURL": f"https://larkspur.example/reviews/{draw.number(1, 99)}",
        "effectiveDirective": "script-src-elem",
        "blockedURL": f"https://{draw.username()}.example/x.js",
        "disposition": "enforce",
    }
    one = {"type": "csp-violation", "age": 10, "url": told["documentURL"], "user_agent": "Mozilla/5.0"}
    return json.dumps([one | {"body": told | fields} for _ in range(reports)]).encode()


def spread(body: bytes) -> bytes:
    """The same report over many lines, with as little escaped as JSON allows."""
    return json.dumps(json.loads(body), indent=1, ensure_ascii=False).replace("\n", "\r\n").encode()


def somewhere(draw: Draw) -> str:
    """An address of one's own, since there is a budget for each."""
    return f"127.{draw.number(1, 250)}.{draw.number(1, 250)}.{draw.number(1, 250)}"


def report(app: App, body: bytes, kind: str, source: str) -> httpx.Response:
    """Send a report from an address."""
    return app.at(source).post("/csp-report", content=body, headers={"Content-Type": kind})


def chunked(app: App, body: bytes, kind: str, source: str) -> httpx.Response:
    """Send a report without saying how long it is."""
    parts = (body[n : n + KIB] for n in range(0, len(body), KIB))
    return app.at(source).post("/csp-report", content=parts, headers={"Content-Type": kind})


def padded(body: bytes, size: int) -> bytes:
    """The same report with so many spaces before its end that it has this size."""
    return body[:-1].ljust(size - 1) + body[-1:]


class Lines:
    """The lines that an app of the check's own adds to its log, from now on.

    A line may come after its answer, and what is refused leaves one or none. So what is judged is the sum: it holds
    for an app that writes late as for one that writes at once.
    """

    def __init__(self, app: App) -> None:
        self.app, self.most, self.seen = app, 0, 0
        self.begins = len(self._read())

    def judge(self, *answers: httpx.Response) -> None:
        """Each of these POSTs, the latest, has added one clean line, or one or none if refused. Raises CheckFailed."""
        least, self.most = self.seen + sum(one.status_code in TAKEN for one in answers), self.most + len(answers)
        self.app.answer.patience.until(lambda: self._read().count(b"\n", self.begins) >= least, SECONDS)
        lines = self._read()[self.begins :].decode(errors="replace").split("\n")[:-1]
        new, self.seen = lines[self.seen :], len(lines)
        exchange = exchange_of(answers[0].request, answers[0])
        if not least <= len(lines) <= self.most or not all(map(str.strip, new)):
            posts = "one POST" if len(answers) == 1 else f"{len(answers)} POSTs"
            found = f"wrote {len(new)} lines into LOG_FILE for {posts}: {str(new)[:300]}"
            raise CheckFailed(found, "A safe app writes one line a POST.", exchange)
        if raw := NOT_IN_A_LINE & set("".join(new)):
            found = f"wrote {min(raw)!r} into LOG_FILE as it was sent: {str(new)[:300]}"
            raise CheckFailed(found, "A safe app escapes what is no part of a line.", exchange)

    def _read(self) -> bytes:
        return self.app.files().get(self.app.env["LOG_FILE"].removeprefix(f"{self.app.where}/"), b"")


def docs(app: App) -> tuple[httpx.Response, Html]:
    """The documentation page."""
    answer = expect(app.api.get("/docs"), 200, "did not show the documentation to its developers")
    return answer, html_of(answer)


@exercise("8.4")
@legit("ASVS 5.0 13.4.5")
def test_developers_see_the_documentation(development: App, draw: Draw, chromium: Start) -> None:
    """In development `/docs` is a page that lists the API's paths.

    Documentation is why FastAPI is loved. It is shut for strangers, not for colleagues.

    Hint: `app.openapi()["paths"]` holds them all. A list in plain HTML needs no script.
    """
    answer, html = docs(development)
    named = re.findall(r"[\"'](/[^\"'\s]*\.json)[\"']", html.source)  # the document that a script shows
    listed = html.says(LISTED) or any(LISTED in development.api.get(path).text for path in named)
    if not listed and html.all("script"):
        with visitor(development, chromium, draw.username()) as someone:
            listed = LISTED in someone.open("/docs", lambda visit: LISTED in visit.text).text
    if not listed:
        found = f"shows documentation that does not list {LISTED}"
        raise CheckFailed(found, "The page lists the API's paths.", exchange_of(answer.request, answer))


@exercise("8.4")
@legit("CSP3 #reporting", "ASVS 5.0 3.4.7")
def test_reports_are_taken_and_logged(launch: Launch, draw: Draw) -> None:
    """Reports of both kinds are taken, in development and in production, and each POST is one line of the log.

    Browsers send the old kind for `report-uri` and the new one for `report-to`, several reports at once. Twice the same
    is two lines: how often it happens is what you want to know.

    Hint: neither kind is `application/json`, so read `await request.body()` yourself and give it to `json.loads`.
    """
    source = somewhere(draw)
    for environment in ("development", "production"):
        app = launch(ENVIRONMENT=environment)
        lines = Lines(app)
        kinds = ((legacy(draw), LEGACY), (modern(draw), MODERN), (modern(draw, 3), MODERN))
        for body, kind in (*kinds, (legacy(draw), f"{LEGACY}; charset=utf-8")):
            for _ in range(2):
                lines.judge(expect(report(app, body, kind, source), TAKEN, f"refused a report of the kind {kind}"))


@exercise("8.4")
@legit("CSP3 #reporting")
def test_long_reports_are_taken(launch: Launch, draw: Draw) -> None:
    """A report of 16 KiB is taken, declared or chunked.

    A report carries addresses and samples of code, so real ones are not short.

    Hint: the limit is 16 KiB, which is 16 384 bytes; refuse what is longer.
    """
    app, source = launch(ENVIRONMENT="development"), somewhere(draw)
    for size in (15 * KIB, MOST):
        for body, kind in ((legacy(draw), LEGACY), (modern(draw), MODERN)):
            long = padded(body, size)
            expect(report(app, long, kind, source), TAKEN, f"refused a report of {size} bytes")
            expect(chunked(app, long, kind, source), TAKEN, f"refused a report of {size} bytes that came in chunks")


@exercise("8.4")
@legit("RFC 6585 §4")
def test_twenty_reports_a_minute_are_fine(launch: Launch, draw: Draw) -> None:
    """Twenty reports within a minute are taken from every address, and one's flood is not another's.

    One page with a bad policy sends a dozen at once.

    Hint: count by `request.client.host`.
    """
    app = launch(ENVIRONMENT="development")
    for source in ("127.0.0.1", *(somewhere(draw) for _ in range(4))):
        for _ in range(20):
            expect(report(app, legacy(draw), LEGACY, source), TAKEN, f"refused one of twenty reports from {source}")


@exercise("8.4")
@attack("ASVS 5.0 13.4.5", "API9:2023")
def test_production_has_no_documentation(production: App, development: App) -> None:
    """In production `/docs` is 404, however it is asked for.

    It is a map of your API, with a form for every door.

    Hint: `FastAPI(docs_url=None if production else "/docs")`, or a route that is added in development only.
    """
    for path in ("/docs", "/docs?x=1", "/%64ocs"):
        expect(production.api.get(path), 404, "did not answer as if there were no documentation in production")
    answer = production.api.get("/docs/")
    expect(answer, (404, 307, 308), "did not answer as if there were no documentation in production")
    if LISTED in production.api.get("/docs", headers={"Accept": "text/html"}).text:
        raise CheckFailed("listed its paths in production", "A safe app answers 404.")
    docs(development)


@exercise("8.4")
@attack("ASVS 5.0 3.6.1", "CWE-829")
def test_the_documentation_loads_nothing_from_strangers(development: App) -> None:
    """The documentation loads scripts, styles and pictures from its own origin alone.

    A script from elsewhere may do on your site what you may, and changes when its owner likes.

    Hint: FastAPI's own page loads from cdn.jsdelivr.net and its icon from tiangolo.com. Write a page of your own.
    """
    answer, html = docs(development)
    page = str(answer.request.url)
    for url in html.loads(page):
        if urlsplit(url).scheme != "data" and urlsplit(url).netloc != urlsplit(page).netloc:
            found = f"loads {url} into its documentation"
            raise CheckFailed(found, "A safe page loads from its own origin.", exchange_of(answer.request, answer))


@exercise("8.4")
@attack("ASVS 5.0 3.6.1", "CWE-829")
def test_nothing_from_strangers_is_loaded_in_a_browser(development: App, draw: Draw, chromium: Start) -> None:
    """In a real browser, too, the documentation asks no other host for anything.

    What a script loads stands nowhere in the HTML.

    Hint: open the page with the browser's network panel, and look at the column of hosts.
    """
    docs(development)
    with visitor(development, chromium, draw.username()) as someone:
        visit = someone.open("/docs")
        strangers = [url for url in visit.asked if strange(url, someone)]
        if strangers:
            raise someone.failed(f"asked for {strangers[0]}", "A safe page loads from its own origin.")


def strange(url: str, someone: Visitor) -> bool:
    """Whether an address is on another host."""
    return urlsplit(url).scheme in ("http", "https") and urlsplit(url).hostname != urlsplit(someone.public).hostname


@exercise("8.4")
@attack("ASVS 5.0 3.4.3", "CWE-79")
def test_the_documentation_has_a_policy(development: App) -> None:
    """The documentation goes out under a policy that allows no inline script of strangers, and none of their files.

    It is a page of your site. Whoever gets a script into it has your site.

    Hint: `default-src 'none'` is enough for a page without scripts. One with scripts needs a nonce, or its own files.
    """
    answer, _ = docs(development)
    csp, exchange = csp_of(answer), exchange_of(answer.request, answer)
    if not csp.policies:
        raise CheckFailed("sent its documentation without a Content-Security-Policy", exchange=exchange)
    scripts = csp.words("default-src", "script-src", "script-src-elem", "script-src-attr")
    if "'unsafe-inline'" in scripts or csp.allows_inline("x()") or csp.allows_handlers():
        safe = "A safe policy has no 'unsafe-inline' for scripts."
        raise CheckFailed("allows inline scripts in its documentation", safe, exchange)
    if csp.allows_script("https://cdn.evil.example/x.js"):
        raise CheckFailed("allows everybody's scripts in its documentation", "A safe policy names 'self'.", exchange)


@exercise("8.4")
@attack("CWE-770", "ASVS 5.0 2.4.1")
def test_long_reports_are_refused(development: App, draw: Draw) -> None:
    """A report over 16 KiB is refused with a 4xx, whether its length is declared or not.

    Anybody can send reports. Whoever reads them whole has room for what anybody sends, and spaces are bytes as well.

    Hint: count what `request.stream()` gives, and stop at 16 384 bytes. A chunked body has no Content-Length.
    """
    for make, kind in ((legacy, LEGACY), (modern, MODERN)):
        samples = ("x" * (MOST + 1), "x" * 40 * KIB, "x" * 200 * KIB, "語" * 8 * KIB, "\n" * MOST)
        bodies = [json.dumps(json.loads(make(draw, sample=text)), ensure_ascii=False).encode() for text in samples]
        for size in (MOST + 1, 200 * KIB):
            bodies += [padded(make(draw), size), make(draw).ljust(size)]
        for body in bodies:
            source = somewhere(draw)
            expect(report(development, body, kind, source), REFUSED, f"took a report of {len(body)} bytes")
            expect(chunked(development, body, kind, source), REFUSED, f"took a report of {len(body)} bytes in chunks")


@exercise("8.4")
@attack("CWE-20", "CWE-755")
def test_what_is_no_json_is_refused(development: App, draw: Draw) -> None:
    """What is no JSON is refused with a 4xx, and never a crash.

    The address stands in a header that everybody sees.

    Hint: `json.loads` raises ValueError for what is none, UnicodeDecodeError among them, and RecursionError for depth.
    """
    whole = legacy(draw)
    junk = (b"", b" ", whole[:-1], whole + b"}", b"csp-report=1", b"<xml/>", b"\xff\xfe\x00{", b"{'csp-report': {}}")
    deep = (b"[" * 8000, b'{"a":' * 2500)
    for kind in (LEGACY, MODERN):
        source = somewhere(draw)
        for body in (*junk, *deep, draw.passphrase().encode()):
            expect(report(development, body, kind, source), REFUSED, "took a report that is no JSON")


@exercise("8.4")
@attack("CWE-20", "CWE-755")
def test_odd_json_crashes_nothing(launch: Launch, draw: Draw) -> None:
    """JSON that is no report is taken or refused, and adds a clean line to the log or none.

    Code that expects `report["csp-report"]["blocked-uri"]` meets a list, a number, or nothing.

    Hint: log the report as one value. What you do not take apart cannot fail to be there.
    """
    app, source = launch(ENVIRONMENT="development"), somewhere(draw)
    lines = Lines(app)
    values: tuple[Any, ...] = (
        None,
        5,
        "text",
        [],
        {},
        [1, None],
        {"csp-report": None},
        {"csp-report": [1]},
        [{"body": 1}],
    )
    bodies = [json.dumps(value).encode() for value in values] + [
        b"[" * 3000 + b"]" * 3000,
        legacy(draw, **{"blocked-uri": 5}),
    ]
    for body in bodies:
        kind = MODERN if body[:1] == b"[" else LEGACY
        lines.judge(expect(report(app, body, kind, source), ANSWERED, "did not bear odd JSON"))


@exercise("8.4")
@attack("CWE-117", "ASVS 5.0 16.4.1")
def test_a_report_is_one_clean_line(launch: Launch, draw: Draw) -> None:
    """Line ends, escape codes and separators in a report break no line of the log and forge none.

    Who can start a new line can write `login ok`. An escape code clears the screen of whoever reads.

    Hint: `json.dumps` escapes all of them, as long as `ensure_ascii` stays on.
    """
    app = launch(ENVIRONMENT="development")
    lines = Lines(app)
    forged = f'{{"event": "authn_login_success", "username": "{draw.username()}"}}'
    for breaker in (
        "\n",
        "\r\n",
        "\r",
        "\x1b[2J\x1b[H",
        "\u2028",
        "\u2029",
        "\x85",
        "\x0b\x0c",
        "\x00",
        "\x08\x7f",
    ):
        source, text = somewhere(draw), f"inline{breaker}{forged}{breaker}"
        sent = (
            (legacy(draw, **{"blocked-uri": text}), LEGACY),
            (legacy(draw, **{"violated-directive": text, f"x{breaker}{draw.username()}": text}), LEGACY),
            (modern(draw, blockedURL=text, effectiveDirective=text, documentURL=text, sample=text), MODERN),
            (spread(legacy(draw, **{"blocked-uri": text})), LEGACY),
        )
        for body, kind in sent:
            answer = report(app, body, kind, source)
            lines.judge(expect(answer, ANSWERED, "did not bear a report with control characters"))


@exercise("8.4")
@attack("CWE-117", "ASVS 5.0 16.4.1")
def test_a_refused_report_forges_no_line(launch: Launch, draw: Draw) -> None:
    """What is refused, for it is no JSON or too long, adds a clean line to the log or none.

    The line that says why something was refused is a line, too, and the attacker has chosen what it quotes.

    Hint: log that a report was refused, and how long it was. If you quote it, then through `json.dumps`.
    """
    app = launch(ENVIRONMENT="development")
    lines = Lines(app)
    forged = f"INFO {draw.username()} logged in"
    for breaker in ("\n", "\r\n", "\x1b[2J", "\u2028", "\x85"):
        text, source = f"{breaker}{forged}{breaker}", somewhere(draw)
        cut = spread(legacy(draw, sample=text))[:-1]
        for body in (f"no json{text}".encode(), cut, text.encode() * MOST):
            refused = expect(report(app, body, LEGACY, source), REFUSED, "took what is no report")
            lines.judge(refused, report(app, legacy(draw), LEGACY, source))  # once its line is there, so is any before


@exercise("8.4")
@attack("CWE-117", "ASVS 5.0 16.4.1")
def test_the_sender_writes_no_line(launch: Launch, draw: Draw) -> None:
    """What else comes along with a report, its headers and its query, adds no line and breaks none.

    A user agent is text that the client made up.

    Hint: whatever you log of a request goes through the same `json.dumps`.
    """
    app, name = launch(ENVIRONMENT="development"), draw.username()
    lines = Lines(app)
    for headers in (
        {"User-Agent": f"Mozilla\x85{name}"},
        {"User-Agent": f"Mozilla\xe2\x80\xa8{name}"},  # U+2028 in UTF-8
        {"Referer": f"https://{name}.example/\x85{name}"},
        {"X-Forwarded-For": f"127.0.0.1\x85{name}"},
    ):
        sent = {name.encode(): value.encode("latin-1") for name, value in headers.items()}
        sent[b"Content-Type"] = LEGACY.encode()
        url = f"/csp-report?x={name}%0A%0D%1b%E2%80%A8forged"
        answer = app.at(somewhere(draw)).post(url, content=legacy(draw), headers=sent)
        lines.judge(expect(answer, ANSWERED, "did not bear odd headers"))


@exercise("8.4")
@attack("CWE-770", "ASVS 5.0 2.4.1", "RFC 6585 §4")
def test_a_flood_of_reports_is_stopped(launch: Launch, draw: Draw) -> None:
    """More than 60 reports a minute from one address are refused with 429.

    Every report is a line on your disk, and anybody can send them.

    Hint: keep the times of the last minute by address, and refuse while there are 60.
    """
    app = launch(ENVIRONMENT="production")
    body = legacy(draw)
    expect_flood_stopped(draw, lambda source, n: report(app, body, (LEGACY, MODERN)[n % 2], source))
    answer = report(app, body, LEGACY, somewhere(draw))
    expect(answer, TAKEN, "refused a report since another address had sent too many")


@exercise("8.4")
@attack("CWE-348", "ASVS 5.0 15.3.4")
def test_a_forged_address_buys_no_more_reports(launch: Launch, draw: Draw) -> None:
    """Forwarded addresses, user agents, tokens, queries and new connections buy nobody a second budget.

    Who can name their own address has as many as they like.

    Hint: `request.client.host` is who is connected. Anything in a header is what they say.
    """
    app = launch(ENVIRONMENT="production")

    def disguised(source: str, _: int) -> httpx.Response:
        address = ".".join(str(draw.number(1, 250)) for _ in range(4))
        headers = {
            **dict.fromkeys(SAID_TO_BE, address),
            **{"Forwarded": f"for={address}", "User-Agent": draw.username(), "Cookie": f"session={draw.secret(16)}"},
            **{"Authorization": f"Bearer {draw.secret(16)}", "Content-Type": LEGACY, "Connection": "close"},
        }
        return app.at(source).post(f"/csp-report?from={draw.username()}", content=legacy(draw), headers=headers)

    expect_flood_stopped(draw, disguised)


def expect_flood_stopped(draw: Draw, send: Callable[[str, int], httpx.Response]) -> None:
    """Of so many reports at once the budget is taken at most. Raises CheckFailed."""
    for source in (somewhere(draw), somewhere(draw)):  # a fixed window may end amid one flood, but not amid both
        answers = [expect(send(source, n), (*TAKEN, 429), "neither took a report nor slowed it") for n in range(FLOOD)]
        taken = sum(answer.status_code in TAKEN for answer in answers)
        if taken <= BUDGET:
            return
    raise CheckFailed(f"took {taken} of {FLOOD} reports from one address", "A safe app answers 429 after 60.")
