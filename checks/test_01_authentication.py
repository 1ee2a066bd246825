"""Section 1, authentication and authorization: the checks of exercises 1.1 to 1.5."""

import math
import re
import time
from collections.abc import Callable, Container
from concurrent.futures import ThreadPoolExecutor, wait
from dataclasses import replace
from itertools import combinations
from threading import Barrier
from typing import Any
from urllib.parse import parse_qsl, unquote, urlsplit

import httpx
import pytest

from checks.attacks import ALG_NONE, ZONES, bearer, encoded, forge, nested, part, sign
from checks.sign_in import PUBLIC, REDIRECTS, Browser, Site, forgeries, landing, readings, somebody
from lab_app.harness import REFUSED, App, CheckFailed, attack, exercise, expect, json_of, legit
from lab_app.harness.draw import Draw
from lab_app.harness.evidence import exchange_of
from lab_app.harness.library import Member
from lab_app.runner.services.github import TOKEN, USER, GitHub, environment


def me(api: httpx.Client, token: str) -> httpx.Response:
    """Ask who the bearer of a token is."""
    return api.get("/members/me", headers=bearer(token))


def newcomer(draw: Draw) -> dict[str, str]:
    """Somebody who may register."""
    return {"username": draw.username(), "email": draw.email(), "password": draw.passphrase()}


def log_in(api: httpx.Client, username: str, password: str) -> httpx.Response:
    """The OAuth2 password form of 1.2."""
    return api.post("/token", data={"grant_type": "password", "username": username, "password": password})


# 1.1 Read the token


@exercise("1.1")
@legit("RFC 6750 §2.1", "ASVS 5.0 9.1.1")
def test_a_good_token_names_its_member(app: App, api: httpx.Client, ada: Member, bob: Member) -> None:
    """A good token shows its member, and another member's token shows that one.

    Why else have tokens?

    Hint: look `sub` up in `members` and answer its username and e-mail.
    """
    for member in (ada, bob):
        answer = expect(me(api, forge(app, member.username)), 200, "refused a good token")
        body = json_of(answer, "username", "email")
        assert body["username"] == member.username, "showed another member than the token names"
        assert body["email"] == member.email, "showed another e-mail address than the member's"


@exercise("1.1")
@legit("RFC 7519 §4.1.3")
def test_aud_may_be_a_list(app: App, api: httpx.Client, ada: Member) -> None:
    """A token for several audiences is good if we are one of them.

    `aud` is a string or a list of strings; issuers that serve several APIs write lists.

    Hint: let the library compare `aud`; it knows both forms.
    """
    token = forge(app, ada.username, aud=["larkspur-web", app.env["JWT_AUDIENCE"]])
    expect(me(api, token), 200, "refused a token whose aud is a list with us in it")


@exercise("1.1")
@legit("RFC 7519 §2", "CWE-613")
def test_time_is_the_same_everywhere(app_in: Callable[[str], App]) -> None:
    """A token of ten minutes is good in Tokyo and in New York.

    NumericDate counts seconds since 1970 in UTC. A naive local time is off by the server's time zone.

    Hint: compare with `time.time()`, or let the library do it; never with `datetime.now()` without a zone.
    """
    for zone in ZONES:
        app = app_in(zone)
        token = forge(app, app.library.ada.username, nbf=int(time.time()) - 120)
        expect(me(app.api, token), 200, f"refused a good token on a server in {zone}")


@exercise("1.1")
@attack("RFC 6750 §3", "RFC 9110 §11.6.1")
def test_a_refusal_asks_for_a_bearer_token(app: App, api: httpx.Client, ada: Member) -> None:
    """Without a good token the answer is 401 with WWW-Authenticate: Bearer.

    A 401 must name the scheme that would help. Clients and proxies read it.

    Hint: give `headers={"WWW-Authenticate": "Bearer"}` to every 401 that you raise.
    """
    good = forge(app, ada.username)
    tries: list[dict[str, str]] = [{}, bearer("x"), {"Authorization": f"Basic {good}"}, {"Authorization": "Bearer"}]
    for headers in tries:
        answer = expect(api.get("/members/me", headers=headers), 401, "let somebody in without a bearer token")
        scheme = answer.headers.get("www-authenticate", "")
        assert scheme.lower().startswith("bearer"), f"sent a 401 whose WWW-Authenticate is {scheme!r}, not Bearer"


@exercise("1.1")
@attack("CWE-347", "RFC 8725 §3.1")
def test_unsigned_token_is_refused(app: App, api: httpx.Client, ada: Member) -> None:
    """A token that says alg=none, or nothing, is refused.

    Nobody signed it, so anybody wrote it.

    Hint: name the one algorithm that you accept, as a list: `algorithms=["HS256"]`.
    """
    for alg in (*ALG_NONE, "", None, ["HS256"], ["none"], {"a": 1}, "HS"):
        unsigned = forge(app, ada.username, alg=alg)
        for token in (unsigned, forge(app, ada.username, alg=alg, signed_as="HS256", key="")):
            expect(me(api, token), 401, f"took a token that nobody signed (alg: {alg!r})")


@exercise("1.1")
@attack("CWE-347", "ASVS 5.0 9.1.1")
def test_wrong_key_is_refused(app: App, api: httpx.Client, ada: Member, draw: Draw) -> None:
    """A token signed with any other key is refused.

    The signature is all that tells your tokens from everybody's.

    Hint: verify with the characters of `JWT_SECRET`, read from the environment.
    """
    secret = app.env["JWT_SECRET"]
    for key in (draw.secret(), "", "secret", secret.upper(), secret[:32], app.env["JWT_ISSUER"]):
        expect(me(api, forge(app, ada.username, key=key)), 401, "took a token that is signed with a wrong key")


