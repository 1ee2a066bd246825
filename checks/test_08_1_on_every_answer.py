"""8.1 On every answer: which headers go out, on what kind of answer, over http and over https."""

from collections.abc import Iterable
from typing import Any

import httpx
import pytest

from checks.attacks import SAID_TO_BE_HTTPS, bearer, forge
from checks.csp import HEADER, csp_of
from lab_app.harness import REFUSED, App, CheckFailed, Desk, attack, exercise, expect, json_of, legit
from lab_app.harness.draw import Draw
from lab_app.harness.evidence import exchange_of
from lab_app.harness.library import Member, build
from lab_app.harness.world import Answer

HSTS = "strict-transport-security"
ONCE = ("x-content-type-options", HEADER, "referrer-policy", "x-xss-protection", HSTS, "cache-control")
REFERRER_POLICIES = {
    *("no-referrer", "no-referrer-when-downgrade", "origin", "origin-when-cross-origin"),
    *("same-origin", "strict-origin", "strict-origin-when-cross-origin"),
}
# Whoever sends it says that they came over https, or that a proxy did.
CLAIMS = (*SAID_TO_BE_HTTPS.items(), ("X-Forwarded-Port", "443"), ("Host", "larkspur.example:443"))
# It sees the cell's app. Starlette's own client drives the app as a server behind TLS would: the scheme is https.
OVER_HTTPS = """
from starlette.testclient import TestClient

def over_https(requests):
    with TestClient(app, "https://larkspur.example", raise_server_exceptions=False, follow_redirects=False) as client:
        answers = [client.request(method, path, headers=headers) for method, path, headers in requests]
    return [[answer.status_code, answer.headers.multi_items()] for answer in answers]
"""


@pytest.fixture
def guarded(answer: Answer) -> App:
    """The app with a list of hosts and an address of https, shared by the checks that need one."""
    return answer.shared(
        ALLOWED_HOSTS="larkspur.example,*.larkspur.example", PUBLIC_BASE_URL="https://larkspur.example"
    )


def book(app: App) -> int:
    """A book that is there."""
    return int(app.sql("SELECT min(id) FROM books")[0][0])


def ordinary(app: App) -> list[httpx.Response]:
    """200, HEAD, 304."""
    path = f"/books/{book(app)}"
    answers = [app.api.get(path), app.api.head(path)]
    answers.append(app.api.get(path, headers={"If-None-Match": answers[0].headers.get("etag", "")}))
    answers.append(app.api.get("/members/me", headers=bearer(forge(app, app.library.ada.username))))
    return answers


def refusals(app: App, draw: Draw) -> list[httpx.Response]:
    """401, 404 of a route and of none, 405, 422."""
    unknown = draw.number(10_000, 90_000)
    asked = [
        *(("GET", "/members/me"), ("GET", f"/books/{unknown}"), ("GET", f"/{draw.username()}")),
        *(("POST", f"/books/{book(app)}"), ("DELETE", "/old-books"), ("GET", f"/books/{draw.username()}")),
    ]
    return [expect(app.api.request(*one), REFUSED, "took a request that should be refused") for one in asked]


def lacking(answer: httpx.Response, what: str, safe: str) -> CheckFailed:
    """A failure about one answer."""
    asked = f"{answer.request.method} {answer.request.url.path}"
    return CheckFailed(f"answered {asked} with {answer.status_code} {what}", safe, exchange_of(answer.request, answer))


def expect_headers(answers: Iterable[httpx.Response]) -> None:
    """Each has the three that every answer needs. Raises CheckFailed."""
    for answer in answers:
        if answer.headers.get("x-content-type-options", "").lower().split(", ")[0] != "nosniff":
            raise lacking(answer, "without nosniff", "A safe app sends `X-Content-Type-Options: nosniff`.")
        policies = [one.strip() for one in answer.headers.get("referrer-policy", "").lower().split(",")]
        if not REFERRER_POLICIES & set(policies):
            raise lacking(answer, "without a Referrer-Policy", "A safe app says which addresses it passes on.")
        expect_policy(answer)


