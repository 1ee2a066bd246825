"""Section 1, authentication and authorization: the checks of exercises 1.1 to 1.5."""

import math
import time
from collections.abc import Callable, Container
from concurrent.futures import ThreadPoolExecutor, wait
from threading import Barrier
from typing import Any

import httpx

from checks.attacks import ALG_NONE, ZONES, bearer, encoded, forge, nested, part, sign
from lab_app.harness import REFUSED, App, attack, exercise, expect, json_of, legit
from lab_app.harness.draw import Draw
from lab_app.harness.library import Member


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
CROWD = 5


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
    first = begin(app, person)
    for session in (first, go_on(app, first)):
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
    first = begin(app, join(app, draw))
    for access, _ in (first, go_on(app, first)):
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
    person = join(app, draw)
    first, second, third = begin(app, person), begin(app, person), begin(app, person)
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
    """Of several refreshes with one token at the same moment, exactly one gets through.

    Between looking whether a token is used and writing that it is, another request looks too.

    Hint: let one statement do both: `UPDATE … WHERE` it is still unused, and see how many rows it changed.
    """
    person = join(app, draw)
    for race in (pile_up, at_once, pile_up, at_once):
        session = begin(app, person)
        answers = race(app, session)
        for answer in answers:
            expect(answer, (200, *REFUSED), "did not answer a parallel refresh")
        won = sum(answer.status_code == 200 for answer in answers)
        assert won == 1, f"let {won} of {CROWD} parallel refreshes with one token through; exactly one may win"


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
    """Refresh from several addresses at the same moment, over connections that are open already."""
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
