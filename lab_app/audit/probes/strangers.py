"""What a stranger writes into headers: an origin, an address, a host."""

import re
import secrets
from urllib.parse import unquote

import httpx

from lab_app.audit.site import Seen, is_html

ADDRESS = "203.0.113.77"  # of a block that nobody has, RFC 5737 §3
FORWARDED = {"X-Forwarded-For": ADDRESS, "X-Real-IP": ADDRESS, "Forwarded": f"for={ADDRESS}"}
HOST = "audit-host.example"
MOST_ORIGINS = 5
HOST_AT_END = re.compile(r"([\w.-]+)\W*$")


def probe(seen: Seen) -> None:
    """Ask once with all of them; what shows is asked for again, alone."""
    origin, nonce = f"https://audit-{secrets.token_hex(4)}.example", secrets.token_hex(8)
    headers = {"Origin": origin, "Cookie": "audit=1", "X-Audit": nonce, **FORWARDED}
    answer = seen.ask(headers=headers | seen.reader.headers, stranger=True)
    seen.site.looked |= {"any-origin", "believed-address"}
    if answer is None:
        return
    if reads(answer, origin):
        _origin(seen, "any-origin", origin, "It lets an origin that we made up just now read with credentials.")
    elif "null-origin" not in seen.site.looked:
        _origin(seen, "null-origin", "null", "It lets the origin null read with credentials.")
    if "loose-origin" not in seen.site.looked:
        _alike(seen)
        _matching(seen)
    if ADDRESS in answer.text and nonce not in answer.text and ADDRESS not in (seen.plain.text if seen.plain else ""):
        _address(seen)
    _host(seen)


def reads(answer: httpx.Response, origin: str) -> bool:
    """Whether a page of `origin` may read an answer that came with credentials (Fetch, CORS check)."""
    headers = answer.headers
    allowed, credentials = headers.get("access-control-allow-origin"), headers.get("access-control-allow-credentials")
    return bool(allowed == origin and credentials == "true")


def _origin(seen: Seen, name: str, origin: str, said: str) -> None:
    cookie = {} if seen.reader.headers.get("Cookie") else {"Cookie": "audit=1"}
    answer = seen.ask(headers={"Origin": origin, **cookie})
    seen.site.suspect(name, seen.operation.where, said, answer, lambda each: reads(each, origin))


def _alike(seen: Seen) -> None:
    """Change the origins that the source names and the app allows: one letter less, one name more, at either end."""
    for origin in seen.site.origins[:MOST_ORIGINS]:
        allowed = seen.ask(headers={"Origin": origin, "Cookie": "audit=1"} | seen.reader.headers)
        seen.site.looked.add("loose-origin")
        if allowed is None or not reads(allowed, origin):
            continue
        scheme, _, host = origin.partition("://")
        for other in (
            f"{origin}.audit.example",
            origin[:-1],
            f"{scheme}://audit{host}",
            f"{scheme}://audit.example.{host}x",
        ):
            _origin(seen, "loose-origin", other, f"{origin} is on its list, and {other} may read with credentials too.")


def _matching(seen: Seen) -> None:
    """Origins that a pattern of the source should not match: its host with more at an end, or without a dot."""
    for pattern in seen.site.patterns[:MOST_ORIGINS]:
        seen.site.looked.add("loose-origin")
        host = HOST_AT_END.search(re.sub(r"\\(?=[.-])", "", pattern))
        name = host[1].strip(".-") if host else ""
        first, dot, rest = name.partition(".")
        others = [f"https://audit{name}", f"https://{name}.audit.example", f"https://audit.{name}.audit.example"]
        others += [f"https://{first}x{rest}", f"https://audit.{first}x{rest}"] if "." in rest else []
        for other in others if dot else ():
            _origin(seen, "loose-origin", other, f"{pattern} lets {other} read with credentials.")


def _address(seen: Seen) -> None:
    for name, value in FORWARDED.items():
        answer = seen.ask(headers={name: value}, stranger=True)
        said = f"The address that we wrote into {name} came back as the client's."
        if seen.site.suspect("believed-address", seen.operation.where, said, answer, lambda each: ADDRESS in each.text):
            return


def _host(seen: Seen) -> None:
    """Only where an answer has links with the host in them, or hands it on as an address to come back to."""
    seen.site.looked.add("linked-host")
    own = seen.site.asker.url.partition("//")[2].partition("/")[0]
    if seen.plain is None or f"//{own}" not in _links(seen.plain):
        return
    for name in ("Host", "X-Forwarded-Host"):
        answer = seen.ask(headers={name: HOST})
        said = f"The name that we wrote into {name} came back in a link."
        if seen.site.suspect(
            "linked-host", seen.operation.where, said, answer, lambda each: f"//{HOST}" in _links(each)
        ):
            return


def _links(answer: httpx.Response) -> str:
    """The text of an answer, or what a redirect elsewhere carries in its query."""
    location = answer.headers.get("location", "") if answer.is_redirect else ""
    return answer.text if answer.is_success else unquote(location.partition("?")[2])


def policy(seen: Seen) -> None:
    """A page's policy must not let any script run (ASVS 5.0 3.4.3)."""

    def lets_run(answer: httpx.Response) -> bool:
        return is_html(answer) and _any_script(answer.headers.get("content-security-policy", ""))

    said = "Its policy lets scripts run that the page does not name."
    seen.site.suspect("policy-for-any-script", seen.operation.where, said, seen.plain, lets_run)


def _any_script(policy: str) -> bool:
    """Whether what a policy says of scripts is everything, or whatever stands in the page."""
    rows = {words[0].lower(): words[1:] for each in policy.split(";") if (words := each.split())}
    sources = {each.lower() for each in rows.get("script-src", rows.get("default-src", []))}
    named = any(
        each.startswith(("'nonce-", "'sha256-", "'sha384-", "'sha512-", "'strict-dynamic'")) for each in sources
    )
    return not named and bool(sources & {"*", "https:", "http:", "data:", "'unsafe-inline'"})


def page(seen: Seen) -> None:
    """A page must say that nobody may frame it and that nobody should guess its type (ASVS 5.0 3.4.3, 3.4.4, 3.4.6)."""

    def bare(answer: httpx.Response) -> bool:
        headers = answer.headers
        return (
            answer.is_success
            and is_html(answer)
            and "content-security-policy" not in headers
            and not ("x-frame-options" in headers and "x-content-type-options" in headers)
        )

    if seen.plain is not None and is_html(seen.plain):
        said = "A page without Content-Security-Policy: it can be framed, and any script in it runs."
        seen.site.suspect("unprotected-page", seen.operation.where, said, seen.plain, bare)