def expect_policy(answer: httpx.Response) -> None:
    """A JSON answer allows nothing, and nobody to frame it; any other has a policy at least. Raises CheckFailed."""
    csp = csp_of(answer)
    if not csp.policies:
        raise lacking(answer, "without a Content-Security-Policy", "A safe app sends one with every answer.")
    # A 304 updates the headers of the stored answer (RFC 9111 §3.2), so it is judged as that.
    json = "json" in answer.headers.get("content-type", "") or answer.status_code == 304
    closed = any(policy.sources("default-src") == ["'none'"] for policy in csp.policies)
    if json and not (closed and csp.only_none("frame-ancestors")):
        safe = "For JSON, `default-src 'none'; frame-ancestors 'none'` costs nothing and allows nothing."
        raise lacking(answer, f"under the policy {answer.headers[HEADER]!r}", safe)


@exercise("8.1")
@legit("RFC 9110 §13.1.2", "RFC 9110 §9.3.2")
def test_books_are_served_and_revalidated(app: App) -> None:
    """A book has an ETag, HEAD gives the same headers without the body, and If-None-Match saves it.

    Headers that break caching are headers that somebody takes out again.

    Hint: hash what you send; answer 304 with the same ETag and no body when the client names it.
    """
    path = f"/books/{book(app)}"
    whole = expect(app.api.get(path), 200, "did not serve a book")
    json_of(whole)
    tag = whole.headers.get("etag", "")
    if not tag:
        raise lacking(whole, "without an ETag", "The contract asks for one.")
    head = expect(app.api.head(path), 200, "did not answer HEAD for a book")
    if head.content or head.headers.get("etag") != tag:
        raise lacking(head, "and not with the headers of GET alone", "HEAD is GET without the body.")
    same = expect(app.api.get(path, headers={"If-None-Match": tag}), 304, "sent a book that the client has already")
    assert not same.content, "sent a body with a 304"
    expect(app.api.head(path, headers={"If-None-Match": tag}), 304, "did not answer HEAD with 304, as it does GET")
    expect(app.api.get(path, headers={"If-None-Match": '"another"'}), 200, "kept a book from a client without it")


@exercise("8.1")
@legit("RFC 9110 §8.8.3")
def test_a_changed_book_is_sent_anew(app: App, draw: Draw) -> None:
    """Once a book has changed, its old ETag is no good any more.

    A tag that never changes shows readers last year's page.

    Hint: compute the ETag from the row as it is now.
    """
    app.sql("INSERT INTO books (title, author, year, shelf) VALUES (?, 'A', 2000, 'C1')", draw.passphrase())
    id_ = app.sql("SELECT max(id) FROM books")[0][0]
    tag = app.api.get(f"/books/{id_}").headers.get("etag", "")
    app.sql("UPDATE books SET title = ? WHERE id = ?", draw.passphrase(), id_)
    changed = app.api.get(f"/books/{id_}", headers={"If-None-Match": tag})
    expect(changed, 200, "answered that a book is as it was, after it had changed")


@exercise("8.1")
@legit("RFC 9110 §15.4.9", "ASVS 5.0 16.5.4")
def test_the_other_routes_do_their_work(app: App, ada: Member, bob: Member) -> None:
    """Members see themselves, the old address leads on with 308, and a crash is a 500.

    Headers are added to what an app does; they change nothing of it.

    Hint: put headers on answers from outside, and leave routes and handlers alone.
    """
    for member in (ada, bob):
        answer = expect(
            app.api.get("/members/me", headers=bearer(forge(app, member.username))), 200, "refused a member"
        )
        json_of(answer)
    moved = expect(app.api.get("/old-books"), 308, "did not send the old address on with 308")
    if not moved.headers.get("location"):
        raise lacking(moved, "without a Location", "A redirect says where to.")
    boom = app.api.get("/boom")
    if boom.status_code != 500:
        raise lacking(boom, "although the route raises", "An unhandled exception is a 500.")


@exercise("8.1")
@legit("RFC 9110 §7.2")
def test_known_hosts_are_served(app: App, guarded: App, draw: Draw) -> None:
    """Listed hosts are served, with their headers, and any host while no list is given.

    A list that shuts everybody out is soon removed.

    Hint: TrustedHostMiddleware with ALLOWED_HOSTS split at its commas; without the variable, none at all.
    """
    path = f"/books/{book(app)}"
    for host in ("larkspur.example", f"{draw.username()}.larkspur.example"):
        expect(guarded.api.get(path, headers={"Host": host}), 200, f"refused the host {host}, which is on its list")
    for host in (f"{draw.username()}.example", "127.0.0.1"):
        expect(app.api.get(path, headers={"Host": host}), 200, "refused a host although ALLOWED_HOSTS is not set")


