"""2.4 Whose address is it?: how it is used, and how it is attacked."""

import ipaddress
from dataclasses import dataclass
from typing import Any

import httpx
import pytest

from checks.attacks import SAID_TO_BE_HTTPS
from lab_app.harness import REFUSED, App, CheckFailed, attack, exercise, expect, json_of, legit
from lab_app.harness.draw import Draw
from lab_app.harness.evidence import exchange_of
from lab_app.harness.world import Answer

OTHERS = (
    "X-Real-IP",
    "X-Client-IP",
    "True-Client-IP",
    "CF-Connecting-IP",
    "X-Cluster-Client-IP",
    "Fastly-Client-IP",
    "X-Forwarded",
    "X-Original-Forwarded-For",
)
SCHEMES = SAID_TO_BE_HTTPS | {"X-Forwarded-Port": "443"}
GARBAGE = (
    "<script>alert(1)</script>",
    "fe80::1%<script>",
    "fe80::1%25eth0",
    "fe80::1%1\tX-Evil: 1",
    "_hidden",
    "' OR 1=1 --",
    "1.2.3",
    "1.2.3.4.5",
    "999.1.1.1",
    "127.0.0.1/8",
    "0x7f000001",
    "example.com",
)
LOUD = frozenset("<>%'\" \t")


@dataclass(frozen=True)
class Net:
    """Who is trusted: a proxy, all of a network, and a network of proxies further out that we only hear of.

    `near`: an address that looks like the proxy's and is not trusted.
    """

    proxy: str
    network: str
    second: str
    inner: str
    inner6: str
    near: str
    trusted: str


@pytest.fixture
def net(answer: Answer) -> Net:
    """The same for all checks of the exercise: they share an app."""
    draw = Draw(answer.seed, answer.title, "net")
    a, b, c, d = (draw.number(2, 25), draw.number(30, 200), draw.number(1, 250), draw.number(1, 14))
    proxy, network, inner = f"127.{b}.0.{a}", f"127.{b}.7.{16 * d}/28", f"10.{c}.0.0/16"
    second = f"127.{b}.7.{16 * d + 5}"
    trusted = f"{proxy},{network},{inner},2001:db8:{c:x}::/48"
    return Net(proxy, network, second, f"10.{c}.3.{a}", f"2001:db8:{c:x}::{a}", f"{proxy}{d % 10}", trusted)


@pytest.fixture
def app(answer: Answer, net: Net) -> App:
    """The learner's app, which trusts the proxies of `net`."""
    return answer.shared(TRUSTED_PROXIES=net.trusted)


def whoami(api: httpx.Client, *forwarded: str, proto: str = "", **more: str) -> httpx.Response:
    """Ask who one is, as a client or a proxy that says `forwarded`, a header line each, and `proto`."""
    headers = [("X-Forwarded-For", line) for line in forwarded]
    headers += [("X-Forwarded-Proto", proto)] if proto else []
    headers += [(name.replace("_", "-"), value) for name, value in more.items()]
    return api.get("/whoami", headers=headers)


def expect_client(answer: httpx.Response, address: str, scheme: str = "http") -> None:
    """The app takes `address`, however it writes it, for the client's, and knows the scheme. Raises CheckFailed."""
    body = json_of(expect(answer, 200, "did not say who the client is"), "client", "scheme")
    if not same(body["client"], address):
        raise_wrong(answer, f"took {body['client']!r:.100} for the client's address, which is {address}")
    if body["scheme"] != scheme:
        raise_wrong(answer, f"took {body['scheme']!r:.100} for the scheme, which is {scheme}")


def same(told: Any, address: str) -> bool:
    """Whether two texts are the same address."""
    try:
        return isinstance(told, str) and ipaddress.ip_address(told) == ipaddress.ip_address(address)
    except ValueError:
        return False


def raise_wrong(answer: httpx.Response, found: str) -> None:
    """Raises CheckFailed."""
    raise CheckFailed(found, exchange=exchange_of(answer.request, answer))


def visitor(draw: Draw) -> str:
    """An address of somebody out there."""
    return f"{draw.number(60, 120)}.{draw.number(1, 250)}.{draw.number(1, 250)}.{draw.number(1, 250)}"


@exercise("2.4")
@legit("ASVS 5.0 15.3.4")
def test_a_direct_client_has_its_own_address(app: App, net: Net) -> None:
    """A client without a proxy in between is shown its own address, and http.

    That is what the connection says, and nobody can forge it.

    Hint: `request.client.host` and `request.url.scheme`.
    """
    for address in ("127.0.0.1", "127.0.0.9", net.near):
        expect_client(whoami(app.at(address)), address)


