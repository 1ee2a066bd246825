"""8.3 Hosts: where a link leads that an app writes into a mail, and whom it believes about that."""

import re
import socket
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import closing
from urllib.parse import urlsplit

import httpx
import pytest

from checks.accounts import settled
from lab_app.harness import REFUSED, App, CheckFailed, attack, exercise, expect, legit
from lab_app.harness.draw import Draw
from lab_app.harness.evidence import Exchange
from lab_app.harness.world import Answer

PUBLIC = "https://www.larkspur.example"
HOST = "www.larkspur.example"
LISTED = f"{HOST},*.larkspur.example,api.books.example"
SEEDED = {"members", "books", "loans", "reviews"}
LINK = re.compile(r"(?:[a-z][a-z0-9+.-]*:)?//[^\s\"'<>]+", re.I)
ANSWERED = range(200, 500)
SECONDS = 5
Launch = Callable[..., App]
Send = Callable[[str], httpx.Response]  # asks for a new password for an address


@pytest.fixture
def site(answer: Answer) -> App:
    """The app at its public address, shared by the checks."""
    return answer.shared(ALLOWED_HOSTS=LISTED, PUBLIC_BASE_URL=PUBLIC)


def ask(app: App, email: object, host: str = HOST, **headers: str) -> httpx.Response:
    """Ask for a new password; in the names of `headers`, _ stands for -."""
    sent = {name.replace("_", "-"): value for name, value in headers.items()}
    return app.api.post("/password-reset", json={"email": email}, headers={"Host": host, **sent})


def links(app: App) -> Counter[str]:
    """Every link in the app's own tables."""
    settled(app)
    tables = app.sql("SELECT name FROM sqlite_master WHERE type = 'table' AND name NOT LIKE 'sqlite_%'")
    own = [name.replace('"', '""') for (name,) in tables if name not in SEEDED]
    rows = [row for name in own for row in app.sql(f'SELECT * FROM "{name}"')]  # noqa: S608 - in the answer's sandbox
    return Counter(link for row in rows for value in row if isinstance(value, str) for link in LINK.findall(value))


def new_links(app: App, before: Counter[str], wanted: int = 1) -> list[str]:
    """The links that were not there before, once there are as many as wanted, or time is up."""
    until = time.monotonic() + SECONDS
    while (new := links(app) - before).total() < wanted and time.monotonic() < until:
        time.sleep(0.02)
    return list(new)


def people(app: App, draw: Draw, count: int) -> list[str]:
    """The addresses of new members, one for every request: an app may keep one link a member."""
    found = [(draw.username(), draw.email()) for _ in range(count)]
    rows = ", ".join(["(?, ?, 'x')"] * count)
    values = [value for row in found for value in row]
    app.sql(f"INSERT INTO members (username, email, password_hash) VALUES {rows}", *values)  # noqa: S608
    return [email for _, email in found]


def at_home(link: str, public: str = PUBLIC) -> bool:
    """Whether a link leads to the public address."""
    return link.startswith(public) and link[len(public) :][:1] in ("", "/", "?", "#")


def expect_harmless(app: App, draw: Draw, tries: Iterable[tuple[str, Send]]) -> list[httpx.Response]:
    """Each request is refused, or the link that it leads to leads home. Raises CheckFailed."""
    tries, before = list(tries), links(app)
    answers, taken = [], []
    for email, (how, send) in zip(people(app, draw, len(tries)), tries, strict=True):
        answers.append(expect(send(email), ANSWERED, f"did not bear {how}"))
        if answers[-1].status_code < 300:
            taken.append((how, app.answer.exchanges[-1]))
    strange = [link for link in new_links(app, before, len(taken)) if not at_home(link)] if taken else []
    if strange:
        host = urlsplit(strange[0]).netloc.rpartition("@")[2]
        guilty = [one for one in taken if host and host in one[0]] or taken
        found = f"wrote the link {strange[0]!r} when it was sent one of: {'; '.join(how for how, _ in guilty)}"
        raise CheckFailed(found, "A safe app refuses, or writes a link that begins with PUBLIC_BASE_URL.", guilty[0][1])
    return answers


def by_host(app: App, host: str) -> tuple[str, Send]:
    """A try with another Host."""
    return f"Host: {host}", lambda email: ask(app, email, host)


