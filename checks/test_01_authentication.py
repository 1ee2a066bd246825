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
