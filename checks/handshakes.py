"""TLS as a client of any age would begin it.

Python's own client offers only what its OpenSSL was built and configured to offer, and would take its own refusal for
the server's. So what a server must refuse is offered by a first message written here; what it must accept is
negotiated for real.
"""

import secrets
import socket
import ssl
import struct
import time
from contextlib import suppress
from dataclasses import dataclass

from lab_app.harness import CheckFailed

SECONDS = 10
TLS_1_0, TLS_1_1, TLS_1_2 = 0x0301, 0x0302, 0x0303
NAMES = {TLS_1_0: "TLS 1.0", TLS_1_1: "TLS 1.1", TLS_1_2: "TLS 1.2"}
HANDSHAKE, ALERT, CLIENT_HELLO, SERVER_HELLO = 22, 21, 1, 2

# Cipher suites by their numbers at IANA
ECDHE_CBC = {
    0xC013: "ECDHE-RSA-AES128-SHA",
    0xC014: "ECDHE-RSA-AES256-SHA",
    0xC027: "ECDHE-RSA-AES128-SHA256",
    0xC028: "ECDHE-RSA-AES256-SHA384",
    0xC076: "ECDHE-RSA-CAMELLIA128-SHA256",
    0xC012: "ECDHE-RSA-DES-CBC3-SHA",
}
DHE_CBC = {
    0x0033: "DHE-RSA-AES128-SHA",
    0x0039: "DHE-RSA-AES256-SHA",
    0x0067: "DHE-RSA-AES128-SHA256",
    0x006B: "DHE-RSA-AES256-SHA256",
}
STATIC_RSA_CBC = {
    0x002F: "AES128-SHA",
    0x0035: "AES256-SHA",
    0x003C: "AES128-SHA256",
    0x003D: "AES256-SHA256",
    0x0041: "CAMELLIA128-SHA",
    0x000A: "DES-CBC3-SHA",
}
STATIC_RSA_AEAD = {
    0x009C: "AES128-GCM-SHA256",
    0x009D: "AES256-GCM-SHA384",
    0xC09C: "AES128-CCM",
    0xC09D: "AES256-CCM",
}
ECDHE_GCM = {0xC02F: "ECDHE-RSA-AES128-GCM-SHA256", 0xC030: "ECDHE-RSA-AES256-GCM-SHA384"}
EVERYTHING = ECDHE_GCM | ECDHE_CBC | DHE_CBC | STATIC_RSA_AEAD | STATIC_RSA_CBC


@dataclass(frozen=True)
class Chosen:
    """What a server agreed to."""

    version: int
    suite: int

    def __str__(self) -> str:
        return f"{NAMES.get(self.version, hex(self.version))} with {EVERYTHING.get(self.suite, hex(self.suite))}"


def offered(port: int, version: int, suites: dict[int, str], name: str = "") -> Chosen | None:
    """What the server on `port` chooses from an offer, or None if it refuses. Raises CheckFailed."""
    until = time.monotonic() + SECONDS
    with socket.create_connection(("127.0.0.1", port), SECONDS) as connection:
        connection.sendall(client_hello(version, suites, name))
        received = b""
        try:
            while len(received) < 44 or len(received) < 46 + received[43]:
                connection.settimeout(max(0.001, until - time.monotonic()))  # a drop now and then is no answer
                data = connection.recv(4096)
                received += data
                if not data or received[0] == ALERT:
                    return None
        except ConnectionError:
            return None
        except TimeoutError as error:
            raise CheckFailed(f"left a client that offers {NAMES[version]} without any answer") from error
    if received[0] != HANDSHAKE or received[5] != SERVER_HELLO:
        return None
    (version,), (suite,) = struct.unpack_from(">H", received, 9), struct.unpack_from(">H", received, 44 + received[43])
    return Chosen(version, suite)


def client_hello(version: int, suites: dict[int, str], name: str) -> bytes:
    """The first message of a client, RFC 5246 §7.4.1.2. TLS 1.3 is not in it."""
    signed = (0x0804, 0x0805, 0x0806, 0x0401, 0x0501, 0x0601, 0x0403, 0x0503, 0x0603, 0x0807, 0x0201, 0x0203)
    extensions = {
        0: block(2, b"\0" + block(2, name.encode())) if name else None,
        10: block(2, words(29, 23, 24)),  # groups: x25519, P-256, P-384
        11: block(1, b"\0"),  # points: uncompressed
        13: block(2, words(*signed)) if version == TLS_1_2 else None,
        23: b"",  # extended master secret
        0xFF01: b"\0",  # secure renegotiation
    }
    body = words(version) + secrets.token_bytes(32) + block(1, b"")
    body += block(2, words(*suites)) + block(1, b"\0")
    body += block(2, b"".join(words(kind) + block(2, value) for kind, value in extensions.items() if value is not None))
    return bytes([HANDSHAKE]) + words(TLS_1_0) + block(2, bytes([CLIENT_HELLO]) + block(3, body))


def words(*numbers: int) -> bytes:
    """Numbers of two bytes."""
    return struct.pack(f">{len(numbers)}H", *numbers)


def block(size: int, data: bytes) -> bytes:
    """Data after its length, which takes `size` bytes."""
    return len(data).to_bytes(size, "big") + data


def negotiated(port: int, version: ssl.TLSVersion, suites: str = "", name: str = "localhost") -> tuple[str, str] | None:
    """The version and suite of a real handshake that offers just this, or None if it fails."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    context.minimum_version = context.maximum_version = version
    if suites:
        context.set_ciphers(suites)
    with (
        suppress(OSError),
        socket.create_connection(("127.0.0.1", port), SECONDS) as plain,
        context.wrap_socket(plain, server_hostname=name) as secured,
    ):
        cipher = secured.cipher()
        return str(secured.version()), cipher[0] if cipher else ""
    return None