@exercise("1.1")
@attack("CWE-345", "RFC 7515 §5.2")
def test_tampered_token_is_refused(app: App, api: httpx.Client, ada: Member, bob: Member) -> None:
    """A token whose payload, header or signature was changed is refused.

    Whoever may edit `sub` is whoever they like.

    Hint: decode and verify in one call; never read claims from a token that was not verified.
    """
    head, payload, signature = forge(app, ada.username).split(".")
    _, other, _ = forge(app, bob.username).split(".")
    flipped = ("B" if signature[0] == "A" else "A") + signature[1:]
    changed = (f"{head}.{other}.{signature}", f"{head}.{payload}.{flipped}", f"{head}.{payload}.{signature[:-3]}")
    for token in (*changed, f"{head}.{payload}.", f"{part({'alg': 'HS256', 'x': 1})}.{payload}.{signature}"):
        expect(me(api, token), 401, "took a token that was changed after it was signed")


@exercise("1.1")
@attack("CWE-613", "RFC 8725 §3.11")
def test_token_without_an_end_is_refused(app: App, api: httpx.Client, ada: Member, draw: Draw) -> None:
    """A token without a usable exp is refused.

    A token that never ends is a password that nobody can change.

    Hint: require `exp`. Ask what your library makes of `null`, of text and of Infinity; a crash is no answer.
    """
    expect(me(api, forge(app, ada.username, without=["exp"])), 401, "took a token without exp")
    oddities: tuple[Any, ...] = (
        None,
        math.inf,
        -math.inf,
        math.nan,
        draw.username(),
        "",
        [],
        {},
        [int(time.time()) + 600],
    )
    for exp in oddities:
        expect(me(api, forge(app, ada.username, exp=exp)), 401, f"took a token whose exp is {exp!r}")


@exercise("1.1")
@attack("CWE-613", "RFC 7519 §4.1.4")
def test_expired_token_is_refused(app_in: Callable[[str], App]) -> None:
    """A token that has expired is refused, in Tokyo and in New York.

    A clock that is off by the time zone gives a stolen token nine more hours of life.

    Hint: a minute of leeway is plenty. Compare with UTC.
    """
    for zone in ZONES:
        app = app_in(zone)
        for age in (130, 3000, 4 * 3600, 8 * 3600, 400 * 86400):
            now = int(time.time())
            token = forge(app, app.library.ada.username, iat=now - age - 600, exp=now - age)
            expect(me(app.api, token), 401, f"took a token that expired {age} s ago on a server in {zone}")


@exercise("1.1")
@attack("CWE-347", "RFC 7519 §4.1.5", "RFC 7519 §4.1.6")
def test_token_of_the_future_is_refused(app_in: Callable[[str], App]) -> None:
    """A token that is not valid yet, or was issued in the future, is refused.

    `nbf` is the issuer's own word that it is too early; an `iat` ahead of time was made up.

    Hint: not every library looks at `iat`. Compare it yourself, with a minute of leeway.
    """
    for zone in ZONES:
        app = app_in(zone)
        for ahead in (200, 3 * 3600, 30 * 86400):
            later = int(time.time()) + ahead
            for claim in ("nbf", "iat"):
                times: dict[str, Any] = {"exp": later + 600, claim: later}
                token = forge(app, app.library.ada.username, **times)
                expect(me(app.api, token), 401, f"took a token whose {claim} lies {ahead} s ahead")


@exercise("1.1")
@attack("RFC 8725 §3.9", "ASVS 5.0 9.2.3")
def test_token_for_somebody_else_is_refused(app: App, api: httpx.Client, ada: Member, draw: Draw) -> None:
    """A token whose aud is missing or names another API is refused.

    One issuer often serves many APIs. A token for the least of them must not open yours.

    Hint: some libraries take a missing `aud` for a good one. Require it.
    """
    expect(me(api, forge(app, ada.username, without=["aud"])), 401, "took a token without aud")
    audience = app.env["JWT_AUDIENCE"]
    for aud in (draw.username(), "", [], [draw.username()], None, audience + "-admin", audience[:-1], {audience: 1}):
        expect(me(api, forge(app, ada.username, aud=aud)), 401, f"took a token whose aud is {aud!r}")


@exercise("1.1")
@attack("RFC 8725 §3.8", "ASVS 5.0 9.2.2")
def test_token_of_another_issuer_is_refused(app: App, api: httpx.Client, ada: Member, draw: Draw) -> None:
    """A token whose iss is missing or another is refused.

    A key that two services share is no reason to trust both alike.

    Hint: give the library the issuer to compare, and require `iss`.
    """
    expect(me(api, forge(app, ada.username, without=["iss"])), 401, "took a token without iss")
    others: tuple[Any, ...] = (
        draw.username(),
        "",
        None,
        [],
        app.env["JWT_ISSUER"] + "2",
        app.env["JWT_ISSUER"].upper(),
    )
    for iss in others:
        expect(me(api, forge(app, ada.username, iss=iss)), 401, f"took a token whose iss is {iss!r}")


@exercise("1.1")
@attack("RFC 7519 §4.1.2", "RFC 7519 §4.1.6", "CWE-20")
def test_token_without_sub_or_iat_is_refused(app: App, api: httpx.Client, ada: Member) -> None:
    """A token without sub or iat, or with a sub that is no name, is refused.

    The contract wants five claims. A crash on a signed oddity is an outage for one key holder's mistake.

    Hint: require all five claims, and catch what your library raises for each.
    """
    for claim in ("sub", "iat"):
        expect(me(api, forge(app, ada.username, without=[claim])), 401, f"took a token without {claim}")
    for sub in (None, ada.id, [ada.username], {"username": ada.username}, "", True):
        expect(me(api, forge(app, sub)), 401, f"took a token whose sub is {sub!r}")
    oddities: tuple[Any, ...] = (None, "yesterday", [], math.inf)
    for iat in oddities:
        expect(me(api, forge(app, ada.username, iat=iat)), 401, f"took a token whose iat is {iat!r}")


