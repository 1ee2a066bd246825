"""`serve(app)`: run an app in the kernel's own process, on a free port of 127.0.0.1."""

import atexit
import html
import os
import sys
import threading
import types
from collections.abc import Callable
from dataclasses import dataclass
from importlib.util import find_spec
from typing import Any, cast

import httpx

from lab_app.jupyter.exercises import NoSuchExercise, exercise
from lab_app.jupyter.kernel import last_run
from lab_app.runner.inside.server import Server, config, listening

App = Callable[..., Any]
PATIENCE = 30
ONE_ORIGIN = (
    "Your notebook runs on a hub, which shows all its apps under one address: what a browser does between two origins "
    "cannot be seen here. Everything else works, all checks included."
)
OUT_OF_REACH = (
    "Your notebook runs on a hub without jupyter-server-proxy, so your browser cannot open this app. "
    "The cells and all checks reach it."
)
SIGN_IN_FIRST = (
    "Your notebook runs in a codespace, whose ports answer only a browser that has signed in to each: a page of one "
    "cannot fetch from another. Everything else works, all checks included."
)


class ServeError(RuntimeError):
    """The app could not be served; the text says why."""


@dataclass(frozen=True)
class Way:
    """How the learner's browser comes to a port of the kernel's machine.

    `url` is empty if it cannot; `limits` says in a sentence what will not work, and is empty where the two share a
    machine.
    """

    url: str
    limits: str = ""


def way_to(port: int) -> Way:
    """The way to a port from wherever this kernel's notebook is shown."""
    env = os.environ
    if hub := env.get("JUPYTERHUB_SERVICE_PREFIX"):
        return Way(f"{hub}proxy/{port}", ONE_ORIGIN) if find_spec("jupyter_server_proxy") else Way("", OUT_OF_REACH)
    if env.get("CODESPACES") == "true":
        domain = env.get("GITHUB_CODESPACES_PORT_FORWARDING_DOMAIN", "app.github.dev")
        return Way(f"https://{env.get('CODESPACE_NAME', '')}-{port}.{domain}", SIGN_IN_FIRST)
    return Way(f"http://127.0.0.1:{port}")


@dataclass(frozen=True)
class Seen:
    """A request as the app answered it."""

    origin: str
    method: str
    path: str
    status: int


