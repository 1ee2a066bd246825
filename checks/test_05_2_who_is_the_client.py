"""5.2 Who is the client?: how it is used, and how it is attacked."""

import time
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor

import httpx
import pytest

from checks.attacks import bearer
from checks.budgets import address, refused, retry_after, search, use_up
from lab_app.harness import App, attack, exercise, expect, json_of, legit
from lab_app.harness.draw import Draw
from lab_app.harness.world import Answer

PROXIES = ("127.0.0.8", "127.0.0.9")
NEXT_DOOR = ("127.0.0.80", "127.0.0.90")  # nobody trusts these, though their texts begin alike
WINDOW = 3600  # so long that no window of anybody's ends amid a check


@pytest.fixture
def limit(answer: Answer) -> int:
    """RATE_LIMIT, drawn once for all checks, which share the app."""
    return Draw(answer.seed, answer.title, "limit").number(5, 10)


@pytest.fixture
def app(answer: Answer, limit: int) -> App:
    """The learner's app behind two trusted proxies."""
    return answer.shared(RATE_LIMIT=str(limit), RATE_WINDOW=str(WINDOW), TRUSTED_PROXIES=",".join(PROXIES))


def v4(draw: Draw) -> str:
    """A client's address, as a proxy sees it."""
    return f"203.0.{draw.number(0, 255)}.{draw.number(1, 255)}"


def v6(draw: Draw) -> str:
    """A network of 2^64 addresses, as any home has one."""
    return f"2001:db8:{draw.number(1, 65_536):x}:{draw.number(1, 65_536):x}"


def next_to(network: str) -> str:
    """The /64 that is the first one's twin in a /63, so that nobody who counts by less tells them apart."""
    site, _, subnet = network.rpartition(":")
    return f"{site}:{int(subnet, 16) ^ 1:x}"


def through(app: App, hops: str, proxy: str = PROXIES[0], **headers: str) -> httpx.Response:
    """Ask for /search through a trusted proxy, which has put `hops` into X-Forwarded-For."""
    return search(app, proxy, **{"X-Forwarded-For": hops}, **headers)


def all_refused(answers: Iterable[httpx.Response], found: str) -> None:
    """Every answer is a 429. Raises CheckFailed."""
    for answer in answers:
        refused(answer, found)


@exercise("5.2")
@legit("RFC 6585 §4", "ASVS 5.0 2.4.1")
def test_everybody_has_a_budget_of_their_own(app: App, limit: int, draw: Draw) -> None:
    """Each client is let through RATE_LIMIT times, whatever the others do.

    One budget for all is a switch by which anybody turns the library off.

    Hint: count per client; without a trusted proxy that is the address of the connection.
    """
    for _ in range(3):
        source = address(draw)
        expect(app.at(source).get("/search", params={"limit": draw.number(1, 99)}), 200, "refused a search")
        use_up(lambda source=source: search(app, source), limit - 1)  # type: ignore[misc]


@exercise("5.2")
@legit("CWE-400")
def test_health_costs_nothing(app: App, limit: int, draw: Draw) -> None:
    """`/health` answers 200 however often, also to somebody who has used up their budget, and takes nothing from it.

    A load balancer that gets 429 takes the server out of service.

    Hint: leave that one path out before you count.
    """
    source = address(draw)
    for _ in range(2 * limit):
        expect(app.at(source).get("/health"), 200, "did not say that it is well")
    use_up(lambda: search(app, source), limit)
    expect(app.at(source).get("/health"), 200, "did not say that it is well to somebody without a budget")


@exercise("5.2")
@legit("ASVS 5.0 15.3.4", "RFC 7239 §5.2")
def test_clients_behind_the_proxy_are_told_apart(app: App, limit: int, draw: Draw) -> None:
    """Behind a trusted proxy every client has a budget of their own, of IPv4 or IPv6.

    To the app they all come from the proxy. If it counts the proxy, one of them spends what all have.

    Hint: if the connection comes from TRUSTED_PROXIES, the client is the last address of X-Forwarded-For.
    """
    clients = [v4(draw), v4(draw), f"{v6(draw)}::1", f"{v6(draw)}::1"]
    for proxy, client in zip(PROXIES * 2, clients, strict=True):
        use_up(lambda client=client, proxy=proxy: through(app, client, proxy), limit)  # type: ignore[misc]
    first, second = v4(draw).rpartition(".")[0], draw.number(1, 250)
    for number in (second, second + 1):
        use_up(lambda number=number: through(app, f"{first}.{number}"), limit)  # type: ignore[misc]


