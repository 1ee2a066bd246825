"""1.5 Sign in with GitHub: how it is used, and how it is attacked."""

import re
from collections.abc import Callable
from dataclasses import replace
from itertools import combinations
from urllib.parse import parse_qsl, unquote, urlsplit

import httpx
import pytest

from checks.sign_in import PUBLIC, REDIRECTS, Browser, Site, forgeries, landing, readings, somebody
from lab_app.harness import REFUSED, App, CheckFailed, attack, exercise, expect, json_of, legit
from lab_app.harness.draw import Draw
from lab_app.harness.evidence import exchange_of
from lab_app.runner.services.github import TOKEN, USER, GitHub, environment

GITHUB_TROUBLE = (502, 503)
CLEAR_OF_CHANCE = 12  # places in which two random texts of 22 characters differ, nearly always by far more


def differences(one: str, other: str) -> int:
    """In how many places two texts differ."""
    return sum(a != b for a, b in zip(one, other, strict=False)) + abs(len(one) - len(other))


def asked(location: str) -> dict[str, str]:
    """The parameters of an authorize request."""
    return dict(parse_qsl(urlsplit(location).query))


@pytest.fixture
def browse(site: Site, github: GitHub) -> Callable[[], Browser]:
    """Open somebody's browser."""
    return lambda: Browser(site(), github)


@exercise("1.5")
@legit("RFC 6749 §4.1")
def test_signing_in_shows_who_you_are(browse: Callable[[], Browser], draw: Draw) -> None:
    """Whoever comes back from GitHub is signed in as the GitHub user, also without a public e-mail address.

    Most people hide their e-mail address at GitHub; `/user` answers null for it.

    Hint: answer 302 on the way there; exchange the code with your secret, then ask `/user` with the token.
    """
    for email in (draw.email(), None):
        user, browser = somebody(draw, email=email), browse()
        expect(browser.get("/login/github", params={"next": "/"}), 302, "did not send the browser to GitHub with 302")
        expect(browser.sign_in(user), (302, 303), "did not send the browser on with 302 or 303")
        assert browser.me()["login"] == user.login, "showed another login than GitHub's"


@exercise("1.5")
@legit("RFC 6749 §10.12")
def test_two_people_sign_in_at_the_same_time(browse: Callable[[], Browser], draw: Draw) -> None:
    """Two people who sign in at the same time both get in, each as themselves.

    A server has many visitors at once. What it remembers of one must not be overwritten by the next.

    Hint: keep state and verifier in the browser's own session or cookie, not in a global variable.
    """
    people = [(browse(), somebody(draw)) for _ in range(3)]
    back = [browser.github.approve(browser.begin(), user) for browser, user in people]
    for (browser, _), location in zip(people, back, strict=True):
        expect(browser.come_back(location), REDIRECTS, "turned one of several people away who signed in at once")
    for browser, user in people:
        assert browser.me()["login"] == user.login, "mixed up people who signed in at the same time"


@exercise("1.5")
@legit("RFC 9110 §15.4")
def test_next_brings_you_back(browse: Callable[[], Browser], draw: Draw) -> None:
    """After signing in, the browser is where it wanted to go.

    A link deep into the site should survive the detour.

    Hint: remember `next` along with the state, and have a default when it is missing.
    """
    for path in (f"/loans/{draw.number(1, 9999)}", "/", f"/{draw.username()}/reviews"):
        browser = browse()
        location = browser.sign_in(somebody(draw), next=path).headers.get("location", "")
        went = landing(location, browser.public).split("?")[0]
        assert went == path, f"sent the browser to {location!r} instead of {path!r}"
    browser = browse()
    location = browser.sign_in(somebody(draw)).headers.get("location", "")
    assert landing(location, browser.public), f"sent a browser without next to {location!r}"


