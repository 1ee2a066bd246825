"""6.3 Rotate without an outage: which key signs, which keys still count, and who chooses between them."""

import base64
import hashlib
import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import httpx
import pytest

from checks.accounts import log_in, me
from checks.attacks import decoded, encoded, part, sign
from checks.leaks import readings
from lab_app.harness import App, CheckFailed, attack, exercise, expect, json_of, legit
from lab_app.harness.draw import Draw
from lab_app.harness.library import Member
from lab_app.harness.world import Answer
from lab_app.runner.sandbox import AnswerTrouble

# Keys that lie about on a machine: what a path or a name leads to, with what is found there.
PATHS = {
    "/dev/null": "",
    "../../../../../../dev/null": "",
    "..%2f..%2f..%2fdev%2fnull": "",
    "file:///dev/null": "",
    "/proc/sys/kernel/ostype": "Linux\n",
    "../../../../../../proc/sys/kernel/ostype": "Linux\n",
    "keys/../../../../../../../dev/null\0.pem": "",
    "' UNION SELECT '' --": "",
    "x' UNION SELECT 'larkspur' AS key --": "larkspur",
}


def head_of(token: str) -> dict[str, Any]:
    """The header of a token; {} if it is none."""
    text = token.split(".")[0]
    try:
        head = json.loads(base64.urlsafe_b64decode(text + "=" * (-len(text) % 4)))
    except ValueError:
        return {}
    return head if isinstance(head, dict) else {}


def token_of(app: App, member: Member) -> str:
    """Log in. Raises CheckFailed."""
    answer = expect(log_in(app.api, member.username, member.password), 200, "refused the right password")
    return str(json_of(answer, "access_token")["access_token"])


def rotate(app: App, newest: str, previous: str | None = None) -> None:
    """Restart the app with these keys; None leaves JWT_SECRET_PREVIOUS unset."""
    app.env.pop("JWT_SECRET_PREVIOUS", None)
    app.restart(JWT_SECRET=newest, **({} if previous is None else {"JWT_SECRET_PREVIOUS": previous}))


@dataclass
class Rotated:
    """An app after a rotation, and a token of each key."""

    answer: Answer
    app: App
    old: str
    new: str

    def signed(self) -> tuple[tuple[str, str], ...]:
        """Each token with the key that signed it."""
        return (self.old, self.app.env["JWT_SECRET_PREVIOUS"]), (self.new, self.app.env["JWT_SECRET"])


_kept: list[Rotated] = []


@pytest.fixture
def rotated(answer: Answer, draw: Draw) -> Rotated:
    """An app after a rotation, shared by the checks that leave it as it is."""
    if not _kept or _kept[0].answer is not answer or not _kept[0].app.alive():
        app = answer.launch()
        old = token_of(app, app.library.ada)
        rotate(app, draw.secret(64), app.env["JWT_SECRET"])
        _kept[:] = [Rotated(answer, app, old, token_of(app, app.library.ada))]
    return _kept[0]


def forged(token: str, key: str, without: str = "", claims: dict[str, Any] | None = None, **head: Any) -> str:
    """A token like one that the app has issued, but for what is given, signed with a key of ours."""
    header = {name: value for name, value in (head_of(token) | head).items() if name != without}
    return sign(part(header), part(decoded(token) | (claims or {})), header.get("alg"), key)


def expect_me(app: App, token: str, member: Member, found: str) -> None:
    """The token is good, and its member's. Raises CheckFailed."""
    body = json_of(expect(me(app.api, token), 200, found), "username", "email")
    assert (body["username"], body["email"]) == (member.username, member.email), "took a token for somebody else's"


def expect_dead(app: App, token: str, found: str) -> httpx.Response:
    """The token is refused. Raises CheckFailed."""
    return expect(me(app.api, token), 401, found)


