"""3.1 A frontend on another domain: how it is used, and how it is attacked."""

import itertools
from typing import Any

import httpx
import pytest

from checks import cors
from lab_app.harness import App, attack, exercise, expect, legit
from lab_app.harness.draw import Draw
from lab_app.harness.world import Answer

METHODS = ("GET", "PUT", "DELETE")


@pytest.fixture
def app(answer: Answer) -> App:
    """The learner's app and its two frontends, one of them on a port of its own."""
    return cors.listed(answer, "https://app.{}.com", "https://staff.{}.example:8443")


def change(app: App, origin: str | None, draw: Draw) -> httpx.Response:
    """PUT a profile. What the body holds is open, so several are offered; 422 says that none was liked."""
    name, email = draw.username(), draw.email()
    bodies: list[Any] = [{"username": name, "email": email}, {"name": name}, {"name": name, "email": email}]
    bodies += [{"display_name": name, "bio": name, **bodies[-1]}, {"email": email}, {}]
    headers = {"Origin": origin} if origin else {}
    answers = (app.api.put("/profile", json=body, headers=headers) for body in bodies)
    return next((answer for answer in answers if answer.status_code < 300), app.api.put("/profile", headers=headers))


def visit(app: App, origin: str | None, draw: Draw) -> list[httpx.Response]:
    """Write, read and delete the profile. Raises CheckFailed."""
    written = expect(change(app, origin, draw), (*range(200, 300), 422), "did not take a profile")
    others = [cors.send(app, method, "/profile", origin) for method in ("GET", "DELETE")]
    return [written, *(expect(answer, range(200, 300), "did not serve its profile") for answer in others)]


def kept_from(app: App, origins: list[str], draw: Draw) -> None:
    """Pages of these origins read nothing and are let through by no preflight. Raises CheckFailed."""
    methods = itertools.cycle(draw.random.sample(METHODS, 3))
    for origin in origins:
        cors.expect_kept(cors.send(app, next(methods), "/profile", origin), origin)
        cors.expect_kept(cors.preflight(app, "/profile", origin, next(methods), "Authorization"), origin)


@exercise("3.1")
@legit("ASVS 5.0 3.4.2", "API8:2023")
def test_both_frontends_may_use_the_profile(app: App, draw: Draw) -> None:
    """Pages of both listed origins read the answers to GET, PUT and DELETE, with credentials.

    That is what CORS is for. A browser compares Access-Control-Allow-Origin with the page's origin, byte by byte.

    Hint: split `FRONTEND_ORIGINS` at the commas, strip each part, and give the list to `CORSMiddleware`.
    """
    for origin in cors.frontends(app):
        for answer in visit(app, origin, draw):
            cors.expect_shared(answer, origin)


@exercise("3.1")
@legit("API8:2023")
def test_preflights_of_both_frontends_pass(app: App) -> None:
    """A preflight for GET, PUT or DELETE, with Authorization and Content-Type, lets both frontends through.

    A browser asks before it sends a PUT or a JSON body. Where credentials go along, `*` is no wildcard in these lists.

    Hint: `allow_methods` and `allow_headers` take lists; write down what the frontend needs.
    """
    for origin in cors.frontends(app):
        for method in METHODS:
            for headers in (("Authorization", "Content-Type"), ("Content-Type",), ()):
                answer = cors.preflight(app, "/profile", origin, method, *headers)
                cors.expect_let_through(answer, origin, method, *headers)


@exercise("3.1")
@legit("API8:2023")
def test_the_request_id_is_exposed(app: App, draw: Draw) -> None:
    """Pages of both listed origins may read the header X-Request-ID.

    A page sees a handful of harmless headers and no others, unless the server exposes it by name.

    Hint: `expose_headers`. With credentials, `*` exposes nothing.
    """
    for origin in cors.frontends(app):
        for answer in visit(app, origin, draw):
            cors.expect_exposed(answer, "X-Request-ID")


@exercise("3.1")
@legit("RFC 6454 §7.3")
def test_others_than_browsers_are_served_as_well(app: App, draw: Draw) -> None:
    """A program that sends no Origin reads, writes and deletes the profile.

    CORS asks browsers to keep something from a page. To curl, and to an attacker's own script, it says nothing.

    Hint: no Origin, no CORS headers, and the answer as ever.
    """
    visit(app, None, draw)


@exercise("3.1")
@attack("ASVS 5.0 3.4.2", "CWE-942", "CWE-346")
def test_other_origins_read_nothing(app: App, draw: Draw) -> None:
    """No page of any other origin reads an answer or gets a preflight passed.

    Whoever is allowed here reads what your members see, from their own browsers, with their own cookies.

    Hint: never repeat whatever Origin came. `"*"` with credentials does just that.
    """
    kept_from(app, cors.strangers(draw), draw)


