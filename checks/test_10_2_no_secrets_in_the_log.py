"""10.2 No secrets in the log: how it is used, and how it is attacked."""

import base64
import json
import uuid
from typing import Any
from urllib.parse import quote

import httpx

from checks.accounts import log_in
from checks.attacks import bearer
from checks.leaks import leaked
from checks.log_lines import Entry, Log, age_of, status_of, unknown_member, user_of
from lab_app.harness import REFUSED, App, attack, exercise, expect, json_of, legit
from lab_app.harness.draw import Draw
from lab_app.harness.library import Member

RESET = (200, 422)


def account(draw: Draw, password: str, **more: Any) -> dict[str, Any]:
    """A body for /reset."""
    return {"account": {"username": draw.username(), "password": password, **more}}


def expect_silence(entries: list[Entry], log: Log, secrets: dict[str, str], least: int) -> None:
    """So many lines, and none of these secrets in any of them, nor in what stands around them."""
    assert len(entries) >= least, f"wrote {len(entries)} lines for {least} requests"
    found = leaked(log.raw(), secrets)
    assert not found, f"wrote {' and '.join(found)} into the log"


def words_of(path: str) -> set[str]:
    """The words between the slashes of what a line says for a path."""
    return set(path.partition("?")[0].split("/"))


@exercise("10.2")
@legit("RFC 6749 §5.1")
def test_logins_and_resets_work(api: httpx.Client, ada: Member, draw: Draw) -> None:
    """Members log in, a reset with a name and a password is answered with 200, one without with 422, /boom raises.

    A log that says nothing is easy to keep clean if nothing happens.

    Hint: a Pydantic model inside a Pydantic model describes the body.
    """
    answer = expect(log_in(api, ada.username, ada.password), 200, "refused the right password")
    json_of(answer, "access_token", "token_type")
    expect(log_in(api, ada.username, draw.passphrase()), 401, "took a wrong password")
    expect(api.post(f"/reset/{draw.secret(32)}", json=account(draw, draw.passphrase())), 200, "refused a reset")
    expect(api.post(f"/reset/{draw.secret(32)}", json={"account": {}}), 422, "took a reset without a password")
    for method in ("GET", "POST"):
        assert api.request(method, "/boom").status_code == 500, "did not raise in /boom"


@exercise("10.2")
@legit("ASVS 5.0 16.2.1", "CWE-778")
def test_lines_still_say_what_happened(app: App, api: httpx.Client, ada: Member, draw: Draw) -> None:
    """Method, the path's words, status and user name stay in the log.

    A log from which everything is struck is clean, and of no use the morning after.

    Hint: write down what you know to be harmless, rather than striking what you know to be secret.
    """
    for method, path, word, data, name, status in (
        ("POST", "/token", "token", {"username": ada.username, "password": ada.password}, ada.username, 200),
        ("POST", "/token", "token", {"username": ada.username, "password": draw.passphrase()}, ada.username, 401),
        ("GET", "/boom", "boom", None, "", 500),
    ):
        log = Log(app)
        expect(api.request(method, path, data=data), status, "answered otherwise than it is asked to")
        entries = log.before(unknown_member(api, draw), 1)
        about = [e for e in entries if e.get("method") == method and status_of(e) == status]
        assert about, f"wrote no line with method {method} and status {status} for {path}"
        assert any(word in words_of(str(e.get("path"))) for e in about), f"wrote no {word!r} into path for {path}"
        assert not name or name in map(user_of, entries), f"wrote no line that names {name}, who tried to log in"
        assert all(abs(age_of(entry)) < 60 for entry in entries), "wrote a time that is not now"
    body, log = account(draw, draw.passphrase()), Log(app)
    expect(api.post(f"/reset/{draw.secret(32)}", json=body), 200, "refused a reset")
    entries = log.before(unknown_member(api, draw), 1)
    about = [e for e in entries if e.get("method") == "POST" and status_of(e) == 200]
    assert any("reset" in words_of(str(e.get("path"))) for e in about), "wrote no 'reset' into path for a reset"
    assert body["account"]["username"] in map(user_of, entries), "wrote no line that names whose password was reset"


