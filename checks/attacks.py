"""What several check modules throw at an app: forged tokens and families of payloads."""

import base64
import hashlib
import hmac
import json
import time
from collections.abc import Iterable, Iterator
from typing import Any
from urllib.parse import quote, quote_plus

from lab_app.harness import App

DIGESTS = {"HS256": hashlib.sha256, "HS384": hashlib.sha384, "HS512": hashlib.sha512}
# What proxies of other kinds say in place of X-Forwarded-Proto, and anybody else can say as well.
SAID_TO_BE_HTTPS = {
    "X-Forwarded-Ssl": "on",
    "Front-End-Https": "on",
    "X-Forwarded-Scheme": "https",
    "X-Forwarded-Protocol": "https",
    "X-Url-Scheme": "https",
}
ZONES = ("Asia/Tokyo", "America/New_York")
ALG_NONE = ("none", "None", "NONE", "nOnE")


def bearer(token: str) -> dict[str, str]:
    """The header that carries a token."""
    return {"Authorization": f"Bearer {token}"}


def forge(
    app: App,
    sub: Any,
    *,
    alg: Any = "HS256",
    key: str | None = None,
    header: dict[str, Any] | None = None,
    without: Iterable[str] = (),
    signed_as: str = "",
    **claims: Any,
) -> str:
    """A token as the contract of 1.1 wants it, but for what the caller changes.

    `alg` is what the header says and, where it names an HMAC, what signs; `signed_as` signs otherwise.
    Any other `alg` leaves the signature empty. None as `alg` leaves it out of the header.
    """
    now = int(time.time())
    names = {"iss": app.env["JWT_ISSUER"], "aud": app.env["JWT_AUDIENCE"]}
    payload = {"sub": sub, "iat": now, "exp": now + 600, **names, **claims}
    head = {"typ": "JWT", **({} if alg is None else {"alg": alg}), **(header or {})}
    return sign(
        part(head),
        part({name: value for name, value in payload.items() if name not in without}),
        signed_as or alg,
        app.env["JWT_SECRET"] if key is None else key,
    )


def sign(head: str, payload: str, alg: Any, key: str) -> str:
    """Three parts; the last is empty unless `alg` is HS256, HS384 or HS512."""
    digest = DIGESTS.get(alg) if isinstance(alg, str) else None
    signature = hmac.new(key.encode(), f"{head}.{payload}".encode(), digest).digest() if digest else b""
    return f"{head}.{payload}.{encoded(signature)}"


def part(value: Any) -> str:
    """JSON (Infinity and NaN included) in unpadded base64url."""
    return encoded(json.dumps(value).encode())


def encoded(data: bytes) -> str:
    """Unpadded base64url, RFC 7515 §2."""
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def decoded(token: str) -> dict[str, Any]:
    """The claims of a token, its signature not looked at; {} if it is none."""
    try:
        payload = token.split(".")[1]
        claims = json.loads(base64.urlsafe_b64decode(payload + "=" * (-len(payload) % 4)))
    except (IndexError, ValueError):
        return {}
    return claims if isinstance(claims, dict) else {}


def spellings(secret: str) -> set[bytes]:
    """The ways in which a secret may lie about in a file: plain, encoded, or as a fast digest of itself."""
    plain = secret.encode()
    digests = [hashlib.new(name, plain).digest() for name in ("md5", "sha1", "sha256", "sha384", "sha512")]
    texts = [
        quote(secret).encode(),
        quote_plus(secret).encode(),
        secret.encode("utf-16-le"),
        secret.encode("utf-16-be"),
    ]
    hexadecimal = [data.hex().encode() for data in (plain, *digests)]
    return {plain, *texts, *digests, *hexadecimal, *(text for data in (plain, *digests) for text in in_base64(data))}


def in_base64(data: bytes) -> Iterator[bytes]:
    """What base64 makes of these bytes amid others: three texts, by where in a group of three they begin."""
    for before, unsure in enumerate((0, 2, 3)):
        text = base64.b64encode(bytes(before) + data)
        whole = (before + len(data)) // 3 * 4
        yield text[unsure:whole]
