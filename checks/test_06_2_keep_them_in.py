"""6.2 Keep them in: the app may know its secrets, and nothing that it gives out may show them."""

from collections.abc import Callable
from dataclasses import dataclass
from itertools import product
from urllib.parse import quote

import httpx

from checks.leaks import leaked, masked
from checks.starting import NAMES, SECRETS, api_key, changed, good_settings, secrets_of, start
from lab_app.harness import App, CheckFailed, Desk, attack, exercise, expect, json_of, legit
from lab_app.harness.draw import Draw
from lab_app.harness.evidence import Exchange, exchange_of
from lab_app.harness.world import Answer
from lab_app.runner.sandbox import AnswerTrouble

PATHS = ("/", "/openapi.json", "/docs", "/redoc", "/.env", "/env", "/settings", "/debug", "/health", "/metrics")
ENVIRONMENTS = ("production", "development")
# Starts an app as a server would: settings may be read when the cell is run or when the app starts up.
BEGIN = """
import asyncio

async def _begin(app):
    begun = asyncio.Event()
    async def receive():
        if begun.is_set():
            await asyncio.Event().wait()
        return {"type": "lifespan.startup"}
    async def send(message):
        begun.set()
    running = asyncio.create_task(app({"type": "lifespan", "asgi": {"version": "3.0"}, "state": {}}, receive, send))
    await asyncio.wait({running, asyncio.create_task(begun.wait())}, return_when=asyncio.FIRST_COMPLETED)
    if running.done():
        await running
"""
# Settings go by that name, or are what pydantic-settings made, by whatever name.
USE = """
def use(names):
    import pydantic_settings

    asyncio.run(_begin(names["app"]))
    found = [it for name, it in names.items() if name.lower() == "settings"]
    found += [it for it in names.values() if isinstance(it, pydantic_settings.BaseSettings)]
    return " ".join(f"{it!r} {it!s} {it}" for it in found)
"""


@dataclass(frozen=True)
class Tour:
    """All that an app gave out between its start and its end."""

    secrets: dict[str, str]
    printed: str
    log: str


def production(draw: Draw, **settings: str) -> dict[str, str]:
    """Good settings of a production app, some of them given."""
    return {**good_settings(draw), "ENVIRONMENT": "production", **settings}


def url(password: str, draw: Draw, user: str = "larkspur") -> str:
    """The address of a database."""
    return f"postgresql+psycopg://{user}:{password}@db-{draw.username()}.example:5432/{draw.username()}"


def shows(data: bytes | str, secrets: dict[str, str]) -> list[str]:
    """The names of those secrets of which any part shows."""
    found = {*leaked(data, secrets), *masked(data, secrets)}
    return [name for name in secrets if name in found]


def emitted(answer: httpx.Response) -> bytes:
    """What somebody gets to see of an answer."""
    lines = [name + b": " + value for name, value in answer.headers.raw]
    return b"\n".join([answer.reason_phrase.encode(), *lines, answer.content])


def visit(app: App, draw: Draw) -> list[httpx.Response]:
    """Ask for all that there is, and for much that there is not."""
    api, html = app.api, {"Accept": "text/html,application/xhtml+xml"}
    answers = [api.get(path) for path in (*PATHS, "/config", "/boom", f"/{draw.username()}")]
    answers += [api.get(path, headers=html) for path in ("/config", "/boom", "/missing")]
    answers += [api.get("/config", params={"debug": "true", "verbose": "1", "show_secrets": "1"})]
    answers += [api.request(method, path) for method in ("HEAD", "OPTIONS", "POST") for path in ("/config", "/boom")]
    answers += [api.post("/config", json={"database": draw.username()}), api.put("/boom", content=b"{")]
    return [*answers, api.get("/config", headers={"Authorization": "Bearer x", "X-API-Key": "x", "Cookie": "a=b"})]