@exercise("3.1")
@attack("CWE-346", "CWE-187", "ASVS 5.0 3.4.2")
def test_lookalikes_read_nothing(app: App, draw: Draw) -> None:
    """No page of a sub-domain, a super-domain or a name that only looks like a listed one reads an answer.

    `.co` for `.com` is for sale. Whoever compares parts of names has listed all names with that part.

    Hint: `in` on a string looks for a part of it. Compare whole origins: `origin in [list]`.
    """
    for origin in cors.frontends(app):
        kept_from(app, cors.lookalikes(origin, draw), draw)
    kept_from(app, [app.env["FRONTEND_ORIGINS"].strip(), ",".join(cors.frontends(app)), "https://"], draw)


@exercise("3.1")
@attack("RFC 6454 §4", "CWE-346")
def test_other_schemes_ports_and_spellings_read_nothing(app: App, draw: Draw) -> None:
    """No page of a listed name under http, under another port or in another spelling reads an answer.

    An origin is scheme, host and port. Over http, whoever sits in between writes the page.

    Hint: compare whole strings, and change neither side but for spaces around a listed one.
    """
    for origin in cors.frontends(app):
        kept_from(app, cors.misspellings(origin, draw), draw)


@exercise("3.1")
@attack("RFC 6454 §7.3", "CWE-346")
def test_null_and_empty_origins_read_nothing(app: App, draw: Draw) -> None:
    """No page whose origin is null, and no empty Origin, reads an answer.

    A sandboxed frame has the origin `null`, and everybody can make one. A trailing comma lists the empty origin.

    Hint: drop empty parts of the list, and never put `null` into it.
    """
    kept_from(app, ["null", "", "NULL", ",", "*"], draw)


@exercise("3.1")
@attack("RFC 9110 §12.5.5", "RFC 9111 §4.1")
def test_answers_vary_with_the_origin(app: App, draw: Draw) -> None:
    """Answers to listed origins say `Vary: Origin`.

    A cache that does not know it hands one frontend's answer to the other, whose browser throws it away.

    Hint: `CORSMiddleware` does it where it has a list of origins.
    """
    for origin in cors.frontends(app):
        for answer in visit(app, origin, draw):
            cors.expect_varied(answer)


@exercise("3.1")
@attack("CWE-942", "API8:2023")
def test_other_methods_are_not_allowed(app: App, draw: Draw) -> None:
    """A preflight for PATCH, or for any method nobody asked for, is not passed.

    Each method that you list is one that a page may send in your members' names.

    Hint: `allow_methods=["*"]` is no list. Starlette reads it as all methods.
    """
    for origin in cors.frontends(app):
        cors.expect_methods_stopped(app, origin, draw)


@exercise("3.1")
@attack("CWE-942", "API8:2023")
def test_other_headers_are_not_allowed(app: App, draw: Draw) -> None:
    """A preflight for a header that is neither Authorization nor Content-Type is not passed.

    `X-Forwarded-For` from a page is a lie that your proxy may believe.

    Hint: `allow_headers=["*"]` is no list. Starlette repeats whatever was asked for.
    """
    for origin in cors.frontends(app):
        cors.expect_headers_stopped(app, origin, draw, "GET", "PUT")


@exercise("3.1")
@attack("CWE-942", "API8:2023")
def test_preflights_are_kept_for_two_hours_at_most(app: App) -> None:
    """A browser may keep the answer to a preflight for 7200 seconds at most.

    An origin that you strike off the list stays let through wherever the answer is kept.

    Hint: `max_age`. Chromium keeps nothing longer than two hours anyway.
    """
    for origin in cors.frontends(app):
        for method in METHODS:
            cors.expect_kept_briefly(app, origin, method)


@exercise("3.1")
@attack("CWE-1188", "CWE-942")
def test_without_a_list_nobody_is_allowed(app: App, answer: Answer, draw: Draw) -> None:
    """Where FRONTEND_ORIGINS is unset, empty or nothing but commas, the app runs and allows nobody.

    A setting that somebody forgot must close doors, not open them.

    Hint: `os.environ.get("FRONTEND_ORIGINS", "")`, and no default origins in the code.
    """
    for alone in cors.closed(answer, app):
        visit(alone, None, draw)
        usual = ["http://localhost:3000", "http://localhost:5173", "https://app.larkspur.example", "null", ""]
        kept_from(alone, [*cors.frontends(app), *cors.strangers(draw), *usual], draw)