@exercise("1.5")
@legit("ASVS 5.0 6.8.1")
def test_a_renamed_login_is_the_same_account(browse: Callable[[], Browser], draw: Draw) -> None:
    """Somebody who changes their login or e-mail address at GitHub still has their account here.

    People rename themselves. Their account must not be lost for it.

    Hint: look the account up by the numeric `id`.
    """
    user = somebody(draw)
    ids = []
    for known in ({}, {"login": draw.username()}, {"email": draw.email()}, {"login": draw.username(), "email": None}):
        browser = browse()
        browser.sign_in(replace(user, **known))
        ids.append(browser.me()["id"])
    assert len(set(map(repr, ids))) == 1, f"gave one GitHub user who was renamed several accounts: {ids}"


@exercise("1.5")
@attack("ASVS 5.0 10.1.2", "RFC 6749 §10.12", "CWE-330")
def test_state_is_fresh_and_long(browse: Callable[[], Browser]) -> None:
    """Every attempt has a fresh state of at least 22 characters.

    The state proves that the browser that comes back is the one that left. Whoever can guess it can fake that.

    Hint: `secrets.token_urlsafe(32)`, anew on every visit of `/login/github`.
    """
    one = browse()
    states = [asked(browser.begin()).get("state", "") for browser in (one, one, browse(), one, browse(), browse())]
    for state in states:
        assert len(state) >= 22, f"sent a state of {len(state)} characters: {state!r}"
    for first, second in combinations(states, 2):
        assert differences(first, second) >= CLEAR_OF_CHANCE, f"sent guessable states: {first!r}, then {second!r}"


@exercise("1.5")
@attack("RFC 7636 §4.2", "RFC 9700 §2.1.1", "ASVS 5.0 10.2.1")
def test_pkce_challenge_is_fresh_and_hashed(browse: Callable[[], Browser], github: GitHub, draw: Draw) -> None:
    """Every attempt has a fresh PKCE challenge by S256, whose verifier is long and stays secret.

    A stolen code is worth nothing without the verifier, which never leaves your server before the exchange.

    Hint: send base64url(SHA-256(verifier)) without padding, and the verifier itself with the code.
    """
    one = browse()
    requests = [asked(browser.begin()) for browser in (one, one, browse(), browse())]
    for request in requests:
        method = request.get("code_challenge_method")
        assert method == "S256", f"asked for a code with code_challenge_method={method}"
        assert len(request.get("code_challenge", "")) == 43, "sent no SHA-256 digest in base64url as code_challenge"
    for first, second in combinations([request["code_challenge"] for request in requests], 2):
        assert differences(first, second) >= CLEAR_OF_CHANCE, "sent the same PKCE challenge twice"
    location = one.begin()
    expect(one.come_back(github.approve(location, somebody(draw))), REDIRECTS, "sent a verifier that does not fit")
    verifier = github.exchanges[-1].get("code_verifier", "")
    assert 43 <= len(verifier) <= 128, f"sent a code_verifier of {len(verifier)} characters, not 43 to 128"
    assert verifier not in unquote(location), "sent the verifier through the browser"


@exercise("1.5")
@attack("CWE-601", "RFC 9700 §4.1.3", "CWE-348")
def test_redirect_uri_ignores_the_host_header(site: Site, github: GitHub, draw: Draw) -> None:
    """GitHub sends the browser back to PUBLIC_BASE_URL, whatever Host and X-Forwarded-Host say.

    Whoever chooses redirect_uri receives the code.

    Hint: build it from PUBLIC_BASE_URL. `request.url_for` believes the Host header, and knows nothing of your proxy.
    """
    evil = f"{draw.username()}.example"
    forged: list[dict[str, str]] = [{}, {"Host": evil}, {"Host": f"{evil}:8443", "X-Forwarded-Proto": "https"}]
    forged += [{"X-Forwarded-Host": evil}, {"X-Forwarded-Host": evil, "X-Forwarded-Proto": "gopher"}]
    forged += [{"Forwarded": f"host={evil};proto=https"}, {"X-Original-Host": evil, "X-Host": evil, "Origin": evil}]
    for public in (PUBLIC, f"https://{draw.username()}.example"):
        browser = Browser(site(public), github)
        for headers in forged:
            answer = expect(
                browser.get("/login/github?next=/", headers=headers), (*REDIRECTS, *REFUSED), "fell over a header"
            )
            if answer.status_code in REDIRECTS:
                to = asked(answer.headers["location"]).get("redirect_uri", github.callback)
                good = to.split("?")[0] == f"{public}/auth/github"
                assert good, f"made GitHub send the code to {to!r} instead of PUBLIC_BASE_URL/auth/github"
    expect(Browser(site(), github).get("/login/github?next=/"), REDIRECTS, "sends nobody to GitHub")