@exercise("2.4")
@legit("RFC 7239 §5.2")
def test_a_client_behind_a_proxy_has_its_own_address(app: App, net: Net, draw: Draw) -> None:
    """Behind a trusted proxy the client is who the proxy says, by IPv4 or IPv6.

    Or else everybody behind the proxy is one client, with one limit, and one line in the log.

    Hint: when the connection comes from a trusted proxy, read `X-Forwarded-For`.
    """
    for proxy in (net.proxy, net.second):
        for address in (visitor(draw), f"2a00:{draw.number(1, 9999)}::{draw.number(1, 9999)}", "2A00:0:0:0:0:0:0:1"):
            expect_client(whoami(app.at(proxy), address), address)


@exercise("2.4")
@legit("RFC 7239 §7.1", "RFC 9110 §5.3")
def test_a_chain_of_proxies_is_followed(app: App, net: Net, draw: Draw) -> None:
    """Behind several trusted proxies the client is the right-most hop that is not one of them.

    Each proxy appends whom it heard from. So the trustworthy part is at the right, and begins with ours.

    Hint: walk from the right and stop at the first address that is in no trusted network.
    """
    address = visitor(draw)
    for hops in ([net.inner], [net.second, net.inner], [net.inner6, net.proxy]):
        chain = ", ".join((address, *hops))
        expect_client(whoami(app.at(net.proxy), chain), address)


@exercise("2.4")
@legit("RFC 7239 §5.4")
def test_a_trusted_proxy_says_the_scheme(app: App, net: Net, draw: Draw) -> None:
    """A trusted proxy says by which scheme the client came.

    nginx speaks TLS, the app behind it plain http. Links and cookies need to know.

    Hint: `X-Forwarded-Proto`, from a trusted proxy only; without it, what the connection says.
    """
    address = visitor(draw)
    for proxy in (net.proxy, net.second):
        expect_client(whoami(app.at(proxy), address, proto="https"), address, "https")
        expect_client(whoami(app.at(proxy), address, proto="http"), address, "http")
        expect_client(whoami(app.at(proxy), address), address, "http")


@exercise("2.4")
@legit("RFC 9110 §7.6")
def test_a_silent_proxy_is_the_client(app: App, net: Net) -> None:
    """A request of a trusted proxy that says nothing is the proxy's own.

    It checks whether you are alive, several times a minute.

    Hint: without the header, fall back on the connection.
    """
    for proxy in (net.proxy, net.second):
        expect_client(whoami(app.at(proxy)), proxy)


@exercise("2.4")
@attack("CWE-348", "CWE-290", "ASVS 5.0 4.1.3")
def test_a_direct_client_cannot_forge_its_address(app: App, net: Net, draw: Draw) -> None:
    """A client who is no trusted proxy keeps its own address, whatever it writes into headers.

    Limits, logs and "office only" all ask for the address. It must not be the client who answers.

    Hint: first ask who connects. If that is no trusted proxy, no header counts.
    """
    lie = visitor(draw)
    for address in ("127.0.0.1", "127.0.0.9", net.near):
        api = app.at(address)
        for forged in (lie, f"{lie}, {net.proxy}", net.proxy, "::1", f"{lie}, {net.inner}"):
            expect_client(whoami(api, forged), address)
        for header in OTHERS:
            expect_client(whoami(api, **{header: lie}), address)
        expect_client(whoami(api, lie, X_Real_IP=lie, Forwarded=f"for={lie};proto=https"), address)


@exercise("2.4")
@attack("CWE-348", "ASVS 5.0 4.1.3")
def test_a_direct_client_cannot_forge_the_scheme(app: App, net: Net, draw: Draw) -> None:
    """A client who is no trusted proxy cannot say that it came by https.

    `Secure` cookies, HSTS and "https only" all ask for the scheme.

    Hint: the same question first: who connects?
    """
    for address in ("127.0.0.1", net.near):
        api = app.at(address)
        for headers in (
            {"X_Forwarded_Proto": "https"},
            SCHEMES,
            {"Forwarded": "proto=https"},
        ):
            expect_client(whoami(api, **headers), address)
        for forged in (visitor(draw), net.proxy, f"{visitor(draw)}, {net.inner}"):
            expect_client(whoami(api, forged, proto="https"), address)


@exercise("2.4")
@attack("CWE-348", "RFC 7239 §8.1")
def test_what_stands_left_of_the_client_is_a_lie(app: App, net: Net, draw: Draw) -> None:
    """What the client itself had written stands at the left, and does not count.

    The proxy appends; it does not erase. The left-most hop is whatever an attacker likes.

    Hint: never the first address: the right-most one that is not yours.
    """
    for lie in (visitor(draw), "127.0.0.1", net.proxy, net.inner, "::1", "garbage", f"{visitor(draw)}, {net.inner}"):
        address = visitor(draw)
        expect_client(whoami(app.at(net.proxy), f"{lie}, {address}"), address)
        expect_client(whoami(app.at(net.second), f"{lie}, {address}, {net.inner}"), address)


