"""3.2 Preview deployments: how they are used, and how they are attacked."""

import pytest

from checks import cors
from lab_app.harness import App, attack, exercise, expect, legit
from lab_app.harness.draw import Draw
from lab_app.harness.world import Answer

REST = "preview.larkspur.example"
# Digits to `str.isdigit` or to `\\d`, as they may be written into a header.
OTHER_DIGITS = ("²".encode("latin-1"), "²".encode(), "٣".encode(), "３".encode())


@pytest.fixture
def app(answer: Answer) -> App:
    """The learner's app and its two frontends."""
    return cors.listed(answer, "https://app.{}.com", "https://staff.{}.example:8443")


def previews(draw: Draw) -> list[str]:
    """Previews of one digit, of some, and of more."""
    digits = (draw.number(1, 10), draw.number(10, 1_000), draw.number(10_000, 1_000_000))
    return [f"https://pr-{number}.{REST}" for number in digits]


def kept_from(app: App, origins: list[str]) -> None:
    """Pages of these origins read nothing and are let through by no preflight. Raises CheckFailed."""
    for origin in origins:
        cors.expect_kept(cors.send(app, "GET", "/profile", origin), origin)
        cors.expect_kept(cors.preflight(app, "/profile", origin, "GET", "Authorization"), origin)


@exercise("3.2")
@legit("ASVS 5.0 3.4.2", "API8:2023")
def test_frontends_and_previews_read_the_profile(app: App, draw: Draw) -> None:
    """Pages of both listed origins and of every preview read the profile, with credentials, and answers vary.

    Every pull request gets a frontend of its own, and nobody can list them beforehand.

    Hint: `CORSMiddleware` takes a list and an `allow_origin_regex`, and allows what either allows.
    """
    for origin in (*cors.frontends(app), *previews(draw)):
        answer = expect(cors.send(app, "GET", "/profile", origin), 200, "did not serve its profile")
        cors.expect_shared(answer, origin)
        cors.expect_varied(answer)


@exercise("3.2")
@legit("API8:2023")
def test_preflights_of_frontends_and_previews_pass(app: App, draw: Draw) -> None:
    """A preflight for GET with Authorization and Content-Type lets frontends and previews through.

    A page that sends a token asks first, and a preview does nothing but what its frontend will do.

    Hint: answer OPTIONS before any route does. The middleware knows how.
    """
    for origin in (*cors.frontends(app), *previews(draw)):
        for headers in (("Authorization",), ("Authorization", "Content-Type")):
            answer = cors.preflight(app, "/profile", origin, "GET", *headers)
            cors.expect_let_through(answer, origin, "GET", *headers)


@exercise("3.2")
@legit("RFC 6454 §7.3")
def test_others_than_browsers_are_served_as_well(app: App) -> None:
    """A program that sends no Origin reads the profile.

    CORS asks browsers to keep something from a page. To curl it says nothing.

    Hint: no Origin, no CORS headers, and the answer as ever.
    """
    expect(cors.send(app, "GET", "/profile", None), 200, "did not serve its profile")


@exercise("3.2")
@attack("ASVS 5.0 3.4.2", "CWE-942")
def test_other_origins_read_nothing(app: App, draw: Draw) -> None:
    """No page of any other origin reads an answer, nor of `null`, nor of an empty one.

    Previews widen the list. They are no reason to drop it.

    Hint: allow what is on the list or matches the pattern, and nothing else.
    """
    kept_from(app, [*cors.strangers(draw), "null", "", f"https://{draw.username()}.larkspur.example"])


@exercise("3.2")
@attack("CWE-346", "CWE-187")
def test_lookalikes_of_the_frontends_read_nothing(app: App, draw: Draw) -> None:
    """No page whose name, scheme, port or spelling only resembles a listed origin's reads an answer.

    As in 3.1: whoever compares parts of names has listed all names with that part.

    Hint: compare whole origins. A pattern built from the list needs `re.escape`.
    """
    for origin in cors.frontends(app):
        kept_from(app, cors.lookalikes(origin, draw) + cors.misspellings(origin, draw))


@exercise("3.2")
@attack("CWE-777", "CWE-346")
def test_names_around_a_preview_read_nothing(app: App, draw: Draw) -> None:
    """No page whose address merely begins or ends like a preview's reads an answer.

    `https://pr-1.preview.larkspur.example.evil.example` belongs to evil.example.

    Hint: `re.match` looks at the beginning only and `re.search` anywhere. Use `re.fullmatch`.
    """
    evil, good = draw.username(), previews(draw)
    origins = [f"{origin}{rest}" for origin in good for rest in (f".{evil}.example", f"-{evil}.example", "s", ".")]
    origins += [f"https://{evil}.example/{origin}" for origin in good]
    origins += [f"{origin}@{evil}.example" for origin in good] + [f"{origin} https://{evil}.example" for origin in good]
    inner = [origin.removeprefix("https://") for origin in good]
    origins += [f"https://{evil}{rest}{name}" for name in inner for rest in (".", "-", "", ".example/?", "@")]
    kept_from(app, origins)


