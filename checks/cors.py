"""What a browser reads in an answer: who may see it, and what a preflight lets through (Fetch Standard §3.3, §4.8)."""

from collections.abc import Iterator

import httpx

from checks.attacks import bearer, forge
from lab_app.harness import App, CheckFailed, expect
from lab_app.harness.draw import Draw
from lab_app.harness.evidence import exchange_of
from lab_app.harness.library import Member
from lab_app.harness.world import Answer

ALIVE = range(200, 500)
SAFELISTED_METHODS = {"GET", "HEAD", "POST"}
UNLISTED_HEADERS = (  # the last three are copied from list to list
    *("X-Forwarded-For", "X-HTTP-Method-Override", "Proxy-Authorization"),
    *("X-Requested-With", "X-CSRF-Token", "X-API-Key"),
)


def listed(answer: Answer, *origins: str) -> App:
    """The learner's app, shared by its checks; `origins`, each with a drawn name at {}, are its frontends."""
    draw = Draw(answer.seed, answer.title, "origins")
    names = [origin.format(draw.username()) for origin in origins]
    return answer.shared(FRONTEND_ORIGINS=", ".join(names) + " ,")  # spaces and trailing commas happen


def frontends(app: App) -> list[str]:
    """The origins that the app's FRONTEND_ORIGINS lists."""
    return [origin.strip() for origin in app.env["FRONTEND_ORIGINS"].split(",") if origin.strip()]


def strangers(draw: Draw) -> list[str]:
    """Origins that have nothing to do with the library."""
    name = draw.username()
    return [f"https://{name}.example", f"https://app.{name}.com", f"http://localhost:{draw.number(3000, 9000)}"]


def lookalikes(origin: str, draw: Draw) -> list[str]:
    """Origins whose names are, contain or match part of a listed one's."""
    scheme, host = origin.split("://")
    name, _, port = host.partition(":")
    rest, evil = f":{port}" if port else "", draw.username()
    above = name.split(".", 1)[1]
    names = [f"{evil}.{name}", f"{evil}{name}", f"{evil}-{name}", above, f"www.{above}", f"{name}.{evil}.example"]
    names += [f"{name}-{evil}.example", name[:-1], name[1:], name + draw.random.choice("abcdefg")]
    names += [name.replace(".", "-", 1), "x".join(name.rsplit(".", 1))]  # to a pattern, a dot is any character
    origins = [f"{scheme}://{one}{rest}" for one in names]
    return [*origins, f"https://{evil}.example/{origin}", f"{origin}@{evil}.example"]


def misspellings(origin: str, draw: Draw) -> list[str]:
    """A listed origin under another scheme or port, and spelled as no browser spells it."""
    scheme, host = origin.split("://")
    name, _, port = host.partition(":")
    other = draw.number(2000, 9000)
    ports = [f"{scheme}://{name}:{other + (str(other) == port)}", f"{scheme}://{name}:80"]
    ports += [f"{scheme}://{name}", f"{origin[:-1]}"] if port else []
    ports += [f"{scheme}://{name}.{f':{port}' if port else ''}"]  # to a browser the dot at its end makes another name
    return [f"http://{host}", f"ws://{host}", *ports, origin.upper(), f"{scheme}://{host.title()}", f"{origin}/", host]


def send(app: App, method: str, path: str, origin: str | None, **headers: str) -> httpx.Response:
    """A request as a page of `origin` sends it; None: as a program does that is no browser."""
    return app.api.request(method, path, headers=headers | ({} if origin is None else {"Origin": origin}))


def preflight(app: App, path: str, origin: str, method: str, *headers: str) -> httpx.Response:
    """What a browser asks before it sends a request with this method and these headers."""
    wanted = {"Origin": origin, "Access-Control-Request-Method": method}
    if headers:
        wanted["Access-Control-Request-Headers"] = ",".join(sorted(header.lower() for header in headers))
    return app.api.options(path, headers=wanted)


def forged_tokens(app: App, member: Member) -> Iterator[dict[str, str]]:
    """Tokens that nobody signed, and tokens of others or for others."""
    yield bearer(forge(app, member.username, alg="none"))
    yield bearer(forge(app, member.username, aud="another-api"))
    yield bearer(forge(app, member.username, iss="somebody"))


def shows_to(answer: httpx.Response, origin: str) -> bool:
    """Whether a browser lets a page of `origin` read this answer, be it to a request without credentials."""
    return answer.headers.get("access-control-allow-origin") in (origin, "*")


def expect_readable(answer: httpx.Response, origin: str) -> httpx.Response:
    """A browser lets pages of `origin`, and no others, read this answer. Raises CheckFailed."""
    found = answer.headers.get("access-control-allow-origin")
    if found != origin:
        raise failed(answer, f"answered {origin} with {seen('Origin', found)}", f"allows exactly {origin}")
    return answer


def expect_shared(answer: httpx.Response, origin: str) -> httpx.Response:
    """It also lets them where the request had credentials. Raises CheckFailed."""
    credentials = expect_readable(answer, origin).headers.get("access-control-allow-credentials")
    if credentials != "true":
        raise failed(answer, f"answered {origin} with {seen('Credentials', credentials)}", "allows credentials: true")
    return answer


