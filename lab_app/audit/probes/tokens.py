"""Tokens that we wrote ourselves (RFC 8725 §3.1, §3.3, §3.5): unsigned, changed, or signed with a common key."""

import base64
import hashlib
import hmac
import json
import re
import secrets
from collections.abc import Iterator, Sequence
from typing import Any

import httpx
import itsdangerous

from lab_app.audit.people import Person
from lab_app.audit.site import Seen, Site, json_of

JWT = re.compile(r"eyJ[\w-]+\.[\w-]+\.[\w-]*")
SIGNED = re.compile(r"[\w+/=-]+\.[\w-]+\.[\w-]{27}")  # what, when, and a SHA-1 of both
DIGESTS: dict[str, Any] = {"HS256": hashlib.sha256, "HS384": hashlib.sha384, "HS512": hashlib.sha512}
COMMON = (
    "secret secretkey secret_key secret-key mysecret mysecretkey my_secret_key supersecret super-secret "
    "super_secret supersecretkey super-secret-key changeme changethis change_me change-me password jwt "
    "jwtsecret jwt_secret jwt-secret key test testing dev development token admin example default "
    "your-secret-key your_secret_key your-256-bit-secret SECRET SECRET_KEY JWT_SECRET 123456 12345678 "
    "1234567890 qwerty please_please_update_me_please_please "
    "09d25e094faa6ca2556c818166b7a9563b93f7099f6f0f4caa6cf63b88e8d3e7"  # the last one is in FastAPI's tutorial
).split()


def probe(seen: Seen) -> None:
    """Show forged tokens to the first route that takes A's and refuses strangers."""
    site = seen.site
    if "forged-token" in site.looked or seen.a is None or seen.nobody is None:
        return
    token = token_of(site.a)
    if not token or not seen.a.is_success or seen.nobody.is_success:
        return
    expected = _gist(seen.a)

    def as_a(answer: httpx.Response) -> bool:
        return answer.is_success and _gist(answer) == expected

    if parts_of(token)[1]:
        endless = "exp" not in parts_of(token)[1]
        said = "The token of A's that it took has no exp."
        site.suspect("endless-token", seen.operation.where, said, seen.a, lambda each: endless and each.is_success)
    for said, forged in forgeries(token):
        answer = seen.ask(person=carrying(site.a, token, forged))
        if site.suspect(
            "forged-token", seen.operation.where, f"It took a token {said} for A's.", answer, as_a, [seen.nobody]
        ):
            return
    key = common_key(token, site.words)
    site.looked.add("guessable-key")
    if key is not None:
        head, claims, _ = parts_of(token)
        mine = signed(head, claims | {"audit": 1}, key)
        answer = seen.ask(person=carrying(site.a, token, mine))
        said = f"It took a token that was signed here, not there, with {_told(key)}."
        site.suspect("guessable-key", seen.operation.where, said, answer, as_a, [seen.nobody])


def token_of(person: Person) -> str:
    """The JSON Web Token that a person carries, "" without one."""
    found = next((match for value in person.headers.values() if (match := JWT.search(value))), None)
    return found[0] if found else ""


def carrying(person: Person, token: str, forged: str) -> Person:
    """The same person with another token."""
    return Person("forged", {name: value.replace(token, forged) for name, value in person.headers.items()})


def forgeries(token: str) -> Iterator[tuple[str, str]]:
    """Tokens that say the same and that nobody who may sign has signed."""
    head, claims, signature = parts_of(token)
    if not head or not claims:
        return
    for alg in ("none", "None"):
        yield f"with alg={alg}", f"{_part(head | {'alg': alg})}.{_part(claims)}."
    yield "whose claims were changed after it was signed", f"{_part(head)}.{_part(claims | {'audit': 1})}.{signature}"
    yield "signed with a key of our own", signed({"typ": "JWT", "alg": "HS256"}, claims, secrets.token_hex())
    yield "signed with an empty key", signed({"typ": "JWT", "alg": "HS256"}, claims, "")


def parts_of(token: str) -> tuple[dict[str, Any], dict[str, Any], str]:
    """Header, claims and signature; empty for what is no such token."""
    head, claims, signature = token.split(".")
    try:
        opened = [json.loads(base64.urlsafe_b64decode(part + "=" * (-len(part) % 4))) for part in (head, claims)]
    except ValueError:
        return {}, {}, ""
    return (opened[0], opened[1], signature) if all(isinstance(part, dict) for part in opened) else ({}, {}, "")


def signed(head: dict[str, Any], claims: dict[str, Any], key: str) -> str:
    """A token signed with a shared key (RFC 7515 §5.1)."""
    said = f"{_part(head)}.{_part(claims)}"
    digest = hmac.new(key.encode(), said.encode(), DIGESTS.get(str(head.get("alg")), hashlib.sha256)).digest()
    return f"{said}.{_encoded(digest)}"


def look(site: Site, where: str, answer: httpx.Response) -> None:
    """Look for the key of a session's cookie, as Starlette signs it, among common ones and the texts of the source."""
    for line in answer.headers.get_list("set-cookie"):
        name, _, value = line.partition(";")[0].partition("=")
        if name in site.signed or not SIGNED.fullmatch(value):
            continue
        site.signed.add(name)
        key = next((each for each in (*COMMON, *site.words) if _signs(each, value)), None)

        def holds(answer: httpx.Response, name: str = name, key: str | None = key) -> bool:
            found = re.search(rf"(?:^|, ){re.escape(name)}=([^;,]*)", ", ".join(answer.headers.get_list("set-cookie")))
            return key is not None and found is not None and _signs(key, found[1])

        if key is not None:
            said = f"The cookie {name} is signed with {_told(key)}: whoever knows it writes sessions."
            site.suspect("guessable-key", where, said, answer, holds)


def _signs(key: str, value: str) -> bool:
    return bool(itsdangerous.TimestampSigner(key).validate(value))


def _told(key: str) -> str:
    return f"the common key {key!r}" if key in COMMON else f"a key that stands in its source, {key[:3]}…"


def common_key(token: str, more: Sequence[str] = ()) -> str | None:
    """The key that a token is signed with, a common one or one of `more`; found without asking anybody."""
    head, _, signature = parts_of(token)
    digest = DIGESTS.get(str(head.get("alg")))
    said = token.rpartition(".")[0].encode()
    if digest is None:
        return None
    for key in (*COMMON, *more):
        if hmac.compare_digest(_encoded(hmac.new(key.encode(), said, digest).digest()), signature):
            return key
    return None


def _part(value: Any) -> str:
    return _encoded(json.dumps(value, separators=(",", ":")).encode())


def _encoded(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def _gist(answer: httpx.Response) -> Any:
    """What an answer says; of an object its keys, as values such as times may change."""
    value = json_of(answer)
    return (
        sorted(value) if isinstance(value, dict) else type(value).__name__ if value is not None else answer.text[:200]
    )