@exercise("5.2")
@legit("RFC 4291 §2.5.5.2")
def test_ipv4_written_as_ipv6_is_not_one_network(app: App, limit: int, draw: Draw) -> None:
    """Two IPv4 addresses that a dual-stack proxy writes as IPv6 have two budgets.

    `::ffff:203.0.113.7` and every other IPv4 address lie in one /64: cut there, and all of IPv4 is one client.

    Hint: `ip_address(text).ipv4_mapped` is the IPv4 address, or None.
    """
    for _ in range(3):
        client = f"::ffff:{v4(draw)}"
        use_up(lambda client=client: through(app, client), limit)  # type: ignore[misc]


@exercise("5.2")
@legit("RFC 9110 §10.2.3")
def test_the_budget_comes_back(launch: Callable[..., App], draw: Draw) -> None:
    """Whoever waits as long as Retry-After says is let through again.

    A limit is no ban.

    Hint: after RATE_WINDOW seconds a request no longer counts.
    """
    app = launch(RATE_LIMIT="3", RATE_WINDOW="1", TRUSTED_PROXIES=",".join(PROXIES))
    source = address(draw)
    until = time.monotonic() + 5
    while (answer := search(app, source)).status_code == 200 and time.monotonic() < until:
        pass
    time.sleep(max(0.05, retry_after(refused(answer, "let everything through"), 1)))
    expect(search(app, source), 200, "still refused somebody who had waited as long as Retry-After says")


@exercise("5.2")
@attack("CWE-348", "ASVS 5.0 15.3.4")
def test_forwarding_headers_from_strangers_buy_nothing(app: App, limit: int, draw: Draw) -> None:
    """Whoever is no trusted proxy may write any address into any header, and stays who they are.

    X-Forwarded-For is text that the client sends. Believe it, and everybody has 2^32 budgets.

    Hint: look at X-Forwarded-For only if the connection's own address, all of it, is in TRUSTED_PROXIES.
    """
    source = address(draw)
    use_up(lambda: search(app, source, **{"X-Forwarded-For": v4(draw)}), limit)
    names = ("X-Forwarded-For", "X-Real-IP", "X-Client-IP", "True-Client-IP", "CF-Connecting-IP", "X-Originating-IP")
    forged = [{name: v4(draw)} for name in names]
    forged += [{"Forwarded": f"for={v4(draw)}"}, {"X-Forwarded-For": f"{v4(draw)}, {PROXIES[0]}"}]
    forged += [{"X-Forwarded-For": PROXIES[0]}, {"X-Forwarded-For": f"{v6(draw)}::1"}, {"X-Forwarded-For": ""}]
    tries = [search(app, source, **headers) for headers in forged]
    all_refused(tries, "gave a new budget for a header that anybody can write")
    for stranger in NEXT_DOOR:
        use_up(lambda stranger=stranger: through(app, v4(draw), stranger), limit)  # type: ignore[misc]


@exercise("5.2")
@attack("CWE-348", "ASVS 5.0 15.3.4", "RFC 7239 §8.1")
def test_forged_hops_before_the_real_one_buy_nothing(app: App, limit: int, draw: Draw) -> None:
    """What a client had written before the trusted proxy added the real address changes nothing.

    A proxy appends. Read from the left, and the first thing you read is what the attacker wrote.

    Hint: read X-Forwarded-For from the right, and stop at the first address that is no trusted proxy.
    """
    client = v4(draw)
    use_up(lambda: through(app, f"{v4(draw)}, {client}"), limit)
    forged = [v4(draw), f"{v4(draw)}, {v4(draw)}", f"{v6(draw)}::1", PROXIES[1], "127.0.0.1", "unknown", draw.secret(8)]
    tries = [through(app, f"{hop}, {client}", proxy) for hop in forged for proxy in PROXIES]
    tries += [through(app, f"{v4(draw)},{client}"), through(app, f"{v4(draw)} ,  {client}")]
    others = ("X-Real-IP", "X-Client-IP", "True-Client-IP", "CF-Connecting-IP")  # this proxy does not know them
    tries += [through(app, client, **{name: v4(draw)}) for name in others]
    tries += [through(app, client, Forwarded=f"for={v4(draw)}")]
    all_refused(tries, "gave a new budget for an address that a client had written itself")


