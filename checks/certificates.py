"""What `make_cert` made, and the handshakes that it is good for."""

import datetime
import posixpath
import re
import ssl
import tempfile
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.x509.oid import NameOID

from checks.attacks import ZONES
from lab_app.harness import CheckFailed, Desk
from lab_app.harness.world import Answer
from lab_app.runner.sandbox import AnswerTrouble

PRIVATE_KEY = re.compile(rb"-----BEGIN ([A-Z ]*)PRIVATE KEY-----.*?-----END \1PRIVATE KEY-----", re.DOTALL)
MODES = """
import os

def modes():
    paths = [os.path.join(parent, name) for parent, _, names in os.walk(".") for name in names]
    return {os.path.relpath(path): os.stat(path).st_mode & 0o777 for path in paths if os.path.isfile(path)}
"""

TWICE = """
from pathlib import Path as _Path

def _made(folder):
    paths = make_cert(folder)
    return [_Path(paths[name]).read_text() for name in ("cert", "ca") if paths.get(name)]

def _twice(folder, other):
    first = _made(folder)
    try:
        return [first, _made(folder)]
    except Exception:  # it may refuse to write over a key
        return [first, _made(other)]
"""


@dataclass(frozen=True)
class Left:
    """All that calls have left at a desk, and who may read it."""

    files: dict[str, bytes]
    modes: dict[str, int]

    def private_keys(self) -> list[str]:
        """The files that hold a private key."""
        return [name for name, content in self.files.items() if private_key(content)]


@dataclass(frozen=True)
class Made:
    """One call: the files that it named (`ca` is empty for None), and all that it left."""

    cert: bytes
    key: bytes
    ca: bytes
    left: Left

    @property
    def leaf(self) -> x509.Certificate:
        """The server's own certificate."""
        return parsed(self.cert)

    @property
    def trusted(self) -> bytes:
        """What a client is given to trust."""
        return self.ca or self.cert


def made(answer: Answer) -> tuple[Made, Made]:
    """What two calls made, on a server in Tokyo and on one in New York; the same for all checks of the exercise."""
    if "made" not in answer.kept:
        answer.kept["made"] = tuple(make(Desk(answer), zone) for zone in ZONES)
    both: tuple[Made, Made] = answer.kept["made"]
    return both


def make(desk: Desk, zone: str) -> Made:
    """Call `make_cert` with a folder of its own. Raises CheckFailed and AnswerTrouble."""
    desk.write({"tls/here": b"", "scratch/here": b""})
    try:
        env = {"TZ": zone, "TMPDIR": f"{desk.where}/scratch"}  # watched, and HOME is the desk itself
        paths = desk.call("make_cert", env=env, directory=f"{desk.where}/tls")
    except AnswerTrouble as trouble:
        desk.answer.trouble = None if trouble.ran else trouble  # a time zone is no reason not to start
        raise
    if not isinstance(paths, dict) or not all(isinstance(paths.get(name), str) for name in ("cert", "key")):
        raise CheckFailed(f"returned {paths!r:.200}", 'The contract asks for {"cert": path, "key": path, "ca": …}.')
    left, named = left_at(desk), {}
    for name in ("cert", "key", "ca"):
        if paths.get(name) is not None:
            path = posixpath.relpath(posixpath.join(desk.where, str(paths[name])), desk.where)
            if path not in left.files:
                raise CheckFailed(f"named {paths[name]!r:.200} for {name}, where no file is")
            named[name] = left.files[path]
    return Made(named["cert"], named["key"], named.get("ca", b""), left)


def left_at(desk: Desk) -> Left:
    """What lies at a desk. Asked without the cell, in which os.stat may be anything."""
    sandbox, title = desk.answer.sandbox, desk.answer.title
    return Left(desk.files(), sandbox.call("", title, desk.env, desk.folder, "modes", driver=MODES))


