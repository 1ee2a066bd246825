"""2.1 A development certificate: how it is used, and how it is attacked."""

import datetime
import os

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, ed448, ed25519, rsa

from checks.certificates import Made, key_of, made, made_twice, parsed, public_keys, refused, signed_by
from lab_app.harness import CheckFailed, attack, exercise, legit
from lab_app.harness.draw import Draw
from lab_app.harness.world import Answer

NAMES = ("localhost", "127.0.0.1")


@pytest.fixture
def both(answer: Answer) -> tuple[Made, Made]:
    """What two calls made, in two places."""
    return made(answer)


def is_ca(certificate: x509.Certificate) -> bool:
    """Whether a certificate says of itself that it may sign others."""
    try:
        return certificate.extensions.get_extension_for_class(x509.BasicConstraints).value.ca
    except x509.ExtensionNotFound:
        return False


def strong(key: object) -> bool:
    """Whether a public key is one of those that the contract asks for, or a longer one of its kind."""
    if isinstance(key, rsa.RSAPublicKey):
        return key.key_size >= 2048
    if isinstance(key, ec.EllipticCurvePublicKey):
        return key.curve.name in ("secp256r1", "secp384r1", "secp521r1")
    return isinstance(key, ed25519.Ed25519PublicKey | ed448.Ed448PublicKey)


@exercise("2.1")
@legit("RFC 9525 §2", "ASVS 5.0 12.3.4")
def test_a_client_that_trusts_it_gets_in(both: tuple[Made, Made]) -> None:
    """A client who trusts the CA, or the certificate where there is none, connects to localhost and to 127.0.0.1.

    Clients compare the names of the certificate (SAN). The common name is out of use, and an address is no DNS name.

    Hint: a SubjectAlternativeName with `DNSName("localhost")` and `IPAddress(127.0.0.1)`, signed by what you return.
    """
    for one in both:
        for name in NAMES:
            if why := refused(one.cert, one.key, one.trusted, name):
                raise CheckFailed(f"made a certificate that a client refuses for {name}: {why}")


@exercise("2.1")
@legit("RFC 5280 §4.1.2.5")
def test_it_is_good_from_now_on_everywhere(both: tuple[Made, Made]) -> None:
    """It is good now and for a day at least, made in Tokyo or in New York.

    The times in a certificate are UTC. A naive local time makes one that begins nine hours from now.

    Hint: `datetime.now(UTC)`, and a beginning a little in the past for clocks that are late.
    """
    for one, zone in zip(both, ("Tokyo", "New York"), strict=True):
        now = datetime.datetime.now(datetime.UTC)
        assert one.leaf.not_valid_before_utc <= now, f"made a certificate in {zone} that is not good yet"
        tomorrow = now + datetime.timedelta(hours=23)
        assert one.leaf.not_valid_after_utc > tomorrow, f"made a certificate in {zone} that is good for less than a day"


@exercise("2.1")
@attack("RFC 9525 §6.3", "CWE-297")
def test_it_stands_for_nobody_else(both: tuple[Made, Made], draw: Draw) -> None:
    """A client who asks for another name is refused, and the names are of the right kind.

    You will tell your machine to trust this. It should be trusted for your own machine and nothing else.

    Hint: list the two names, each by its kind; no wildcard.
    """
    for one in both:
        extensions = one.leaf.extensions
        try:
            names = extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        except x509.ExtensionNotFound:
            raise CheckFailed("made a certificate without any SubjectAlternativeName") from None
        assert "localhost" in names.get_values_for_type(x509.DNSName), "lists no DNS name localhost"
        addresses = map(str, names.get_values_for_type(x509.IPAddress))
        assert "127.0.0.1" in addresses, "lists no IP address 127.0.0.1"
        for name in (f"{draw.username()}.example", f"localhost.{draw.username()}.example", "com", "192.0.2.7"):
            assert refused(one.cert, one.key, one.trusted, name), f"made a certificate that is good for {name}"