@exercise("8.1")
@attack("CWE-347", "ASVS 5.0 9.1.1", "ASVS 5.0 9.2.1", "ASVS 5.0 9.2.3")
def test_a_bad_token_is_refused(app: App, ada: Member, draw: Draw) -> None:
    """A token that is forged, unsigned, expired or meant for others shows nothing.

    The headers of an answer are no use if anybody may ask for it.

    Hint: the tokens are 1.1's: verify the signature, with HS256 alone, and `exp`, `iss` and `aud`.
    """
    name = ada.username
    changes: dict[str, dict[str, Any]] = {
        "signed with another key": {"key": draw.secret()},
        "that nobody signed": {"alg": "none"},
        "that has expired": {"exp": 1_700_000_000},
        "for another audience": {"aud": f"{draw.username()}-api"},
        "from another issuer": {"iss": draw.username()},
    }
    for which, change in changes.items():
        answer = app.api.get("/members/me", headers=bearer(forge(app, name, **change)))
        expect(answer, REFUSED, f"took a token {which}")


@exercise("8.1")
@attack("ASVS 5.0 3.4.3", "ASVS 5.0 3.4.4", "ASVS 5.0 3.4.5", "ASVS 5.0 3.4.6")
def test_ordinary_answers_carry_the_headers(app: App) -> None:
    """200, HEAD and 304 carry nosniff, a policy that allows nothing, and a Referrer-Policy.

    A browser that may guess reads JSON as a page, and a page can be framed, and tells the next site where you were.

    Hint: the CSP of an API is `default-src 'none'; frame-ancestors 'none'`. X-Frame-Options is obsolete.
    """
    expect_headers(ordinary(app))


@exercise("8.1")
@attack("ASVS 5.0 3.4.3", "ASVS 5.0 3.4.4", "ASVS 5.0 3.4.6")
def test_refusals_carry_the_headers(app: App, draw: Draw) -> None:
    """401, 404, 405 and 422 carry them as well, and so does what OPTIONS brings.

    Error answers repeat what was sent, so they are where an attacker's text comes back.

    Hint: headers belong to every answer, so set them around the app and not in a route.
    """
    expect_headers([*refusals(app, draw), app.api.options(f"/books/{book(app)}")])


@exercise("8.1")
@attack("ASVS 5.0 3.4.3", "ASVS 5.0 3.4.5")
def test_redirects_carry_the_headers(app: App) -> None:
    """A redirect carries them as well, also one that was made of a slash too many.

    A redirect's Referrer-Policy decides whether its target learns which page linked to it.

    Hint: a RedirectResponse that a route returns is an answer like any other, and so is Starlette's own.
    """
    paths = ("/old-books", "/old-books?page=2", "/old-books/", f"/books/{book(app)}/")
    expect_headers(app.api.get(path) for path in paths)


@exercise("8.1")
@attack("ASVS 5.0 3.4.3", "CWE-693")
def test_a_crash_carries_the_headers(app: App) -> None:
    """A 500 carries them as well.

    Starlette answers an unhandled exception outside of all middleware that was added to the app.

    Hint: wrap the whole ASGI app: `app = SecurityHeaders(api)`. `add_middleware` stands inside of what answers 500.
    """
    for _ in range(2):
        answer = app.api.get("/boom")
        if answer.status_code != 500:
            raise lacking(answer, "although the route raises", "An unhandled exception is a 500.")
        expect_headers([answer])


@exercise("8.1")
@attack("ASVS 5.0 3.4.3", "CWE-693")
def test_a_refused_host_gets_the_headers(guarded: App, draw: Draw) -> None:
    """A host that is not on the list gets a 4xx, and that carries them as well.

    What is added last stands outermost: a host check outside of the headers answers without them.

    Hint: put the headers outside of TrustedHostMiddleware.
    """
    for host in (f"{draw.username()}.example", f"{draw.username()}larkspur.example", "127.0.0.1:80"):
        for path in (f"/books/{book(guarded)}", "/boom"):
            answer = guarded.api.get(path, headers={"Host": host})
            expect(answer, REFUSED, "served a host that is not in ALLOWED_HOSTS")
            expect_headers([answer])


@exercise("8.1")
@attack("OWASP HTTP Headers Cheat Sheet, X-XSS-Protection", "CWE-693")
def test_the_old_xss_filter_stays_off(app: App, draw: Draw) -> None:
    """X-XSS-Protection is absent or 0.

    The filter that it switched on could be made to cut scripts out of safe pages, and browsers have dropped it.

    Hint: leave the header out. The Content-Security-Policy does its work.
    """
    for answer in (*ordinary(app), *refusals(app, draw), app.api.get("/boom")):
        if set(answer.headers.get_list("x-xss-protection", split_commas=True)) - {"0"}:
            raise lacking(answer, "and switched the old XSS filter on", "A safe app leaves it out or sends 0.")


