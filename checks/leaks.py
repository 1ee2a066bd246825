"""Does a secret show in what an app gave out: whole or in part, backwards, in any usual encoding?"""

import base64
import binascii
import html
import re
import zlib
from collections.abc import Iterable, Iterator, Mapping
from urllib.parse import unquote_to_bytes

WINDOW, STRIDE = 8, 4  # a part of WINDOW + STRIDE - 1 characters is always found, and one of WINDOW often
ENDS = range(4, WINDOW + STRIDE)  # so many characters of a masked secret are often left at its ends
MASKS = (b"**", b"...", "…".encode(), "•".encode(), b"xx", b"##")
DEPTH = 3  # base64 in JSON in a URL
MOST = 1 << 20  # bytes that are unpacked of a text
BASE64, BASE32, HEX = rb"[A-Za-z0-9+/_-]{11,}", rb"[A-Z2-7]{13,}", rb"[0-9A-Fa-f]{16,}"
ESCAPE = re.compile(rb"\\(?:u00([0-9A-Fa-f]{2})|x([0-9A-Fa-f]{2})|([^ux]))")


def leaked(data: bytes | str, secrets: Mapping[str, str]) -> list[str]:
    """The names of those secrets of which `data` shows so much that it helps somebody."""
    texts = [text.lower() for text in readings(data.encode() if isinstance(data, str) else data)]
    return [name for name, secret in secrets.items() if any(part in text for part in parts(secret) for text in texts)]


def masked(data: bytes | str, secrets: Mapping[str, str]) -> list[str]:
    """The names of those secrets of which `data` shows the beginning or the end, and a mask for the rest."""
    texts = [text.lower() for text in readings(data.encode() if isinstance(data, str) else data)]
    return [name for name, secret in secrets.items() if any(end in text for end in ends(secret) for text in texts)]


def ends(secret: str) -> set[bytes]:
    """What a mask leaves of a secret, in lower case: `abcd…` or `…wxyz`."""
    whole = secret.lower().encode()
    return {piece for mask in MASKS for n in ENDS for piece in (whole[:n] + mask, mask + whole[-n:])}


def parts(secret: str) -> set[bytes]:
    """What of a secret must not show, in lower case, forwards and backwards."""
    whole = secret.lower().encode()
    starts = {*range(0, max(1, len(whole) - WINDOW), STRIDE), max(0, len(whole) - WINDOW)}
    windows = {whole[start : start + WINDOW] for start in starts} - {b""}
    return windows | {window[::-1] for window in windows}


def readings(data: bytes, depth: int = DEPTH) -> set[bytes]:
    """The data, and everything that it may be read as."""
    seen, newest = {data}, {data}
    for _ in range(depth):
        newest = {again for text in newest for again in decoded(text) if len(again) >= WINDOW} - seen
        seen |= newest
    return seen


def decoded(data: bytes) -> Iterator[bytes]:
    """The data with one encoding undone, for every encoding that it could be in."""
    if b"%" in data:
        yield unquote_to_bytes(data)
    if b"&" in data:
        yield html.unescape(data.decode("latin-1")).encode("latin-1", "replace")
    if b"\\" in data:
        yield ESCAPE.sub(_character, data)
    if b"\0" in data:
        yield data.replace(b"\0", b"")  # UTF-16
    yield _unpacked(data)
    joined = re.sub(rb"\s", b"", data)  # encoded text is often wrapped
    for text in {data, joined}:
        plain = list(_in_base64(text))
        yield b"\n".join(plain)
        yield b"\n".join(_unpacked_each(plain))
        yield b"\n".join(_in_base32(text))
        yield b"\n".join(_in_hex(text))


def _character(escape: re.Match[bytes]) -> bytes:
    one, two, other = escape.groups()
    return other or bytes.fromhex((one or two).decode())


def _in_base64(data: bytes) -> Iterator[bytes]:
    for piece in re.findall(BASE64, data):
        plain = piece.replace(b"-", b"+").replace(b"_", b"/")
        for start in range(4):  # what is glued to its front may shift it
            yield base64.b64decode(_cut(plain[start:], 4, 1))


def _in_base32(data: bytes) -> Iterator[bytes]:
    for piece in re.findall(BASE32, data):
        for start in range(8):
            whole = piece[start:]
            yield base64.b32decode(whole[: len(whole) // 8 * 8])


def _in_hex(data: bytes) -> Iterator[bytes]:
    for piece in re.findall(HEX, data):
        for start in range(2):
            yield binascii.unhexlify(_cut(piece[start:], 2, 1))


def _cut(text: bytes, group: int, impossible: int) -> bytes:
    """Text without a last character that cannot be, and padded to whole groups."""
    whole = text[: len(text) - 1] if len(text) % group == impossible else text
    return whole + b"=" * (-len(whole) % group)


def _unpacked_each(pieces: Iterable[bytes]) -> Iterator[bytes]:
    """What each piece by itself unpacks to, all together no more than MOST."""
    left = MOST
    for piece in pieces:
        if left > 0 and (text := _unpacked(piece, left)):
            left -= len(text)
            yield text


def _unpacked(data: bytes, most: int = MOST) -> bytes:
    try:
        return zlib.decompressobj(wbits=47).decompress(data, most)
    except zlib.error:
        return b""