@exercise("1.1")
@attack("RFC 8725 §3.1", "CWE-327")
def test_other_algorithms_are_refused(app: App, api: httpx.Client, ada: Member) -> None:
    """A token by any algorithm but HS256 is refused, even if the key is right.

    An attacker picks the header. Whatever else you accept is theirs to choose from.

    Hint: the list of algorithms has one entry; a bare string may be searched for substrings.
    """
    for alg in ("HS384", "HS512"):
        expect(me(api, forge(app, ada.username, alg=alg)), 401, f"took a token signed by {alg}")
    for alg in ("RS256", "ES256", "PS256", "EdDSA", "hs256", "S256", "HS256 "):
        token = forge(app, ada.username, alg=alg, signed_as="HS256")
        expect(me(api, token), 401, f"took a token whose header says {alg!r}")


@exercise("1.1")
@attack("RFC 7515 §4.1.11")
def test_unknown_critical_header_is_refused(app: App, api: httpx.Client, ada: Member, draw: Draw) -> None:
    """A token with a critical header that you do not know is refused.

    `crit` says: who does not understand this must not take it. Ignoring it drops a rule the issuer relied on.

    Hint: some libraries ignore `crit`. Read the header and refuse the token if it is there.
    """
    for name in (draw.username(), "b64", "exp"):
        token = forge(app, ada.username, header={"crit": [name], name: False})
        expect(me(api, token), 401, f"took a token whose critical header {name!r} nobody here understands")


@exercise("1.1")
@attack("CWE-755", "CWE-674", "ASVS 5.0 16.5.3")
def test_malformed_tokens_are_refused(app: App, api: httpx.Client, ada: Member) -> None:
    """A token that is none is refused with 401, never with a crash.

    A 500 tells an attacker where your code stops thinking, and fills your log.

    Hint: catch every way in which decoding fails; deep nesting raises RecursionError.
    """
    good = forge(app, ada.username)
    head, payload, signature = good.split(".")
    deep = encoded(nested(12_000).encode())
    signed = [sign(head, encoded(text), "HS256", app.env["JWT_SECRET"]) for text in (b"[]", b"1", b"{", b"\xff")]
    parts = [f"{head}.{payload}", f"{good}.{signature}", "..", ".", f".{payload}.{signature}", "Bearer", "a b c"]
    for token in (*parts, *signed, f"{deep}.{payload}.{signature}", f"{encoded(b'[]')}.{payload}.{signature}"):
        expect(me(api, token), 401, "took a malformed token")
    for raw in ("é".encode("latin-1"), "дом.дом.дом".encode(), b"\xff\xfe", good.encode() + b"\xe9"):
        answer = api.get("/members/me", headers=[(b"Authorization", b"Bearer " + raw)])
        expect(answer, 401, "took a token that is not ASCII")


@exercise("1.1")
@attack("CWE-613", "ASVS 5.0 7.4.2")
def test_unknown_and_disabled_members_are_refused(app: App, api: httpx.Client, disabled: Member, draw: Draw) -> None:
    """A good token of a member who is disabled, or does not exist, is refused.

    Tokens outlive accounts. Only the database knows who is still welcome.

    Hint: read `disabled` along with the member, on every request.
    """
    expect(me(api, forge(app, disabled.username)), 401, "let a disabled member in")
    for name in (draw.username(), "' OR 1=1 --", "%", disabled.username.upper()):
        expect(me(api, forge(app, name)), 401, "let somebody in who is no member")


@exercise("1.1")
@attack("RFC 6750 §2.3", "CWE-598")
def test_token_counts_in_the_header_only(app: App, api: httpx.Client, ada: Member) -> None:
    """A token in the query string, a cookie or another header does not count.

    Addresses end up in logs, histories and Referer headers, and so would the token.

    Hint: read the Authorization header and nothing else.
    """
    token = forge(app, ada.username)
    for name in ("token", "access_token", "authorization", "jwt"):
        expect(api.get("/members/me", params={name: token}), 401, f"took a token from the query string (?{name}=)")
        cookie = {"Cookie": f"{name}={token}"}
        expect(api.get("/members/me", headers=cookie), 401, f"took a token from the cookie {name}")
    expect(api.get("/members/me", headers={"X-Authorization": f"Bearer {token}"}), 401, "took another header")


# 1.3 Refresh, log out, change password

Session = tuple[str, str]  # an access token and a refresh token
CROWD = 2


def refresh(api: httpx.Client, token: str) -> httpx.Response:
    """Hand in a refresh token."""
    return api.post("/refresh", json={"refresh_token": token})


def log_out(api: httpx.Client, session: Session) -> httpx.Response:
    """End a session."""
    return api.post("/logout", json={"refresh_token": session[1]})


def change_password(api: httpx.Client, access: str, old: str, new: str) -> httpx.Response:
    """Change the password of whoever bears the access token."""
    return api.post("/password", json={"old": old, "new": new}, headers=bearer(access))


def soon(ask: Callable[[], httpx.Response], status: Container[int]) -> httpx.Response:
    """Ask until the status is the one wanted: an app may commit after it has answered. The last answer."""
    until = time.monotonic() + 2
    while (answer := ask()).status_code not in status and time.monotonic() < until:
        time.sleep(0.02)
    return answer


def settled(app: App) -> None:
    """Wait for whoever is still writing: a write of ours queues behind theirs."""
    app.sql("UPDATE members SET role = role WHERE id < 0")


def session_in(app: App, answer: httpx.Response) -> Session:
    """The session that /token or /refresh has answered, once its access token works."""
    body = json_of(expect(answer, 200, "refused to open or go on with a good session"), "access_token", "refresh_token")
    settled(app)
    alive = soon(lambda: me(app.api, body["access_token"]), [200])
    expect(alive, 200, "refused an access token that it had just issued")
    return str(body["access_token"]), str(body["refresh_token"])


def join(app: App, draw: Draw) -> dict[str, str]:
    """Somebody who has registered."""
    person = newcomer(draw)
    expect(app.api.post("/register", json=person), 201, "refused to register a newcomer")
    app.eventually("SELECT id FROM members WHERE username = ?", person["username"])
    return person


def begin(app: App, person: dict[str, str]) -> Session:
    """A new session of somebody who has registered."""
    return session_in(app, log_in(app.api, person["username"], person["password"]))


def go_on(app: App, session: Session) -> Session:
    """The session after a refresh."""
    return session_in(app, refresh(app.api, session[1]))