def tour(launch: Callable[..., App], draw: Draw, environment: str) -> Tour:
    """Start an app, visit it and end it politely, so that it has said all that it wanted to say."""
    settings = production(draw, ENVIRONMENT=environment)
    app = launch(**settings)
    visit(app, draw)
    printed = app.stop()
    logs = [
        content.decode(errors="replace") for name, content in app.files().items() if name.startswith("larkspur.log")
    ]
    return Tour(secrets_of(settings), printed, "\n".join(logs))


def shared(answer: Answer, environment: str = "production") -> tuple[App, dict[str, str]]:
    """The app under good settings, shared by the checks, and its secrets."""
    settings = production(Draw(answer.seed, "6.2"), ENVIRONMENT=environment)
    return answer.shared(**settings), secrets_of(settings)


def expect_silence(answer: httpx.Response, secrets: dict[str, str]) -> None:
    """An answer shows none of these secrets. Raises CheckFailed."""
    if names := shows(emitted(answer), secrets):
        where = f"{answer.request.method} {answer.request.url.path}"
        raise CheckFailed(
            f"showed {' and '.join(names)} in its answer to {where}",
            "A safe app shows no part of a secret, in no encoding.",
            exchange_of(answer.request, answer),
        )


def expect_clean(text: str, secrets: dict[str, str], did: str) -> None:
    """None of these secrets is in what an app wrote. Raises CheckFailed."""
    if names := shows(text, secrets):
        lines = [line for line in text.splitlines() if shows(line, secrets)]
        raise CheckFailed(
            f"{did} what holds {' and '.join(names)}",
            "A safe app keeps all of it to itself.",
            Exchange(f"A start, some requests, and a stop: what it {did}", "\n".join(lines) or text, ""),
        )


@exercise("6.2")
@legit("ASVS 5.0 15.3.1")
def test_config_tells_database_and_environment(answer: Answer, launch: Callable[..., App], draw: Draw) -> None:
    """GET /config tells which database and which environment this is, from its variables.

    That is what somebody wants to know who wonders whether this is production.

    Hint: host and name of the database are enough; `urlsplit` or SQLAlchemy's `make_url` finds them.
    """
    app, _ = shared(answer)
    config = json_of(expect(app.api.get("/config"), 200, "did not answer GET /config"), "database", "environment")
    assert config["environment"] == "production", f"is in production and says {config['environment']!r}"
    for settings in (production(draw, ENVIRONMENT="development"), production(draw, DATABASE_URL="sqlite:///a.db")):
        other = json_of(expect(launch(**settings).api.get("/config"), 200, "did not answer GET /config"), "environment")
        wanted = settings["ENVIRONMENT"]
        assert other["environment"] == wanted, f"is in {wanted} and says {other['environment']!r}"
        assert "database" in other, "answered without database"


@exercise("6.2")
@legit("ASVS 5.0 16.5.4", "CWE-248")
def test_boom_is_a_500_and_the_app_goes_on(answer: Answer) -> None:
    """GET /boom is 500, whoever asks, and the app answers on.

    An error that nobody foresaw is an error, not a 200 with an apology, and not the end of the process.

    Hint: let the exception be one: Starlette answers 500 for you.
    """
    app, _ = shared(answer)
    for accept in ("*/*", "text/html", "application/json"):
        expect(app.api.get("/boom", headers={"Accept": accept}), 500, "did not answer 500 when it failed")
    expect(app.api.get("/config"), 200, "did not answer any more after an error")


