"""GitHub's part of "Sign in with GitHub", played on loopback.

Nobody can steer it over HTTP: the answer under judgement shares its network. Who signs in, and what goes wrong, is
said by method calls in the process that holds it.
"""

import asyncio
import base64
import hashlib
import json
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from html import escape
from urllib.parse import parse_qsl, urlencode, urlsplit, urlunsplit

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, RedirectResponse, Response
from starlette.routing import Route

from lab_app.runner.services.serving import Served

AUTHORIZE, TOKEN, USER = "/login/oauth/authorize", "/login/oauth/access_token", "/user"
PAGE = """<!doctype html><meta charset="utf-8"><title>Authorize Larkspur</title>
<h1>Larkspur wants to sign you in as {login}</h1>
<form method="post"><button name="answer" value="yes">Approve</button>
<button name="answer" value="no">Deny</button></form>
<p>This page plays GitHub. It runs on your own machine.</p>"""
HTML = "<!doctype html><title>Unicorn!</title><p>This page is taking too long to load.</p>"


@dataclass(frozen=True)
class User:
    """Somebody with an account at GitHub. Only `id` stays the same for ever; `login` can change hands."""

    id: int
    login: str
    email: str | None = None
    name: str | None = None


@dataclass
class GitHub:
    """Start it, let somebody `approve`, and read what it received."""

    client_id: str
    client_secret: str
    callback: str = ""  # the registered one, for authorize requests without a redirect_uri
    forgiving: bool = False  # takes a code twice, as some providers do
    codes: dict[str, tuple[dict[str, str], User]] = field(default_factory=dict)  # what was asked, who approved it
    tokens: dict[str, User] = field(default_factory=dict)
    exchanges: list[dict[str, str]] = field(default_factory=list)  # the token endpoint's fields, as they came in
    troubles: dict[str, int | str] = field(default_factory=dict)
    human: User | None = None

    def __post_init__(self) -> None:
        routes = [
            Route(AUTHORIZE, self._page, methods=["GET", "POST"]),
            Route(TOKEN, self._token, methods=["POST"]),
            Route(USER, self._user, methods=["GET"]),
        ]
        self.served = Served(Starlette(routes=routes))

    @property
    def url(self) -> str:
        """The address that stands in for https://github.com and https://api.github.com."""
        return f"http://127.0.0.1:{self.served.port}"

    def start(self) -> "GitHub":
        """Listen, on the same port as before if it ran before. Codes, tokens and records stay."""
        self.served.start()
        return self

    def stop(self) -> None:
        """Close the port."""
        self.served.stop()

    def approve(self, location: str, user: User) -> str:
        """Where GitHub sends the browser of `user`, who was sent to `location` and approves."""
        code = secrets.token_hex(10)
        self.codes[code] = (self._asked(location), user)
        return self._back(location, code=code)

    def deny(self, location: str) -> str:
        """Where GitHub sends the browser of somebody who does not approve."""
        return self._back(location, error="access_denied", error_description="The user has denied you access.")

    def sign_in_as(self, user: User | None) -> None:
        """Who the page greets, for a human who clicks through it in a notebook; None turns the page off."""
        self.human = user

    @contextmanager
    def fails(self, path: str, how: int | str) -> Iterator[None]:
        """Meanwhile `path` answers a status with an HTML page, 200 with HTML ("garbage"), or not at all ("slow")."""
        self.troubles[path] = how
        try:
            yield
        finally:
            del self.troubles[path]

    @contextmanager
    def down(self) -> Iterator[None]:
        """Meanwhile the port is closed."""
        self.stop()
        try:
            yield
        finally:
            self.start()

    def _asked(self, location: str) -> dict[str, str]:
        return {"redirect_uri": self.callback} | dict(parse_qsl(urlsplit(location).query))

    def _back(self, location: str, **answer: str) -> str:
        # GitHub compares redirect_uri with the registered one. Not every provider does, so this one leaves it to you.
        asked = self._asked(location)
        to = urlsplit(asked["redirect_uri"])
        answer |= {"state": asked["state"]} if "state" in asked else {}
        return urlunsplit(to._replace(query="&".join(filter(None, (to.query, urlencode(answer))))))

    async def _page(self, request: Request) -> Response:
        if self.human is None or request.query_params.get("client_id") != self.client_id:
            return HTMLResponse("<h1>404</h1><p>No such application, or nobody is signed in here.</p>", 404)
        if request.method != "POST":
            return HTMLResponse(PAGE.format(login=escape(self.human.login)))
        said, here = parse_qsl((await request.body()).decode()), str(request.url)
        return RedirectResponse(self.approve(here, self.human) if ("answer", "yes") in said else self.deny(here), 302)

    async def _token(self, request: Request) -> Response:
        if trouble := await self._trouble(TOKEN):
            return trouble
        fields = fields_of(request, await request.body())
        self.exchanges.append(fields)
        answer = self._exchanged(fields)
        if "json" in request.headers.get("accept", ""):
            return JSONResponse(answer)
        return Response(urlencode(answer), media_type="application/x-www-form-urlencoded")

    def _exchanged(self, fields: dict[str, str]) -> dict[str, str]:
        if (fields.get("client_id"), fields.get("client_secret")) != (self.client_id, self.client_secret):
            return {
                "error": "incorrect_client_credentials",
                "error_description": "The client_id and/or secret is wrong.",
            }
        code = fields.get("code", "")
        granted = self.codes.get(code) if self.forgiving else self.codes.pop(code, None)
        if granted is None or not matches(granted[0], fields):
            return {"error": "bad_verification_code", "error_description": "The code passed is incorrect or expired."}
        asked, user = granted
        token = "gho_" + secrets.token_hex(18)
        self.tokens[token] = user
        return {"access_token": token, "scope": asked.get("scope", ""), "token_type": "bearer"}

    async def _user(self, request: Request) -> Response:
        if trouble := await self._trouble(USER):
            return trouble
        scheme, _, token = request.headers.get("authorization", "").partition(" ")
        user = self.tokens.get(token.strip()) if scheme.lower() in ("bearer", "token") else None
        if user is None:
            return JSONResponse({"message": "Bad credentials"}, 401)
        return JSONResponse(asdict(user) | {"type": "User", "html_url": f"https://github.com/{user.login}"})

    async def _trouble(self, path: str) -> Response | None:
        while self.troubles.get(path) == "slow":
            await asyncio.sleep(0.02)
        how = self.troubles.get(path)
        return HTMLResponse(HTML, how if isinstance(how, int) else 200) if how else None