def expect_dead(app: App, session: Session, when: str) -> None:
    """Neither token of the session is worth anything."""
    settled(app)
    still = soon(lambda: me(app.api, session[0]), REFUSED)
    expect(still, REFUSED, f"still took the session's access token {when}")
    expect(refresh(app.api, session[1]), REFUSED, f"still took the session's refresh token {when}")


@exercise("1.3")
@legit("RFC 6749 §6")
def test_refreshing_keeps_a_session_going(app_in: Callable[[str], App], draw: Draw) -> None:
    """A session goes on, refresh after refresh, in Tokyo and in New York.

    Access tokens are short-lived so that a stolen one soon dies. Refreshing spares the member the password.

    Hint: answer a new access token and a new refresh token, for the same member. Count time in UTC.
    """
    for zone in ZONES:
        app = app_in(zone)
        person = join(app, draw)
        session = begin(app, person)
        for _ in range(3):
            session = go_on(app, session)
        shown = json_of(expect(me(app.api, session[0]), 200, "refused a good access token"), "username")
        assert shown["username"] == person["username"], "gave a session to another member than the one who refreshed"


@exercise("1.3")
@legit("ASVS 5.0 7.4.1")
def test_logging_out_ends_one_session_only(app: App, draw: Draw) -> None:
    """Logging out on one device leaves the member's other session, and everybody else's, alone.

    Somebody who logs out at the library's terminal is still reading at home.

    Hint: what you revoke has to name the session, not the member.
    """
    person, other = join(app, draw), join(app, draw)
    home, terminal, theirs = begin(app, person), begin(app, person), begin(app, other)
    expect(log_out(app.api, terminal), 204, "did not log out")
    settled(app)
    for session in (home, theirs):
        expect(me(app.api, session[0]), 200, "ended another session than the one that logged out")
        go_on(app, session)
    begin(app, person)


@exercise("1.3")
@legit("NIST SP 800-63B-4 §3.1.1.2")
def test_a_new_password_takes_the_place_of_the_old(app: App, draw: Draw) -> None:
    """After a change the new password logs in, and the old one does not.

    A password is changed because somebody else may know the old one.

    Hint: verify `old`, hash `new` as /register does, and store it in `members`.
    """
    person, other = join(app, draw), join(app, draw)
    theirs, new = begin(app, other), draw.passphrase()
    access, _ = begin(app, person)
    expect(change_password(app.api, access, person["password"], new), 204, "refused to change a password")
    settled(app)
    session_in(app, soon(lambda: log_in(app.api, person["username"], new), [200]))
    expect(log_in(app.api, person["username"], person["password"]), REFUSED, "still took the old password")
    expect(log_in(app.api, other["username"], new), REFUSED, "changed the password of somebody else too")
    go_on(app, theirs)


@exercise("1.3")
@legit("ASVS 5.0 7.2.1")
def test_sessions_outlive_a_restart(launch: Callable[..., App], draw: Draw) -> None:
    """A session goes on after the process was restarted.

    Every deployment restarts the process. State in its memory is gone then, and never was in its sibling's.

    Hint: keep sessions in a table, next to `members`.
    """
    app = launch()
    session = begin(app, join(app, draw))
    app.restart()
    expect(me(app.api, session[0]), 200, "forgot a session when it was restarted")
    go_on(app, session)


@exercise("1.3")
@attack("RFC 8725 §3.12", "ASVS 5.0 9.2.2")
def test_refresh_token_opens_no_door(app: App, draw: Draw) -> None:
    """A refresh token is no access token.

    It lives for days. Whoever takes it at every door has given up short lives.

    Hint: say in the token what it is for, and look at that wherever you read one.
    """
    person = join(app, draw)
    for session in (begin(app, person), go_on(app, begin(app, person))):
        expect(me(app.api, session[1]), REFUSED, "took a refresh token for an access token")
        answer = change_password(app.api, session[1], person["password"], draw.passphrase())
        expect(answer, REFUSED, "let a refresh token change the password")
    begin(app, person)


@exercise("1.3")
@attack("RFC 8725 §3.12", "ASVS 5.0 9.2.2")
def test_access_token_refreshes_nothing(app: App, draw: Draw) -> None:
    """An access token is no refresh token.

    Else a token that was stolen in its last minute buys another one, and so on for ever.

    Hint: the look at what a token is for belongs on both sides.
    """
    person = join(app, draw)
    for access, _ in (begin(app, person), go_on(app, begin(app, person))):
        expect(refresh(app.api, access), REFUSED, "took an access token for a refresh token")


@exercise("1.3")
@attack("CWE-345", "CWE-613")
def test_made_up_refresh_token_is_refused(app: App, draw: Draw) -> None:
    """A refresh token that was never issued, or was changed, is refused.

    It stands for the password, so it has to be as hard to guess.

    Hint: verify what is signed; look up what is random.
    """
    person, other = join(app, draw), join(app, draw)
    (_, mine), (_, theirs) = begin(app, person), begin(app, other)
    spliced = [".".join([*mine.split(".")[:-1], theirs.split(".")[-1]])] if "." in mine else []
    names = [person["username"], person["email"], f"{person['username']}.{draw.secret(32)}"]
    for token in (mine[:-6], draw.secret(), "", "a.b.c", "%", "' OR 1=1 --", *names, *spliced):
        expect(refresh(app.api, token), REFUSED, "took a refresh token that nobody issued")


@exercise("1.3")
@attack("RFC 9700 §4.14.2", "ASVS 5.0 10.4.5")
def test_refresh_token_works_once(launch: Callable[..., App], draw: Draw) -> None:
    """A refresh token that was used is refused, one turn later, two turns later and after a restart.

    If a stolen refresh token works as long as the owner's does, nobody ever notices the thief.

    Hint: issue a new refresh token with every refresh, and let the old one count no more.
    """
    app = launch()
    first, second, third = (begin(app, join(app, draw)) for _ in range(3))
    go_on(app, first)
    expect(refresh(app.api, first[1]), REFUSED, "took a refresh token a second time")
    go_on(app, go_on(app, second))
    expect(refresh(app.api, second[1]), REFUSED, "took a refresh token again after two turns")
    go_on(app, third)
    app.restart()
    expect(refresh(app.api, third[1]), REFUSED, "took a used refresh token again after a restart")