def expect_kept(answer: httpx.Response, origin: str) -> httpx.Response:
    """No page of `origin` gets to read this answer, and it is no crash. Raises CheckFailed."""
    expect(answer, ALIVE, "")
    if shows_to(answer, origin):
        raise failed(answer, f"lets pages of {origin or 'an empty origin'} read its answers", "sends no such header")
    return answer


def expect_let_through(
    answer: httpx.Response, origin: str, method: str, *headers: str, credentials: bool = True
) -> None:
    """After this preflight a browser sends the request, with credentials or without. Raises CheckFailed."""
    expect(answer, range(200, 300), "refused a preflight of its own frontend")
    (expect_shared if credentials else expect_readable)(answer, origin)
    methods, allowed = names(answer, "methods"), {name.lower() for name in names(answer, "headers")}
    if method not in methods | SAFELISTED_METHODS:
        raise failed(answer, f"did not allow {method} to its own frontend", f"lists {method} in its methods")
    if missing := [header for header in headers if header.lower() not in allowed]:
        raise failed(answer, f"did not allow {missing[0]} to its own frontend", f"lists {missing[0]} in its headers")


def expect_stopped(answer: httpx.Response, origin: str, method: str, *headers: str) -> None:
    """After this preflight no browser sends the request, by its lists and not by its status. Raises CheckFailed."""
    expect(answer, ALIVE, "")
    methods, allowed = names(answer, "methods"), {name.lower() for name in names(answer, "headers")}
    by_method = method in methods | SAFELISTED_METHODS or "*" in methods
    if shows_to(answer, origin) and by_method and all(one.lower() in allowed or "*" in allowed for one in headers):
        what = f"{method} with {', '.join(headers)}" if headers else method
        raise failed(answer, f"lets pages of {origin} send {what}", "lists what its frontends need, and no more")


def expect_methods_stopped(app: App, origin: str, draw: Draw) -> None:
    """No page of `origin` gets to PATCH a profile, or to use a method nobody asked for. Raises CheckFailed."""
    for method in ("PATCH", "patch", "PURGE", draw.username().upper()):
        for headers in ((), ("Authorization", "Content-Type")):
            expect_stopped(preflight(app, "/profile", origin, method, *headers), origin, method, *headers)


def expect_headers_stopped(app: App, origin: str, draw: Draw, *methods: str) -> None:
    """No page of `origin` gets to send a header but Authorization and Content-Type. Raises CheckFailed."""
    for header in (f"X-{draw.username()}", *UNLISTED_HEADERS):
        for method in methods:
            wanted = ("Authorization", header)
            expect_stopped(preflight(app, "/profile", origin, method, *wanted), origin, method, *wanted)


def expect_kept_briefly(app: App, origin: str, method: str) -> None:
    """A browser keeps what a preflight allows for two hours at most. Raises CheckFailed."""
    answer = preflight(app, "/profile", origin, method, "Authorization")
    age = answer.headers.get("access-control-max-age", "5")
    if not age.lstrip("-").isdecimal() or int(age) > 7200:
        raise failed(answer, f"lets browsers keep a preflight for {age} seconds", "says 7200 at most")


def names(answer: httpx.Response, what: str) -> set[str]:
    """The entries of Access-Control-Allow-Methods or -Headers."""
    return {name.strip() for name in answer.headers.get(f"access-control-allow-{what}", "").split(",")} - {""}


def expect_varied(answer: httpx.Response) -> None:
    """A cache keeps this answer for one origin only. Raises CheckFailed."""
    vary = answer.headers.get("vary", "")
    if not {name.strip().lower() for name in vary.split(",")} & {"origin", "*"}:
        raise failed(answer, f"answered with {f'Vary: {vary}' if vary else 'no Vary'}", "says Vary: Origin")


def expect_exposed(answer: httpx.Response, header: str) -> None:
    """A page may read this header of the answer. Raises CheckFailed."""
    exposed = answer.headers.get("access-control-expose-headers", "")
    if header.lower() not in {name.strip().lower() for name in exposed.split(",")}:
        raise failed(answer, f"exposes {exposed or 'no header'}", f"exposes {header}")


def failed(answer: httpx.Response, found: str, safe: str) -> CheckFailed:
    """What to raise about an answer."""
    return CheckFailed(found, f"A safe app {safe}.", exchange_of(answer.request, answer))


def seen(what: str, value: str | None) -> str:
    """A header as it came."""
    return f"Access-Control-Allow-{what}: {value}" if value is not None else f"no Access-Control-Allow-{what}"


def closed(answer: Answer, first: App) -> Iterator[App]:
    """The learner's app without any frontend: the variable unset, empty, and nothing but commas.

    `first` has been started before, or an answer that cannot do without the variable would seem not to start at all.
    """
    assert first
    yield answer.shared()
    for nothing in ("", " , ,"):
        yield answer.shared(FRONTEND_ORIGINS=nothing)
