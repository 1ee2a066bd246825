"""Two pages for the learner's own browser: the library's frontend and Mallory's, each served from an origin of its own.

A page shows side by side what it asked the API, what its browser let it read, and what the API did.
"""

from dataclasses import asdict
from pathlib import Path
from typing import Any

from fastapi import FastAPI
from fastapi.responses import HTMLResponse

from lab_app.jupyter.kernel import ready
from lab_app.jupyter.markup import render
from lab_app.jupyter.serve import Served, serve, way_to
from lab_app.jupyter.view import View, note

PAGE = Path(__file__).with_name("page.html").read_text(encoding="utf-8")
HEIGHTS = {"read": 196, "profile": 196, "transfer": 150}
_apis: dict[int, Served] = {}
_library = ready().library
ADA = {"username": _library.ada.username, "password": _library.ada.password}
LOAN = _library.loans[_library.ada.username][0]


def site(who: str) -> FastAPI:
    """A page's own server, which also tells the page what an API answered to it."""
    app = FastAPI(docs_url=None, openapi_url=None)

    @app.get("/")
    def page() -> HTMLResponse:
        return HTMLResponse(PAGE, headers={"Cache-Control": "no-store"})

    @app.get("/seen/{port}")
    def seen(port: int, origin: str) -> list[dict[str, Any]]:
        return [asdict(one) for one in _apis[port].seen if one.origin == origin]

    @app.get("/about")
    def about() -> dict[str, Any]:
        return {"who": who, "loan": LOAN} | (ADA if who == "frontend" else {})

    return app


def origins(served: Served) -> list[str]:
    """What a browser may call an app on this machine: to it, these are two origins."""
    return [f"http://127.0.0.1:{served.port}", f"http://localhost:{served.port}"]


frontend = serve(site("frontend"), "the frontend")
mallory = serve(site("mallory"), "Mallory's page")


def show(api: Served, story: str = "read") -> View:
    """Both pages in frames. `story`: what they do there, "read" or "profile" at once or "transfer" at a click."""
    if limits := way_to(api.port).limits:
        return note(limits)
    _apis[api.port] = api
    frames = [(page.name, f"{page.url}/?api={api.port}&story={story}") for page in (frontend, mallory)]
    text = "\n".join(["In a browser:", *(f"  {name}: {url}" for name, url in frames)])
    return View(render("frames.html", frames=frames, height=HEIGHTS[story]), text)