@exercise("1.5")
@attack("CWE-352", "RFC 6749 §10.12", "ASVS 5.0 10.2.1")
def test_attackers_callback_signs_nobody_in(browse: Callable[[], Browser], github: GitHub, draw: Draw) -> None:
    """The attacker's callback address, opened in the victim's browser, signs nobody in.

    Else the victim works in the attacker's account without noticing, and leaves their data there.

    Hint: the state must be one that you gave to this very browser; a list of all states is not enough.
    """
    found = "signed the victim in as the attacker"
    for begun in (False, True):
        for keep_state in (True, False):
            attacker, victim = browse(), browse()
            if begun:
                victim.begin()
            trap = github.approve(attacker.begin(), somebody(draw))
            trap = trap if keep_state else trap.split("&state=")[0]
            expect(victim.come_back(trap), REFUSED, "took a callback that another browser had asked for")
            victim.is_nobody(found)


@exercise("1.5")
@attack("CWE-352", "CWE-20", "RFC 6749 §4.1.2.1")
def test_callback_needs_its_state_and_a_code(browse: Callable[[], Browser], github: GitHub, draw: Draw) -> None:
    """A callback without its state or code, or with others, or after a refusal at GitHub, is answered with 4xx.

    The callback is an open door: anybody may send anything to it.

    Hint: refuse a missing state as you refuse a wrong one; compare bytes, as `compare_digest` takes no Unicode text.
    """
    browser = browse()
    for state in (None, "", "é", "x" * 5000, draw.secret(43), "None", "null", "undefined"):
        good = asked(github.approve(browser.begin(), somebody(draw)))
        query = {"code": good["code"], **({} if state is None else {"state": state})}
        refused = f"took a callback whose state is {str(state)[:50]!r}"
        expect(browser.get("/auth/github", params=query), REFUSED, refused)
        browser.is_nobody(refused)
    for change in (str.swapcase, lambda state: state[:-1], lambda state: state + "A"):
        good = asked(github.approve(browser.begin(), somebody(draw)))
        wrong = change(good["state"])
        if wrong != good["state"]:
            expect(browser.get("/auth/github", params=good | {"state": wrong}), REFUSED, "took a state that differs")
            browser.is_nobody("signed somebody in whose state differs")
    state = asked(browser.begin())["state"]
    expect(browser.get("/auth/github", params={"state": state}), REFUSED, "took a callback without a code")
    expect(browser.come_back(github.deny(browser.begin())), REFUSED, "took a refusal at GitHub for a sign-in")
    expect(browser.get("/auth/github"), REFUSED, "took a callback without anything")
    for code in (draw.secret(20), "é", "' OR 1=1 --"):
        query = {"state": asked(browser.begin())["state"], "code": code}
        answer = browser.get("/auth/github", params=query)
        expect(answer, (*REFUSED, *GITHUB_TROUBLE), "took a code that GitHub never gave")
    browser.is_nobody("signed somebody in whom GitHub had refused")


@exercise("1.5")
@attack("CWE-294", "RFC 9700 §4.7.1")
def test_callback_counts_once(browse: Callable[[], Browser], github: GitHub, draw: Draw) -> None:
    """A callback address that was used is refused, in any browser, even if the provider takes its code again.

    Callback addresses stay in histories and logs.

    Hint: forget the state when it comes back, before anything else.
    """
    github.forgiving = True
    try:
        browser = browse()
        used = github.approve(browser.begin(), somebody(draw))
        expect(browser.come_back(used), REDIRECTS, "did not sign somebody in who came back from GitHub")
        expect(browser.come_back(used), REFUSED, "took a callback for the second time")
        for begun in (False, True):
            other = browse()
            if begun:
                other.begin()
            expect(other.come_back(used), REFUSED, "took a used callback in another browser")
            other.is_nobody("signed somebody in by a used callback")
    finally:
        github.forgiving = False