def by_head(app: App, head: list[str]) -> tuple[str, Send]:
    """A try with a head that no client would send."""
    return " and ".join(head), lambda email: raw(app, head, email)


def raw(app: App, head: list[str], email: str) -> httpx.Response:
    """Ask for a new password with these first lines; a connection that is closed counts as a refusal."""
    body = f'{{"email": "{email}"}}'
    lines = [*head, "Content-Type: application/json", f"Content-Length: {len(body)}", "Connection: close", "", body]
    with closing(socket.create_connection(("127.0.0.1", app.port), timeout=10)) as connection:
        connection.sendall("\r\n".join(lines).encode())
        came = b"".join(received(connection, app.answer.deadline()))
    app.answer.exchanges.append(Exchange("\n".join(lines), came.decode(errors="replace"), ""))
    status = re.match(rb"HTTP/1\.[01] (\d{3})", came)
    return httpx.Response(int(status[1]) if status else 400, request=httpx.Request("POST", PUBLIC))


def received(connection: socket.socket, until: float) -> Iterator[bytes]:
    """What comes until the other side has closed, a megabyte at most."""
    for _ in range(64):
        connection.settimeout(max(0.01, until - time.monotonic()))
        try:
            data = connection.recv(1 << 14)
        except OSError:
            return
        if not data:
            return
        yield data


@exercise("8.3")
@legit("OWASP Forgot Password Cheat Sheet")
def test_members_are_sent_a_link(site: App) -> None:
    """Members who have forgotten their password get a link that begins with PUBLIC_BASE_URL.

    It is stored in a table of the app's own, from where the mail goes out.

    Hint: `CREATE TABLE IF NOT EXISTS`, and one INSERT with the link. Ask `members` for the address first.
    """
    for member in (site.library.ada, site.library.bob, site.library.staff):
        before = links(site)
        expect(ask(site, member.email), 202, "refused a member who has forgotten the password")
        new = new_links(site, before)
        if not any(map(at_home, new)):
            found = f"stored {new[0]!r}" if new else "stored no link"
            safe = "A row of a table of its own holds the link, which begins with PUBLIC_BASE_URL."
            raise CheckFailed(f"{found} for a member who has forgotten the password", safe)


@exercise("8.3")
@legit("RFC 9110 §7.2")
def test_all_listed_hosts_are_served(site: App, draw: Draw) -> None:
    """Every host of the list is served, names below `*.larkspur.example` too, with a port or without.

    Browsers put the port into Host whenever it is not the usual one.

    Hint: TrustedHostMiddleware takes the list as it is, split at its commas; it knows `*.` and leaves ports aside.
    """
    below = f"{draw.username()}.larkspur.example"
    hosts = (HOST, below, "api.books.example", f"{HOST}:443", f"{below}:8443")
    before = links(site)
    for host, email in zip(hosts, people(site, draw, len(hosts)), strict=True):
        expect(ask(site, email, host), 202, f"refused the host {host}, which is on its list")
    new_links(site, before, len(hosts))  # none of them is to arrive amid another check


@exercise("8.3")
@legit("OWASP Forgot Password Cheat Sheet")
def test_the_link_follows_the_public_address(launch: Launch, draw: Draw) -> None:
    """The link begins with PUBLIC_BASE_URL, whatever that is, and by whichever listed name the app was asked.

    The app moves to another name, and the links in its mails move along.

    Hint: read the variable. Do not write the address into the code.
    """
    public = f"https://{draw.username()}.example"
    app = launch(ALLOWED_HOSTS=LISTED, PUBLIC_BASE_URL=public)
    for host in (HOST, "api.books.example"):
        before = links(app)
        expect(ask(app, app.library.bob.email, host), 202, "refused a member who has forgotten the password")
        new = new_links(app, before)
        if not any(at_home(link, public) for link in new):
            safe = "The link begins with PUBLIC_BASE_URL."
            raise CheckFailed(f"stored {new} where PUBLIC_BASE_URL is {public}", safe)