def expect_signed(token: str, key: str) -> str:
    """The name of the key in a token, which was signed with it by HS256. Raises CheckFailed."""
    head, payload, _ = token.split(".") if token.count(".") == 2 else (token, "", "")
    kid = head_of(token).get("kid")
    if not isinstance(kid, str) or not kid:
        raise CheckFailed("issued a token without a kid", "Every new token names the key that it was signed with.")
    if sign(head, payload, "HS256", key) != token:
        raise CheckFailed("did not sign a new token with JWT_SECRET", "The previous key signs nothing any more.")
    return kid


def names_of(key: str, known: str, kid: str) -> Iterator[str]:
    """What an app would call a key, if it calls another key `kid` by a digest of it."""
    yield from ("", key)
    for name in ("sha256", "sha1", "md5", "sha384", "sha512", "blake2b", "blake2s", "sha3_256"):
        this, that = (hashlib.new(name, text.encode()).digest() for text in (key, known))
        for write in (bytes.hex, encoded, lambda data: base64.b64encode(data).decode()):
            at = write(that).find(kid)
            yield write(this)[at : at + len(kid)] if at >= 0 else write(this)[:16]


def spelt(kid: str) -> set[str]:
    """The name of a key, and whatever it is when an encoding is undone."""
    lines = (line for text in readings(kid.encode()) for line in text.split(b"\n"))
    return {line.decode(errors="ignore") for line in lines}


def asked_for_its_name(launch: Callable[..., App]) -> Iterator[str]:
    """What the app calls the empty key, if it lets itself be started with that as its only one."""
    try:
        app = launch(JWT_SECRET="")
        token = token_of(app, app.library.ada)
    except (AnswerTrouble, CheckFailed):
        return
    yield str(head_of(token).get("kid"))


@exercise("6.3")
@legit("RFC 7515 §4.1.4", "ASVS 5.0 11.2.2")
def test_people_log_in_and_are_known(launch: Callable[..., App], draw: Draw) -> None:
    """Without a previous key members log in, and GET /members/me knows them; a wrong password is 401.

    Most of the time there is just one key.

    Hint: `os.environ.get("JWT_SECRET_PREVIOUS")` is None when it is unset, and that is no key.
    """
    app = launch()
    for member in (app.library.ada, app.library.bob, app.library.staff):
        expect_me(app, token_of(app, member), member, "refused a token that it had just issued")
    wrong = log_in(app.api, app.library.ada.username, draw.passphrase())
    expect(wrong, 401, "let somebody in with a wrong password")
    expect(log_in(app.api, draw.username(), draw.passphrase()), 401, "let somebody in whom it does not know")


@exercise("6.3")
@legit("ASVS 5.0 13.3.4", "RFC 7515 §4.1.4")
def test_old_tokens_outlive_a_rotation(launch: Callable[..., App], draw: Draw) -> None:
    """Tokens from before a rotation are good after it, and people can log in at once.

    A rotation that logs everybody out is put off, year after year.

    Hint: verify with the key that `kid` names, out of the new one and the previous one.
    """
    app = launch()
    first = app.env["JWT_SECRET"]
    tokens = [(member, token_of(app, member)) for member in (app.library.ada, app.library.bob)]
    rotate(app, draw.secret(64), first)
    for member, token in tokens:
        expect_me(app, token, member, "refused a token from before the rotation")
        expect_me(app, token_of(app, member), member, "refused a token that it had just issued")
    rotate(app, app.env["JWT_SECRET"], first)
    expect_me(app, tokens[0][1], tokens[0][0], "refused a token from before the rotation after a restart")


@exercise("6.3")
@legit("RFC 7515 §4.1.4", "ASVS 5.0 13.3.4")
def test_new_tokens_carry_the_new_key_and_its_name(launch: Callable[..., App], draw: Draw) -> None:
    """A new token is signed with JWT_SECRET and names it in `kid`; another key has another name.

    While the previous key still signs, it can never be removed.

    Hint: derive the name from the key, by a digest, so that it stays the same when the key becomes the previous one.
    """
    app = launch()
    ada, first, second = app.library.ada, app.env["JWT_SECRET"], draw.secret(64)
    before = expect_signed(token_of(app, ada), first)
    rotate(app, second, first)
    after = expect_signed(token_of(app, ada), second)
    assert before != after, f"gives two keys one name, {after!r}"