@exercise("1.5")
@attack("CWE-755", "RFC 9110 §15.6.3", "ASVS 5.0 16.5.2")
def test_trouble_at_github_is_a_bad_gateway(browse: Callable[[], Browser], github: GitHub, draw: Draw) -> None:
    """While GitHub is down or answers 5xx, the answer is 502 or 503, and nobody is signed in.

    A 500 says that your code broke. It did not; say whose trouble it is, and work again when it is over.

    Hint: give the calls a timeout, call `raise_for_status()`, and catch what your HTTP client raises.
    """
    for path, status in ((TOKEN, 500), (TOKEN, 503), (USER, 500), (USER, 502)):
        browser = browse()
        location = github.approve(browser.begin(), somebody(draw))
        with github.fails(path, status):
            answer = browser.come_back(location)
        troubled(answer, f"answered {answer.status_code} while GitHub answered {status} at {path}")
        browser.is_nobody("signed somebody in while GitHub was in trouble")
    location = github.approve(browser.begin(), somebody(draw))
    with github.down():
        answer = browser.come_back(location)
    troubled(answer, f"answered {answer.status_code} while GitHub could not be reached")
    browser.is_nobody("signed somebody in while GitHub was down")
    browser.sign_in(somebody(draw))
    browser.me()


def troubled(answer: httpx.Response, found: str) -> None:
    """The answer tells of trouble at GitHub. Raises CheckFailed."""
    if answer.status_code not in GITHUB_TROUBLE:
        raise CheckFailed(found, "A safe app answers 502 or 503.", exchange_of(answer.request, answer))


@exercise("1.5")
@attack("CWE-287", "CWE-290", "ASVS 5.0 6.8.1")
def test_login_and_email_of_another_open_nothing(browse: Callable[[], Browser], draw: Draw) -> None:
    """Whoever takes over somebody's former login or e-mail address at GitHub does not get their account.

    GitHub gives a login that was given up to whoever asks first, and e-mail addresses change hands too.

    Hint: the numeric `id` is the account; login and e-mail are only what it is called today.
    """
    user, first = somebody(draw, email=draw.email()), browse()
    first.sign_in(user)
    mine = first.me()["id"]
    heirs = ({"login": user.login}, {"email": user.email}, {"login": user.login, "email": user.email})
    for known in (*heirs, {"login": user.login.upper()}):
        heir = browse()
        heir.sign_in(somebody(draw, **known))
        assert heir.me()["id"] != mine, "gave somebody's account to the next owner of their login or e-mail address"
    assert first.me()["id"] == mine, "changed somebody's account when another took over their login"
    again = browse()
    again.sign_in(replace(user, login=draw.username()))
    assert again.me()["id"] == mine, "gave somebody another account after another took over their login"


@exercise("1.5")
@attack("CWE-287", "CWE-290")
def test_github_users_are_not_members_of_that_name(launch: Callable[..., App], github: GitHub, draw: Draw) -> None:
    """A GitHub user whose login, e-mail address or id is that of a library member does not become that member.

    Anybody can take any free login at GitHub, yours too.

    Hint: keep accounts that come from GitHub apart, or tie them to a member only when the member asks for it.
    """
    app = launch(**environment(github, PUBLIC, draw.secret()))
    for member in (app.library.ada, app.library.staff):
        before = app.sql("SELECT username, email, role, disabled FROM members WHERE id = ?", member.id)
        for known in ({"login": member.username}, {"email": member.email}, {"id": member.id}):
            user, browser = somebody(draw, **known), Browser(app, github)
            browser.sign_in(user)
            me = browser.me()
            became = me["login"] != user.login or ("id" not in known and me["id"] == member.id)
            assert not became, f"signed a GitHub user in as the member with the same {next(iter(known))}"
        after = app.sql("SELECT username, email, role, disabled FROM members WHERE id = ?", member.id)
        assert after == before, "changed a member's row when a GitHub user of that name signed in"