def made_twice(answer: Answer) -> tuple[list[set[bytes]], Left]:
    """The public keys of two calls in one process, into one folder if it takes that, and what they left there.

    The same for all checks of the exercise. Raises AnswerTrouble.
    """
    if "twice" not in answer.kept:
        desk = Desk(answer)
        desk.write({"tls/here": b"", "other/here": b""})
        calls = desk.call("_twice", driver=TWICE, folder=f"{desk.where}/tls", other=f"{desk.where}/other")
        answer.kept["twice"] = [{public_key(pem.encode()) for pem in pems} for pems in calls], left_at(desk)
    twice: tuple[list[set[bytes]], Left] = answer.kept["twice"]
    return twice


def parsed(pem: bytes) -> x509.Certificate:
    """The first certificate of a PEM file. Raises CheckFailed."""
    try:
        return x509.load_pem_x509_certificates(pem)[0]
    except ValueError as error:
        raise CheckFailed("wrote a file that is no PEM certificate") from error


def key_of(one: Made) -> Any:
    """The private key of the server. Raises CheckFailed."""
    key = private_key(one.key)
    if key is None or key is True:
        raise CheckFailed("wrote a key that is none, or that asks for a password")
    return key


def private_key(content: bytes) -> Any:
    """The private key that a file holds, True if it is encrypted, None if there is none."""
    with suppress(ValueError, TypeError):
        return serialization.load_der_private_key(content, None)
    if not (found := PRIVATE_KEY.search(content)):
        return None
    with suppress(ValueError, TypeError):
        return serialization.load_pem_private_key(found[0], None)
    return True


def refused(chain: bytes, key: bytes, trusted: bytes, name: str) -> str:
    """Why a client who trusts `trusted`, and asks for `name`, refuses a server; "" if it does not.

    The client compares the names of the certificate, not its common name. Raises CheckFailed.
    """
    client = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    client.hostname_checks_common_name = False
    client.set_ciphers("ALL:@SECLEVEL=0")  # whether a key is strong is another check's question
    try:
        client.load_verify_locations(cadata=trusted.decode("ascii"))
        server = served(chain, key)
    except (ssl.SSLError, ValueError) as error:
        raise CheckFailed(f"wrote a certificate and a key that no server can use: {error}") from error
    to_server, to_client = ssl.MemoryBIO(), ssl.MemoryBIO()
    one = client.wrap_bio(to_client, to_server, server_hostname=name)
    other = server.wrap_bio(to_server, to_client, server_side=True)
    try:
        for side in (one, other) * 4:
            with suppress(ssl.SSLWantReadError):
                side.do_handshake()
        one.do_handshake()
    except ssl.SSLError as error:
        return str(error)
    return ""


def served(chain: bytes, key: bytes) -> ssl.SSLContext:
    """A server with a certificate. Raises ssl.SSLError and ValueError."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.set_ciphers("ALL:@SECLEVEL=0")
    with tempfile.TemporaryDirectory() as folder:
        files = Path(folder, "cert.pem"), Path(folder, "key.pem")
        for file, content in zip(files, (chain, key), strict=True):
            file.write_bytes(content)
        context.load_cert_chain(*files, password=lambda: "")  # or OpenSSL asks on the terminal
    return context


def signed_by(issuer: x509.Certificate, key: Any, name: str) -> tuple[bytes, bytes]:
    """A certificate for a name, and its key, as whoever holds the key of `issuer` can make it."""
    own, now = ec.generate_private_key(ec.SECP256R1()), datetime.datetime.now(datetime.UTC)
    algorithm = hashes.SHA256() if isinstance(key, rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey) else None
    forged = (
        x509.CertificateBuilder()
        .subject_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)]))
        .issuer_name(issuer.subject)
        .public_key(own.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(hours=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(name)]), critical=False)
        .sign(key, algorithm)
    )
    plain = serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    return forged.public_bytes(serialization.Encoding.PEM), own.private_bytes(serialization.Encoding.PEM, *plain)


def public_keys(one: Made) -> set[bytes]:
    """The public keys of a server's certificate and of its CA's."""
    return {public_key(pem) for pem in filter(None, (one.cert, one.ca))}


def public_key(pem: bytes) -> bytes:
    """The public key of a certificate. Raises CheckFailed."""
    spki = serialization.PublicFormat.SubjectPublicKeyInfo
    return parsed(pem).public_key().public_bytes(serialization.Encoding.DER, spki)