@exercise("6.3")
@attack("CWE-324", "ASVS 5.0 13.3.4")
def test_tokens_of_a_removed_key_die(launch: Callable[..., App], draw: Draw) -> None:
    """Once the previous key is removed, or replaced by the next, its tokens are refused; the others live.

    One rotates because a key may be known to somebody. The rotation is over when the key is worth nothing.

    Hint: keep keys in the environment only, not in the database, in a file or in a cache.
    """
    app = launch()
    ada, first, second, third = app.library.ada, app.env["JWT_SECRET"], draw.secret(64), draw.secret(64)
    old = token_of(app, ada)
    rotate(app, second, first)
    new = token_of(app, ada)
    rotate(app, second)
    expect_me(app, new, ada, "refused a token of the key that it still has")
    expect_dead(app, old, "took a token of a key that was removed")
    rotate(app, third, second)
    expect_me(app, new, ada, "refused a token of the previous key")
    expect_dead(app, old, "took a token of the key before the previous one")
    expect_dead(app, forged(old, first, kid=head_of(new).get("kid")), "took a token signed with a removed key")


@exercise("6.3")
@attack("CWE-613", "ASVS 5.0 9.2.1")
def test_old_tokens_expire(rotated: Rotated) -> None:
    """A token of the previous key is refused once it has expired, like one of the new key.

    The old ones live until they expire. That is what limits how long two keys are needed.

    Hint: one function verifies all tokens; only the key differs.
    """
    app = rotated.app
    for token, key in rotated.signed():
        claims = decoded(token)
        still_good = forged(token, key, claims={"exp": claims["exp"] - 1})
        expect_me(app, still_good, app.library.ada, "refused a token that has not expired")
        for seconds in (120, 3600, 86400):
            stale = {"iat": claims["iat"] - seconds - 600, "exp": claims["iat"] - seconds}
            expect_dead(app, forged(token, key, claims=stale), "took a token that has expired")
        endless = sign(part(head_of(token)), part({**claims, "exp": None}), "HS256", key)
        expect_dead(app, endless, "took a token without an end")


@exercise("6.3")
@attack("RFC 8725 §3.10", "RFC 7515 §4.1.4", "ASVS 5.0 9.1.3")
def test_unknown_kid_is_refused(rotated: Rotated, launch: Callable[..., App], draw: Draw) -> None:
    """A token whose `kid` names no key of this app is refused, whatever it is signed with.

    If an unknown name falls back to some key, names mean nothing, and a rotation cannot be followed.

    Hint: a dictionary from names to keys; what is not in it is 401.
    """
    elsewhere = launch(JWT_SECRET=draw.secret(64))
    strange = head_of(token_of(elsewhere, elsewhere.library.ada)).get("kid")
    kid = str(head_of(rotated.new).get("kid"))
    others = () if strange == kid else (strange,)  # one name for two keys is caught elsewhere
    names = [*others, draw.secret(16), draw.username(), "0", "1", "default", "none", f"{kid}0", kid[:-1]]
    names += [f" {kid}", f"{kid} ", f"{kid}\n", *({kid.upper(), kid.lower()} - {kid})]  # a kid is case-sensitive
    for name in names:
        for _, key in (*rotated.signed(), ("", elsewhere.env["JWT_SECRET"]), ("", "")):
            expect_dead(rotated.app, forged(rotated.new, key, kid=name), f"took a token with the kid {name!r}")


