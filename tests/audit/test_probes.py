"""Flaws that 10.5 does not seed, each beside what looks like it; and what an audit must never send."""

import hashlib
import json
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from lab_app.audit.audit import Audit, Options, audit
from lab_app.audit.errors import AuditError
from lab_app.audit.report.told import as_data
from lab_app.runner.services.serving import Served
from tests.audit.flawed import app

AUTH = """
[login]
request = "POST /session"
form = { name = "$name", password = "$password" }
[a]
name = "ada"
password = "$PASSWORD_A"
[b]
name = "eve"
password = "$PASSWORD_B"
"""


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    served = Served(app)
    served.start()
    yield f"http://127.0.0.1:{served.port}"
    served.stop()


@pytest.fixture(scope="module")
def report(url: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Audit]:
    """The app, audited as two users that a file describes."""
    file = tmp_path_factory.mktemp("auth") / "auth.toml"
    file.write_text(AUTH)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PASSWORD_A", "ada's password")
        patch.setenv("PASSWORD_B", "eve's password")
        yield audit(Options(url, auth=file, a_second=5000))


def test_it_finds_what_is_there_and_nothing_beside_it(report: Audit) -> None:
    assert {each.key for each in report.findings} == {
        "somebody-elses-object at GET /boxes/{id}",
        "cookie-for-scripts at POST /session",
        "sql-injection at GET /sql/like",
        "sql-injection at GET /sql/number",
        "sql-injection at GET /sql/list",
        "sql-injection at GET /sql/sort",
        "reads-files at GET /files",
        "redirects-anywhere at GET /go",
        "runs-templates at GET /hello",
        "linked-host at GET /link",
        "shown-hash at GET /people",
        "null-origin at GET /boxes",
        "crash at GET /count/{number}",
        "served-repository at GET /.git/HEAD",
    }


def test_with_active_it_finds_what_a_body_does(url: str) -> None:
    result = audit(Options(url, active=True, a_second=5000))
    assert {each.where for each in result.findings if each.where.startswith("POST")} == {"POST /sql/body"}


def test_with_active_it_finds_what_members_may_do_to_one_another() -> None:
    result = audit(Options("tests.audit.apps.members:app", active=True, a_second=5000))
    assert {each.key for each in result.findings} == {
        "somebody-elses-account at GET /members",
        "somebody-elses-account at GET /members/{member_id}",
        "admin-for-everybody at GET /admin/jobs",
        "somebody-elses-object at GET /strict/{id}/secret",
        "change-somebody-elses-object at PUT /lax/{id}",
        "change-somebody-elses-object at DELETE /lax/{id}",
        "role-in-body at POST /register",
        "no-limit-on-guesses at POST /login",
        "sql-injection at POST /login",
        "sql-injection at GET /words/mine",
        "sql-injection at POST /words/search",
        "sql-injection at POST /words/ordered",
        "redirects-anywhere at GET /go",
        "secret-in-log at GET /logged",
    }


def test_what_was_given_in_confidence_is_in_no_report(report: Audit) -> None:
    text = json.dumps(as_data(report))
    assert "$A_COOKIE" in text or "$A_TOKEN" in text
    for secret in ("ada's password", "ada%27s+password", "eve's password"):
        assert secret not in text
    assert hashlib.sha256(b"ada").hexdigest() not in text


def test_every_finding_of_the_asking_replays_as_a_curl_line(report: Audit) -> None:
    assert all(each.evidence.curl.startswith("curl ") for each in report.findings)
    assert all(each.evidence.request and each.evidence.response for each in report.findings)


def test_without_active_nothing_is_sent_that_changes_state(monkeypatch: pytest.MonkeyPatch, url: str) -> None:
    methods: set[str] = set()
    send = httpx.Client.send

    def noted(self: httpx.Client, request: httpx.Request, **more: object) -> httpx.Response:
        methods.add(request.method)
        return send(self, request, **more)  # type: ignore[arg-type]

    monkeypatch.setattr(httpx.Client, "send", noted)
    audit(Options(url, a_second=5000))
    assert methods == {"GET"}


@pytest.mark.parametrize("host", ["192.0.2.7", "example.org", "127.0.0.1.example.org", "[2001:db8::1]", "0.0.0.0"])
def test_another_machine_is_not_asked(host: str) -> None:
    with pytest.raises(AuditError, match="--i-own-this-host"):
        audit(Options(f"http://{host}:8000"))


@pytest.mark.parametrize("target", ["ftp://127.0.0.1", "http://", "http://127.0.0.1:99999", "nonsense", "no.such:app"])
def test_what_is_no_target_is_one_sentence(target: str) -> None:
    with pytest.raises(AuditError):
        audit(Options(target))