@exercise("2.1")
@attack("RFC 5280 §4.2.1.9", "CWE-295")
def test_its_key_signs_for_nobody_else(both: tuple[Made, Made], draw: Draw) -> None:
    """Where a CA is returned, the server's key cannot sign certificates for other names.

    Clients trust the CA. If the server's certificate is one too, whoever reads the server's key is every site at once.

    Hint: BasicConstraints with `ca=False` in the server's certificate.
    """
    for one in both:
        if not one.ca:
            continue
        assert not is_ca(one.leaf), "made a server certificate that is a CA"
        if parsed(one.ca) == one.leaf:
            continue
        name = f"{draw.username()}.example"
        forged, forged_key = signed_by(one.leaf, key_of(one), name)
        if not refused(forged + one.cert, forged_key, one.trusted, name):
            raise CheckFailed(f"made a server certificate whose key could sign one for {name}")


@exercise("2.1")
@attack("CWE-326", "RFC 9325 §4.5")
def test_its_keys_are_strong(both: tuple[Made, Made]) -> None:
    """Its keys are RSA of 2048 bits or more, P-256 or Ed25519.

    Shorter ones have been broken, and current clients refuse them.

    Hint: `ec.generate_private_key(ec.SECP256R1())` is short, quick and strong.
    """
    for one in both:
        for pem in filter(None, (one.cert, one.ca)):
            assert strong(key := parsed(pem).public_key()), (
                f"made a key of {getattr(key, 'key_size', '?')} bits, of the kind {type(key).__name__}"
            )


@exercise("2.1")
@attack("CA/Browser Forum BR §6.3.2", "ASVS 5.0 13.3.4")
def test_it_does_not_live_for_ever(both: tuple[Made, Made]) -> None:
    """The server's certificate lives for 398 days at most.

    A key leaks one day. Until the certificate ends, whoever has it is you. Public CAs may not issue longer ones.

    Hint: a year is plenty. Some tools take ten when nobody says otherwise.
    """
    for one in both:
        lives = one.leaf.not_valid_after_utc - one.leaf.not_valid_before_utc
        # The clock may be read twice: a minute is none of the days.
        assert lives < datetime.timedelta(days=398, minutes=1), f"made a certificate that lives for {lives}"


@exercise("2.1")
@attack("CWE-732", "CWE-276", "ASVS 5.0 13.3.2")
def test_private_keys_are_private(both: tuple[Made, Made], answer: Answer) -> None:
    """Every file with a private key can be read by its owner only (0600), the CA's too, and after a second call.

    A key that your neighbour on the machine can read is not yours. The CA's is worth more than the server's.

    Hint: `os.open(path, os.O_CREAT | os.O_WRONLY | os.O_EXCL, 0o600)`. A chmod afterwards leaves a moment.
    """
    for left in (*(one.left for one in both), made_twice(answer)[1]):
        keys = left.private_keys()
        assert keys, "wrote no private key"
        for name in keys:
            mode = left.modes[name]
            # Windows keeps no such modes: whoever reads a folder reads its files.
            assert os.name == "nt" or not mode & ~0o600, f"left {name} with the mode {mode:04o}"


@exercise("2.1")
@attack("CWE-538", "CWE-377", "ASVS 5.0 13.3.2")
def test_private_keys_lie_nowhere_else(both: tuple[Made, Made]) -> None:
    """No private key is left outside the directory: not in the working directory, nor where temporary files go.

    A key where nobody looks for one is committed, copied and backed up with the rest.

    Hint: join every path to `directory`. What must lie elsewhere for a moment goes into a `TemporaryDirectory`.
    """
    for one in both:
        for name in one.left.private_keys():
            assert name.startswith("tls/"), f"left a private key in {name}, outside the directory"


@exercise("2.1")
@attack("CWE-321", "ASVS 5.0 11.5.1")
def test_every_call_makes_its_own_keys(both: tuple[Made, Made], answer: Answer) -> None:
    """Two calls make different keys, for the server and for the CA.

    A key that stands in the code is everybody's who can read the code. One that is kept can never be changed.

    Hint: generate the keys inside the function, whatever it made before.
    """
    keys = [public_keys(one) for one in both]
    assert not keys[0] & keys[1], "used a key twice"
    keys, _ = made_twice(answer)
    assert not keys[0] & keys[1], "used a key again when it was called again in the same process"
