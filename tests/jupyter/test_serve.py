"""Apps that run in this process: replaced, stopped, linked to, and gone without a trace."""

import socket
import sys
import threading
import types
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from importlib.machinery import ModuleSpec
from typing import Any

import httpx
import pytest
from fastapi import FastAPI, Request
from fastapi.responses import RedirectResponse, StreamingResponse

from lab_app.jupyter.serve import Seen, ServeError, Way, serve, stop_all, way_to


@pytest.fixture(autouse=True)
def nothing_left() -> Iterator[None]:
    """Every thread that a test began has ended by its end."""
    before = set(threading.enumerate())
    yield
    stop_all()
    ended(set(threading.enumerate()) - before)


def ended(threads: set[threading.Thread]) -> None:
    """A pool's workers are told to end, and end a moment later."""
    for thread in threads:
        thread.join(10)
    assert not any(thread.is_alive() for thread in threads)


def app_saying(word: str) -> FastAPI:
    app = FastAPI()

    @app.get("/")
    def read(request: Request) -> dict[str, str]:
        assert request.client
        return {"word": word, "client": request.client.host}

    return app


def test_an_app_is_served_and_linked_to() -> None:
    served = serve(app_saying("one"))
    assert served.get("/").json()["word"] == "one"
    assert httpx.get(served.url).json()["word"] == "one"
    assert f'<a href="{served.url}/" target="_blank" rel="noopener">' in served._repr_html_()
    assert f"{served.url}/docs" in served._repr_html_()
    assert served.url in repr(served)


def test_the_one_of_the_same_name_is_replaced() -> None:
    first, other = serve(app_saying("one")), serve(app_saying("other"), name="<other>")
    second = serve(app_saying("two"))
    assert second.get("/").json()["word"] == "two"
    assert other.get("/").json()["word"] == "other"
    assert "stopped" in first._repr_html_()
    assert "<other>" not in other._repr_html_()
    with pytest.raises(httpx.ConnectError):
        httpx.get(first.url)


def test_serving_again_and_again_leaves_no_thread() -> None:
    before = set(threading.enumerate())
    for n in range(5):
        assert serve(app_saying(str(n))).get("/").json()["word"] == str(n)
        former = set(threading.enumerate()) - before
        serve(app_saying("next"))
        ended(former)


def test_stopping_twice_is_harmless() -> None:
    served = serve(app_saying("one"))
    served.stop()
    served.stop()
    assert "stopped" in repr(served)


def test_an_answer_that_never_ends_does_not_hold_the_stop_up() -> None:
    app = FastAPI()

    @app.get("/")
    def drip() -> StreamingResponse:
        import asyncio

        async def drops() -> AsyncIterator[bytes]:
            while True:
                yield b"drop"
                await asyncio.sleep(0.01)

        return StreamingResponse(drops())

    served = serve(app)
    with httpx.stream("GET", served.url) as answer:
        next(answer.iter_raw())
        served.stop()
    assert not served.thread.is_alive()


def test_the_address_is_the_connections_and_redirects_are_not_followed() -> None:
    app = app_saying("one")

    @app.get("/old")
    def old() -> RedirectResponse:
        return RedirectResponse("/")

    served = serve(app)
    assert served.get("/", headers={"X-Forwarded-For": "9.9.9.9"}).json()["client"] == "127.0.0.1"
    assert served.get("/old").status_code == 307


def test_any_asgi_app_will_do() -> None:
    async def bare(scope: Any, receive: Any, send: Any) -> None:
        assert scope["type"] == "http"
        await send({"type": "http.response.start", "status": 204, "headers": []})
        await send({"type": "http.response.body", "body": b""})

    assert serve(bare).get("/").status_code == 204


def test_a_start_up_that_fails_is_one_clear_error() -> None:
    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        raise RuntimeError("no database today")
        yield

    with pytest.raises(ServeError, match="no database today"):
        serve(FastAPI(lifespan=lifespan))
    with pytest.raises(ServeError, match="takes an ASGI app"):
        serve("app")  # type: ignore[arg-type]


def test_ports_are_given_back() -> None:
    served = serve(app_saying("one"))
    port = int(served.url.rsplit(":")[-1])
    served.stop()
    with socket.socket() as again:
        again.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        again.bind(("127.0.0.1", port))


def test_every_answer_is_remembered() -> None:
    served = serve(app_saying("one"))
    served.get("/", headers={"Origin": "https://app.example"})
    served.post("/nowhere")
    assert served.seen == [Seen("https://app.example", "GET", "/", 200), Seen("", "POST", "/nowhere", 404)]


def test_a_kernel_of_ones_own_is_reached_directly(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("JUPYTERHUB_SERVICE_PREFIX", "CODESPACES"):
        monkeypatch.delenv(name, raising=False)
    assert way_to(8123) == Way("http://127.0.0.1:8123")


@pytest.mark.parametrize(("installed", "url"), [(True, "/user/ada/proxy/8123"), (False, "")])
def test_on_a_hub_the_way_leads_through_its_proxy(monkeypatch: pytest.MonkeyPatch, installed: bool, url: str) -> None:
    monkeypatch.setenv("JUPYTERHUB_SERVICE_PREFIX", "/user/ada/")
    proxy = types.ModuleType("jupyter_server_proxy") if installed else None
    if proxy:
        proxy.__spec__ = ModuleSpec(proxy.__name__, None)
    monkeypatch.setitem(sys.modules, "jupyter_server_proxy", proxy)  # type: ignore[arg-type]
    way = way_to(8123)
    assert way.url == url
    assert "hub" in way.limits
    served = serve(app_saying("one"))
    assert served.get("/").json()["word"] == "one"
    assert way.limits in served._repr_html_()
    assert (f'href="/user/ada/proxy/{served.port}/"' in served._repr_html_()) is installed


def test_in_a_codespace_every_port_has_an_address(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("JUPYTERHUB_SERVICE_PREFIX", raising=False)
    monkeypatch.setenv("CODESPACES", "true")
    monkeypatch.setenv("CODESPACE_NAME", "happy-owl-42")
    monkeypatch.setenv("GITHUB_CODESPACES_PORT_FORWARDING_DOMAIN", "app.github.dev")
    way = way_to(8123)
    assert way.url == "https://happy-owl-42-8123.app.github.dev"
    assert "codespace" in way.limits