@exercise("5.2")
@attack("RFC 4291 §2.5.4", "CWE-770")
def test_a_network_of_ipv6_has_one_budget(app: App, limit: int, draw: Draw) -> None:
    """All 2^64 addresses of an IPv6 /64 share one budget, however they are written; the next /64 has its own.

    Any home is given a /64. Counted by the address, everybody there has more budgets than you have memory.

    Hint: `ip_network((address, 64), strict=False)`; and compare addresses, not texts.
    """
    network = v6(draw)
    use_up(
        lambda: through(app, f"{network}:{draw.secret(4)}:{draw.secret(4)}:{draw.secret(4)}:{draw.secret(4)}"), limit
    )
    ends = ["::1", "::", ":ffff:ffff:ffff:ffff", ":0:0:0:1", "::0001", f"::{draw.secret(4)}:{draw.secret(4)}"]
    tries = [through(app, spelled) for end in ends for spelled in (f"{network}{end}", f"{network}{end}".upper())]
    all_refused(tries, "gave a new budget for another address of the same IPv6 /64")
    expect(through(app, f"{next_to(network)}::1"), 200, "let another IPv6 /64 pay for this one")
    short = f"3fff:{draw.number(1, 4096):x}::"  # the :: stands for half of the network as well
    use_up(lambda: through(app, f"{short}{draw.secret(4)}"), limit)
    tries = [through(app, f"{short}{draw.secret(4)}:{draw.secret(4)}"), through(app, short), through(app, f"{short}1")]
    all_refused(tries, "gave a new budget for another address of the same IPv6 /64")
    high, low = draw.number(1, 255), draw.number(1, 255)
    mapped = f"::ffff:cb00:{high:02x}{low:02x}"
    use_up(lambda: through(app, mapped), limit)
    spellings = [f"::ffff:203.0.{high}.{low}", mapped.upper(), f"0:0:0:0:0:ffff:cb00:{high:02x}{low:02x}"]
    all_refused([through(app, text) for text in spellings], "gave a new budget for another spelling of an address")
    expect(through(app, f"::ffff:{v4(draw)}"), 200, "let all IPv4 addresses that are written as IPv6 share one budget")


@exercise("5.2")
@attack("API4:2023", "CWE-770")
def test_every_path_counts(app: App, limit: int, draw: Draw) -> None:
    """Answers of 404, 405 and 422 cost what a 200 costs, and all paths and methods share one budget.

    An attacker who looks for something gets errors mostly. They cost you as much as any answer.

    Hint: count in a middleware, before routing and validation, and by the client only.
    """
    paths = ["/search?limit=abc", "/search?limit=", f"/{draw.secret(8)}", "/openapi.json", f"/search/{draw.username()}"]
    for path in paths:
        source = address(draw)
        for _ in range(limit):
            expect(app.at(source).get(path), range(200, 429), f"refused a first request for {path}")
        refused(search(app, source), f"counts no requests for {path}")
        refused(app.at(source).get(path), f"went on answering {path} to somebody without a budget")
    for method in ("OPTIONS", "PUT", "DELETE", "PATCH"):
        source = address(draw)
        for _ in range(limit):
            app.at(source).request(method, "/search")
        refused(search(app, source), f"counts no {method}")
    source = address(draw)
    for number in range(limit):
        app.at(source).request(("POST", "GET", "HEAD")[number % 3], paths[number % len(paths)])
    refused(
        search(app, source), "does not count all paths and methods together, so whoever mixes them has many budgets"
    )
    expect(app.at(address(draw)).get(paths[0]), 422, "took a limit that is no number")


@exercise("5.2")
@attack("CWE-362", "CWE-367", "ASVS 5.0 15.4.2")
def test_requests_at_once_share_one_budget(app: App, limit: int, draw: Draw) -> None:
    """Of 40 requests at the same moment from one address, no more than RATE_LIMIT get through.

    An answer takes its time. Whoever counts when it is sent lets everybody in who came meanwhile.

    Hint: look and count in one step, before the request goes on to the app.
    """
    with ThreadPoolExecutor(40) as pool:
        for client in [app.at(address(draw)) for _ in range(3)]:  # not every crowd comes close enough together
            [*pool.map(client.get, ["/health"] * 40)]  # opens connections, and costs nothing
            answers = [*pool.map(client.get, ["/search"] * 40)]
            for answer in answers:
                expect(answer, (200, 429), "answered a crowd with something else than 200 or 429")
            let_in = sum(answer.status_code == 200 for answer in answers)
            assert let_in <= limit, f"let {let_in} of 40 requests at once through; the limit is {limit}"


