"""1.1 Read the token: how it is used, and how it is attacked."""

import math
import re
import time
from collections.abc import Callable
from typing import Any

import httpx

from checks.accounts import me
from checks.attacks import ALG_NONE, ZONES, bearer, encoded, forge, part, sign
from lab_app.harness import App, attack, exercise, expect, json_of, legit
from lab_app.harness.draw import Draw
from lab_app.harness.library import Member

WELL_KNOWN_KEYS = ("secret", "changeme", "your-secret-key", "dev-secret", "supersecret")
FULL_WIDTH = ord("ａ") - ord("a")


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
def test_a_refusal_asks_for_a_bearer_token(app: App, api: httpx.Client, disabled: Member, draw: Draw) -> None:
    """Without a good token the answer is 401 with WWW-Authenticate: Bearer.

    A 401 must name the scheme that would help. Clients and proxies read it.

    Hint: give `headers={"WWW-Authenticate": "Bearer"}` to every 401 that you raise.
    """
    good = forge(app, app.library.ada.username)
    no_bearer: list[dict[str, str]] = [{}, {"Authorization": f"Basic {good}"}, {"Authorization": "Bearer"}]
    refused = (
        "x",
        forge(app, app.library.ada.username, exp=int(time.time()) - 3600),
        forge(app, draw.username()),
        forge(app, disabled.username),
    )
    for headers in (*no_bearer, *map(bearer, refused)):
        answer = expect(api.get("/members/me", headers=headers), 401, "let somebody in without a good bearer token")
        schemes = answer.headers.get("www-authenticate", "")
        asks = re.search(r"(^|,)\s*bearer\b", schemes, re.IGNORECASE)
        assert asks, f"sent a 401 whose WWW-Authenticate is {schemes!r}, not Bearer"


@exercise("1.1")
@attack("CWE-200", "API3:2023", "ASVS 5.0 15.3.1")
def test_answer_shows_no_hash(app: App, api: httpx.Client, ada: Member) -> None:
    """The answer does not hold the password's hash.

    A hash that leaves the database is a hash that can be guessed at home.

    Hint: select the two columns that you answer; never return the row.
    """
    answer = expect(me(api, forge(app, ada.username)), 200, "refused a good token")
    [[kept]] = app.sql("SELECT password_hash FROM members WHERE id = ?", ada.id)
    assert kept not in answer.text, "showed the hash of the member's password"


@exercise("1.1")
@attack("CWE-347", "RFC 8725 §3.1", "ASVS 5.0 9.1.1")
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
@attack("CWE-347", "CWE-798", "ASVS 5.0 9.1.3")
def test_wrong_key_is_refused(app: App, api: httpx.Client, ada: Member, draw: Draw) -> None:
    """A token signed with any other key is refused.

    The signature is all that tells your tokens from everybody's.

    Hint: verify with the characters of `JWT_SECRET`, read from the environment.
    """
    secret = app.env["JWT_SECRET"]
    for key in (draw.secret(), "", *WELL_KNOWN_KEYS, secret.upper(), secret[:32], app.env["JWT_ISSUER"]):
        expect(me(api, forge(app, ada.username, key=key)), 401, "took a token that is signed with a wrong key")
    key = draw.secret()
    own = {"jwk": {"kty": "oct", "k": encoded(key.encode())}, "kid": draw.username()}
    expect(me(api, forge(app, ada.username, key=key, header=own)), 401, "took a token that brings its own key")


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
@attack("CWE-613", "RFC 7519 §4.1.4", "RFC 9068 §2.2")
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
@attack("CWE-613", "RFC 7519 §4.1.4", "ASVS 5.0 9.2.1")
def test_expired_token_is_refused(app_in: Callable[[str], App]) -> None:
    """A token that has expired is refused, in Tokyo and in New York.

    A clock that is off by the time zone gives a stolen token nine more hours of life.

    Hint: a minute of leeway is plenty. Compare with UTC.
    """
    for zone in ZONES:
        app = app_in(zone)
        for age in (75, 3000, 4 * 3600, 8 * 3600, 400 * 86400):
            now = int(time.time())
            token = forge(app, app.library.ada.username, iat=now - age - 600, exp=now - age)
            expect(me(app.api, token), 401, f"took a token that expired {age} s ago on a server in {zone}")