def test_a_closed_port_is_one_sentence() -> None:
    served = Served(app)
    served.start()
    served.stop()
    with pytest.raises(AuditError, match="Nothing answers at"):
        audit(Options(f"http://127.0.0.1:{served.port}"))


@pytest.mark.parametrize(
    "text",
    ["", "a = 1", "[a]\nname = '$NOT_SET_ANYWHERE'", "[login]\nx = 1\n[a]\nname = 'b'", "= ", AUTH.replace("ada", "x")],
)
def test_an_auth_file_that_is_wrong_is_one_sentence(
    url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str
) -> None:
    monkeypatch.setenv("PASSWORD_A", "wrong")
    (tmp_path / "auth.toml").write_text(text)
    with pytest.raises(AuditError):
        audit(Options(url, auth=tmp_path / "auth.toml"))


def test_two_tokens_from_the_environment_read_what_is_behind_a_login(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from tests.audit.apps.behind_login import app as closed

    monkeypatch.setenv("TOKEN_A", "token-of-ada-0123456789")
    monkeypatch.setenv("TOKEN_B", "token-of-eve-0123456789")
    file = tmp_path / "auth.toml"
    file.write_text('[a]\nAuthorization = "Bearer $TOKEN_A"\n[b]\nAuthorization = "Bearer $TOKEN_B"\n')
    served = Served(closed)
    served.start()
    try:
        result = audit(Options(f"http://127.0.0.1:{served.port}", auth=file, a_second=5000))
    finally:
        served.stop()
    assert [each.key for each in result.findings] == ["somebody-elses-object at GET /notes/{id}"]
    assert "token-of-" not in json.dumps(as_data(result))
    assert "$B_AUTHORIZATION" in result.findings[0].evidence.curl


LOOSE = """
from fastapi import FastAPI
from fastapi.middleware.cors import CORSMiddleware

app = FastAPI()
app.add_middleware(CORSMiddleware, {allowed}, allow_credentials=True)


@app.get("/")
def home() -> str:
    return "https://app.example is not an origin here"
"""


@pytest.mark.parametrize(
    ("allowed", "found"),
    [
        ('allow_origins="https://shop.example"', True),  # a string is searched, not compared
        ('allow_origin_regex="https://.*shop.example$" or "https://shop.example"', True),
        ('allow_origins=["https://shop.example"]', False),
        (
            'allow_origins=["*"] if not "https://shop.example" else ["https://shop.example", "http://localhost:3000"]',
            False,
        ),
    ],
)
def test_an_origin_that_only_looks_like_one_on_the_list(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, allowed: str, found: bool
) -> None:
    (tmp_path / "main.py").write_text(LOOSE.format(allowed=allowed))
    result = audit(Options(str(tmp_path), a_second=5000))
    assert bool([each for each in result.findings if each.weakness.name == "loose-origin"]) == found
    assert all(each.weakness.name == "loose-origin" for each in result.findings)


TOKENS = """
import jwt, secrets, time
from fastapi import Depends, FastAPI, HTTPException
from fastapi.security import OAuth2PasswordBearer, OAuth2PasswordRequestForm
from pydantic import BaseModel

app = FastAPI()
users = {{}}
KEY = {key}


class New(BaseModel):
    email: str
    password: str


@app.post("/auth/register")
def register(body: New):
    users[body.email] = body.password


@app.post("/auth/token")
def token(form: OAuth2PasswordRequestForm = Depends()):
    if users.get(form.username) != form.password:
        raise HTTPException(429)
    return {{"access_token": jwt.encode({{"sub": form.username{exp}}}, KEY, "HS256")}}


@app.get("/me")
def me(token: str = Depends(OAuth2PasswordBearer(tokenUrl="/auth/token"))):
    try:
        return {{"email": jwt.decode(token, KEY, algorithms=["HS256"])["sub"]}}
    except jwt.InvalidTokenError:
        raise HTTPException(401)
"""


@pytest.mark.parametrize(
    ("key", "exp", "names"),
    [
        ("secrets.token_hex()", ", 'exp': time.time() + 99", set()),
        ("'secret'", ", 'exp': time.time() + 99", {"guessable-key"}),
        ("secrets.token_hex()", "", {"endless-token"}),
    ],
)
def test_tokens_of_an_app_where_one_registers_and_logs_in_by_oneself(
    tmp_path: Path, key: str, exp: str, names: set[str]
) -> None:
    (tmp_path / "main.py").write_text(TOKENS.format(key=key, exp=exp))
    result = audit(Options(str(tmp_path), active=True, a_second=5000))
    assert {each.weakness.name for each in result.findings} == names