@exercise("1.5")
@attack("ASVS 5.0 10.1.1", "CWE-200", "CWE-532")
def test_githubs_token_stays_on_the_server(browse: Callable[[], Browser], github: GitHub, draw: Draw) -> None:
    """GitHub's token and your secrets are in no body, header, cookie or log, not even encoded.

    The token opens the user's GitHub account. A signed cookie can be read by whoever holds it.

    Hint: use the token for `/user` and drop it. Put neither it nor GitHub's answers into details and logs.
    """
    browser = browse()
    for trouble in (None, 500, 401, "garbage"):
        location = github.approve(browser.begin(), somebody(draw))
        if trouble is None:
            browser.come_back(location)
            browser.get("/me")
        else:
            with github.fails(USER, trouble):
                browser.come_back(location)
    app = browser.app
    hidden = dict.fromkeys(github.tokens, "GitHub's token")
    hidden |= {app.env[name]: name for name in ("GITHUB_CLIENT_SECRET", "SESSION_SECRET")}
    sent = "\n".join(text for answer in browser.answers for text in (*answer.headers.values(), answer.text))
    read = "\n".join(readings(sent))
    logs = "\n".join(logs_of(app))
    for secret, name in hidden.items():
        assert secret not in read, f"sent {name} to the browser"
        assert secret not in logs, f"wrote {name} to a log"


def logs_of(app: App) -> list[str]:
    """What the app printed, and wrote to files that are logs by their name."""
    assert app.running
    files = [data.decode("latin-1") for name, data in app.files().items() if re.search(r"\blogs?\b", name)]
    return [app.sandbox.output(app.running)[1], *files]


@exercise("1.5")
@attack("CWE-601", "RFC 9700 §4.11.1")
def test_next_stays_on_the_site(browse: Callable[[], Browser], draw: Draw) -> None:
    """A next that leads off the site is refused, or leads to a page of this one.

    A link that begins at your site and ends at a copy of your login page is what phishers look for.

    Hint: take one slash followed by neither slash nor backslash, and only visible ASCII; else use "/".
    """
    evil = f"{draw.username()}.example"
    public = browse().public
    absolute = [f"https://{evil}", f"http://{evil}/", f"//{evil}", f"///{evil}", f"https:{evil}", f"HTTPS:/{evil}"]
    slashes = [f"/\\{evil}", f"\\\\{evil}", f"\\/{evil}/", f"/\t/{evil}", f"\t//{evil}", f" //{evil}", f"/\n/{evil}"]
    glued = [f"@{evil}", f".{evil}", f"{public}@{evil}", f"{public}.{evil}", f"//{evil}/{public}", f"{public}:x@{evil}"]
    others = ["javascript:alert(1)", f"/\r\nLocation: https://{evil}", f"/%0d%0aX: y//{evil}", "data:text/html,x", "é"]
    for wanted in (*absolute, *slashes, *glued, *others):
        browser = browse()
        answer = expect(
            browser.get("/login/github", params={"next": wanted}), (*REDIRECTS, *REFUSED), f"fell over {wanted!r}"
        )
        if answer.status_code in REFUSED:
            continue
        back = browser.github.approve(answer.headers["location"], somebody(draw))
        answer = expect(browser.come_back(back), (*REDIRECTS, *REFUSED), f"fell over {wanted!r}")
        if answer.status_code in REDIRECTS:
            location = answer.headers["location"]
            assert landing(location, public), f"sent the browser off the site to {location!r} (next was {wanted!r})"
            assert "x" not in answer.headers, "let next add a header"


@exercise("1.5")
@attack("CWE-1004", "CWE-614", "CWE-1275")
def test_session_cookie_has_its_flags(site: Site, github: GitHub, draw: Draw) -> None:
    """The session cookie is HttpOnly and SameSite Lax or Strict, and Secure when PUBLIC_BASE_URL is https.

    Scripts need not read it, other sites need not send it, and it must not travel in the clear.

    Hint: name all three flags; what a browser assumes without them differs.
    """
    for public in (PUBLIC, f"https://{draw.username()}.example"):
        browser = Browser(site(public), github)
        browser.sign_in(somebody(draw))
        browser.me()
        names = browser.session_cookies()
        assert names, "knew somebody without any cookie"
        sent = {c.split("=")[0]: c for a in browser.answers for c in a.headers.get_list("set-cookie")}
        for name in names:
            flags = [flag.strip().lower() for flag in sent[name].split(";")[1:]]
            assert "httponly" in flags, f"set the session cookie {name} without HttpOnly"
            lax = "samesite=lax" in flags or "samesite=strict" in flags
            assert lax, f"set the session cookie {name} without SameSite=Lax or Strict"
            assert public.startswith("http:") or "secure" in flags, f"set the session cookie {name} without Secure"


