"""3.4 CORS is no CSRF protection: how loans are handed over, and how they are stolen."""

import copy
import json
from collections.abc import Callable, Iterable, Iterator
from http.cookiejar import Cookie
from typing import Any

import httpx
import pytest

from checks import cors
from checks.accounts import settled
from checks.attacks import bearer, forge
from checks.sign_in import forgeries
from lab_app.harness import App, attack, exercise, expect, legit
from lab_app.harness.draw import Draw
from lab_app.harness.library import Member
from lab_app.harness.world import Answer

Body = dict[str, Any]


@pytest.fixture
def app(answer: Answer) -> App:
    """The learner's app and its two frontends, all on one site."""
    return cors.listed(answer, "https://{}.larkspur.example", "https://staff-{}.larkspur.example")


def signed_in(app: App, member: Member) -> httpx.Client:
    """A member's browser, after a login on the frontend. Raises CheckFailed."""
    browser = app.browser(app.env["PUBLIC_BASE_URL"])
    login = {"username": member.username, "password": member.password}
    answer = browser.post("/login", json=login, headers={"Origin": cors.frontends(app)[0]})
    expect(answer, range(200, 400), "did not log a member in")
    assert browser.cookies, "set no cookie at a login"
    return browser


def loan_of(app: App, member: Member) -> int:
    """One of a member's loans, which is theirs again, whatever a check before this one did to it."""
    first, second = app.library.loans[member.username]
    app.sql("UPDATE loans SET member_id = ? WHERE id IN (?, ?)", member.id, first, second)
    return first


def owner(app: App, loan: int) -> int:
    """Whose loan it is, once nobody is writing any more."""
    settled(app)
    return int(app.sql("SELECT member_id FROM loans WHERE id = ?", loan)[0][0])


def moved(app: App, loan: int, to: Member) -> bool:
    """Whether a loan is somebody's, now or in a moment."""
    return bool(app.eventually("SELECT id FROM loans WHERE id = ? AND member_id = ?", loan, to.id))


def as_json(body: Body) -> dict[str, Any]:
    return {"json": body}


def as_text(body: Body) -> dict[str, Any]:
    return {"content": json.dumps(body), "headers": {"Content-Type": "text/plain;charset=UTF-8"}}


def as_form_that_reads_as_json(body: Body) -> dict[str, Any]:
    """What `<form enctype="text/plain">` sends: a name, an equals sign and a value."""
    text = json.dumps(body | {"x": "="}) + "\r\n"
    return {"content": text, "headers": {"Content-Type": "text/plain"}}


def as_form(body: Body) -> dict[str, Any]:
    return {"data": body}


def as_form_of_json(body: Body) -> dict[str, Any]:
    return {"content": json.dumps(body), "headers": {"Content-Type": "application/x-www-form-urlencoded"}}


def as_multipart(body: Body) -> dict[str, Any]:
    return {"files": {name: (None, str(value)) for name, value in body.items()}}


def as_untyped(body: Body) -> dict[str, Any]:
    """What `fetch` sends for a Blob without a type."""
    return {"content": json.dumps(body).encode()}


WAYS: tuple[Callable[[Body], dict[str, Any]], ...] = (
    as_json,
    as_text,
    as_form_that_reads_as_json,
    as_form,
    as_form_of_json,
    as_multipart,
    as_untyped,
)


def post(client: httpx.Client, way: Callable[[Body], dict[str, Any]], body: Body, **headers: str) -> httpx.Response:
    """POST /transfer with this body, written in one of the ways."""
    request = way(body)
    return client.post("/transfer", **request | {"headers": request.get("headers", {}) | headers})


def forged(app: App, victim: Member, thief: Member, origin: str, **headers: str) -> None:
    """A page of `origin` has the victim's browser send a transfer in every way. Raises CheckFailed."""
    browser, loan = signed_in(app, victim), loan_of(app, victim)
    body = {"to": thief.username, "loan_id": loan}
    answers = [expect(post(browser, way, body, Origin=origin, **headers), cors.ALIVE, "") for way in WAYS]
    if owner(app, loan) != victim.id:
        taken = next((answer for answer in answers if answer.status_code < 300), answers[-1])
        kind = taken.request.headers.get("content-type", "no content type").split(";")[0]
        raise cors.failed(taken, f"moved a loan at the word of a page of {origin} ({kind})", "moves nothing")


