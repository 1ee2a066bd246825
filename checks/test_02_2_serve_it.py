"""2.2 Serve it: how it is used, and how it is attacked."""

import ssl
from collections.abc import Callable

import httpx
import pytest

from checks.attacks import SAID_TO_BE_HTTPS
from checks.handshakes import (
    DHE_CBC,
    ECDHE_CBC,
    ECDHE_GCM,
    EVERYTHING,
    NAMES,
    STATIC_RSA_AEAD,
    STATIC_RSA_CBC,
    TLS_1_0,
    TLS_1_1,
    TLS_1_2,
    negotiated,
    offered,
)
from checks.transport import YEAR, max_age
from lab_app.harness import App, CheckFailed, attack, exercise, expect, legit
from lab_app.harness.world import Answer
from lab_app.runner.client import Bounds, NoAnswer, client
from lab_app.runner.services.certificate import Certificate

WAYS = (("/", 200), ("/missing", 404), ("/boom", 500))


def claims(scheme: str) -> tuple[dict[str, str], ...]:
    """The headers of a client who says nothing about how it came, or that it came by `scheme`."""
    return {}, {"X-Forwarded-Proto": scheme}, {"Forwarded": f"proto={scheme}"}


@pytest.fixture
def app(answer: Answer, certificate: Certificate) -> App:
    """The learner's app over TLS, with the settings that the answer itself makes of our certificate."""
    return answer.shared(certificate)


def refuse(app: App, version: int, suites: dict[int, str]) -> None:
    """Offer all suites together, as a client would, and then one by one. Raises CheckFailed."""
    for offer in (suites, *({number: name} for number, name in suites.items())):
        for name in ("localhost", ""):
            if chosen := offered(app.port, version, offer, name):
                raise CheckFailed(f"agreed to {chosen}", "A safe server refuses the handshake.")


@exercise("2.2")
@legit("ASVS 5.0 12.1.1", "RFC 9325 §4.2")
def test_a_client_of_tls_1_2_gets_in(app: App) -> None:
    """A client that speaks TLS 1.2 with ECDHE and AES-GCM is served.

    Half of the machines that call an API are older than you think. 1.2 with these suites is still safe.

    Hint: `ssl_ciphers` names what may be used up to TLS 1.2; begin with `ECDHE+AESGCM`.
    """
    for offer in ("ECDHE+AESGCM", ":".join(ECDHE_GCM.values())):
        assert negotiated(app.port, ssl.TLSVersion.TLSv1_2, offer), "refused TLS 1.2 with ECDHE and AES-GCM"


@exercise("2.2")
@legit("ASVS 5.0 12.1.1", "RFC 9325 §3.1.1")
def test_a_client_of_tls_1_3_gets_in(app: App) -> None:
    """A client that speaks TLS 1.3, or both, is served by TLS 1.3.

    It is the newest version; whoever can speak it shall get it.

    Hint: set a lowest version, never a highest one.
    """
    assert negotiated(app.port, ssl.TLSVersion.TLSv1_3), "refused TLS 1.3"


@exercise("2.2")
@legit("RFC 9110 §15")
def test_pages_are_served_over_tls(api: httpx.Client) -> None:
    """Over https `/` is 200, `/missing` 404 and `/boom` 500.

    TLS is a wrapping. What is in it stays as it is.

    Hint: return what `uvicorn.Config` takes: `ssl_certfile`, `ssl_keyfile` and what you demand of the handshake.
    """
    for path, status in WAYS:
        expect(api.get(path), status, f"did not answer {status} over https to GET {path}")


