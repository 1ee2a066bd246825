"""What notebook 2 puts between a client and an app: a wire that somebody taps, and an nginx."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from fastapi import FastAPI, Request

from lab_app.jupyter.serve import Served, serve, stop_all
from lab_app.jupyter.services.nginx import Front
from lab_app.jupyter.services.tap import Tap
from lab_app.runner.sandbox import AnswerTrouble
from lab_app.runner.services.certificate import self_signed

CONF = """
events {}
http { server { listen {https_port} ssl; listen {http_port}; ssl_certificate {cert}; ssl_certificate_key {key};
location / { proxy_pass http://{upstream}; proxy_set_header X-Word WORD; } } }
"""


@pytest.fixture
def pair(tmp_path: Path) -> dict[str, str]:
    made = self_signed("localhost", "127.0.0.1")
    files = {"ssl_certfile": made.cert, "ssl_keyfile": made.key}
    for name, content in files.items():
        (tmp_path / name).write_bytes(content)
    return {name: str(tmp_path / name) for name in files}


@pytest.fixture
def app() -> Iterator[FastAPI]:
    made = FastAPI()

    @made.post("/")
    async def echo(request: Request) -> dict[str, str]:
        body, word = (await request.body()).decode(), request.headers.get("x-word", "")
        return {"scheme": request.url.scheme, "body": body, "word": word}

    yield made
    stop_all()


def said(served: Served | Front) -> dict[str, str]:
    return dict(served.post("/", content="a secret").json())


def test_an_app_is_served_over_tls(app: FastAPI, pair: dict[str, str]) -> None:
    served = serve(app, "secure", **pair)
    assert served.url.startswith("https://")
    assert said(served)["scheme"] == "https"


def test_a_tap_sees_what_is_not_encrypted(app: FastAPI, pair: dict[str, str]) -> None:
    for settings, readable in (({}, True), (pair, False)):
        served = serve(app, "tapped", **settings)
        with Tap(served.url) as wire, served.browser(wire.url) as client:
            assert client.post("/", content="a secret").json()["body"] == "a secret"
        assert len(wire.seen) > 100
        assert (b"a secret" in wire.seen) is readable


def test_an_nginx_stands_in_front_of_an_app(app: FastAPI, pair: dict[str, str]) -> None:
    front = Front(serve(app, "behind"), CONF.replace("WORD", "one"), *pair.values())
    assert said(front)["word"] == "one"
    assert front.http.post("/", content="x").json()["body"] == "x"
    assert said(front.reload(CONF.replace("WORD", "two")))["word"] == "two"
    with pytest.raises(AnswerTrouble, match="unexpected"):
        front.reload("events {")
    assert said(front)["word"] == "two"
    assert front.url in front._repr_html_()
    front.nginx.stop()