@exercise("1.5")
@attack("CWE-384", "ASVS 5.0 7.2.4")
def test_session_is_new_at_login(browse: Callable[[], Browser], draw: Draw) -> None:
    """A session cookie from before the sign-in does not become the signed-in session.

    Whoever planted it in the victim's browser would be signed in along with the victim.

    Hint: on sign-in make a new session with a new id, and drop the old one.
    """
    attacker, victim, mallory = browse(), browse(), somebody(draw)
    attacker.begin()
    victim.take(attacker)
    victim.sign_in(somebody(draw))
    attacker.is_nobody("signed the attacker in along with the victim, by a cookie from before")
    names = victim.session_cookies()

    attacker, victim = browse(), browse()
    begun = attacker.begin()
    victim.take(attacker)
    answer = victim.come_back(attacker.github.approve(begun, somebody(draw)))
    expect(answer, (*REDIRECTS, *REFUSED), "fell over an attempt that another browser had begun")
    attacker.is_nobody("signed the attacker in along with the victim, who went on with the attacker's attempt")

    attacker.sign_in(mallory)
    victim = browse()
    victim.take(attacker)
    user = somebody(draw)
    victim.sign_in(user)
    assert victim.me()["login"] == user.login, "kept the session of whoever had signed in before"
    stale = attacker.get("/me")
    spied = stale.status_code == 200 and json_of(stale, "login")["login"] == user.login
    assert not spied, "turned the attacker's session into the victim's, who signed in with the same cookie"

    planted = {name: draw.secret() for name in names}
    attacker, victim = attacker.twin(**planted), browse()
    victim.take(attacker)
    victim.sign_in(somebody(draw))
    attacker.is_nobody("took a session id that the attacker had made up")


@exercise("1.5")
@attack("CWE-565", "CWE-345", "CWE-321")
def test_made_up_sessions_are_refused(
    browse: Callable[[], Browser], launch: Callable[..., App], github: GitHub, draw: Draw
) -> None:
    """Nobody is signed in without a session, or with a cookie that was made up, edited or signed by another secret.

    A cookie comes from the browser, and its owner can write anything into it.

    Hint: keep sessions on the server under a random id, or sign the cookie with SESSION_SECRET from the environment.
    """
    browse().is_nobody("knew somebody who never signed in")
    victim, mallory = browse(), browse()
    user, own = somebody(draw), somebody(draw)
    victim.sign_in(user)
    mallory.sign_in(own)
    theirs, mine = victim.me(), mallory.me()
    texts = ((mine["id"], theirs["id"]), (own.id, user.id), (own.login, user.login))
    swaps = [(str(a), str(b)) for a, b in texts if str(a) != str(b)]
    for name in mallory.session_cookies():
        made_up = {
            "x",
            "1",
            '""',
            str(user.id),
            str(theirs["id"]),
            user.login,
            draw.secret(),
            "eyJ4IjoxfQ==",
            "e30.e30.",
        }
        for value in sorted(forgeries(mallory.cookies()[name], swaps) | made_up):
            answer = expect(mallory.twin(**{name: value}).get("/me"), (200, 401), "fell over a cookie that was made up")
            became = answer.status_code == 200 and json_of(answer, "login")["login"] == user.login
            assert not became, "took a cookie that was made up for the session of somebody else"
    other = Browser(launch(**environment(github, PUBLIC, draw.secret())), github)
    other.sign_in(user)
    stranger = Browser(other.app, github)
    stranger.take(victim)
    stranger.is_nobody("took a session that was signed with another SESSION_SECRET than its own")