@exercise("3.4")
@legit("ASVS 5.0 3.5.1")
def test_the_frontend_hands_a_loan_over(app: App, ada: Member, bob: Member) -> None:
    """A member who has logged in on a frontend hands one of their loans over, from either frontend.

    With and without the Sec-Fetch headers, which older browsers do not send.

    Hint: `POST /login` sets a cookie. `POST /transfer` reads it, and takes JSON.
    """
    fetched = {"Sec-Fetch-Site": "same-site", "Sec-Fetch-Mode": "cors", "Sec-Fetch-Dest": "empty"}
    for giver, taker in ((ada, bob), (bob, ada)):
        browser = signed_in(app, giver)
        for origin in cors.frontends(app):
            for headers in ({}, fetched):
                loan = loan_of(app, giver)
                answer = post(browser, as_json, {"to": taker.username, "loan_id": loan}, Origin=origin, **headers)
                expect(answer, 200, "refused a transfer that a member made on the frontend")
                assert moved(app, loan, taker), "answered 200 and did not move the loan"
                loan_of(app, giver)


@exercise("3.4")
@legit("ASVS 5.0 3.5.1", "RFC 6750 §2.1")
def test_a_bearer_client_hands_a_loan_over(app: App, ada: Member, bob: Member) -> None:
    """A program that sends a bearer token, and no Origin and no cookie, hands a loan over.

    No browser adds a bearer token by itself, so nobody can forge such a request. It needs no further defence.

    Hint: ask for the Origin only where a cookie says who it is.
    """
    for giver, taker in ((ada, bob), (bob, ada)):
        loan, token = loan_of(app, giver), bearer(forge(app, giver.username))
        answer = post(app.api, as_json, {"to": taker.username, "loan_id": loan}, **token)
        expect(answer, 200, "refused a transfer with a good bearer token and no Origin")
        assert moved(app, loan, taker), "answered 200 and did not move the loan"
        loan_of(app, giver)


@exercise("3.4")
@attack("CWE-352", "ASVS 5.0 3.5.1", "ASVS 5.0 3.5.2")
def test_pages_of_other_origins_move_nothing(app: App, ada: Member, bob: Member, draw: Draw) -> None:
    """No page of another origin moves a loan, however it writes the request: JSON, text, form, multipart, untyped.

    The browser refuses to show that page the answer. By then the loan is gone. An Authorization header that logs
    nobody in changes nothing: the password of a proxy is sent along as the cookie is.

    Hint: with a cookie, look at Origin before you do anything, and compare it with your list.
    """
    for origin in cors.strangers(draw):
        forged(app, ada, bob, origin)
    expired = bearer(forge(app, ada.username, exp=1_600_000_000))
    for useless in ({"Authorization": f"Basic {draw.secret(16)}"}, bearer(draw.secret()), expired):
        forged(app, ada, bob, cors.strangers(draw)[0], **useless)


@exercise("3.4")
@attack("CWE-352", "CWE-346")
def test_lookalikes_move_nothing(app: App, ada: Member, bob: Member, draw: Draw) -> None:
    """No page whose name, scheme, port or spelling only resembles a frontend's moves a loan.

    A neighbour on your own site is the worst: SameSite cookies are sent along from there.

    Hint: the same list and the same comparison as for CORS.
    """
    for listed in cors.frontends(app):
        name, evil = listed.removeprefix("https://"), draw.username()
        neighbours = [f"https://{evil}.{name}", f"https://{evil}{name}", f"https://{evil}.larkspur.example"]
        neighbours += [f"https://{name.replace('.', '-', 1)}", f"https://{'x'.join(name.rsplit('.', 1))}"]
        for origin in (*neighbours, f"{listed}.{evil}.example", f"{listed}:8443", f"http://{name}", listed[:-1]):
            forged(app, bob, ada, origin, Referer=f"{listed}.{evil}.example/?{listed}/")


@exercise("3.4")
@attack("CWE-352", "RFC 6454 §7.3")
def test_pages_without_an_origin_move_nothing(app: App, ada: Member, bob: Member) -> None:
    """No sandboxed frame, whose origin is `null`, moves a loan.

    A form in a sandboxed frame, or a redirect from another site, sends `Origin: null`.

    Hint: `null` is an origin that is not on your list. Absent is another matter than `null`.
    """
    forged(app, ada, bob, "null")
    forged(app, bob, ada, "null")