@exercise("1.3")
@attack("RFC 9700 §4.14.2", "ASVS 5.0 10.4.5")
def test_replay_kills_the_family(app: App, draw: Draw) -> None:
    """When a used refresh token comes back, the whole session dies, the newest tokens too.

    One of the two who hold it is a thief, and you cannot tell which. If it was the thief who refreshed first,
    refusing the owner alone leaves the thief logged in.

    Hint: a replay names its session: end it. See that refusing the request does not roll that back.
    """
    for turns in (1, 3):
        first = newest = begin(app, join(app, draw))
        for _ in range(turns):
            newest = go_on(app, newest)
        expect(refresh(app.api, first[1]), REFUSED, "took a refresh token a second time")
        expect_dead(app, newest, "after an older one of its family was replayed")


@exercise("1.3")
@attack("RFC 9700 §4.14.2", "CWE-362")
def test_parallel_refreshes_have_one_winner(app: App, draw: Draw) -> None:
    """Of two refreshes with one token at the same moment, exactly one gets through.

    Between looking whether a token is used and writing that it is, another request looks too.

    Hint: let one statement do both: `UPDATE … WHERE` it is still unused, and see how many rows it changed.
    """
    person = join(app, draw)
    for race in (pile_up, pile_up, *[at_once] * 5):
        session = begin(app, person)
        answers = race(app, session)
        for answer in answers:
            expect(answer, (200, *REFUSED), "did not answer a parallel refresh")
        won = sum(answer.status_code == 200 for answer in answers)
        assert won == 1, f"let {won} of {CROWD} parallel refreshes with one token through; exactly one wins"


def pile_up(app: App, session: Session) -> list[httpx.Response]:
    """Refresh while nobody can write, so that all who look before they write have looked when the first one writes."""
    clients = [app.at(f"127.0.0.{n}") for n in range(11, 11 + CROWD)]
    bystander = app.at("127.0.0.10")
    with ThreadPoolExecutor(CROWD + 1) as crowd:
        with app.locked():
            answers = [crowd.submit(refresh, client, session[1]) for client in clients]
            # A later request that was answered, five times over, says that those before it are under way.
            wait([crowd.submit(lambda: [me(bystander, session[0]) for _ in range(5)])], timeout=1)
        return [answer.result() for answer in answers]


def at_once(app: App, session: Session) -> list[httpx.Response]:
    """Refresh from two addresses at the same moment, over connections that are open already."""
    start = Barrier(CROWD)

    def go(client: httpx.Client) -> httpx.Response:
        me(client, session[0])
        start.wait(10)
        return refresh(client, session[1])

    with ThreadPoolExecutor(CROWD) as crowd:
        return list(crowd.map(go, [app.at(f"127.0.0.{n}") for n in range(11, 11 + CROWD)]))


@exercise("1.3")
@attack("CWE-613", "ASVS 5.0 7.4.1")
def test_logging_out_kills_the_session(app: App, draw: Draw) -> None:
    """After logging out, all tokens of the session are dead: both of the newest, and older access tokens.

    At a shared terminal the next reader finds what the last one left behind.

    Hint: the access token has to say which session it belongs to, and every request has to ask whether that lives.
    """
    person = join(app, draw)
    for turns in (0, 2):
        first = newest = begin(app, person)
        for _ in range(turns):
            newest = go_on(app, newest)
        expect(log_out(app.api, newest), 204, "did not log out")
        expect_dead(app, newest, "after logging out")
        expect(me(app.api, first[0]), REFUSED, "still took an older access token of a session that has logged out")


@exercise("1.3")
@attack("CWE-613", "ASVS 5.0 7.2.4")
def test_changing_the_password_kills_the_session(app: App, draw: Draw) -> None:
    """After a change of password, all tokens of the session that changed it are dead.

    Whoever changes a password after a theft wants the thief out.

    Hint: end the session in the same transaction that stores the new hash.
    """
    for turns in (0, 2):
        person = join(app, draw)
        first = newest = begin(app, person)
        for _ in range(turns):
            newest = go_on(app, newest)
        answer = change_password(app.api, newest[0], person["password"], draw.passphrase())
        expect(answer, 204, "refused to change a password")
        expect_dead(app, newest, "after the password was changed")
        expect(me(app.api, first[0]), REFUSED, "still took an older access token after the password was changed")


@exercise("1.3")
@attack("CWE-613", "ASVS 5.0 7.4.1")
def test_dead_sessions_stay_dead_after_a_restart(launch: Callable[..., App], draw: Draw) -> None:
    """What was dead before the process was restarted is dead after it.

    A deny list in memory lets everybody back in with the next deployment.

    Hint: keep what you revoke in a table, next to `members`.
    """
    app = launch()
    leaving, changing = join(app, draw), join(app, draw)
    left, changed = begin(app, leaving), begin(app, changing)
    expect(log_out(app.api, left), 204, "did not log out")
    answer = change_password(app.api, changed[0], changing["password"], draw.passphrase())
    expect(answer, 204, "refused to change a password")
    settled(app)
    app.restart()
    expect_dead(app, left, "after logging out and a restart")
    expect_dead(app, changed, "after a change of password and a restart")


@exercise("1.3")
@attack("CWE-620", "ASVS 5.0 6.2.3")
def test_changing_the_password_takes_the_old_one(app: App, draw: Draw) -> None:
    """Nobody changes a password without the old one and a live session.

    A token is borrowed more easily than a password: an open laptop is enough. It must not lock the owner out.

    Hint: verify `old` against the stored hash before anything is written.
    """
    person, other = join(app, draw), join(app, draw)
    new, password = draw.passphrase(), person["password"]
    access, _ = begin(app, person)
    for old in (draw.passphrase(), "", password[:-1], password.upper(), other["password"]):
        expect(change_password(app.api, access, old, new), REFUSED, "changed a password without the old one")
    nobody = app.api.post("/password", json={"old": password, "new": new})
    expect(nobody, REFUSED, "changed a password for nobody")
    settled(app)
    expect(log_in(app.api, person["username"], new), REFUSED, "took a password whose change it had refused")
    begin(app, person)