@exercise("3.2")
@attack("CWE-625", "CWE-346")
def test_other_domains_of_that_pattern_read_nothing(app: App, draw: Draw) -> None:
    """No page of another domain reads an answer, nor of one where a dot of the preview's name is another character.

    In a pattern, a dot is any character. `preview-larkspur.example` is for sale.

    Hint: `\\.` in the pattern, or `re.escape` around the fixed part.
    """
    number = draw.number(1, 10_000)
    for other in ("-", "x", draw.random.choice("abcdefgh"), str(draw.number(0, 10))):
        names = (
            f"preview.larkspur{other}example",
            f"preview{other}larkspur.example",
            f"preview{other}larkspur{other}example",
        )
        kept_from(app, [f"https://pr-{number}.{name}" for name in names] + [f"https://pr-{number}{other}{REST}"])
    for other in ("staging", "review", "previews", draw.username()):
        kept_from(
            app, [f"https://pr-{number}.{other}.larkspur.example", f"https://pr-{number}.preview.{other}.example"]
        )


@exercise("3.2")
@attack("CWE-625", "CWE-346")
def test_only_digits_make_a_preview(app: App, draw: Draw) -> None:
    """No page of a name with anything but digits after `pr-`, or with none, reads an answer.

    Whoever may name a branch, or a host in that zone, would name it so that your pattern takes it.

    Hint: `[0-9]+`, and neither `.*` nor `\\w+`.
    """
    name, number = draw.username(), draw.number(1, 10_000)
    middles = ["", "-", name, f"{number}a", f"a{number}", f"{number}.{number}", f"{number}-{number}", f"-{number}"]
    middles += [f"{number}.{name}", f"{name}.{number}", "%31", "*", f"{number}:443/", f"{number}_", f"0x{number}"]
    kept_from(app, [f"https://pr-{middle}.{REST}" for middle in middles])
    kept_from(app, [f"https://{name}{number}.{REST}" for name in ("", "pr", "pr_", "mr-", "xpr-")])
    kept_from(app, [f"https://{REST}", "https://larkspur.example", f"https://*.{REST}"])
    for digits in OTHER_DIGITS:
        origin = b"https://pr-" + digits + f".{REST}".encode()
        answer = app.api.get("/profile", headers=[(b"Origin", origin)])
        if (b"access-control-allow-origin", origin) in [(key.lower(), value) for key, value in answer.headers.raw]:
            raise cors.failed(answer, f"lets pages of {origin!r} read its answers", "takes the digits 0 to 9 only")


@exercise("3.2")
@attack("RFC 6454 §4", "CWE-346")
def test_other_schemes_ports_and_spellings_read_nothing(app: App, draw: Draw) -> None:
    """No page of a preview's name under http, under a port or in another spelling reads an answer.

    An origin is scheme, host and port. Over http, whoever sits in between writes the page.

    Hint: the pattern begins with `https://` and ends with the name.
    """
    for origin in previews(draw):
        kept_from(app, [*cors.misspellings(origin, draw), f"{origin}:8443", f"{origin}:", origin.replace("://", ":")])


@exercise("3.2")
@attack("CWE-942", "API8:2023")
def test_preflights_allow_no_more_than_in_3_1(app: App, draw: Draw) -> None:
    """A preflight passes no PATCH and no unlisted header, and is kept for 7200 seconds at most, as in 3.1.

    A preview runs code that nobody has reviewed yet. It may send what the frontend sends, and no more.

    Hint: write down what the frontend needs in `allow_methods` and `allow_headers`; `*` is everything.
    """
    for origin in (cors.frontends(app)[0], previews(draw)[1]):
        cors.expect_methods_stopped(app, origin, draw)
        cors.expect_headers_stopped(app, origin, draw, "GET")
        cors.expect_kept_briefly(app, origin, "GET")


@exercise("3.2")
@attack("CWE-1188", "CWE-942")
def test_without_a_list_nobody_else_is_allowed(app: App, answer: Answer, draw: Draw) -> None:
    """Where FRONTEND_ORIGINS is unset, empty or nothing but commas, the app runs and allows no frontend.

    A setting that somebody forgot must close doors. Joined into a pattern, an empty part matches everything.

    Hint: `os.environ.get("FRONTEND_ORIGINS", "")`, and drop empty parts.
    """
    for alone in cors.closed(answer, app):
        expect(cors.send(alone, "GET", "/profile", None), 200, "did not serve its profile")
        kept_from(alone, [*cors.frontends(app), *cors.strangers(draw), "null", ""])