@exercise("1.1")
@attack("ASVS 5.0 9.2.1", "RFC 7519 §4.1.5", "RFC 7519 §4.1.6")
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
        oddities: tuple[Any, ...] = ("tomorrow", math.inf, [])
        for odd in oddities:
            token = forge(app, app.library.ada.username, nbf=odd)
            expect(me(app.api, token), 401, f"took a token whose nbf is {odd!r}")


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
@attack("RFC 8725 §3.8", "CWE-346")
def test_token_of_another_issuer_is_refused(app: App, api: httpx.Client, ada: Member, draw: Draw) -> None:
    """A token whose iss is missing or another is refused.

    A key that two services share is no reason to trust both alike.

    Hint: give the library the issuer to compare, and require `iss`.
    """
    expect(me(api, forge(app, ada.username, without=["iss"])), 401, "took a token without iss")
    issuer = app.env["JWT_ISSUER"]
    others: tuple[Any, ...] = (
        draw.username(),
        "",
        None,
        [],
        [issuer],
        issuer + "2",
        issuer[:-1],
        issuer.upper(),
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
@attack("RFC 8725 §3.1", "CWE-327", "ASVS 5.0 9.1.2")
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
    deep = encoded(b"[" * 10_500)  # uvicorn may refuse headers beyond 16 KiB itself
    signed = [sign(head, encoded(text), "HS256", app.env["JWT_SECRET"]) for text in (b"[]", b"1", b"{", b"\xff")]
    parts = [f"{head}.{payload}", f"{good}.{signature}", "..", ".", f".{payload}.{signature}", "Bearer", "a b c"]
    for token in (*parts, *signed, f"{deep}.{payload}.{signature}", f"{encoded(b'[]')}.{payload}.{signature}"):
        expect(me(api, token), 401, "took a malformed token")
    for raw in ("é".encode("latin-1"), "дом.дом.дом".encode(), b"\xff\xfe", b"\xe9" + good.encode()):
        answer = api.get("/members/me", headers=[(b"Authorization", b"Bearer " + raw)])
        expect(answer, 401, "took a token that is not ASCII")


@exercise("1.1")
@attack("CWE-613", "ASVS 5.0 7.4.2")
def test_unknown_and_disabled_members_are_refused(
    app: App, api: httpx.Client, ada: Member, disabled: Member, draw: Draw
) -> None:
    """A good token of a member who is disabled, or does not exist, is refused.

    Tokens outlive accounts. Only the database knows who is still welcome.

    Hint: read `disabled` along with the member, on every request. Compare `sub`, as it is, with usernames only.
    """
    expect(me(api, forge(app, disabled.username)), 401, "let a disabled member in")
    strangers = (draw.username(), "' OR 1=1 --", "%", ada.username.upper(), disabled.username.upper())
    # Whoever may register one of these would be Ada.
    wide = "".join(chr(ord(letter) + FULL_WIDTH) for letter in ada.username)
    nearly = (ada.email, str(ada.id), f" {ada.username}", f"{ada.username}\n", wide)
    around = (f"{ada.username}@{draw.username()}.example", f"github|{ada.username}")
    for name in (*strangers, *nearly, *around):
        expect(me(api, forge(app, name)), 401, f"let {name!r} in, who is no member")
    others: dict[str, Any] = {
        "preferred_username": ada.username,
        "username": ada.username,
        "email": ada.email,
        "uid": ada.id,
    }
    expect(me(api, forge(app, draw.username(), **others)), 401, "let somebody in by another claim than sub")


@exercise("1.1")
@attack("CWE-613", "ASVS 5.0 7.4.2")
def test_a_member_is_refused_from_the_moment_of_disabling(app: App, api: httpx.Client, bob: Member) -> None:
    """A member who is disabled while the app runs is refused at once.

    Accounts are disabled because somebody is misusing them now.

    Hint: ask the database on every request; keep no members in memory.
    """
    token = forge(app, bob.username)
    expect(me(api, token), 200, "refused a good token")
    app.sql("UPDATE members SET disabled = 1 WHERE username = ?", bob.username)
    try:
        expect(me(api, token), 401, "let a member in who has just been disabled")
    finally:
        app.sql("UPDATE members SET disabled = 0 WHERE username = ?", bob.username)


@exercise("1.1")
@attack("CWE-547", "ASVS 5.0 9.2.3")
def test_issuer_and_audience_come_from_the_environment(launch: Callable[..., App], draw: Draw) -> None:
    """An app that is set up for another issuer and audience takes theirs, and no others.

    Staging and production run the same code. Names written into it make the tokens of one good for the other.

    Hint: read `JWT_ISSUER` and `JWT_AUDIENCE` with `os.environ[...]`.
    """
    app = launch(JWT_ISSUER=draw.username(), JWT_AUDIENCE=draw.username())
    name = app.library.ada.username
    expect(me(app.api, forge(app, name)), 200, "refused a token of the issuer and audience it is set up for")
    others: tuple[dict[str, Any], ...] = ({"iss": "larkspur"}, {"aud": "larkspur-api"})
    for usual in others:
        expect(me(app.api, forge(app, name, **usual)), 401, f"took a token of another app ({usual})")


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