@exercise("6.2")
@attack("CWE-209", "CWE-489", "ASVS 5.0 16.5.1")
def test_an_error_tells_nothing_of_the_inside(answer: Answer) -> None:
    """The answer to GET /boom shows no traceback, in a browser neither, and not in development.

    A traceback is a map: files, lines, libraries, and often the value that would not do.

    Hint: no `debug=True`, and no handler that returns `str(exc)`.
    """
    for environment, accept in product(ENVIRONMENTS, ("*/*", "text/html", "text/plain", "application/json")):
        app, _ = shared(answer, environment)
        shown = expect(app.api.get("/boom", headers={"Accept": accept}), 500, "did not answer 500 when it failed")
        for sign in ("Traceback", 'File "', "File &#34;", "File &quot;", "site-packages", "Exercise 6.2"):
            if sign in shown.text:
                raise CheckFailed(
                    f"showed where it failed ({sign.strip()!r} is in the body), in {environment}",
                    "A safe app says that something went wrong, and no more.",
                    exchange_of(shown.request, shown),
                )


@exercise("6.2")
@attack("CWE-200", "CWE-201", "ASVS 5.0 16.5.1")
def test_no_answer_shows_a_secret(answer: Answer, draw: Draw) -> None:
    """No body and no header shows a secret: /config, /boom, /openapi.json, refusals and all the rest.

    Neither whole nor in part, neither backwards nor in base64: what a program can undo, a thief can undo.

    Hint: name the fields that you give out. Whatever dumps an object dumps what somebody adds to it next year.
    """
    for environment in ENVIRONMENTS:
        app, secrets = shared(answer, environment)
        for shown in visit(app, draw):
            expect_silence(shown, secrets)


@exercise("6.2")
@attack("CWE-200", "CWE-522", "ASVS 5.0 13.3.1")
def test_config_shows_no_password_however_it_is_written(launch: Callable[..., App], draw: Draw) -> None:
    """GET /config shows no password of the database, also when it is percent-encoded or stands alone.

    A DATABASE_URL is a secret with an address around it.

    Hint: build what you show from the host and the name; do not cut the password out of the whole.
    """
    special = f"{api_key(draw, 12)}@:/#?{api_key(draw, 12)}&%+{api_key(draw, 12)}"
    encoded = quote(special, safe="")
    colon = f"{api_key(draw, 15)}:{api_key(draw, 15)}"
    alone = api_key(draw, 30)
    queried = api_key(draw, 30)
    tries = (
        (url(encoded, draw), {"the password": special, "the encoded password": encoded}),
        (url(encoded.lower(), draw), {"the encoded password": encoded.lower()}),
        (url(colon, draw), {"the password": colon}),
        (url(alone, draw, user=""), {"the password": alone}),
        (url(queried, draw) + "?sslmode=require", {"the password": queried}),
    )
    for address, secrets in tries:
        app = launch(**production(draw, DATABASE_URL=address))
        for path in ("/config", "/boom", "/openapi.json"):
            expect_silence(app.api.get(path), secrets)
        expect(app.api.get("/config"), 200, "did not answer GET /config")


@exercise("6.2")
@attack("CWE-209", "CWE-636", "ASVS 5.0 13.3.1")
def test_config_shows_no_password_of_an_address_that_is_none(
    answer: Answer, launch: Callable[..., App], draw: Draw
) -> None:
    """An app that starts with a DATABASE_URL that nobody can read shows no password of it either.

    Whether it starts is not judged, nor what GET /config answers then.

    Hint: when an address cannot be taken apart, say so, and do not show the whole of it instead.
    """
    shared(answer)
    password = api_key(draw, 30)
    for host in ("db.example:port", "[db.example"):
        address = f"postgresql+psycopg://larkspur:{password}@{host}/larkspur"
        try:
            app = launch(**production(draw, DATABASE_URL=address))
        except AnswerTrouble:
            continue  # It refuses. What it says then, another check reads.
        for path in ("/config", "/boom", "/openapi.json"):
            expect_silence(app.api.get(path), {"the password": password})
        expect_clean(app.stop(), {"the password": password}, "printed")


@exercise("6.2")
@attack("CWE-532", "ASVS 5.0 16.2.5")
def test_the_log_file_shows_no_secret(launch: Callable[..., App], draw: Draw) -> None:
    """What the app writes to LOG_FILE, from its start to its end, shows no secret.

    Logs are copied, kept for years, and read by people who may not read the vault.

    Hint: log that the settings were read, not what they are; and think of what an exception says.
    """
    for environment in ENVIRONMENTS:
        seen = tour(launch, draw, environment)
        expect_clean(seen.log, seen.secrets, "wrote to LOG_FILE")


