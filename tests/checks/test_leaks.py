"""The scanner for secrets finds them in every usual dress, and nothing where there is nothing."""

import base64
import gzip
import json
import secrets
import zlib
from collections.abc import Callable
from urllib.parse import quote

import pytest

from checks.leaks import leaked, masked

SECRET = secrets.token_urlsafe(32)
DRESSES: dict[str, Callable[[bytes], bytes]] = {
    "plain": bytes,
    "upper case": bytes.upper,
    "backwards": lambda text: text[::-1],
    "its first half": lambda text: text[:21],
    "its last half, backwards": lambda text: text[21:][::-1],
    "as pydantic cuts it": lambda text: b"{'JWT_SECRET': '" + text[:9] + b"...library.db'}",
    "base64": base64.b64encode,
    "base64 without padding, glued to a word": lambda text: b"key" + base64.urlsafe_b64encode(text).rstrip(b"="),
    "base64 amid other bytes": lambda text: base64.b64encode(b"user:" + text + b":more"),
    "base64 in lines": lambda text: base64.encodebytes(b"a longer text before it, " + text * 2),
    "base64 twice": lambda text: base64.b64encode(base64.b64encode(text)),
    "base32": base64.b32encode,
    "hexadecimal": lambda text: text.hex().encode(),
    "URL": lambda text: b"".join(b"%%%02x" % byte for byte in text),
    "JSON escapes": lambda text: b"".join(b"\\u%04x" % byte for byte in text),
    "entities": lambda text: b"".join(b"&#%d;" % byte for byte in text),
    "UTF-16": lambda text: text.decode().encode("utf-16"),
    "gzip": gzip.compress,
    "zlib in base64, behind a long word": lambda text: b"request_done_here " + base64.b64encode(zlib.compress(text)),
    "base64 in JSON in a URL": lambda text: quote(json.dumps({"k": base64.b64encode(text).decode()})).encode(),
}


@pytest.mark.parametrize("dress", DRESSES)
def test_a_secret_is_found_in_any_dress(dress: str) -> None:
    dressed = DRESSES[dress](SECRET.encode())
    assert leaked(b'INFO: {"a": "' + dressed + b'"}' if dress != "gzip" else dressed, {"it": SECRET}) == ["it"]


def test_what_is_harmless_is_no_leak() -> None:
    others = " ".join(secrets.token_urlsafe(32) for _ in range(500))
    few = f"{SECRET[:4]}…{SECRET[-3:]}"
    assert leaked(f"{others} {few} {base64.b64encode(few.encode()).decode()}", {"it": SECRET}) == []


@pytest.mark.parametrize(
    "shown",
    [f"{SECRET[:4]}…", f"key={SECRET[:5]}***", f"***{SECRET[-4:]}", f"****{SECRET[-6:]}"],
    ids=["four and dots", "five and stars", "stars and four", "stars and six"],
)
def test_the_ends_of_a_masked_secret_are_found(shown: str) -> None:
    assert masked(f"INFO: {shown}", {"it": SECRET}) == ["it"]


def test_what_is_all_mask_shows_nothing() -> None:
    others = " ".join(f"**{secrets.token_urlsafe(32)}..." for _ in range(500))
    assert masked(f"{others} ******** postgresql://larkspur:***@db.example…", {"it": SECRET}) == []


def test_a_short_secret_counts_as_a_whole() -> None:
    assert leaked("pass=a7#kQ", {"it": "a7#kQ"}) == ["it"]
    assert leaked("pass=a7#k", {"it": "a7#kQ"}) == []