@exercise("6.3")
@attack("ASVS 5.0 9.1.3", "CWE-347")
def test_missing_kid_is_refused(rotated: Rotated) -> None:
    """A token without a `kid`, or with an empty one, is refused, whatever it is signed with.

    Trying one key after the other lets whoever leaves the name out choose the weakest.

    Hint: `.get("kid")` may be None, and None is no name of a key.
    """
    for _, key in (*rotated.signed(), ("", "")):
        expect_dead(rotated.app, forged(rotated.new, key, without="kid"), "took a token without a kid")
        for nothing in ("", None, " ", "null", "None"):
            expect_dead(rotated.app, forged(rotated.new, key, kid=nothing), f"took a token with the kid {nothing!r}")


@exercise("6.3")
@attack("RFC 8725 §3.10", "CWE-22", "CWE-89")
def test_kid_leads_to_no_file_and_no_variable(rotated: Rotated) -> None:
    """A `kid` that is a path, a query or the name of a variable is refused, also if the token fits what it leads to.

    `kid` is what a stranger wrote. Looked up in a folder, `../../dev/null` is an empty key, and that is easily signed.

    Hint: never build a path, a query or a name out of it. Look it up among the names that you have.
    """
    app, key = rotated.app, rotated.app.env["JWT_SECRET"]
    variables = {name: app.env[name] for name in ("JWT_ISSUER", "LANG", "TZ", "PATH", "HOME", "DATABASE_URL")}
    for kid, leads_to in {**PATHS, **variables, app.env["HOME"] + "/library.db": "SQLite format 3"}.items():
        for signs in (leads_to, leads_to.strip(), key):
            expect_dead(app, forged(rotated.new, signs, kid=kid), f"took a token with the kid {kid!r}")
    kid = str(head_of(rotated.new).get("kid"))
    ways = (f"../{kid}", f"./{kid}", f"keys/{kid}", f"/{kid}", f"{kid}/", f"x/../{kid}", f"..\\{kid}", f"{kid}\0.pem")
    for way in ways:
        expect_dead(app, forged(rotated.new, key, kid=way), f"took a token with the kid {way!r}")
    for name in ("JWT_SECRET", "JWT_SECRET_PREVIOUS"):
        expect_dead(app, forged(rotated.new, app.env[name], kid=name), f"took a token with the kid {name!r}")


@exercise("6.3")
@attack("CWE-20", "CWE-755")
def test_odd_kids_are_refused(rotated: Rotated) -> None:
    """A `kid` that is no text, very long or no ASCII is refused, and never a crash.

    JSON has more than strings, and a list cannot be looked up in a dictionary.

    Hint: `isinstance(kid, str)`, or a library that looks.
    """
    kid = str(head_of(rotated.new).get("kid"))
    long = (kid * 500)[:5_000]  # uvicorn may refuse headers beyond 16 KiB itself
    odd: tuple[Any, ...] = (
        0,
        1,
        True,
        1.5,
        10**400,
        [],
        [kid],
        {},
        {"kid": kid},
        [[[]]],
        long,
        "é" * 30,
        "\ud800",
        "\0",
        "ключ",
    )
    for value in odd:
        for signs in (rotated.app.env["JWT_SECRET"], ""):
            answer = forged(rotated.new, signs, kid=value)
            expect_dead(rotated.app, answer, f"took a token with the kid {str(value)[:40]!r}")


@exercise("6.3")
@attack("CWE-1391", "CWE-347")
def test_an_empty_previous_key_is_no_key(launch: Callable[..., App]) -> None:
    """With JWT_SECRET_PREVIOUS set to nothing, a token signed with nothing is refused, and all else works.

    `JWT_SECRET_PREVIOUS=` is how most people remove a key. Everybody can sign with the empty one.

    Hint: `if key`. An empty string is a key to HMAC.
    """
    app = launch(JWT_SECRET_PREVIOUS="")
    ada, key = app.library.ada, app.env["JWT_SECRET"]
    token = token_of(app, ada)
    expect_me(app, token, ada, "refused a token that it had just issued")
    kid = expect_signed(token, key)
    names = {*names_of("", key, kid), *asked_for_its_name(launch), "previous", "old", "1", "JWT_SECRET_PREVIOUS"}
    for previous in ("", None):
        rotate(app, key, previous)
        expect_dead(app, forged(token, ""), "took a token that was signed with an empty key")
        expect_dead(app, forged(token, "", without="kid"), "took a token that was signed with an empty key")
        for name in names:
            expect_dead(app, forged(token, "", kid=name), "took a token that was signed with an empty key")
        expect_me(app, token, ada, "refused a good token")