class Served:
    """An app that runs until `stop()`. `client` keeps cookies as a browser does, and follows no redirect.

    `seen` are its answers so far; `crashes` counts the requests that ended in an exception.
    """

    def __init__(self, app: App, name: str, settings: dict[str, Any]) -> None:
        self.name, self.failure, self.docs, self.crashes = name, "", getattr(app, "docs_url", None), 0
        self.seen: list[Seen] = []
        self.listener = listening()
        self.port = self.listener.getsockname()[1]
        self.ready = threading.Event()
        settings = {"timeout_graceful_shutdown": 1, **settings, "interface": "asgi3", "proxy_headers": False}
        self.server = Server(config(self._watched(app), **settings), self.ready.set)
        scheme = "https" if self.server.config.is_ssl else "http"
        self.url = f"{scheme}://127.0.0.1:{self.port}"
        self.thread = threading.Thread(target=self._run, name=f"serve {name}", daemon=True)
        self.client = self.browser()

    def browser(self, url: str = "") -> httpx.Client:
        """A client of somebody else's, with cookies of its own, who comes by another address if one is given.

        Over https it takes any certificate: here it is the server that is looked at.
        """
        # A connection for each request: uvicorn hangs up after a crash, and a next request would be lost.
        fresh = httpx.Limits(max_keepalive_connections=0)
        verify = not self.server.config.is_ssl
        return httpx.Client(base_url=url or self.url, trust_env=False, timeout=30, limits=fresh, verify=verify)

    def __getattr__(self, name: str) -> Any:
        """`get`, `post` and the like are the client's."""
        return getattr(self.client, name)

    def __repr__(self) -> str:
        return f"{self.name} runs at {self.url}" if self.thread.is_alive() else f"{self.name} is stopped"

    def _repr_html_(self) -> str:
        if not self.thread.is_alive():
            return html.escape(repr(self))
        way = way_to(self.port)
        paths = {way.url: "/", "documentation": self.docs if way.url.startswith("http") else None} if way.url else {}
        links = " · ".join(
            f'<a href="{html.escape(way.url + path)}" target="_blank" rel="noopener">{html.escape(label)}</a>'
            for label, path in paths.items()
            if path
        )
        where = f" at {links} (opens in a new tab)" if links else ""
        return f"{html.escape(self.name)} runs{where}" + (f". {html.escape(way.limits)}" if way.limits else "")

    def start(self) -> None:
        """Wait until the app answers. Raises ServeError."""
        self.thread.start()
        ready = self.ready.wait(PATIENCE)
        if not self.server.started:
            self.stop()
            why = self.failure or ("it ended at once" if ready else f"its start-up took over {PATIENCE} s")
            raise ServeError(f"{self.name} did not start: {why}")

    def stop(self) -> None:
        """End the app and its thread."""
        self.client.close()
        self.server.end()
        self.thread.join(5)
        self.server.force_exit = True
        self.thread.join(5)
        self.listener.close()

    def _run(self) -> None:
        try:
            self.server.run(sockets=[self.listener])
        except BaseException as error:
            self.failure = self.failure or f"{type(error).__name__}: {error}"
        finally:
            self.ready.set()

    def _watched(self, app: App) -> App:
        """The same app; answers and what it says about a start-up that failed are kept, and crashes are counted."""

        async def watched(scope: Any, receive: Any, send: Any) -> None:
            async def watching(message: Any) -> None:
                if message["type"] == "lifespan.startup.failed":
                    self.failure = str(message.get("message", "")).strip().split("\n")[-1]
                    message = {**message, "message": ""}
                elif message["type"] == "http.response.start":
                    origin = dict(scope["headers"]).get(b"origin", b"").decode("latin-1")
                    self.seen.append(Seen(origin, scope["method"], scope["path"], message["status"]))
                await send(message)

            try:
                await app(scope, receive, watching)
            except Exception as error:
                if scope["type"] == "lifespan":
                    raise
                # One line; uvicorn would print sixty. The client has its 500 already, or gets it from uvicorn.
                self.crashes += 1
                sys.stderr.write(f"{self.name} crashed: {type(error).__name__}: {error}\n")

        return watched


_served: dict[str, Served] = {}


def _app_of(number: str) -> App:
    """The app of an exercise, in a module of its own: the cells of a notebook overwrite each other's names."""
    try:
        wanted = exercise(number)
    except NoSuchExercise as error:
        raise ServeError(f"serve() takes an ASGI app such as FastAPI(), or an exercise. {error}") from error
    source, _ = last_run(number) or (wanted.starter, 0)
    module = types.ModuleType(f"exercise_{number.replace('.', '_')}")
    sys.modules[module.__name__] = module
    try:
        exec(compile(source, f"<Exercise {number}>", "exec"), module.__dict__)  # noqa: S102 - the learner's own cell
        return cast(App, module.__dict__["app"])
    except Exception as error:
        raise ServeError(f"The cell of exercise {number} did not run: {type(error).__name__}: {error}") from error


def serve(app: App | str, name: str = "app", **settings: Any) -> Served:
    """Run an ASGI app, or that of an exercise such as "1.3"; the one served before by the same name is stopped.

    An exercise's cell is run as you ran it last, or as its starter, apart from all other cells. `settings` are more
    keyword arguments for `uvicorn.Config`, such as `ssl_certfile`. Raises ServeError.
    """
    if isinstance(app, str):
        app = _app_of(app)
    if not callable(app):
        raise ServeError(f"serve() takes an ASGI app such as FastAPI(), not {type(app).__name__}.")
    if former := _served.pop(name, None):
        former.stop()
    served = Served(app, name, settings)
    served.start()
    _served[name] = served
    return served


@atexit.register
def stop_all() -> None:
    """End whatever is still served."""
    while _served:
        _served.popitem()[1].stop()
