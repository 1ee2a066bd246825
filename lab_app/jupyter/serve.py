"""`serve(app)`: run an app in the kernel's own process, on a free port of 127.0.0.1."""

import atexit
import html
import socket
import sys
import threading
import types
from collections.abc import Callable
from typing import Any, cast

import httpx
import uvicorn

from lab_app.jupyter.exercises import NoSuchExercise, exercise
from lab_app.jupyter.kernel import last_run

App = Callable[..., Any]
PATIENCE = 30


class ServeError(RuntimeError):
    """The app could not be served; the text says why."""


class Served:
    """An app that runs until `stop()`. `client` keeps cookies as a browser does, and follows no redirect.

    `crashes` counts the requests that ended in an exception.
    """

    def __init__(self, app: App, name: str) -> None:
        self.name, self.failure, self.docs, self.crashes = name, "", getattr(app, "docs_url", None), 0
        # Given its protocol number, or asyncio leaves TCP_NODELAY off and every request stalls for 40 ms.
        self.listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP)
        self.listener.bind(("127.0.0.1", 0))
        self.listener.listen(512)
        self.url = f"http://127.0.0.1:{self.listener.getsockname()[1]}"
        # Proxy headers off: who the client is stays the app's own decision.
        config = uvicorn.Config(
            self._watched(app),
            interface="asgi3",
            log_level="warning",
            access_log=False,
            proxy_headers=False,
            loop="asyncio",
            http="h11",
            ws="none",
            timeout_graceful_shutdown=1,
        )
        self.server = _Server(config)
        self.thread = threading.Thread(target=self._run, name=f"serve {name}", daemon=True)
        self.client = self.browser()

    def browser(self) -> httpx.Client:
        """A client of somebody else's, with cookies of its own."""
        # A connection for each request: uvicorn hangs up after a crash, and a next request would be lost.
        fresh = httpx.Limits(max_keepalive_connections=0)
        return httpx.Client(base_url=self.url, trust_env=False, timeout=30, limits=fresh)

    def __getattr__(self, name: str) -> Any:
        """`get`, `post` and the like are the client's."""
        return getattr(self.client, name)

    def __repr__(self) -> str:
        return f"{self.name} runs at {self.url}" if self.thread.is_alive() else f"{self.name} is stopped"

    def _repr_html_(self) -> str:
        if not self.thread.is_alive():
            return html.escape(repr(self))
        links = " · ".join(
            f'<a href="{html.escape(self.url + path)}" target="_blank" rel="noopener">{html.escape(label)}</a>'
            for label, path in {self.url: "/", "documentation": self.docs}.items()
            if path
        )
        return f"{html.escape(self.name)} runs at {links} (opens in a new tab)"

    def start(self) -> None:
        """Wait until the app answers. Raises ServeError."""
        self.thread.start()
        ready = self.server.ready.wait(PATIENCE)
        if not self.server.started:
            self.stop()
            why = self.failure or ("it ended at once" if ready else f"its start-up took over {PATIENCE} s")
            raise ServeError(f"{self.name} did not start: {why}")

    def stop(self) -> None:
        """End the app and its thread."""
        self.client.close()
        self.server.should_exit = True
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
            self.server.ready.set()

    def _watched(self, app: App) -> App:
        """The same app; what it says about a start-up that failed is kept, and crashes are counted."""

        async def watched(scope: Any, receive: Any, send: Any) -> None:
            async def watching(message: Any) -> None:
                if message["type"] == "lifespan.startup.failed":
                    self.failure = str(message.get("message", "")).strip().split("\n")[-1]
                    message = {**message, "message": ""}
                await send(message)

            try:
                await app(scope, receive, watching if scope["type"] == "lifespan" else send)
            except Exception as error:
                if scope["type"] == "lifespan":
                    raise
                # One line; uvicorn would print sixty. The client has its 500 already, or gets it from uvicorn.
                self.crashes += 1
                sys.stderr.write(f"{self.name} crashed: {type(error).__name__}: {error}\n")

        return watched


class _Server(uvicorn.Server):
    """A server that says when it has begun."""

    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        self.ready = threading.Event()

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        if self.started:
            self.ready.set()


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


def serve(app: App | str, name: str = "app") -> Served:
    """Run an ASGI app, or that of an exercise such as "1.3"; the one served before by the same name is stopped.

    An exercise's cell is run as you ran it last, or as its starter, apart from all other cells. Raises ServeError.
    """
    if isinstance(app, str):
        app = _app_of(app)
    if not callable(app):
        raise ServeError(f"serve() takes an ASGI app such as FastAPI(), not {type(app).__name__}.")
    if former := _served.pop(name, None):
        former.stop()
    served = Served(app, name)
    served.start()
    _served[name] = served
    return served


@atexit.register
def stop_all() -> None:
    """End whatever is still served."""
    while _served:
        _served.popitem()[1].stop()