@exercise("2.4")
@attack("RFC 9110 §5.3", "CWE-348")
def test_a_second_header_line_changes_nothing(app: App, net: Net, draw: Draw) -> None:
    """Several X-Forwarded-For lines are one list, in their order.

    Some proxies add a line of their own below the client's. Who reads the first one reads the attacker's.

    Hint: `request.headers.getlist("x-forwarded-for")`, joined by commas.
    """
    for lie in (visitor(draw), net.inner, "127.0.0.1"):
        address = visitor(draw)
        expect_client(whoami(app.at(net.proxy), lie, address), address)
        expect_client(whoami(app.at(net.proxy), lie, f"{address}, {net.inner}"), address)
        expect_client(whoami(app.at(net.proxy), f"{lie}, {address}", net.inner), address)


@exercise("2.4")
@attack("CWE-348", "ASVS 5.0 4.1.3")
def test_no_other_header_overrules_the_chain(app: App, net: Net, draw: Draw) -> None:
    """X-Real-IP, Forwarded and their like, which a trusted proxy passed on, do not count beside its own headers.

    A proxy that sets one header leaves the other as the client wrote it.

    Hint: read what your proxies write, X-Forwarded-For and X-Forwarded-Proto, and nothing else.
    """
    for header in OTHERS:
        address = visitor(draw)
        expect_client(whoami(app.at(net.proxy), address, **{header: visitor(draw)}), address)
    for header, value in (("Forwarded", f"for={visitor(draw)};proto=https"), *SCHEMES.items()):
        address = visitor(draw)
        expect_client(whoami(app.at(net.proxy), address, proto="http", **{header: value}), address)


@exercise("2.4")
@attack("CWE-20", "CWE-116", "CWE-117")
def test_garbage_is_never_an_address(app: App, net: Net, draw: Draw) -> None:
    """What is no address is never shown as one, nor an address with a zone id, in which anything can stand.

    The address goes into logs, pages and queries. `ipaddress` takes `fe80::1%<script>` for valid.

    Hint: parse each hop with `ipaddress`, refuse a `scope_id`, and answer what you parsed, not what you read.
    """
    for garbage in (*GARBAGE, f"{draw.username()}.example", "a" * 5000):
        for chain in (garbage, f"{visitor(draw)}, {garbage}", f"{garbage}, {net.inner}"):
            answer = whoami(app.at(net.proxy), chain)
            if answer.status_code in REFUSED:
                continue
            told = str(json_of(expect(answer, 200, "did not say who the client is")).get("client"))
            if told == garbage or LOUD & set(told):
                raise_wrong(answer, f"showed {told!r:.100} as an address")
    for raw in ("é".encode("latin-1"), b"\xff\xfe", b"1.2.3.4\xa0"):
        answer = app.at(net.proxy).get("/whoami", headers=[(b"X-Forwarded-For", raw)])
        expect(answer, (200, *REFUSED), "did not say who the client is")


@exercise("2.4")
@attack("CWE-1188", "CWE-348")
@pytest.mark.usefixtures("app")  # first, or an answer that minds the empty list would seem not to start at all
def test_nobody_is_trusted_unless_named(answer: Answer, draw: Draw) -> None:
    """With TRUSTED_PROXIES empty no header counts, whoever sends it.

    A default that trusts 127.0.0.1 trusts everything else on the machine.

    Hint: an empty list is a list. Mind that `"".split(",")` has one element.
    """
    trusting_nobody = answer.shared(TRUSTED_PROXIES="")
    for address in ("127.0.0.1", "127.0.0.9", f"127.0.0.{draw.number(10, 250)}"):
        for lie in (visitor(draw), "127.0.0.1, 127.0.0.1"):
            expect_client(whoami(trusting_nobody.at(address), lie, proto="https", X_Real_IP=lie), address)


@exercise("2.4")
@attack("CWE-183", "CWE-697")
def test_trust_is_for_the_addresses_that_are_listed(app: App, net: Net, draw: Draw) -> None:
    """Only addresses that are listed, or lie in a listed network, are trusted: not those that look like them.

    127.0.0.25 begins with 127.0.0.2, and `in` finds it in a text. A private address may be your proxy's, or a visitor's
    in the same office.

    Hint: `ipaddress.ip_network(part)` for each part, and `address in network`.
    """
    for trusted in map(ipaddress.ip_network, net.trusted.split(",")):
        for address in map(str, (trusted[0] - 1, trusted[-1] + 1)):
            expect_client(whoami(app.at(net.proxy), f"{visitor(draw)}, {address}"), address)
    c, d = draw.number(1, 250), draw.number(1, 250)
    for private in (f"192.168.{c}.{d}", f"172.16.{c}.{d}", f"fd00::{c:x}:{d:x}"):  # and not listed
        expect_client(whoami(app.at(net.proxy), f"{visitor(draw)}, {private}"), private)
    network = ipaddress.ip_network(net.network)
    for address in (str(network[0] - 1), str(network[-1] + 1), net.near):
        expect_client(whoami(app.at(address), visitor(draw), proto="https"), address)
        expect_client(whoami(app.at(net.proxy), f"{visitor(draw)}, {address}"), address)
    for proxy in (str(network[0]), str(network[-1])):
        address = visitor(draw)
        expect_client(whoami(app.at(proxy), address), address)
