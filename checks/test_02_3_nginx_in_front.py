"""2.3 nginx in front: how it is used, and how it is attacked."""

import json
import re
import ssl
from collections.abc import Iterator
from urllib.parse import urlsplit

import httpx
import pytest

from checks.front import MISSING, Behind, Front, answered, front, nobody
from checks.handshakes import EVERYTHING, NAMES, TLS_1_0, TLS_1_1, negotiated, offered
from checks.transport import max_age
from lab_app.harness import REFUSED, CheckFailed, attack, exercise, expect, legit
from lab_app.harness.draw import Draw
from lab_app.harness.evidence import exchange_of
from lab_app.harness.world import Answer
from lab_app.runner.services.certificate import Certificate

PATHS = ("/", "/api/", "/api/loans/", "/static/", "/books/")  # nginx has no files of its own: all of it is the app's
PLACES = (*PATHS, "/assets/", "/docs", "/health")
VERSION = re.compile(r"(nginx|openresty)/\d", re.IGNORECASE)
UPLOADS = ("/upload/", "/uploads/", "/files/")
MANY = 1_200_000  # more than a megabyte, whether 1000 or 1024 is a kilo
FEW = 512_000


@pytest.fixture(scope="module")
def app_behind() -> Iterator[Behind]:
    """One app for all checks of a run."""
    app = Behind()
    yield app
    app.served.stop()


@pytest.fixture
def behind(app_behind: Behind) -> Behind:
    """The app behind nginx, its records emptied for this check."""
    app_behind.arrived.clear()
    return app_behind


@pytest.fixture
def name(answer: Answer) -> str:
    """The name that the site has."""
    return f"{Draw(answer.seed, answer.title, 'name').username()}.example"


@pytest.fixture
def site(answer: Answer, certificate: Certificate, name: str, behind: Behind) -> Front:
    """The learner's nginx, shared by the checks of the exercise."""
    return front(answer, certificate, name, behind)


def below(paths: tuple[str, ...], draw: Draw) -> list[str]:
    """A path below each, that nobody asked for before."""
    return [f"{path.rstrip('/')}/{draw.username()}" for path in paths]


def redirected(site: Front, answer: httpx.Response) -> None:
    """An answer sends to our own site by https, and nowhere else. Raises CheckFailed."""
    expect(answer, (301, 308), "did not redirect with 301 or 308")
    for location in answer.headers.get_list("location") or [""]:
        to = urlsplit(location)
        right = (to.scheme, to.hostname, to.username) == ("https", site.name, None)
        if not right or to.port not in (None, 443, site.nginx.https_port):
            raise CheckFailed(f"redirected to {location!r:.200}", f"A safe site redirects to https://{site.name}.")