@exercise("10.2")
@attack("CWE-532", "ASVS 5.0 16.2.5")
def test_logins_leave_no_password(app: App, api: httpx.Client, ada: Member, draw: Draw) -> None:
    """Passwords, right, wrong, or in an incomplete form, and the token that was given out are in no line.

    People type last year's password first, and the one of their bank second.

    Hint: name what you log. Never log a form, a body, or an object that holds one.
    """
    log, wrong = Log(app), draw.passphrase()
    token = json_of(log_in(api, ada.username, ada.password), "access_token")["access_token"]
    log_in(api, ada.username, wrong)
    nameless, garbled = draw.passphrase(), draw.passphrase()
    api.post("/token", data={"password": nameless})
    api.post("/token", json={"username": ada.username, "password": nameless})
    api.post("/token", content=f"username=%ff&password={quote(garbled)}&x", headers={"Content-Type": "text/plain"})
    secrets = {"the right password": ada.password, "a wrong password": wrong, "the token it gave": token}
    secrets |= {"the password of a form without a name": nameless, "the password of a garbled form": garbled}
    expect_silence(log.before(unknown_member(api, draw), 5), log, secrets, 5)


@exercise("10.2")
@attack("CWE-532", "CWE-598", "ASVS 5.0 16.2.5")
def test_addresses_leave_no_token(app: App, api: httpx.Client, draw: Draw) -> None:
    """?token=, ?access_token= and the token in /reset/… are in no line, also where no route matches.

    A link from a password e-mail is a password that stands in an address.

    Hint: log the route's template, or the words of a path that you know, and no query at all.
    """
    log, password, secrets = Log(app), draw.passphrase(), dict[str, str]()

    def token(shown: str, value: str = "") -> str:
        secrets[f"the token of {shown}"] = value = value or draw.secret(32)
        return value

    short = {f"{length} characters": draw.secret(length) for length in (8, draw.number(9, 17))}
    for shown, value in (short | {"UUID": str(uuid.UUID(int=draw.random.getrandbits(128), version=4))}).items():
        for method, end in (("POST", ""), ("GET", "/")):
            body = account(draw, password) if method == "POST" else None
            path = f"/reset/{token(f'{method} /reset/…{end} ({shown})', value)}{end}"
            api.request(method, path, json=body)
    for method, start, end in (
        ("POST", "/reset/", ""),
        ("GET", "/reset/", ""),
        ("POST", "/reset/", "/"),
        ("POST", "/reset/", "/confirm"),
        ("GET", "/reset/x/", ""),
        ("GET", "/reset//", ""),
        ("DELETE", f"/reset/{quote('é')}", ""),
        ("PUT", "/reset/", "?next=/"),
        ("GET", "/token?token=", ""),
        ("GET", "/boom?access_token=", ""),
        ("GET", f"/{draw.username()}?token=", ""),
        ("GET", "/reset/x?TOKEN=", ""),
        ("POST", "/reset/x?next=%2Fdone%3Ftoken%3D", ""),
        ("GET", "/boom?%74oken=", ""),
    ):
        body = account(draw, password) if method == "POST" else None
        api.request(method, start + token(f"{method} {start}…{end}") + end, json=body)
    api.get(f"/boom?token={quote(base64.b64encode(token('GET /boom?token=, in base64').encode()).decode())}")
    for path in (
        "/boom",
        f"/{draw.username()}",
    ):  # a page at the link of the e-mail sends it on with all that it asks for
        page = f"https://larkspur.example/reset/{token(f'the Referer of {path}')}"
        api.get(path, headers={"Referer": f"{page}?access_token={token(f'the query in the Referer of {path}')}"})
    entries = log.before(unknown_member(api, draw), 23)
    expect_silence(entries, log, secrets | {"the new password": password}, 23)


@exercise("10.2")
@attack("CWE-532", "CWE-522", "ASVS 5.0 16.2.5")
def test_headers_leave_no_credentials(app: App, api: httpx.Client, draw: Draw) -> None:
    """Authorization, cookies and API keys are in no line, on any path, whatever became of the request.

    A session cookie is as good as a password until it expires.

    Hint: log no header that you do not need. If you must, name the ones you want.
    """
    log = Log(app)
    names = "a bearer token,a basic password,a cookie,an API key,a password for a proxy,a broken scheme".split(",")
    secrets = {name: draw.secret(40) for name in names}
    basic = base64.b64encode(f"{draw.username()}:{secrets['a basic password']}".encode()).decode()
    for path in ("/token", "/boom", f"/{draw.username()}", f"/reset/{draw.secret(32)}"):
        api.get(path, headers=bearer(secrets["a bearer token"]))
        api.get(path, headers={"Authorization": f"Basic {basic}"})
        api.get(path, headers={"Authorization": secrets["a broken scheme"]})
        api.get(path, headers={"Cookie": f"session={secrets['a cookie']}; theme=dark"})
        api.get(path, headers={"X-API-Key": secrets["an API key"]})
        api.get(path, headers={"Proxy-Authorization": f"Basic {secrets['a password for a proxy']}"})
    expect_silence(log.before(unknown_member(api, draw), 24), log, secrets, 24)