@exercise("8.3")
@attack("CWE-204", "ASVS 5.0 6.3.8")
def test_nobody_learns_who_is_a_member(site: App, draw: Draw) -> None:
    """An address that nobody has gets the same answer, and no link is stored.

    Else the form tells anybody who has an account here.

    Hint: answer 202 with the same body whether you found a member or not.
    """
    before, known = links(site), people(site, draw, 2)
    said = [ask(site, email).text.replace(email, "…") for email in known]
    new_links(site, before, len(known))  # a mail may be written after the answer
    before = links(site)
    for email in (draw.email(), draw.email()):
        answer = expect(ask(site, email), 202, "treated an address that nobody has otherwise than a member's")
        if said[0] == said[1] != answer.text.replace(email, "…"):
            raise CheckFailed("said something else to an address that nobody has", "A safe app says the same to both.")
    for email in ("%", "_%@%", f"{draw.username()}' OR '1'='1"):
        expect(ask(site, email), ANSWERED, "did not bear an address that is none")
    expect(ask(site, people(site, draw, 1)[0]), 202, "refused a member who has forgotten the password")
    new = new_links(site, before)  # that member's, so those before it would be there by now
    if len(new) > 1:
        raise CheckFailed(f"stored links that nobody may have: {new}", "A safe app stores a link for members alone.")


@exercise("8.3")
@attack("CWE-640", "OWASP Forgot Password Cheat Sheet")
def test_a_forged_host_changes_no_link(site: App, draw: Draw) -> None:
    """Somebody else's Host is refused, or the link leads home all the same.

    The member clicks the link in a genuine mail, and hands the token to whoever wrote that Host.

    Hint: build the link from PUBLIC_BASE_URL. `request.base_url` and `url_for` are what the client said.
    """
    evil = draw.username()
    hosts = (f"{evil}.example", f"{evil}.larkspur.example", "127.0.0.1", "localhost:8000", evil, "api.books.example")
    expect_harmless(site, draw, (by_host(site, host) for host in hosts))


@exercise("8.3")
@attack("CWE-346", "RFC 9110 §7.4")
def test_a_star_covers_only_names_below(site: App, draw: Draw) -> None:
    """`*.larkspur.example` does not cover evillarkspur.example, nor larkspur.example.evil.

    Anybody can buy a name that ends like yours.

    Hint: compare with the dot: the host ends with `.larkspur.example`.
    """
    evil = draw.username()
    near = (
        f"{evil}larkspur.example",
        "evillarkspur.example",
        f"larkspur.example.{evil}.example",
        f"{HOST}.evil.example",
    )
    odd = (f"x{HOST.replace('www.', '')}", f"{evil}Xlarkspur.example", "www.larkspurxexample", "larkspur.example.evil")
    stranger, *answers = expect_harmless(
        site, draw, (by_host(site, host) for host in (f"{draw.username()}.example", *near, *odd))
    )
    if stranger.status_code in REFUSED:  # an app that serves any host, and believes none, is safe as well
        for host, answer in zip((*near, *odd), answers, strict=True):
            expect(answer, REFUSED, f"took {host} for a name on its list")


@exercise("8.3")
@attack("CWE-640", "ASVS 5.0 4.1.3")
def test_forwarded_hosts_change_no_link(site: App, draw: Draw) -> None:
    """X-Forwarded-Host and its kin are refused or make no difference.

    Anybody can send them. They mean something only if your own proxy wrote them.

    Hint: do not read them. PUBLIC_BASE_URL says all that the link needs.
    """
    evil = f"{draw.username()}.example"
    tries = (
        {"X_Forwarded_Host": evil},
        {"X_Forwarded_Host": f"{HOST}, {evil}"},
        {"X_Forwarded_Host": "api.books.example"},
        {"X_Forwarded_Host": f"{draw.username()}.larkspur.example", "Forwarded": "host=api.books.example"},
        {"X_Forwarded_Host": evil, "X_Forwarded_Proto": "http", "X_Forwarded_Port": "8080", "X_Forwarded_Prefix": "/x"},
        {"X_Forwarded_Prefix": f".{evil}/", "X_Script_Name": f"@{evil}/"},
        {"Forwarded": f"host={evil};proto=http"},
        {"X_Host": evil, "X_Original_Host": evil, "X_HTTP_Host_Override": evil, "X_Forwarded_Server": evil},
        {"Origin": f"https://{evil}", "Referer": f"https://{evil}/"},
        {"X_Original_URL": f"https://{evil}/password-reset", "X_Rewrite_URL": f"https://{evil}/"},
    )

    def send(headers: dict[str, str]) -> Send:
        return lambda email: ask(site, email, **headers)

    expect_harmless(site, draw, ((shown(headers), send(headers)) for headers in tries))