@exercise("2.3")
@legit("RFC 9110 §7.6")
def test_requests_reach_the_app_as_they_are(site: Front, behind: Behind, draw: Draw) -> None:
    """Over https every request reaches the app: method, path, query, body, its own headers; and the answer comes back.

    A proxy that loses half of a request protects an app that nobody can use.

    Hint: `proxy_pass http://{upstream};` without a path of its own.
    """
    paths = below(PATHS, draw)
    for path in (*paths, f"{paths[-1]}/"):
        for method in ("GET", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"):
            mark, token, body = draw.username(), draw.secret(16), draw.passphrase().encode()
            headers = {"Authorization": f"Bearer {token}", "X-Colour": mark, "Content-Type": "text/plain"}
            sent = body if method in ("POST", "PUT", "PATCH") else b""
            answer = site.to().request(method, f"{path}?q={mark}&q=%C3%A9", headers=headers, content=sent)
            expect(answer, 200, "did not bring a request to the app")
            assert answer.headers.get("x-library") == "larkspur", "did not bring back the app's own answer"
            (got,) = behind.got(mark) or (None,)
            assert got, f"did not hand {method} {path} to the app"
            came = f"{got.method} {got.target}"
            assert came == f"{method} {path}?q={mark}&q=%C3%A9", f"handed {method} {path} to the app as {came}"
            assert got.body == sent, "changed the body of a request"
            assert got.all("authorization") == [f"Bearer {token}"], "lost a header that is the client's own"
            assert got.all("x-colour") == [mark], "lost a header that is the client's own"


@exercise("2.3")
@legit("RFC 9110 §15.5.14")
def test_half_a_megabyte_gets_through(site: Front, behind: Behind, draw: Draw) -> None:
    """A body of half a megabyte reaches the app, whole.

    People send pictures.

    Hint: `client_max_body_size 1m;` is what nginx does by itself.
    """
    for path in ("/", "/api/books"):
        mark = draw.username()
        expect(site.to().post(f"{path}?q={mark}", content=b"x" * FEW), 200, "refused a body of half a megabyte")
        assert [len(got.body) for got in behind.got(mark)] == [FEW], "did not hand on the body as it was"


@exercise("2.3")
@legit("ASVS 5.0 12.2.1", "RFC 9110 §15.4.2")
def test_visitors_by_http_are_sent_to_https(site: Front, draw: Draw) -> None:
    """Who comes by http is redirected to https, for good.

    People type a name and no scheme.

    Hint: a server of its own for `{http_port}`, which returns 301 or 308.
    """
    for path in ("/", f"/books/{draw.username()}", f"/?next=/{draw.username()}"):
        redirected(site, site.to(tls=False).get(path))


@exercise("2.3")
@attack("ASVS 5.0 4.1.3", "CWE-348", "RFC 7239 §8.1")
def test_a_client_cannot_say_who_it_is(site: Front, behind: Behind, draw: Draw) -> None:
    """What a client writes into X-Forwarded-*, X-Real-IP or Forwarded never reaches the app.

    The app believes the first address that it finds. Whoever writes it there is somebody else: another client, staff
    at home, the office that no limit applies to.

    Hint: `$proxy_add_x_forwarded_for` keeps what the client sent. Set each header to what nginx knows, or to "". `$uri`
    is decoded: in a `proxy_pass` a line break in the path begins a header.
    """
    address, other = (f"{net}.{draw.number(1, 255)}" for net in ("203.0.113", "198.51.100"))
    evil, port = f"{draw.username()}.example", str(draw.number(40_000, 65_000))
    forged = {
        "X-Forwarded-For": [address, f"{address}, {other}", "2001:db8::1"],
        "X-Real-IP": [address],
        "Forwarded": [f'for={address};host={evil};proto=http;by="_{evil}"', f'for="[2001:db8::1]", for={address}'],
        "X-Forwarded-Host": [evil, f"{evil}:{port}"],
        "X-Forwarded-Proto": ["http", "gopher"],
        "X-Forwarded-Port": [port],
    }
    for path in below(PLACES[:-2], draw):
        for header, values in forged.items():
            for several in (values[:1], values[::-1]):
                mark = draw.username()
                site.to().get(f"{path}?q={mark}", headers=[(header, value) for value in several])
                lies = {word for value in several for word in words(value)}
                for got in behind.got(mark):
                    believed = [line for line in got.all(header) if lies & words(line)]
                    if believed:
                        raise CheckFailed(f"told the app {header}: {believed[0]}, which the client had made up")
        for end in ("", "%20HTTP/1.0"):  # a path that is handed on decoded ends there, and headers follow
            mark = draw.username()
            written = f"{end}%0d%0aX-Forwarded-For:%20{address}%0d%0aX-Colour:%20{evil}%0d%0aX-Rest:%20"
            answered(site.to(), "GET", f"{path}{mark}{written}")
            for got in behind.got(mark):
                lines = [f"{name}: {value}" for name in ("x-forwarded-for", "x-colour") for value in got.all(name)]
                if slipped := [line for line in lines if {address, evil} & words(line)]:
                    raise CheckFailed(f"told the app {slipped[0]}, which the client had written into its path")


def words(header: str) -> set[str]:
    """The addresses and names in a header of proxies."""
    return set(re.split(r'[\s,;="]+', header)) - {"", "for", "host", "proto", "by"}


@exercise("2.3")
@attack("RFC 9110 §7.4", "CWE-20")
def test_other_names_are_refused(site: Front, behind: Behind, draw: Draw) -> None:
    """A request for another name gets a 4xx or a closed connection, and does not reach the app.

    Apps build links from Host: the link in a mail that sets a new password, for one.

    Hint: without a default server the first one in the file is it. Give each port one that returns 444.
    """
    evil = f"{draw.username()}.example"
    hosts = (evil, f"{site.name}.{evil}", f"{evil}-{site.name}", f"www.{site.name}", "127.0.0.1", "localhost", "")
    for host in hosts:
        mark = draw.username()
        for place in ("/", "/api/books"):
            path, told = f"{place}?q={mark}", {"Host": host}
            answers = [answered(site.to(), "GET", path, headers=told)]
            if host:
                answers.append(answered(site.to(name=host), "GET", path))
            for answer in answers:
                if answer is not None:
                    expect(answer, REFUSED, f"answered to the name {host!r}")
            answer = answered(site.to(tls=False), "GET", path, headers=told)
            if answer is not None and answer.status_code in (301, 308):
                redirected(site, answer)  # to the name that it has, whatever it was called
            elif answer is not None:
                expect(answer, REFUSED, f"answered by http to the name {host!r}")
        assert not behind.got(mark), f"handed a request for {host!r} to the app"


@exercise("2.3")
@attack("CWE-601", "CWE-113", "ASVS 5.0 3.7.2")
def test_redirects_lead_to_our_own_name(site: Front, draw: Draw) -> None:
    """The redirect from http leads to the site's own name, whatever Host and path say.

    A cache that keeps one redirect to https://evil sends everybody there.

    Hint: `return 301 https://{server_name}$request_uri;`. `$host` is the client's word, and `$uri` is decoded: it can
    hold a line break.
    """
    evil = f"{draw.username()}.example"
    for host in (evil, f"{evil}:443", f"{site.name}.{evil}", f"{site.name}:80"):
        for headers in ({"Host": host}, {"X-Forwarded-Host": host}, {"Forwarded": f"host={host}"}):
            answer = answered(site.to(tls=False), "GET", f"/{draw.username()}", headers=headers)
            if answer is not None and answer.status_code not in REFUSED:
                redirected(site, answer)
    for path in (
        f"/%0d%0aLocation:%20https://{evil}",
        f"//{evil}/",
        f"/%0aX-Evil:%20{evil}",
        f"/@{evil}",
        f"/\\{evil}",
    ):
        answer = answered(site.to(tls=False), "GET", f"http://{site.name}{path}")
        if answer is not None and answer.status_code not in REFUSED:
            redirected(site, answer)
            assert "x-evil" not in answer.headers, "let a path write a header of its own"


@exercise("2.3")
@attack("ASVS 5.0 4.1.2", "CWE-319", "CWE-523")
def test_nothing_is_handed_on_from_http(site: Front, behind: Behind, draw: Draw) -> None:
    """By http nothing reaches the app, and `/api/` is refused rather than redirected.

    A program follows a redirect without a word. Its token went over the wire in clear, and nobody notices.

    Hint: `location /api/ { return 403; }` beside `location /`. A `return` directly in the server comes before both.
    """
    for path in (*below(PLACES, draw), "/API/x", "//api/x", "/%61pi/x", "/x/../api/x", "/api", "/.well-known/x"):
        for method in ("GET", "POST", "PUT", "OPTIONS"):
            mark = draw.username()
            headers = {"Authorization": f"Bearer {draw.secret(16)}", "Upgrade-Insecure-Requests": "1"}
            answer = answered(site.to(tls=False), method, f"http://{site.name}{path}?q={mark}", headers=headers)
            assert not behind.got(mark), "handed a request by http to the app"
            if answer is not None and path.startswith("/api/"):
                expect(answer, REFUSED, "did not refuse a call of the API by http")
            elif answer is not None and answer.status_code not in REFUSED:
                redirected(site, answer)


@exercise("2.3")
@attack("ASVS 5.0 12.1.1", "RFC 9325 §3.1.1", "RFC 8996")
def test_old_versions_of_tls_are_refused(site: Front) -> None:
    """TLS 1.0 and 1.1 are refused, under the site's name and without one.

    Without a name the default server of the port decides, and until nginx 1.29.2 it decided for all names.

    Hint: `ssl_protocols TLSv1.2 TLSv1.3;` once, in `http`.
    """
    port = site.nginx.https_port
    newer = (ssl.TLSVersion.TLSv1_3, ssl.TLSVersion.TLSv1_2)
    assert any(negotiated(port, version, name=site.name) for version in newer), "refused TLS 1.2 and TLS 1.3"
    for version in (TLS_1_0, TLS_1_1):
        for name in (site.name, "localhost", ""):
            if chosen := offered(port, version, EVERYTHING, name):
                raise CheckFailed(f"agreed to {chosen}", f"A safe server refuses {NAMES[version]}.")


@exercise("2.3")
@attack("ASVS 5.0 3.4.1", "RFC 6797 §7.1")
def test_every_answer_asks_for_https(site: Front, answer: Answer, certificate: Certificate, draw: Draw) -> None:
    """Over https Strict-Transport-Security is on every answer: everywhere, to every method, and on 404 and 502 too.

    A browser that has seen one answer without it has lost nothing. One that saw only those has no protection at all.

    Hint: `always`, or errors go without. A location with an `add_header` of its own inherits none: repeat it there.
    """
    for path in PATHS:
        expect_asked(expect(site.to().get(path), 200, "did not bring a request to the app"))
        missing = site.to().get(f"{path.rstrip('/')}{MISSING}")
        expect_asked(expect(missing, 404, "did not bring back the app's own 404"))
    for path in (*PLACES, *below(PLACES, draw)):
        expect_asked(site.to().get(path))
    for path in PATHS:
        for method in ("HEAD", "POST", "DELETE", "OPTIONS"):
            expect_asked(site.to().request(method, path))
        expect_asked(site.to().post(path, content=b"x" * MANY))
    with nobody() as upstream:
        alone = Front(answer, certificate, site.name, upstream)
        for path in PATHS:
            nothing = expect(alone.to().get(path), range(500, 600), "did not say that the app is gone")
            expect_asked(nothing)
        alone.nginx.stop()


def expect_asked(answer: httpx.Response) -> None:
    """An answer over https asks for https. Raises CheckFailed."""
    if not max_age(answer):
        header = answer.headers.get("strict-transport-security")
        found = f"answered {answer.status_code} with Strict-Transport-Security: {header}"
        raise CheckFailed(found, exchange=exchange_of(answer.request, answer))


@exercise("2.3")
@attack("CWE-770", "API4:2023")
def test_more_than_a_megabyte_is_refused(site: Front, behind: Behind, draw: Draw) -> None:
    """A body of more than a megabyte is 413, with its length declared or in chunks, and does not reach the app.

    Somebody will send a gigabyte. It should end at the door.

    Hint: `client_max_body_size 1m;`, and no location that says otherwise.
    """
    for path in below((*PATHS, *UPLOADS), draw):
        mark = draw.username()
        chunks = iter([b"x" * 100_000] * (MANY // 100_000))
        for content in (b"x" * MANY, chunks):
            answer = site.to().post(f"{path}?q={mark}", content=content)
            expect(answer, 413, "did not refuse a body of more than a megabyte with 413")
        assert not behind.got(mark), "handed a body of more than a megabyte to the app"


@exercise("2.3")
@attack("ASVS 5.0 13.4.6", "CWE-497")
def test_nobody_is_told_the_version(site: Front, answer: Answer, certificate: Certificate, draw: Draw) -> None:
    """No answer names nginx's version, in its headers or on its error pages.

    A list of versions and their holes is one search away.

    Hint: `server_tokens off;` in `http`, so that every server has it.
    """
    host = {"Host": f"{draw.username()}.example"}
    seen: list[httpx.Response | None] = [
        site.to().get("/"),
        site.to().get(MISSING),
        site.to().post("/", content=b"x" * MANY),
    ]
    for tls in (True, False):
        seen.append(answered(site.to(tls=tls), "GET", "/", headers=host))
    seen += [answered(site.to(tls=False), "GET", path) for path in ("/", "/api/x")]
    with nobody() as upstream:
        alone = Front(answer, certificate, site.name, upstream)
        seen += [alone.to().get("/"), alone.to().get("/api/x"), alone.to().get("/static/x")]
        alone.nginx.stop()
    with site.mistaken() as client:
        seen.append(answered(client, "GET", "/"))
    for one in seen:
        if one is not None:
            told = json.dumps(one.headers.multi_items()) + one.text
            assert not VERSION.search(told), f"named its version on a {one.status_code}"