@exercise("6.2")
@attack("CWE-532", "CWE-215", "ASVS 5.0 16.2.5")
def test_stdout_and_stderr_show_no_secret(launch: Callable[..., App], draw: Draw) -> None:
    """What the app prints, tracebacks of its errors included, shows no secret.

    In a container what is printed is the log.

    Hint: whatever raises in GET /boom, uvicorn prints its message. Keep values out of exceptions.
    """
    for environment in ENVIRONMENTS:
        seen = tour(launch, draw, environment)
        expect_clean(seen.printed, seen.secrets, "printed")


@exercise("6.2")
@attack("CWE-532", "CWE-215", "ASVS 5.0 13.3.1")
def test_the_repr_of_settings_shows_no_secret(desk: Desk, draw: Draw) -> None:
    """`repr(settings)` shows no secret.

    It is what a debugger, an error tracker and `print` show of an object that somebody only passed along.

    Hint: `SecretStr`, or `field(repr=False)` in a dataclass; the DATABASE_URL holds a password too.
    """
    good = production(draw)
    others = [
        ("other good settings", production(draw)),
        ("development settings", production(draw, ENVIRONMENT="development")),
    ]
    for one in start(desk, BEGIN + USE, [("good settings", good), *others], good):
        if one.told:
            raise CheckFailed("refused to start with good settings", "", one.exchange())
        if names := shows(str(one.value), secrets_of(one.given)):
            raise CheckFailed(f"has settings whose repr shows {' and '.join(names)}", "", one.exchange())


@exercise("6.2")
@attack("CWE-209", "CWE-532", "ASVS 5.0 16.5.1")
def test_a_start_with_a_bad_value_shows_no_secret(desk: Desk, draw: Draw) -> None:
    """Whatever variable has a bad value: what is printed and logged at the start shows neither that value nor another.

    Whether the app starts all the same is not judged here; 6.1 was about that.

    Hint: pydantic prints the input of a `SecretStr` too, unless `hide_input_in_errors` is set. Raise `from None`.
    """
    tries = [
        (f"a {name} of {n} bytes", production(draw, **{name: api_key(draw, n)}))
        for name in SECRETS
        for n in (12, 20, 31)
    ]
    tries += [(f"no {name}", changed(production(draw), name, None)) for name in (*NAMES, "ENVIRONMENT")]
    tries += [(f"an empty {name}", production(draw, **{name: ""})) for name in (*NAMES, "ENVIRONMENT")]
    tries.append(("an unknown ENVIRONMENT", production(draw, ENVIRONMENT=draw.username())))
    same = draw.secret(64)
    tries.append(("two equal secrets", production(draw, JWT_SECRET=same, API_SECRET_KEY=same)))
    password = api_key(draw, 30)
    addresses = (
        f"postgresql+psycopg://larkspur:{password}@db.example:port/larkspur",
        f"larkspur:{password}@db.example/larkspur",
        f"postgresql+psycopg//larkspur:{password}@db.example/larkspur",
        f"postgresql+psycopg://larkspur:{password[:12]}/{password[12:]}@[db.example/larkspur",
    )
    tries += [("a DATABASE_URL that is none", production(draw, DATABASE_URL=address)) for address in addresses]
    came = start(desk, BEGIN + USE, tries, production(draw))
    log = desk.files().get("larkspur.log", b"").decode(errors="replace")
    for one in came:
        secrets = secrets_of(one.given) | ({"the password in DATABASE_URL": password} if "none" in one.about else {})
        if names := shows(one.told + one.printed + log, secrets):
            raise CheckFailed(f"was started with {one.about}, and showed {' and '.join(names)}", "", one.exchange())
