"""3.3 Errors and order: how they are read, and how they are attacked."""

from collections.abc import Iterator

import httpx
import pytest

from checks import cors
from checks.attacks import bearer, forge
from lab_app.harness import REFUSED, App, attack, exercise, expect, legit
from lab_app.harness.draw import Draw
from lab_app.harness.library import Member
from lab_app.harness.world import Answer


@pytest.fixture
def app(answer: Answer) -> App:
    """The learner's app and its two frontends."""
    return cors.listed(answer, "https://app.{}.com", "https://staff.{}.example:8443")


def page(draw: Draw) -> str:
    """A page of the profile."""
    return f"/profile?page={draw.number(1, 50)}"


def bad_tokens(app: App, member: Member, draw: Draw) -> Iterator[dict[str, str]]:
    """No token, another scheme, and tokens that are none."""
    yield {}
    yield {"Authorization": f"Basic {draw.secret(16)}"}
    yield bearer(draw.secret())
    yield bearer(forge(app, member.username, key=draw.secret()))
    yield bearer(forge(app, member.username, exp=1_600_000_000))


def incomplete_tokens(app: App, member: Member) -> Iterator[dict[str, str]]:
    """Tokens that lack one of the claims that the contract names."""
    for claim in ("sub", "exp", "iat", "iss", "aud"):
        yield bearer(forge(app, member.username, without=(claim,)))


def readable(app: App, status: int, path: str, **headers: str) -> None:
    """Both frontends get this status, and may read it. Raises CheckFailed."""
    for origin in cors.frontends(app):
        answer = cors.send(app, "GET", path, origin, **headers)
        cors.expect_readable(expect(answer, status, f"did not answer {status} to GET {path}"), origin)


def kept_from(answer: httpx.Response, origin: str) -> None:
    """No page of `origin` gets to read this answer, be it a crash. Raises CheckFailed."""
    if cors.shows_to(answer, origin):
        what = f"lets pages of {origin or 'an empty origin'} read its {answer.status_code}"
        raise cors.failed(answer, what, "sends no such header")


def every_answer(app: App, member: Member, draw: Draw, origin: str) -> list[httpx.Response]:
    """A 200, a 401, a 404, a 422 and a 500, to pages of `origin`."""
    token = bearer(forge(app, member.username))
    paths = (page(draw), f"/{draw.username()}", "/profile?page=x", "/boom")
    return [cors.send(app, "GET", page(draw), origin)] + [
        cors.send(app, "GET", path, origin, **token) for path in paths
    ]


@exercise("3.3")
@legit("ASVS 5.0 3.4.2", "API8:2023")
def test_frontends_read_the_profile(app: App, ada: Member, bob: Member, draw: Draw) -> None:
    """Pages of both listed origins read the profile of a member who has logged in.

    First of all it works: with a token and a page number, 200.

    Hint: a dependency that verifies the token of 1.1, and the middleware of 3.1.
    """
    for member in (ada, bob):
        readable(app, 200, page(draw), **bearer(forge(app, member.username)))


@exercise("3.3")
@legit("API8:2023")
def test_preflights_need_no_token(app: App) -> None:
    """A preflight of a listed origin passes, although it never carries a token.

    A browser asks whether it may send Authorization, and it asks without (Fetch Standard §3.3.5).

    Hint: what stands outermost answers first. Whatever asks for tokens belongs inside CORS.
    """
    for origin in cors.frontends(app):
        for headers in (("Authorization",), ("Authorization", "Content-Type")):
            answer = cors.preflight(app, "/profile?page=1", origin, "GET", *headers)
            cors.expect_let_through(answer, origin, "GET", *headers, credentials=False)  # the token is in a header


@exercise("3.3")
@legit("API8:2023", "CWE-755")
def test_frontends_read_a_401(app: App, ada: Member, draw: Draw) -> None:
    """Pages of both listed origins can read that they must log in.

    Without the headers the page sees `Failed to fetch`, and shows "check your network" where it should show the login.

    Hint: the middleware that was added last stands outermost. A dependency is always inside.
    """
    for headers in bad_tokens(app, ada, draw):
        readable(app, 401, page(draw), **headers)