@exercise("3.4")
@attack("CWE-352", "ASVS 5.0 3.5.1")
def test_cross_site_requests_move_nothing(app: App, ada: Member, bob: Member, draw: Draw) -> None:
    """No request of which the browser says `Sec-Fetch-Site: cross-site`, from an origin not listed, moves a loan.

    Nor one from a neighbour, which is `same-site`, nor a navigation, as a form makes it.

    Hint: a list of allowed origins covers all of these; Sec-Fetch-Site alone does not cover the neighbour.
    """
    forged(app, ada, bob, cors.strangers(draw)[0], **{"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "cors"})
    form = {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "navigate", "Sec-Fetch-Dest": "document"}
    forged(app, bob, ada, cors.strangers(draw)[1], **form, **{"Sec-Fetch-User": "?1"})
    forged(app, ada, bob, "null", **{"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "no-cors"})
    neighbour = f"https://{draw.username()}.larkspur.example"
    forged(app, bob, ada, neighbour, **{"Sec-Fetch-Site": "same-site", "Sec-Fetch-Mode": "cors"})


@exercise("3.4")
@attack("ASVS 5.0 3.5.3", "RFC 9110 §9.2.1", "CWE-650")
def test_get_and_head_move_nothing(app: App, ada: Member, bob: Member) -> None:
    """No GET and no HEAD moves a loan, with whatever query or body, from wherever.

    An `<img>` sends a GET, and so does a link. Neither sends an Origin.

    Hint: change things in POST, PUT, PATCH and DELETE only.
    """
    browser, loan = signed_in(app, ada), loan_of(app, ada)
    token, body = bearer(forge(app, ada.username)), {"to": bob.username, "loan_id": loan}
    for headers in ({}, {"Origin": cors.frontends(app)[0]}, {"Sec-Fetch-Site": "cross-site"}, token):
        for method in ("GET", "HEAD"):
            requests: tuple[Body, ...] = ({"params": body}, {"json": body}, {"params": body | {"_method": "POST"}})
            for request in requests:
                answer = browser.request(method, "/transfer", headers=headers, **request)
                expect(answer, cors.ALIVE, "")
                if owner(app, loan) != ada.id:
                    raise cors.failed(answer, f"moved a loan at a {method}", "moves nothing")


@exercise("3.4")
@attack("ASVS 5.0 3.3.2", "CWE-1275")
def test_the_cookie_stays_on_the_site(app: App, ada: Member, bob: Member) -> None:
    """The session cookie says SameSite=Lax or Strict, so that other sites' pages do not send it along.

    Without it browsers differ, and one that is new to Chromium goes along with forms for two minutes. A session that is
    renewed with every answer has to say it every time.

    Hint: `set_cookie(…, samesite="lax")`. The frontends are on your site; they need no more.
    """
    here, origin = app.browser(app.env["PUBLIC_BASE_URL"]), cors.frontends(app)[0]
    loan = loan_of(app, ada)
    body = {"to": bob.username, "loan_id": loan}
    login = here.post("/login", json={"username": ada.username, "password": ada.password}, headers={"Origin": origin})
    expect(login, range(200, 400), "did not log a member in")
    transfer = post(here, as_json, body, Origin=origin)
    owner(app, loan)  # once it has moved, it is given back
    loan_of(app, ada)
    for answer in (login, transfer):
        everywhere = holding(app, travelling(app, answer).jar)
        post(everywhere, as_json, body, Origin=origin)
        if owner(app, loan) != ada.id:
            raise cors.failed(answer, "sets a session cookie that goes along from other sites", "says SameSite=Lax")


def holding(app: App, cookies: Iterable[Cookie]) -> httpx.Client:
    """A browser with copies of these cookies."""
    browser = app.browser(app.env["PUBLIC_BASE_URL"])
    for cookie in cookies:
        browser.cookies.jar.set_cookie(copy.copy(cookie))
    return browser


def travelling(app: App, answer: httpx.Response) -> httpx.Cookies:
    """The cookies of this answer that do not say that they stay on the site."""
    lines = [line for line in answer.headers.get_list("set-cookie") if not stays(line)]
    public = httpx.Request("POST", app.env["PUBLIC_BASE_URL"] + "/login")
    cookies = httpx.Cookies()
    cookies.extract_cookies(httpx.Response(200, headers=[("set-cookie", line) for line in lines], request=public))
    return cookies


def stays(line: str) -> bool:
    """Whether a Set-Cookie says SameSite=Lax or SameSite=Strict."""
    attributes = dict(part.strip().lower().partition("=")[::2] for part in line.split(";")[1:])
    return attributes.get("samesite", "").strip() in ("lax", "strict")


@exercise("3.4")
@attack("CWE-639", "CWE-306")
def test_nobody_moves_what_is_not_theirs(app: App, ada: Member, bob: Member, draw: Draw) -> None:
    """Whoever has not logged in, or has no token as in 1.1, moves nothing, and members move their own loans only.

    A right Origin is no right to a loan. Nor is a cookie in which somebody has written another member's name or number.

    Hint: `UPDATE loans … WHERE id = … AND member_id = …`, with the id of who is logged in.
    """
    origin, loan = cors.frontends(app)[0], loan_of(app, ada)
    body = {"to": bob.username, "loan_id": loan}
    guesser = app.browser(app.env["PUBLIC_BASE_URL"])
    guesser.post("/login", json={"username": ada.username, "password": draw.passphrase()}, headers={"Origin": origin})
    strangers: list[tuple[httpx.Client, dict[str, str]]] = [
        (app.api, {"Origin": origin}),
        (app.api, {}),
        (app.api, bearer(draw.secret())),
        (app.api, bearer(forge(app, ada.username, key=draw.secret()))),
        (app.api, bearer(forge(app, ada.username, exp=1_600_000_000))),
        *((app.api, token) for token in cors.forged_tokens(app, ada)),
        (guesser, {"Origin": origin}),
    ]
    members = [
        (signed_in(app, bob), {"Origin": origin}),
        (app.api, {"Origin": origin} | bearer(forge(app, bob.username))),
        *((browser, {"Origin": origin}) for browser in disguised(app, bob, ada)),
    ]
    for clients, who in ((strangers, "whoever has not logged in"), (members, "somebody whose loan it is not")):
        for client, headers in clients:
            answer = expect(post(client, as_json, body, **headers), cors.ALIVE, "")
            if owner(app, loan) != ada.id:
                raise cors.failed(answer, f"moved a loan for {who}", "moves nothing")


def disguised(app: App, thief: Member, victim: Member) -> Iterator[httpx.Client]:
    """The thief's browser, in one of its cookies the victim's name or number for the thief's own."""
    swaps = [(thief.username, victim.username), (str(thief.id), str(victim.id))]
    cookies = list(signed_in(app, thief).cookies.jar)
    for cookie in cookies:
        for value in sorted(forgeries(cookie.value or "", swaps)):
            browser = holding(app, cookies)
            browser.cookies.jar.set_cookie(with_value(cookie, value))
            yield browser


def with_value(cookie: Cookie, value: str) -> Cookie:
    """The same cookie with another value."""
    changed = copy.copy(cookie)
    changed.value = value
    return changed


@exercise("3.4")
@attack("CWE-755", "CWE-20")
def test_what_is_not_there_moves_nothing(app: App, ada: Member, draw: Draw) -> None:
    """A transfer to nobody, or of a loan that is not there, moves nothing and crashes nothing.

    Somebody mistypes a name every day. A crash tells the member nothing, and an attacker that nobody looked.

    Hint: look the other member up before you write: `NULL` is no owner.
    """
    everything = "SELECT id, member_id FROM loans ORDER BY id"
    own, nobody = loan_of(app, ada), draw.username()
    before = app.sql(everything)
    bodies = [{"to": to, "loan_id": own} for to in (nobody, "")]
    bodies += [{"to": app.library.bob.username, "loan_id": loan} for loan in (0, -1, 10**6 + own, nobody)]
    origin, token = {"Origin": cors.frontends(app)[0]}, bearer(forge(app, ada.username))
    for client, headers in ((signed_in(app, ada), origin), (app.api, token)):
        for body in bodies:
            answer = expect(post(client, as_json, body, **headers), cors.ALIVE, "")
            settled(app)
            if app.sql(everything) != before:
                raise cors.failed(
                    answer, "moved a loan to nobody, or another one than it was asked to", "moves nothing"
                )