@exercise("8.1")
@attack("RFC 6797 §7.2")
def test_hsts_is_not_sent_over_http(app: App, guarded: App, draw: Draw) -> None:
    """Over plain http there is no Strict-Transport-Security.

    A browser must ignore it there, for anybody on the way can write it.

    Hint: look at the scheme of the request: `scope["scheme"]`. Settings and headers know nothing of this request.
    """
    answers = [*ordinary(app), *refusals(app, draw), app.api.get("/old-books"), app.api.get("/boom")]
    answers.append(app.api.get("/old-books", headers={"X-Forwarded-Proto": "https", "Forwarded": "proto=https"}))
    answers.append(guarded.api.get("/old-books", headers={"Host": "larkspur.example"}))
    answers += [app.api.get("/old-books", headers=dict([claim])) for claim in CLAIMS]
    for answer in answers:
        if HSTS in answer.headers:
            raise lacking(answer, "and HSTS over plain http", "A safe app sends it over https only.")


@exercise("8.1")
@attack("ASVS 5.0 3.4.1", "RFC 6797 §7.1")
def test_hsts_is_sent_with_all_answers_over_https(desk: Desk, draw: Draw) -> None:
    """Over https every answer has a Strict-Transport-Security, refusals and crashes too.

    The first answer may be the only one that comes through unspoilt, and it may be a 404.

    Hint: add it where the other headers are added, if the scheme is https.
    """
    desk.write({"library.db": build(draw).database})
    asked = [("GET", "/books/1"), ("HEAD", "/books/1"), ("GET", "/old-books"), ("GET", "/boom")]
    asked += [("GET", "/members/me"), ("GET", f"/{draw.username()}"), ("POST", "/books/1"), ("GET", "/books/x")]
    requests: list[Any] = [(method, path, {}) for method, path in asked]
    requests.append(("GET", "/books/1", {"Host": f"{draw.username()}.example"}))
    env = {"ALLOWED_HOSTS": "larkspur.example"}
    answers: list[Any] = desk.call("over_https", env=env, driver=OVER_HTTPS, requests=requests)
    for (method, path, _), (status, headers) in zip(requests, answers, strict=True):
        given = [value.lower() for name, value in headers if name.lower() == HSTS]
        ages = [part.strip()[8:].strip('"') for value in given for part in value.split(";") if "max-age=" in part]
        assert ages and ages[0].isdigit() and int(ages[0]) > 0, (
            f"answered {method} {path} over https with {status} and without Strict-Transport-Security"
        )


@exercise("8.1")
@attack("ASVS 5.0 14.3.2", "CWE-525")
def test_a_members_data_is_not_stored(app: App, ada: Member, staff: Member) -> None:
    """What `/members/me` tells a member is kept in no cache.

    On a shared computer, the back button shows it to whoever comes next.

    Hint: `Cache-Control: no-store` on that route.
    """
    for member in (ada, staff):
        answer = expect(
            app.api.get("/members/me", headers=bearer(forge(app, member.username))), 200, "refused a member"
        )
        words = [word.strip().lower() for word in answer.headers.get("cache-control", "").split(",")]
        if "no-store" not in words:
            raise lacking(answer, "without no-store", "A safe app sends `Cache-Control: no-store`.")


@exercise("8.1")
@attack("RFC 9110 §5.3", "RFC 6797 §7.1")
def test_every_header_is_sent_once(app: App, guarded: App, draw: Draw) -> None:
    """None of these headers is sent twice, nor nosniff twice in one.

    Two values that differ are read one way by one browser and another way by the next, or by none at all.

    Hint: set the header, and do not append it. One place that sets it is enough.
    """
    refused = guarded.api.get("/old-books", headers={"Host": f"{draw.username()}.example"})
    for answer in (*ordinary(app), *refusals(app, draw), app.api.get("/old-books"), app.api.get("/boom"), refused):
        twice = [name for name in ONCE if len(answer.headers.get_list(name)) > 1]
        twice += ["x-content-type-options"] * ("," in answer.headers.get("x-content-type-options", ""))
        if twice:
            raise lacking(answer, f"and {twice[0]} twice", "A safe app sends one value of each.")