def shown(headers: dict[str, str]) -> str:
    """Headers as they are sent."""
    return ", ".join(f"{name.replace('_', '-')}: {value}" for name, value in headers.items())


@exercise("8.3")
@attack("CWE-20", "RFC 9110 §7.2")
def test_junk_in_the_host_changes_no_link(site: App, draw: Draw) -> None:
    """User info, ports that are none and other junk in Host change no link, and crash nothing.

    What one program reads as a port, the next reads as the end of a name.

    Hint: what is not compared with your list needs no parsing. What is, is compared whole.
    """
    evil = f"{draw.username()}.example"
    hosts = (
        *(f"{HOST}:80@{evil}", f"{HOST}@{evil}", f"user:{HOST}@{evil}", f"{HOST}:{evil}", f"{HOST}:80:{evil}"),
        *(f"{HOST}:99999999", f"{HOST}:", f"{HOST}:-1", f"{HOST}/{evil}", f"{HOST}#@{evil}", f"{HOST}?.{evil}"),
        *(f"{evil}#.larkspur.example", f"{evil}/.larkspur.example", f"{evil}?.larkspur.example", f"[{evil}]"),
        *(
            f"{evil}:80#.larkspur.example",
            f"{evil}:x.larkspur.example",
            "[::1]",
            "[::1",
            "*.larkspur.example",
            "*",
            ",",
        ),
    )
    expect_harmless(site, draw, (by_host(site, host) for host in hosts))


@exercise("8.3")
@attack("RFC 9112 §3.2", "CWE-444")
def test_two_hosts_are_one_too_many(site: App, draw: Draw) -> None:
    """Two Host headers, none, or one more in the request line are refused or make no difference.

    A proxy checks one of the two, and the app behind it takes the other.

    Hint: whatever comes in, the link is PUBLIC_BASE_URL and a path.
    """
    evil, post = f"{draw.username()}.example", "POST /password-reset HTTP/1.1"
    heads = (
        [post, f"Host: {HOST}", f"Host: {evil}"],
        [post, f"Host: {evil}", f"Host: {HOST}"],
        [post, f"Host: {HOST}", f"hOST: {evil}"],
        [post, f"Host: {HOST}, {evil}"],
        [post, f"Host: {HOST}\t{evil}"],
        [post, f"Host: {HOST}", f" {evil}"],
        [f"POST http://{evil}/password-reset HTTP/1.1", f"Host: {HOST}"],
        [f"POST //{evil}/password-reset HTTP/1.1", f"Host: {HOST}"],
        [f"POST @{evil}/password-reset HTTP/1.1", f"Host: {HOST}"],
        [f"POST /password-reset?//{evil} HTTP/1.1", f"Host: {HOST}"],
        ["POST /password-reset HTTP/1.0"],
        [post, "Host:"],
        [post],
    )
    expect_harmless(site, draw, (by_head(site, head) for head in heads))


@exercise("8.3")
@attack("CWE-20", "CWE-755")
def test_what_is_no_address_crashes_nothing(site: App) -> None:
    """An e-mail address that is none is refused or makes no difference.

    Whoever can crash a page for people without a password can do it all night.

    Hint: a model with `email: str`. Ask the database with a bound parameter.
    """
    known = site.library.ada.email
    odd: tuple[object, ...] = (
        None,
        5,
        True,
        [known],
        {"$ne": ""},
        "",
        "x" * 100_000,
        f"{known}\r\nBcc: c@d.example",
        "\0",
    )
    for email in odd:
        expect(ask(site, email), ANSWERED, "did not bear an address that is none")
    for body in (b"", b"[]", b"null", b'"x"', b"{", b"{}"):
        headers = {"Host": HOST, "Content-Type": "application/json"}
        expect(site.api.post("/password-reset", content=body, headers=headers), ANSWERED, "did not bear a broken body")