@exercise("10.2")
@attack("CWE-532", "CWE-184", "ASVS 5.0 16.2.5")
def test_bodies_leave_no_secrets(app: App, api: httpx.Client, draw: Draw) -> None:
    """Secrets under any spelling of their names, however deep they are nested, are in no line.

    `password` is struck, `Password`, `newPassword` and `client-secret` are not: a list of what is forbidden has holes.

    Hint: log the names that you know to be harmless, from a validated model, and no body.
    """
    log = Log(app)
    secrets: dict[str, str] = {}

    def secret(name: str) -> str:
        value = secrets[f"the value of {name}"] = draw.secret(24)
        return value

    spelled = (
        "Password PASSWORD newPassword password_confirmation passwd client-secret clientSecret refresh_token".split()
    )
    spelled += "accessToken api_key apiKey API-KEY old new Old_Password TOKEN".split()
    for start in range(0, len(spelled), 4):
        some = {name: secret(name) for name in spelled[start : start + 4]}
        nested = {"deep": [{"er": {"token": secret(f"token at {start}")}}, [secret(f"a list at {start}")]]}
        body = account(draw, secret(f"password {start}"), **some, **nested) | {"meta": some, "secret": [nested]}
        expect(api.post(f"/reset/{draw.secret(32)}", json=body), RESET, "fell over a reset")
    weak = secrets["a password that is too short"] = f"{draw.secret(3)}!{draw.secret(3)}"
    expect(api.post(f"/reset/{draw.secret(32)}", json=account(draw, weak)), RESET, "fell over a reset")
    expect_silence(log.before(unknown_member(api, draw), 5), log, secrets, 5)


@exercise("10.2")
@attack("CWE-532", "CWE-209", "ASVS 5.0 16.2.5")
def test_refused_bodies_leave_no_secrets(app: App, api: httpx.Client, draw: Draw) -> None:
    """Broken JSON, wrong types and missing fields do not bring the body into the log.

    A 422 of FastAPI repeats what it was sent, and so does an exception that is logged.

    Hint: do not log `exc.errors()`, `exc.body` or the text of an exception that parsed something.
    """
    log, name, secrets = Log(app), draw.username(), dict[str, str]()

    def secret(shown: str) -> str:
        value = secrets[f"the secret in {shown}"] = draw.secret(24)
        return value

    bodies: list[str | bytes] = [
        f'{{"account": {{"username": "{name}", "password": "{secret("JSON that breaks off")}"',
        json.dumps({"account": {"username": name, "password": [secret("a list for the password")]}}),
        json.dumps({"account": {"username": {"token": secret("an object for the username")}, "password": 1}}),
        json.dumps({"account": secret("a text for the account")}),
        json.dumps([secret("a list for the body")]),
        json.dumps({"password": secret("a body without account")}),
        f"password={secret('a form for JSON')}&username={name}",
        json.dumps({"account": {"password": secret("JSON in UTF-16")}}).encode("utf-16"),
    ]
    for body in bodies:
        answer = api.post(f"/reset/{draw.secret(32)}", content=body, headers={"Content-Type": "application/json"})
        expect(answer, REFUSED, "did not refuse a body that is no reset")
    expect_silence(log.before(unknown_member(api, draw), 8), log, secrets, 8)


@exercise("10.2")
@attack("CWE-532", "CWE-209", "ASVS 5.0 16.2.5")
def test_crashes_leave_no_secrets(app: App, api: httpx.Client, draw: Draw) -> None:
    """What an exception quotes, of headers, cookies, query and body, is in no line.

    The text of an exception is written by whoever raised it, for a reader at a desk, not for an archive.

    Hint: log the exception's type, and where it was raised. Its text and its arguments stay out, their beginnings too.
    """
    log = Log(app)
    names = ("a header", "the first header", "a cookie", "a query", "a form", "a JSON body", "a text")
    secrets = {name: draw.secret(32) for name in names}
    headers = {"Authorization": f"Bearer {secrets['a header']}", "Cookie": f"session={secrets['a cookie']}"}
    api.get("/boom", params={"access_token": secrets["a query"]}, headers=headers)
    api.post("/boom", data={"password": secrets["a form"]}, headers=headers)
    api.post("/boom", json={"account": {"new": secrets["a JSON body"]}}, headers=headers)
    api.post("/boom", content=f"my secret is {secrets['a text']}", headers=headers)
    bare = api.build_request("GET", "/boom")  # nothing before the secret, so that a text that is cut still holds it
    bare.headers = httpx.Headers({"Cookie": secrets["the first header"], "Host": bare.headers["Host"]})
    api.send(bare)
    entries = log.before(unknown_member(api, draw), 5)
    expect_silence(entries, log, secrets, 5)
    assert any(status_of(entry) == 500 for entry in entries), "wrote no line with status 500 for a crash"