@exercise("6.3")
@attack("CWE-347", "RFC 8725 §3.1", "ASVS 5.0 9.1.1")
def test_the_right_kid_proves_nothing(rotated: Rotated, draw: Draw) -> None:
    """A token that names a key of this app and was not signed with it is refused.

    The name of a key stands in every token. It is the signature that counts.

    Hint: `algorithms=["HS256"]`, and the key that you found under `kid`.
    """
    app, bob = rotated.app, rotated.app.library.bob
    for token, _ in rotated.signed():
        for key in (draw.secret(64), draw.secret(16), "changeme"):
            expect_dead(app, forged(token, key), "took a token signed with another key")
            jwk = {"kty": "oct", "alg": "HS256", "k": encoded(key.encode())}
            expect_dead(app, forged(token, key, jwk=jwk), "took a token that brought its own key")
        for key in spelt(str(head_of(token).get("kid"))):
            expect_dead(app, forged(token, key), "took a token signed with what its kid says: the name is the key")
        for alg in ("none", "None", "NONE", "HS512", "RS256", ""):
            expect_dead(app, forged(token, draw.secret(64), alg=alg), f"took a token with alg={alg!r}")
        head, _, signature = token.split(".")
        changed = part(decoded(token) | {"sub": bob.username})
        expect_dead(app, f"{head}.{changed}.{signature}", "took a token that was changed")


@exercise("6.3")
@attack("CWE-347", "RFC 8725 §3.1", "ASVS 5.0 9.2.3")
def test_both_keys_ask_for_the_same(rotated: Rotated, draw: Draw) -> None:
    """Tokens of either key are those of 1.1: by HS256, from this issuer, for this audience, with all five claims.

    A second way to verify a token is a second place to forget something.

    Hint: choose the key by `kid`, and let all that follows be the same code.
    """
    app = rotated.app
    for token, key in rotated.signed():
        for alg in ("HS384", "HS512"):
            expect_dead(app, forged(token, key, alg=alg), f"took a token with alg={alg!r}")
        for claim, about in (("iss", "of another issuer"), ("aud", "for another audience")):
            expect_dead(app, forged(token, key, claims={claim: draw.username()}), f"took a token {about}")
        for claim in ("sub", "exp", "iat", "iss", "aud"):
            rest = {name: value for name, value in decoded(token).items() if name != claim}
            incomplete = sign(part(head_of(token)), part(rest), "HS256", key)
            expect_dead(app, incomplete, f"took a token without {claim}")


@exercise("6.3")
@attack("CWE-613", "CWE-287", "ASVS 5.0 7.4.2")
def test_a_token_needs_its_member(rotated: Rotated, draw: Draw) -> None:
    """A token of nobody, or of a disabled member, is refused, whichever key signed it; a disabled member gets none.

    A token outlives its member. It says who somebody was, and the table says who is.

    Hint: look the member up on each request, with `AND NOT disabled`, and think of the row that is not there.
    """
    app, disabled = rotated.app, rotated.app.library.disabled
    for token, key in rotated.signed():
        expect_dead(app, forged(token, key, claims={"sub": draw.username()}), "took a token of nobody")
        expect_dead(app, forged(token, key, claims={"sub": disabled.username}), "took a token of a disabled member")
    expect(log_in(app.api, disabled.username, disabled.password), 401, "let a disabled member in")
