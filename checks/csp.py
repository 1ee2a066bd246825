"""What a Content-Security-Policy allows, worked out from the header alone (CSP Level 3)."""

import base64
import hashlib
import re
from dataclasses import dataclass
from urllib.parse import urlsplit

import httpx

HEADER = "content-security-policy"
# Where a directive that is not there is looked for next (CSP3 #directive-fallback-list). base-uri, form-action and
# frame-ancestors are looked for nowhere else.
FALLBACK = {
    "script-src-elem": ("script-src-elem", "script-src", "default-src"),
    "script-src-attr": ("script-src-attr", "script-src", "default-src"),
    "object-src": ("object-src", "default-src"),
}
PORTS = {"http": 80, "https": 443}


class Policy:
    """One policy: its directives by name, each with its sources."""

    def __init__(self, text: str) -> None:
        self.directives: dict[str, list[str]] = {}
        for directive in text.split(";"):
            if words := directive.split():
                self.directives.setdefault(words[0].lower(), words[1:])

    def sources(self, name: str) -> list[str] | None:
        """What a directive lists, or the one that stands in for it; None when nothing restricts."""
        names = FALLBACK.get(name, (name,))
        return next((self.directives[one] for one in names if one in self.directives), None)

    def allows_inline(self, text: str, nonce: str) -> bool:
        """Whether a script between its tags runs."""
        sources = self.sources("script-src-elem")
        if sources is None:
            return True
        digests = {
            f"'{name}-{base64.b64encode(hashlib.new(name, text.encode()).digest()).decode()}'"
            for name in ("sha256", "sha384", "sha512")
        }
        told = {f"'nonce-{nonce}'"} if nonce else set()
        return _all_inline(sources) or bool(set(map(_one_spelling, sources)) & (told | digests))

    def allows_handlers(self) -> bool:
        """Whether onerror= and the like run."""
        sources = self.sources("script-src-attr")
        return sources is None or _all_inline(sources)

    def allows_script(self, url: str, page: str, nonce: str) -> bool:
        """Whether a script from an address runs that stands in the page."""
        sources = self.sources("script-src-elem")
        if sources is None or (nonce and f"'nonce-{nonce}'" in sources):
            return True
        return "'strict-dynamic'" not in lowered(sources) and any(matches(one, url, page) for one in sources)

    def allows(self, directive: str, url: str, page: str) -> bool:
        """Whether a directive lets this address through."""
        sources = self.sources(directive)
        return sources is None or any(matches(one, url, page) for one in sources)


@dataclass(frozen=True)
class Csp:
    """All policies of an answer; what one of them forbids is forbidden. `page`: the answer's own address."""

    policies: tuple[Policy, ...]
    page: str

    def allows_inline(self, text: str = "", nonce: str = "") -> bool:
        """Whether a script between its tags runs."""
        return all(policy.allows_inline(text, nonce) for policy in self.policies)

    def allows_handlers(self) -> bool:
        """Whether onerror= and the like run."""
        return all(policy.allows_handlers() for policy in self.policies)

    def allows_script(self, url: str, nonce: str = "") -> bool:
        """Whether a script from an address runs that stands in the page."""
        return all(policy.allows_script(url, self.page, nonce) for policy in self.policies)

    def allows(self, directive: str, url: str) -> bool:
        """Whether a directive lets this address through."""
        return all(policy.allows(directive, url, self.page) for policy in self.policies)

    def words(self, *directives: str) -> set[str]:
        """All sources that are listed, keywords in lower case; of these directives, if any are named."""
        return {
            word
            for policy in self.policies
            for name, sources in policy.directives.items()
            if not directives or name in directives
            for word in lowered(sources)
        }

    def nonces(self) -> set[str]:
        """The nonces that are listed."""
        listed = {word for policy in self.policies for sources in policy.directives.values() for word in sources}
        return {word[7:-1] for word in listed if word.lower().startswith("'nonce-")}

    def only_none(self, directive: str) -> bool:
        """Whether some policy gives 'none', or nothing at all, for a directive."""
        given = [policy.sources(directive) for policy in self.policies]
        return any(sources is not None and lowered(sources) in ([], ["'none'"]) for sources in given)


def csp_of(answer: httpx.Response) -> Csp:
    """The policies that an answer's headers enforce; one header may carry several."""
    texts = [text for value in answer.headers.get_list(HEADER) for text in value.split(",") if text.strip()]
    return Csp(tuple(map(Policy, texts)), str(answer.request.url))


def matches(source: str, url: str, page: str) -> bool:
    """Whether a source expression covers an address."""
    wanted, own, source = urlsplit(url), urlsplit(page), source.lower()
    if source == "*":
        return wanted.scheme in PORTS
    if source == "'self'":
        return (_reaches(own.scheme, wanted.scheme), wanted.hostname, _port(url)) == (True, own.hostname, _port(page))
    if re.fullmatch(r"[a-z][a-z0-9+.-]*:", source):
        return _reaches(source[:-1], wanted.scheme)
    if source.startswith("'"):
        return False
    scheme, _, rest = source.rpartition("://")
    host, _, path = rest.partition("/")
    name, _, port = host.partition(":")
    named = wanted.hostname or ""
    fits = named.endswith(name[1:]) if name.startswith("*.") else named == name
    return (
        fits
        and _reaches(scheme or own.scheme, wanted.scheme)
        and port in ("*", str(_port(url)), "" if _port(url) in PORTS.values() else "-")
        and wanted.path.lower().startswith(f"/{path}")
    )


def lowered(sources: list[str]) -> list[str]:
    """Sources in lower case, but for nonces and hashes."""
    return [one if re.match(r"'(nonce|sha\d+)-", one, re.I) else one.lower() for one in sources]


def _one_spelling(source: str) -> str:
    """A hash may be written in base64url too."""
    if found := re.fullmatch(r"'(sha\d+)-(.+)'", source, re.I):
        return f"'{found[1].lower()}-{found[2].replace('-', '+').replace('_', '/')}'"
    return source


def _all_inline(sources: list[str]) -> bool:
    words = lowered(sources)
    tamed = any(re.match(r"'(nonce|sha\d+)-|'strict-dynamic'", word, re.I) for word in words)
    return "'unsafe-inline'" in words and not tamed


def _reaches(listed: str, wanted: str) -> bool:
    return wanted == listed or (listed, wanted) == ("http", "https")


def _port(url: str) -> int:
    parts = urlsplit(url)
    return parts.port or PORTS.get(parts.scheme, 0)