# 1.4 Whose loan is it?


def loan(app: App, method: str, path: str, token: str) -> httpx.Response:
    """Ask for something under a path as the bearer of a token."""
    return app.api.request(method, path, headers=bearer(token))


def ways(id_: object) -> tuple[tuple[str, str], ...]:
    """The two ways to a loan."""
    return ("GET", f"/loans/{id_}"), ("POST", f"/loans/{id_}/renew")


def change_email(app: App, username: str, token: str, email: str, **more: Any) -> httpx.Response:
    """Change a member's e-mail address; `more` goes along in the body."""
    return app.api.patch(f"/members/{username}", json={"email": email, **more}, headers=bearer(token))


def due(app: App, id_: int) -> str:
    """When a loan is due."""
    return str(app.sql("SELECT due_on FROM loans WHERE id = ?", id_)[0][0])


def everything(app: App) -> list[list[Any]]:
    """All members and all loans, once nobody is writing any more."""
    settled(app)
    return app.sql("SELECT * FROM members ORDER BY id") + app.sql("SELECT * FROM loans ORDER BY id")


def unknown_loan(app: App, draw: Draw) -> int:
    """An id like the others that no loan has."""
    known = {id_ for pair in app.library.loans.values() for id_ in pair}
    return next(id_ for id_ in iter(lambda: draw.number(1_000, 90_000), 0) if id_ not in known)


def expect_renewed(app: App, id_: int, before: str, answer: httpx.Response) -> None:
    """The loan is due later than it was."""
    expect(answer, 200, "refused to renew a loan for somebody who may")
    later = app.eventually("SELECT due_on FROM loans WHERE id = ? AND due_on > ?", id_, before)
    assert later, f"answered 200 to a renewal and left the loan due on {due(app, id_)}; it was {before}"


@exercise("1.4")
@legit("API1:2023", "ASVS 5.0 8.2.2")
def test_owners_see_and_renew_their_loans(app: App, ada: Member, bob: Member) -> None:
    """Members see their own loans, both of them, and can renew them.

    A door that is shut to everybody protects nothing that anybody wants.

    Hint: read the loan and compare its `member_id` with the id of the member whose token it is.
    """
    for member in (ada, bob):
        token = forge(app, member.username)
        for id_ in app.library.loans[member.username]:
            expect(loan(app, "GET", f"/loans/{id_}", token), 200, "hid a loan from its owner")
        before = due(app, id_)
        expect_renewed(app, id_, before, loan(app, "POST", f"/loans/{id_}/renew", token))


@exercise("1.4")
@legit("API5:2023", "ASVS 5.0 8.2.1")
def test_staff_see_and_renew_all_loans(app: App, ada: Member, bob: Member, staff: Member) -> None:
    """Staff see and renew everybody's loans, and list the members.

    That is their job. Their token says who they are, and the database that they are staff.

    Hint: allow the owner or somebody whose `role` in `members` is `staff`.
    """
    token = forge(app, staff.username)
    for member in (ada, bob):
        id_ = app.library.loans[member.username][0]
        expect(loan(app, "GET", f"/loans/{id_}", token), 200, "hid a loan from the staff")
        before = due(app, id_)
        expect_renewed(app, id_, before, loan(app, "POST", f"/loans/{id_}/renew", token))
    expect(loan(app, "GET", "/members", token), 200, "hid the members from the staff")


@exercise("1.4")
@legit("API1:2023", "ASVS 5.0 8.2.2")
def test_email_is_changed_by_its_member_and_by_staff(
    app: App, ada: Member, bob: Member, staff: Member, draw: Draw
) -> None:
    """Members change their own e-mail address, and staff change anybody's.

    The change lands in the row of that member and in no other.

    Hint: `UPDATE members SET email = … WHERE username = …`, with the name from the path.
    """
    for who, whose in ((ada, ada), (staff, bob), (staff, staff)):
        email, others = draw.email(), "SELECT * FROM members WHERE username <> ? ORDER BY id"
        before = app.sql(others, whose.username)
        answer = change_email(app, whose.username, forge(app, who.username), email=email)
        expect(answer, 200, "refused a change of e-mail address to somebody who may make it")
        row = "SELECT id FROM members WHERE username = ? AND email = ?"
        assert app.eventually(row, whose.username, email), "answered 200 and did not change the e-mail address"
        assert app.sql(others, whose.username) == before, "changed another member as well"


@exercise("1.4")
@legit("ASVS 5.0 8.3.2")
def test_a_promotion_counts_at_once(launch: Callable[..., App]) -> None:
    """A member who joins the staff may do what staff may, with the token of the day before.

    If the role is read from the database, nobody has to log in again.

    Hint: read `role` along with the member, on every request.
    """
    app = launch()
    ada, bob = app.library.ada, app.library.bob
    token = forge(app, bob.username, role="member")
    loan(app, "GET", "/members", token)  # for an app that remembers what it has seen
    app.sql("UPDATE members SET role = 'staff' WHERE id = ?", bob.id)
    expect(loan(app, "GET", "/members", token), 200, "did not notice that a member has joined the staff")
    for id_ in app.library.loans[ada.username]:
        expect(loan(app, "GET", f"/loans/{id_}", token), 200, "did not notice that a member has joined the staff")


@exercise("1.4")
@attack("API1:2023", "CWE-639")
def test_other_peoples_loans_are_not_found(app: App, ada: Member, bob: Member, staff: Member) -> None:
    """Somebody else's loan is 404, to see and to renew, and stays as it is.

    Ids are guessed by counting. What stands behind them is what somebody reads, and when they are not at home.

    Hint: one dependency that finds a loan for a member, used by every route with a loan in its path.
    """
    before = everything(app)
    for who, whose in ((bob, ada), (ada, bob), (bob, staff)):
        token = forge(app, who.username)
        for id_ in app.library.loans[whose.username]:
            for way in ways(id_):
                expect(loan(app, *way, token), 404, "did not answer 404 for somebody else's loan")
    assert everything(app) == before, "changed a loan or a member although it had refused"