@exercise("2.2")
@attack("RFC 9325 §3.1.1", "RFC 8996", "ASVS 5.0 12.1.1")
def test_old_versions_are_refused(app: App) -> None:
    """TLS 1.0 and 1.1 are refused, whatever suites come with them.

    Both rest on MD5 and SHA-1. Whoever can meddle with a handshake pushes both sides down to the worst they share.

    Hint: uvicorn's own default is TLS 1.2 and later. Leave `ssl_version` alone, and no `@SECLEVEL=0` in the ciphers.
    """
    for version in (TLS_1_0, TLS_1_1):
        for suites in (ECDHE_CBC, STATIC_RSA_CBC, EVERYTHING):
            if chosen := offered(app.port, version, suites, "localhost"):
                raise CheckFailed(f"agreed to {chosen}", f"A safe server refuses {NAMES[version]}.")


@exercise("2.2")
@attack("RFC 9325 §4.2", "CWE-327", "CWE-757", "ASVS 5.0 12.1.2")
def test_cbc_is_refused(app: App) -> None:
    """Suites in CBC mode are refused.

    Their padding has been an oracle again and again: Lucky Thirteen, POODLE, GOLDENDOODLE.

    Hint: Python's default list still has some. Name those that you want: AES-GCM and ChaCha20.
    """
    for suites in (ECDHE_CBC, DHE_CBC):
        refuse(app, TLS_1_2, suites)


@exercise("2.2")
@attack("RFC 9325 §4.1", "CWE-327", "ASVS 5.0 12.1.2")
def test_static_rsa_is_refused(app: App) -> None:
    """Suites that send the session key encrypted with the certificate's RSA key are refused.

    Whoever records the traffic today and gets the key in three years reads all of it. ECDHE forgets its keys.

    Hint: `AESGCM` alone includes them; `ECDHE+AESGCM` does not.
    """
    for suites in (STATIC_RSA_AEAD, STATIC_RSA_CBC):
        refuse(app, TLS_1_2, suites)


@exercise("2.2")
@attack("CWE-319", "ASVS 5.0 12.2.1")
def test_plain_http_gets_no_page(app: App) -> None:
    """Plain HTTP on the TLS port gets no page.

    A port that speaks both is a port at which a password travels in clear, one day.

    Hint: `ssl_certfile` and `ssl_keyfile` are what turns TLS on.
    """
    bounds = Bounds(app.answer.deadline, app.sandbox.limits.body)
    with client(app.port, bounds, app.answer.record) as plain:
        for path, _ in WAYS:
            try:
                answer = plain.get(path)
            except NoAnswer as none:
                if none.slow:
                    raise
            else:
                expect(answer, range(300, 500), "answered plain HTTP on its TLS port")


@exercise("2.2")
@attack("RFC 6797 §7.1", "ASVS 5.0 3.4.1", "CWE-319")
def test_every_answer_asks_for_https(api: httpx.Client) -> None:
    """Over https every answer has Strict-Transport-Security for a year or more: 200, 404, and 500 too.

    Without it the next visit may begin with http, and whoever is in between keeps it there.

    Hint: a 500 is written outside all middleware. Wrap the whole app, or give the header to uvicorn.
    """
    for claim in claims("http"):
        for path, status in WAYS:
            answer = expect(api.get(path, headers=claim), status, f"did not answer {status} to GET {path}")
            header = answer.headers.get("strict-transport-security")
            assert (max_age(answer) or 0) >= YEAR, f"answered {status} with Strict-Transport-Security: {header}"


@exercise("2.2")
@attack("RFC 6797 §7.2")
@pytest.mark.usefixtures("app")  # first, so that an answer that cannot be served over TLS fails alike in any order
def test_plain_answers_do_not_ask_for_https(launch: Callable[..., App]) -> None:
    """Over plain http no answer has Strict-Transport-Security, whatever the client says about how it came.

    Anybody could have added it there, so browsers ignore it there (§8.1) and servers must not send it. Who does has
    not looked at how the request came.

    Hint: the ASGI scope says which it is: `scope["scheme"]`. A header of the request is only what the client says.
    """
    plain = launch().api
    for claim in (*claims("https"), SAID_TO_BE_HTTPS):
        for path, _ in WAYS:
            header = plain.get(path, headers=claim).headers.get("strict-transport-security")
            assert header is None, f"answered over plain http with Strict-Transport-Security: {header}"