@exercise("5.2")
@attack("CWE-187", "CWE-770")
def test_only_health_is_free(app: App, limit: int, draw: Draw) -> None:
    """A path that begins with, ends with or contains `/health` costs like any other.

    An exception that is written too widely is a second door.

    Hint: compare the whole path with `==`.
    """
    for path in ("/healthz", f"/health/{draw.secret(4)}", f"/{draw.secret(4)}/health", "/search?q=/health"):
        source = address(draw)
        for _ in range(limit):
            app.at(source).get(path)
        refused(search(app, source), f"counts no requests for {path}")


@exercise("5.2")
@attack("CWE-290", "CWE-345")
def test_made_up_tokens_and_agents_buy_nothing(app: App, limit: int, draw: Draw) -> None:
    """A new bearer token, user agent, cookie, key, query or connection does not make a new client.

    Nobody has verified that token. Whoever counts by it counts by what the attacker likes.

    Hint: the client is an address, and nothing that the client can choose.
    """
    source = address(draw)
    use_up(lambda: search(app, source, **bearer(draw.secret())), limit)
    made_up: list[dict[str, str]] = [bearer(draw.secret()), {"Authorization": f"Basic {draw.secret(8)}"}]
    made_up += [{"User-Agent": draw.username()}, {"Cookie": f"session={draw.secret()}"}, {"X-API-Key": draw.secret()}]
    made_up += [{"Host": f"{draw.username()}.example"}, {"Accept-Language": "eo"}, {"X-Request-ID": draw.secret(16)}]
    tries = [search(app, source, **headers) for headers in made_up]
    tries += [search(app, source, Connection="close") for _ in range(3)]  # the next one comes from another port
    tries += [app.at(source).get("/search", params={"limit": draw.number(1, 99), "q": draw.username()})]
    client = v4(draw)
    use_up(lambda: through(app, client, **bearer(draw.secret())), limit)
    tries += [through(app, client, **headers) for headers in made_up]
    all_refused(tries, "gave a new budget for something that the client can choose")
    expect(through(app, v4(draw), **made_up[0]), 200, "took another client for this one because the token is the same")


@exercise("5.2")
@attack("RFC 6585 §4", "RFC 9110 §10.2.3")
def test_a_refusal_is_json_and_says_when(app: App, limit: int, draw: Draw) -> None:
    """A 429 is JSON, and its Retry-After says when to come back.

    Without it clients come back at once, all of them, again and again.

    Hint: an exception that a middleware raises becomes a 500; answer with `JSONResponse(…, 429, headers)`.
    """
    source = address(draw)
    use_up(lambda: search(app, source), limit)
    for path in ("/search", "/search?limit=abc", f"/{draw.secret(8)}"):
        answer = refused(app.at(source).get(path), "answered somebody without a budget")
        retry_after(answer, WINDOW)
        json_of(answer)
        kind = answer.headers.get("content-type", "")
        assert "json" in kind, f"sent a 429 whose content-type is {kind!r}"


@exercise("5.2")
@attack("CWE-20", "CWE-755")
def test_odd_forwarding_headers_never_crash(app: App, draw: Draw) -> None:
    """X-Forwarded-For may hold anything, from a proxy too; nothing crashes.

    Some proxies write ports or `unknown`, and what stands on the left anybody has written.

    Hint: `ip_address` raises ValueError for what is no address.
    """
    odd: tuple[str, ...] = (
        "",
        ",",
        ", ,",
        "unknown",
        "_hidden",
        "203.0.113.7:4711",
        "[2001:db8::1]:443",
        "999.1.1.1",
        "<script>",
        "::g",
    )
    odd += ("1" * 5000, "a," * 500, "::ffff:1.2.3.4.5", "１２７.0.0.1", "203.0.113.7/24", "0x7f.1")
    for text in odd:
        for hops in (text, f"{text}, {v4(draw)}", f"{v4(draw)}, {text}"):
            for source in (PROXIES[0], address(draw)):
                answer = app.at(source).get("/search", headers=[(b"X-Forwarded-For", hops.strip().encode())])
                expect(answer, range(200, 500), "crashed on an odd X-Forwarded-For")