@exercise("1.4")
@attack("API1:2023", "CWE-204")
def test_unknown_loans_are_not_found_either(app: App, bob: Member, staff: Member, draw: Draw) -> None:
    """A loan that does not exist is 404, just as one that is somebody else's.

    If the two differ, counting through the ids tells how many loans there are and which.

    Hint: raise the same HTTPException in both cases. 403 says: it exists.
    """
    for who in (bob, staff):
        token = forge(app, who.username)
        for id_ in (unknown_loan(app, draw), unknown_loan(app, draw), 10**9 + draw.number(1, 10**6)):
            for way in ways(id_):
                expect(loan(app, *way, token), 404, "did not answer 404 for a loan that does not exist")


@exercise("1.4")
@attack("CWE-20", "CWE-755")
def test_odd_ids_find_nothing(app: App, ada: Member, bob: Member, draw: Draw) -> None:
    """Zero, negative, huge and text ids are 404 or 422, and never a crash.

    A number beyond 64 bits fits into Python and not into the database.

    Hint: what cannot be an id is not found. Bound the number, or catch what the driver raises.
    """
    before, theirs = everything(app), app.library.loans[ada.username][0]
    numbers = (0, -1, -theirs, 2**63, 2**64 + theirs, -(2**63) - 1, 10**30, 10**400)
    texts = (draw.username(), "null", "1e3", "NaN", "%00", "%27%20OR%201=1--", "*", "٣", "ⅷ")
    disguised = (f"{theirs}.0", f"0{theirs}", f"%20{theirs}", f"{theirs}%00", f"{theirs}%20OR%201=1", f"%2B{theirs}")
    for id_ in (*numbers, *texts, *disguised):
        for way in ways(id_):
            expect(loan(app, *way, forge(app, bob.username)), (404, 422), "found a loan where there is none")
    assert everything(app) == before, "changed a loan or a member although it had refused"


@exercise("1.4")
@attack("CWE-288", "API5:2023")
def test_no_other_way_leads_around(app: App, ada: Member, bob: Member, draw: Draw) -> None:
    """HEAD, OPTIONS, other methods and other spellings of a path tell nothing and change nothing.

    A guard that compares methods and paths misses the one that you did not think of.

    Hint: guard the function that reads the loan, not its address.
    """
    before, token = everything(app), forge(app, bob.username)
    theirs, nobodys = app.library.loans[ada.username][0], unknown_loan(app, draw)
    paths = ("/loans/{}", "/loans/{}/", "/LOANS/{}", "/Loans/{}", "/%6Coans/{}")
    tries = [(method, path) for path in paths for method in ("GET", "HEAD")]
    tries += [("POST", f"{path.rstrip('/')}/{renew}") for path in paths for renew in ("renew/", "RENEW", "%72enew")]
    tries += [(method, "/loans/{}/renew") for method in ("GET", "HEAD", "PUT", "PATCH", "DELETE")]
    tries += [(method, "/loans/{}") for method in ("POST", "PUT", "PATCH", "DELETE")]
    for method, path in tries:
        answer = expect(loan(app, method, path.format(theirs), token), range(300, 500), "let somebody else at a loan")
        unknown = loan(app, method, path.format(nobodys), token)
        expect(unknown, answer.status_code, "answered one way for a loan that exists and another way for none")
    for path in ("/loans/{}", "/loans/{}/renew"):
        answer = expect(loan(app, "OPTIONS", path.format(theirs), token), range(200, 500), "did not answer OPTIONS")
        unknown = loan(app, "OPTIONS", path.format(nobodys), token)
        expect(unknown, answer.status_code, "answered one way for a loan that exists and another way for none")
    for method, path in (("HEAD", "/members"), ("GET", "/members/"), ("GET", "/MEMBERS"), ("GET", "/%6Dembers")):
        expect(loan(app, method, path, token), range(300, 500), "listed the members for a member")
    for path in (f"/members/{ada.username}/", f"/MEMBERS/{ada.username}", f"/%6Dembers/{ada.username}"):
        for method in ("PATCH", "PUT", "POST", "DELETE"):
            app.api.request(method, path, json={"email": draw.email()}, headers=bearer(token))
    assert everything(app) == before, "changed a loan or a member although it had refused"


@exercise("1.4")
@attack("API5:2023", "ASVS 5.0 8.2.1")
def test_members_list_is_for_staff(app: App, ada: Member, bob: Member, disabled: Member) -> None:
    """Members who ask for the list of members get 403.

    Names and addresses of everybody are what a thief wants first.

    Hint: a dependency that raises 403 unless the role in the database is `staff`.
    """
    for member in (ada, bob):
        expect(loan(app, "GET", "/members", forge(app, member.username)), 403, "did not refuse the list with 403")
        answer = loan(app, "GET", "/members?role=staff&is_staff=true", forge(app, member.username))
        expect(answer, 403, "did not refuse the list with 403")
    expect(loan(app, "GET", "/members", forge(app, disabled.username)), REFUSED, "listed the members")


@exercise("1.4")
@attack("CWE-269", "ASVS 5.0 8.3.1")
def test_role_in_the_token_means_nothing(app: App, ada: Member, bob: Member, staff: Member, draw: Draw) -> None:
    """A token that claims a role, or somebody else's id, gives no right; one that claims less takes none away.

    Whoever signs tokens for another purpose, or signed one last year, does not decide who is staff today.

    Hint: take `sub` from the token, and everything else from the database.
    """
    before = everything(app)
    claims: tuple[dict[str, Any], ...] = (
        {"role": "staff"},
        {"roles": ["staff"], "scope": "staff admin", "scopes": ["staff"], "groups": ["staff"], "permissions": ["*"]},
        {"is_staff": True, "staff": True, "admin": True, "is_admin": True, "username": staff.username},
        {"id": ada.id, "member_id": ada.id, "user_id": ada.id, "uid": ada.id, "username": ada.username},
    )
    for claim in claims:
        token = forge(app, bob.username, **claim)
        expect(loan(app, "GET", "/members", token), 403, "believed what a token says of its bearer")
        for way in ways(app.library.loans[ada.username][0]):
            expect(loan(app, *way, token), 404, "believed what a token says of its bearer")
        answer = change_email(app, ada.username, token, email=draw.email())
        expect(answer, (403, 404), "believed what a token says of its bearer")
    assert everything(app) == before, "changed a loan or a member although it had refused"
    modest = forge(app, staff.username, role="member", roles=[], is_staff=False)
    expect(loan(app, "GET", "/members", modest), 200, "took the role from the token and not from the database")


