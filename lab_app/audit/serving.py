"""Serve somebody's app in a process of its own: `python serving.py MODULE:APP REPORT`.

It runs under the app's interpreter, so it needs nothing but the standard library and uvicorn. Once the app answers,
REPORT holds its port, its OpenAPI document and what that does not show. The process ends with its standard input.
"""

import importlib
import inspect
import json
import os
import re
import socket
import sys
import threading
from typing import Any

import uvicorn

WRAPPED = 8  # layers around an app, at most
OWN = ("openapi", "swagger_ui_html", "swagger_ui_redirect", "redoc_html")  # the routes that FastAPI brings along


class Server(uvicorn.Server):
    """Calls `began` once the app's own start-up is through."""

    began: Any = None

    async def startup(self, sockets: Any = None) -> None:
        """Say so when it has worked."""
        await super().startup(sockets)
        if self.started:
            self.began()


def loaded(name: str) -> Any:
    """The app, or what its factory makes."""
    module, _, attribute = name.partition(":")
    found: Any = importlib.import_module(module)
    for part in (attribute or "app").removesuffix("()").split("."):
        found = getattr(found, part)
    found = found() if inspect.isfunction(found) and not inspect.signature(found).parameters else found
    if not callable(found):
        raise TypeError(f"{name} is no app, but of the type {type(found).__name__}")
    return found


def innermost(app: Any) -> Any:
    """The app that describes itself, within those that are wrapped around it (an ASGI middleware, a socket server)."""
    for _ in range(WRAPPED):
        inner = next((getattr(app, name) for name in ("app", "other_asgi_app") if hasattr(app, name)), None)
        if hasattr(app, "openapi") or inner is None:
            break
        app = inner
    return app


def document(app: Any) -> Any:
    """What `app.openapi()` says, served or not, and the apps mounted in it say; None if there is nothing."""
    said = described(app)
    for path, inner in mounted(getattr(app, "routes", ())):
        said = joined(said or {"openapi": "3.1.0", "info": {"title": "", "version": ""}}, path, document(inner))
    return said


def described(app: Any) -> Any:
    """An app's own document, the hidden routes that read added as far as their paths tell; None without one."""
    try:
        said = dict(app.openapi())
        said["paths"] = {path: dict(item) for path, item in (said.get("paths") or {}).items()}
    except Exception as error:
        print(f"openapi(): {type(error).__name__}: {error}", file=sys.stderr)  # noqa: T201 - stderr is its log
        return None
    for path, name in hidden(app.routes):
        given = [
            {"name": each, "in": "path", "required": True, "schema": {"type": "string"}}
            for each in re.findall(r"{(\w+)}", path)
        ]
        said["paths"].setdefault(path, {}).setdefault(
            "get", {"operationId": name, "parameters": given, "responses": {}}
        )
    return said


def joined(said: Any, prefix: str, inner: Any) -> Any:
    """A document with another one's paths under a prefix. Its names get the prefix too: both may have a `User`."""
    if not isinstance(inner, dict):
        return said
    mark = re.sub(r"\W+", "_", prefix)
    inner = json.loads(re.sub(r'"#/components/(\w+)/', rf'"#/components/\1/{mark}_', json.dumps(inner)))
    paths = {prefix + path: item for path, item in (inner.get("paths") or {}).items()}
    parts = dict(said.get("components") or {})
    for kind, names in (inner.get("components") or {}).items():
        parts[kind] = {**parts.get(kind, {}), **{f"{mark}_{name}": value for name, value in names.items()}}
    return {**said, "paths": {**(said.get("paths") or {}), **paths}, "components": parts}


def entries(routes: Any, prefix: str = "") -> Any:
    """Each route and its path. An included router is an entry of its own, without a path."""
    for route in routes or ():
        inner = getattr(route, "original_router", None)
        if inner is None:
            yield route, prefix + str(getattr(route, "path_format" if is_described(route) else "path", ""))
        else:
            yield from entries(inner.routes, prefix + str(getattr(route.include_context, "prefix", "")))


def is_described(route: Any) -> bool:
    """Whether a route is one that FastAPI can put into a document."""
    return hasattr(route, "dependant") and hasattr(route, "include_in_schema")


def mounted(routes: Any) -> Any:
    """The apps among the routes that describe themselves, and where they are."""
    for route, path in entries(routes):
        if type(route).__name__ == "Mount" and hasattr(getattr(route, "app", None), "openapi") and "{" not in path:
            yield path, route.app


def hidden(routes: Any) -> Any:
    """Routes to read that no document shows, but for FastAPI's own: path and name."""
    for route, path in entries(routes):
        if is_described(route) and not route.include_in_schema and "GET" in (getattr(route, "methods", None) or ()):
            yield path, str(getattr(route, "name", ""))


def unseen(routes: Any, prefix: str = "") -> list[str]:
    """Websockets, mounts that describe nothing, and hidden routes that change something."""
    found = []
    described = {id(app) for _, app in mounted(routes)}
    for route, place in entries(routes):
        path, kind = prefix + place, type(route).__name__
        if "WebSocket" in kind:
            found.append(f"websocket {path}")
        elif id(getattr(route, "app", None)) in described and kind == "Mount":
            found += unseen(getattr(route.app, "routes", ()), path)
        elif hasattr(route, "app") and kind in ("Mount", "Host"):
            found.append(f"mounted {path or '/'}")
        elif getattr(route, "name", "") not in OWN and not getattr(route, "include_in_schema", True):
            asked = {"HEAD", "GET"} if is_described(route) else {"HEAD"}
            if methods := set(getattr(route, "methods", None) or ()) - asked:
                found.append(f"hidden {'/'.join(sorted(methods))} {path}")
    return found


def main(name: str, report: str) -> None:
    """Serve until standard input ends."""
    sys.path.insert(0, os.getcwd())  # noqa: PTH109 - what `uvicorn MODULE:APP` does
    listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    listener.bind(("127.0.0.1", 0))
    app = loaded(name)

    def told() -> None:
        inner = innermost(app)
        about = {
            "port": listener.getsockname()[1],
            "openapi": document(inner),
            "unseen": unseen(getattr(inner, "routes", ())),
        }
        with open(report + ".part", "w", encoding="utf-8") as file:  # noqa: PTH123 - bare and early
            json.dump(about, file)
        os.replace(report + ".part", report)  # noqa: PTH105

    def until_left_alone() -> None:
        while os.read(0, 1):  # not sys.stdin, whose lock would outlive the interpreter
            pass
        os._exit(0)

    threading.Thread(target=until_left_alone, daemon=True).start()
    # Proxy headers off: who the client is stays the app's own decision.
    settings = uvicorn.Config(
        app, log_level="warning", access_log=False, proxy_headers=False, timeout_graceful_shutdown=1
    )
    server = Server(settings)
    server.began = told
    server.run([listener])
    sys.exit(0 if server.started else 3)


if __name__ == "__main__":
    main(*sys.argv[1:3])