@exercise("3.3")
@legit("API8:2023", "CWE-755")
def test_frontends_read_a_404_and_a_422(app: App, ada: Member, draw: Draw) -> None:
    """Pages of both listed origins can read that there is no such path, and that `page=x` is no number.

    A frontend that cannot read an error cannot tell anybody what to do about it.

    Hint: these come from inside the app. CORS around it sees them all.
    """
    token = bearer(forge(app, ada.username))
    readable(app, 404, f"/{draw.username()}", **token)
    for bad in ("x", "1.5", draw.username()):
        readable(app, 422, f"/profile?page={bad}", **token)


@exercise("3.3")
@legit("API8:2023", "CWE-755")
def test_frontends_read_a_500(app: App, ada: Member) -> None:
    """Pages of both listed origins can read that the server broke.

    Starlette answers unhandled exceptions outside of all middleware that you add, CORS among it.

    Hint: wrap the whole app: `app = CORSMiddleware(api, …)`.
    """
    for _ in range(2):
        readable(app, 500, "/boom", **bearer(forge(app, ada.username)))


@exercise("3.3")
@attack("ASVS 5.0 3.4.2", "CWE-942")
def test_other_origins_read_no_answer(app: App, ada: Member, draw: Draw) -> None:
    """No page of another origin, of `null` or of an empty one reads a 200, a 401, a 404, a 422 or a 500.

    An error handler that writes `*`, or whatever Origin came, opens what the middleware had shut.

    Hint: errors get their headers from the same middleware as everything else.
    """
    for origin in [*cors.strangers(draw), "null", ""]:
        for answer in every_answer(app, ada, draw, origin):
            kept_from(answer, origin)


@exercise("3.3")
@attack("CWE-346", "CWE-187")
def test_lookalikes_read_no_answer(app: App, ada: Member, draw: Draw) -> None:
    """No page whose name, scheme, port or spelling only resembles a listed origin's reads any answer.

    What decides about errors is as exact as what decides about everything else, or it is another hole.

    Hint: one list of origins, compared in one place.
    """
    for listed in cors.frontends(app):
        for origin in cors.lookalikes(listed, draw) + cors.misspellings(listed, draw):
            for answer in every_answer(app, ada, draw, origin):
                kept_from(answer, origin)


@exercise("3.3")
@attack("CWE-942", "API8:2023")
def test_preflights_of_others_are_refused(app: App, draw: Draw) -> None:
    """A preflight of an origin that is not listed passes nowhere, not even where there is no route.

    To let every OPTIONS through is how people mend a preflight that asks for a token.

    Hint: the middleware answers preflights. Nothing else needs to know them.
    """
    for origin in [*cors.strangers(draw), "null"]:
        for path in ("/profile", "/boom", f"/{draw.username()}"):
            cors.expect_kept(cors.preflight(app, path, origin, "GET", "Authorization"), origin)


@exercise("3.3")
@attack("CWE-306", "ASVS 5.0 8.3.1")
def test_a_listed_origin_is_no_token(app: App, ada: Member, draw: Draw) -> None:
    """Whoever has no good token reads no profile, from wherever the request says that it comes.

    An Origin is a header. Outside of a browser everybody writes what they like into it.

    Hint: verify the token on every request but the preflight.
    """
    for origin in [None, *cors.frontends(app), *cors.strangers(draw)]:
        for headers in (*bad_tokens(app, ada, draw), *cors.forged_tokens(app, ada), *incomplete_tokens(app, ada)):
            answer = cors.send(app, "GET", page(draw), origin, **headers)
            expect(answer, 401, "served a profile to somebody who has not logged in")
    good = forge(app, ada.username)
    for name in ("token", "access_token"):
        answer = cors.send(app, "GET", f"{page(draw)}&{name}={good}", None)
        expect(answer, REFUSED, "took a token out of an address, which is kept in logs and histories")
