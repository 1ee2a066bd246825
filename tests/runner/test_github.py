"""The local GitHub keeps GitHub's own rules, and nobody can steer it over HTTP."""

import base64
import hashlib
from collections.abc import Iterator
from urllib.parse import parse_qs, urlencode, urlsplit

import httpx
import pytest

from lab_app.runner.services.github import AUTHORIZE, TOKEN, USER, GitHub, User

ADA = User(583_231, "ada-l", "ada@larkspur.example")
CALLBACK = "http://larkspur.example/auth/github"
VERIFIER = "v" * 43
CHALLENGE = base64.urlsafe_b64encode(hashlib.sha256(VERIFIER.encode()).digest()).rstrip(b"=").decode()
REFUSED = "bad_verification_code"


@pytest.fixture
def github() -> Iterator[GitHub]:
    service = GitHub("Iv1.abc", "s3cret", CALLBACK).start()
    yield service
    service.stop()


def location(github: GitHub, **changes: str | None) -> str:
    asked = {
        "client_id": github.client_id,
        "redirect_uri": CALLBACK,
        "state": "some state",
        "code_challenge": CHALLENGE,
        "code_challenge_method": "S256",
    } | changes
    return f"{github.url}{AUTHORIZE}?" + urlencode({k: v for k, v in asked.items() if v is not None})


def code_for(github: GitHub, /, **changes: str | None) -> str:
    return parse_qs(urlsplit(github.approve(location(github, **changes), ADA)).query)["code"][0]


def exchange(github: GitHub, code: str, json: bool = True, /, **changes: str | None) -> dict[str, str]:
    fields = {
        "client_id": github.client_id,
        "client_secret": github.client_secret,
        "code": code,
        "redirect_uri": CALLBACK,
        "code_verifier": VERIFIER,
    } | changes
    fields = {k: v for k, v in fields.items() if v is not None}
    answer = httpx.post(github.url + TOKEN, data=fields, headers={"Accept": "application/json"} if json else {})
    assert answer.status_code == 200
    if json:
        return answer.json()
    return {k: v[0] for k, v in parse_qs(answer.text, strict_parsing=True, keep_blank_values=True).items()}


def test_sends_the_browser_back_with_code_and_state(github: GitHub) -> None:
    back = urlsplit(github.approve(location(github), ADA))
    assert f"{back.scheme}://{back.netloc}{back.path}" == CALLBACK
    assert parse_qs(back.query)["state"] == ["some state"]


def test_without_redirect_uri_uses_the_registered_one(github: GitHub) -> None:
    assert github.approve(location(github, redirect_uri=None), ADA).startswith(CALLBACK + "?code=")


@pytest.mark.parametrize("json", [True, False])
def test_a_code_buys_a_token_and_the_token_names_the_user(github: GitHub, json: bool) -> None:
    token = exchange(github, code_for(github), json)["access_token"]
    assert github.tokens == {token: ADA}
    for scheme in ("Bearer", "token"):
        answer = httpx.get(github.url + USER, headers={"Authorization": f"{scheme} {token}"})
        assert answer.json()["id"] == ADA.id and answer.json()["login"] == ADA.login
    assert httpx.get(github.url + USER, headers={"Authorization": f"Bearer {token}x"}).status_code == 401
    assert httpx.get(github.url + USER, params={"access_token": token}).status_code == 401


def test_takes_json_and_basic_auth(github: GitHub) -> None:
    fields = {"code": code_for(github), "code_verifier": VERIFIER}
    auth, headers = (github.client_id, github.client_secret), {"Accept": "application/json"}
    assert "access_token" in httpx.post(github.url + TOKEN, json=fields, auth=auth, headers=headers).json()
    for body in (b"[]", b"{", b"\xff"):
        wrong = {"Content-Type": "application/json", "Accept": "application/json"}
        assert "error" in httpx.post(github.url + TOKEN, content=body, headers=wrong).json()


def test_a_code_counts_once_unless_told_otherwise(github: GitHub) -> None:
    code = code_for(github)
    assert "access_token" in exchange(github, code)
    assert exchange(github, code)["error"] == REFUSED
    github.forgiving = True
    code = code_for(github)
    assert "access_token" in exchange(github, code) and "access_token" in exchange(github, code)


@pytest.mark.parametrize(
    "changes",
    [
        {"code": "made up"},
        {"redirect_uri": "http://evil.example/auth/github"},
        {"code_verifier": "w" * 43},
        {"code_verifier": CHALLENGE},
        {"code_verifier": None},
    ],
)
def test_refuses_a_code_that_does_not_fit(github: GitHub, changes: dict[str, str | None]) -> None:
    assert exchange(github, code_for(github), **changes)["error"] == REFUSED
    assert not github.tokens


@pytest.mark.parametrize("changes", [{"client_secret": "x"}, {"client_secret": None}, {"client_id": "x"}])
def test_refuses_another_client(github: GitHub, changes: dict[str, str | None]) -> None:
    assert exchange(github, code_for(github), **changes)["error"] == "incorrect_client_credentials"


def test_knows_no_plain_challenge(github: GitHub) -> None:
    code = code_for(github, code_challenge=VERIFIER, code_challenge_method="plain")
    assert exchange(github, code)["error"] == REFUSED


def test_takes_a_client_without_pkce(github: GitHub) -> None:
    code = code_for(github, code_challenge=None, code_challenge_method=None)
    assert "access_token" in exchange(github, code, code_verifier=None)


def test_somebody_may_deny(github: GitHub) -> None:
    assert parse_qs(urlsplit(github.deny(location(github))).query)["error"] == ["access_denied"]


def test_a_human_clicks_through_the_page(github: GitHub) -> None:
    github.sign_in_as(User(1, "<b>ada</b>"))
    page = httpx.get(location(github))
    assert page.status_code == 200 and "&lt;b&gt;ada&lt;/b&gt;" in page.text
    approved = httpx.post(location(github), data={"answer": "yes"}).headers["location"]
    denied = httpx.post(location(github), data={"answer": "no"}).headers["location"]
    assert "code=" in approved and "error=access_denied" in denied


def test_nobody_approves_over_http_unless_a_human_was_announced(github: GitHub) -> None:
    assert httpx.get(location(github)).status_code == 404
    assert httpx.post(location(github), data={"answer": "yes"}).status_code == 404
    assert not github.codes


def test_fails_as_told_and_recovers(github: GitHub) -> None:
    for path in (TOKEN, USER):
        method = "POST" if path == TOKEN else "GET"
        with github.fails(path, 500):
            assert httpx.request(method, github.url + path).status_code == 500
        with github.fails(path, "garbage"):
            answer = httpx.request(method, github.url + path)
            assert answer.status_code == 200 and answer.text.startswith("<!doctype")
        with github.fails(path, "slow"), pytest.raises(httpx.ReadTimeout):
            httpx.request(method, github.url + path, timeout=0.2)
    assert "access_token" in exchange(github, code_for(github))


def test_is_down_and_back_at_the_same_address(github: GitHub) -> None:
    url, code = github.url, code_for(github)
    with httpx.Client() as kept_alive:
        assert kept_alive.get(url + USER).status_code == 401
        with github.down(), pytest.raises(httpx.TransportError):
            kept_alive.get(url + USER)
        assert github.url == url and kept_alive.get(url + USER).status_code == 401
    assert "access_token" in exchange(github, code)