@exercise("1.4")
@attack("CWE-613", "ASVS 5.0 8.3.2")
def test_a_demotion_counts_at_once(launch: Callable[..., App], draw: Draw) -> None:
    """Somebody who has left the staff has no more rights than a member, also with a token from before.

    People are demoted for a reason, and the reason does not wait until a token expires.

    Hint: do not keep roles in the token, in a cache or in a global.
    """
    app = launch()
    ada, staff = app.library.ada, app.library.staff
    token = forge(app, staff.username, role="staff")
    id_ = app.library.loans[ada.username][0]
    for path in ("/members", f"/loans/{id_}"):
        loan(app, "GET", path, token)  # for an app that remembers what it has seen
    app.sql("UPDATE members SET role = 'member' WHERE id = ?", staff.id)
    before = everything(app)
    expect(loan(app, "GET", "/members", token), 403, "still took a former member of the staff for one")
    for way in ways(id_):
        expect(loan(app, *way, token), 404, "still took a former member of the staff for one")
    answer = change_email(app, ada.username, token, email=draw.email())
    expect(answer, (403, 404), "still took a former member of the staff for one")
    assert everything(app) == before, "changed a loan or a member although it had refused"


@exercise("1.4")
@attack("API3:2023", "CWE-915", "ASVS 5.0 8.2.3")
def test_nobody_promotes_themselves(launch: Callable[..., App], draw: Draw) -> None:
    """More than an e-mail address in the body of PATCH changes nothing but the e-mail address.

    Whoever writes the whole body into the row lets members write their own role.

    Hint: name the fields that may change. A model with `email` alone leaves the others out.
    """
    app = launch()
    ada, bob = app.library.ada, app.library.bob
    rest = "SELECT id, username, password_hash, role, disabled FROM members ORDER BY id"
    before = app.sql(rest)
    extras: tuple[dict[str, Any], ...] = (
        {"role": "staff"},
        {"disabled": 1, "password_hash": "", "is_staff": True},
        {"id": ada.id, "member": {"role": "staff"}},
        {"role = 'staff', email": draw.email()},
    )
    for extra in extras:
        answer = change_email(app, bob.username, forge(app, bob.username), email=draw.email(), **extra)
        expect(answer, range(200, 500), "did not answer a body with more fields")
        settled(app)
        assert app.sql(rest) == before, f"let a member change {' and '.join(extra)}"
    expect(loan(app, "GET", "/members", forge(app, bob.username)), 403, "let a member join the staff")


@exercise("1.4")
@attack("API1:2023", "CWE-204")
def test_other_members_cannot_be_changed_or_told_apart(
    app: App, ada: Member, bob: Member, staff: Member, disabled: Member, draw: Draw
) -> None:
    """PATCH on anybody else is 403 or 404, the same whether the name exists or not, and changes nothing.

    Whoever owns the e-mail address owns the account, by way of the next password reset.

    Hint: decide by the name in the path and the member of the token before you look anything up.
    """
    before, seen = everything(app), set()
    unknown = (draw.username(), draw.username(), f"{ada.username}1", ada.username[:-1])
    for name in (ada.username, staff.username, disabled.username, *unknown):
        answer = change_email(app, name, forge(app, bob.username), email=draw.email())
        seen.add(expect(answer, (403, 404), "let a member change somebody else").status_code)
    assert len(seen) == 1, "answered 403 for some names and 404 for others, which tells who is a member"
    assert everything(app) == before, "changed a loan or a member although it had refused"


@exercise("1.4")
@attack("API2:2023", "CWE-306")
def test_nobody_comes_in_without_a_token(app: App, ada: Member, staff: Member, draw: Draw) -> None:
    """Without a token, or with one that you did not sign, every route refuses.

    A role is worth as much as the proof of who has it.

    Hint: one dependency for all routes, that of 1.1.
    """
    before, id_ = everything(app), app.library.loans[ada.username][0]
    forged = (forge(app, staff.username, key=draw.secret()), forge(app, staff.username, alg="none"))
    for headers in ({}, *map(bearer, forged)):
        for method, path in (*ways(id_), ("GET", "/members")):
            expect(app.api.request(method, path, headers=headers), REFUSED, "let nobody in particular in")
        patch = app.api.patch(f"/members/{ada.username}", json={"email": draw.email()}, headers=headers)
        expect(patch, REFUSED, "let nobody in particular change a member")
    assert everything(app) == before, "changed a loan or a member although it had refused"


# 1.5 Sign in with GitHub

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
@legit("CWE-287")
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
@attack("CWE-601", "RFC 9700 §4.1.3", "CWE-644")
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
            answer = expect(browser.get("/login/github", headers=headers), (*REDIRECTS, *REFUSED), "fell over a header")
            if answer.status_code in REDIRECTS:
                to = asked(answer.headers["location"]).get("redirect_uri", github.callback)
                good = to.split("?")[0] == f"{public}/auth/github"
                assert good, f"made GitHub send the code to {to!r} instead of PUBLIC_BASE_URL/auth/github"
    expect(Browser(site(), github).get("/login/github"), REDIRECTS, "sends nobody to GitHub")


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
@attack("CWE-755", "RFC 9110 §15.6.3", "ASVS 5.0 16.5.3")
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
@attack("CWE-287", "CWE-290", "ASVS 5.0 10.5.2")
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