def fields_of(request: Request, body: bytes) -> dict[str, str]:
    """The token request's fields, form or JSON; client id and secret may come by basic auth instead."""
    fields: dict[str, str] = {}
    scheme, _, basic = request.headers.get("authorization", "").partition(" ")
    try:
        if scheme.lower() == "basic":
            names = base64.b64decode(basic).decode().partition(":")
            fields = {"client_id": names[0], "client_secret": names[2]}
        if "json" in request.headers.get("content-type", ""):
            return fields | {str(name): str(value) for name, value in json.loads(body).items()}
        return fields | dict(request.query_params) | dict(parse_qsl(body.decode()))
    except (ValueError, AttributeError):
        return fields


def matches(asked: dict[str, str], fields: dict[str, str]) -> bool:
    """Whether a token request fits its authorize request: the same client and redirect_uri, and the PKCE verifier."""
    if asked.get("client_id") != fields["client_id"]:
        return False
    if fields.get("redirect_uri", asked["redirect_uri"]) != asked["redirect_uri"]:
        return False
    if "code_challenge" not in asked:
        return True
    digest = hashlib.sha256(fields.get("code_verifier", "").encode()).digest()
    challenge = base64.urlsafe_b64encode(digest).rstrip(b"=").decode()
    return asked.get("code_challenge_method") == "S256" and asked["code_challenge"] == challenge


def environment(github: GitHub, public: str, session_secret: str) -> dict[str, str]:
    """The variables of exercise 1.5 for an app that browsers know as `public`."""
    return {
        "GITHUB_CLIENT_ID": github.client_id,
        "GITHUB_CLIENT_SECRET": github.client_secret,
        "GITHUB_BASE_URL": github.url,
        "PUBLIC_BASE_URL": public,
        "SESSION_SECRET": session_secret,
    }
