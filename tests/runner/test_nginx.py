"""A real nginx with somebody's configuration: it comes up, says why it does not, takes another one on, and ends."""

import os
import socket
from collections.abc import Iterator

import httpx
import pytest

from lab_app.runner.fresh import FreshSandbox
from lab_app.runner.limits import Limits
from lab_app.runner.sandbox import AnswerTrouble, Sandbox
from lab_app.runner.services.certificate import Certificate, self_signed
from lab_app.runner.services.nginx import Nginx

CONF = """
events {}
http {
    include mime.types;
    server {
        listen {http_port};
        server_name {server_name};
        return 200 "WORD at {upstream}";
    }
    server {
        listen {https_port} ssl;
        ssl_certificate {cert};
        ssl_certificate_key {key};
        return 200 "WORD over $scheme for {server_name}";
    }
}
"""


@pytest.fixture(scope="module")
def certificate() -> Certificate:
    return self_signed("localhost", "127.0.0.1")


@pytest.fixture(scope="module", params=[Sandbox, FreshSandbox])
def sandbox(request: pytest.FixtureRequest) -> Iterator[Sandbox]:
    limits = Limits(start_seconds=15)
    made = FreshSandbox(limits) if request.param is FreshSandbox else Sandbox(limits, jailed=False)
    yield made
    made.close()


@pytest.fixture
def nginx(sandbox: Sandbox, certificate: Certificate) -> Iterator[Nginx]:
    made = Nginx(sandbox, "nginx", certificate, "larkspur.example")
    yield made
    made.stop()


def get(nginx: Nginx) -> list[str]:
    plain, secure = f"http://127.0.0.1:{nginx.http_port}", f"https://127.0.0.1:{nginx.https_port}"
    return [httpx.get(url, verify=False, trust_env=False).text for url in (plain, secure)]


def test_it_serves_with_the_placeholders_filled(nginx: Nginx) -> None:
    nginx.start(CONF.replace("WORD", "one"), "127.0.0.1:9")
    assert nginx.alive()
    assert get(nginx) == ["one at 127.0.0.1:9", "one over https for larkspur.example"]
    nginx.stop()
    assert not nginx.alive()
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", nginx.http_port))


def test_a_reload_takes_over_on_the_same_ports(nginx: Nginx) -> None:
    nginx.start(CONF.replace("WORD", "one"), "127.0.0.1:9")
    for word in ("two", "three"):
        nginx.reload(CONF.replace("WORD", word), "127.0.0.1:8")
        assert get(nginx) == [f"{word} at 127.0.0.1:8", f"{word} over https for larkspur.example"]


def test_a_reload_that_fails_leaves_what_was(nginx: Nginx) -> None:
    nginx.start(CONF.replace("WORD", "one"), "127.0.0.1:9")
    with pytest.raises(AnswerTrouble, match='unknown directive "nonsense"'):
        nginx.reload("nonsense;", "127.0.0.1:9")
    assert get(nginx)[0] == "one at 127.0.0.1:9"


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="there are no pipes in folders here")
def test_a_reload_that_waits_for_ever_is_ended(nginx: Nginx, monkeypatch: pytest.MonkeyPatch) -> None:
    nginx.start(CONF.replace("WORD", "one"), "127.0.0.1:9")
    monkeypatch.setattr(nginx.sandbox, "limits", Limits(start_seconds=1))
    os.mkfifo(f"{nginx.where}/pipe")
    with pytest.raises(AnswerTrouble, match="in time"):
        nginx.reload("include pipe;", "127.0.0.1:9")
    assert get(nginx)[0] == "one at 127.0.0.1:9"


@pytest.mark.parametrize(
    ("conf", "why"),
    [
        ("", 'no "events" section'),
        ("events {", "unexpected end of file"),
        ("events {} http { include /etc/shadow; }", "shadow"),
        ("events {} http { server { listen {https_port} ssl; ssl_certificate /none; } }", "none"),
        ("\udce4", "unknown directive|unexpected end"),
    ],
)
def test_a_configuration_that_is_none_says_why(nginx: Nginx, conf: str, why: str) -> None:
    with pytest.raises(AnswerTrouble, match=why):
        nginx.start(conf, "127.0.0.1:9")
    assert not nginx.alive()
