"""What answers should not hold: tracebacks, password hashes, secrets, the project's own files."""

import math
import re
from collections import Counter
from collections.abc import Iterator
from functools import partial
from typing import Any

import httpx

from lab_app.audit.site import Seen, Site, is_html, json_of

MOST = 200_000  # characters of an answer that are searched
TOLD = re.compile(
    r"Traceback \(most recent call last\)|File \\?\"[^\"\\\n]+\.py\\?\", line \d+|\bsqlite3\.\w+Error\b|"
    r"\bsqlalchemy\.exc\.|\bpsycopg2?\.(errors\.)?\w|\basyncpg\.exceptions\.|"
    r"\bpymysql\.err\.|You have an error in your SQL syntax|\bORA-\d{5}\b"
)
HASH = re.compile(
    r"\$2[aby]\$\d\d\$[./A-Za-z0-9]{53}|\$argon2(?:id|i|d)\$v=\d+\$|\$pbkdf2-sha\d+\$|"
    r"pbkdf2_sha256\$\d+\$|\$scrypt\$|scrypt:\d+:\d+:\d+\$"
)
SECRET = re.compile(
    r"secret|private_?key|signing_?key|encryption_?key|api_?key|access_?key|passw(or)?d|dsn|credential", re.I
)
WITH_PASSWORD = re.compile(r"\b[a-z][a-z0-9+.-]*://[^\s:/@\"]+:[^\s:/@\"*]{3,}@[\w.-]+")
PEM = re.compile(r"-----BEGIN (?:[A-Z]+ )*PRIVATE KEY-----")
LEAST, BITS = 16, 3.0  # characters, and bits a character: what a person would have typed has less
PLACEHOLDER = re.compile(r"\*{3}|x{4}|redacted|hidden|change.?(me|this)|example|placeholder|<[^>]*>|string", re.I)
SERVED = (
    ("/.git/HEAD", re.compile(r"\Aref: refs/|\A[0-9a-f]{40}\s*\Z")),
    ("/.env", re.compile(r"\A(?:\s*#.*\n|\s*\n)*[A-Z][A-Z0-9_]*=", re.M)),
)


def look(site: Site, where: str, answer: httpx.Response) -> None:
    """Look at any answer of a route."""

    def tells(answer: httpx.Response) -> bool:
        return answer.status_code >= 400 and bool(TOLD.search(answer.text[:MOST]))

    def shows_hash(answer: httpx.Response) -> bool:
        return answer.is_success and bool(HASH.search(answer.text[:MOST]))

    site.suspect("told-too-much", where, "The answer names files, lines or libraries of the server.", answer, tells)
    site.suspect("shown-hash", where, "A password's hash is in the answer.", answer, shows_hash)


def probe(seen: Seen) -> None:
    """Look for secrets in what everybody may read."""

    def shows(answer: httpx.Response) -> bool:
        return answer.is_success and next(secrets_in(json_of(answer)), "") != ""

    if seen.nobody is not None:
        name = next(secrets_in(json_of(seen.nobody)), "")
        said = f"{name} is there for everybody to read."
        seen.site.suspect("shown-secret", seen.operation.where, said, seen.nobody, shows)


def logged(seen: Seen) -> None:
    """Look for A's token in what the app wrote, and for the route that writes it; only of an app that we started."""
    site, token = seen.site, seen.site.a.token
    if site.log is None or len(token) < LEAST or any(name == "secret-in-log" for name, _ in site.found):
        return
    log = site.log
    site.looked.add("secret-in-log")

    def written() -> int:
        return log.read_bytes().count(token.encode())

    def asked() -> httpx.Response | None:
        before = written()
        answer = seen.ask(person=site.a)
        return answer if written() > before else None

    if written():
        said = "The token that we sent is in the app's output."
        site.suspect("secret-in-log", seen.operation.where, said, asked(), lambda _: True, again=asked)


def files(site: Site) -> None:
    """Ask for two files that lie in every project's folder."""
    for path, pattern in SERVED:
        answer = site.asker.send("GET", path)
        site.suspect("served-repository", f"GET {path}", f"{path} is served.", answer, partial(_served, pattern))


def _served(pattern: re.Pattern[str], answer: httpx.Response) -> bool:
    return answer.is_success and not is_html(answer) and bool(pattern.search(answer.text[:MOST]))


def secrets_in(value: Any, name: str = "", depth: int = 0) -> Iterator[str]:
    """The names of values in JSON that are secrets: by their form, or by their name and looking as if drawn."""
    if depth > 8:
        return
    if isinstance(value, dict):
        for key, inner in value.items():
            yield from secrets_in(inner, str(key), depth + 1)
    elif isinstance(value, list):
        for inner in value[:50]:
            yield from secrets_in(inner, name, depth + 1)
    elif isinstance(value, str) and (PEM.search(value) or WITH_PASSWORD.search(value) or _named(name, value)):
        yield name or "A secret"


def _named(name: str, value: str) -> bool:
    return bool(SECRET.search(name)) and len(value) >= LEAST and looks_drawn(value) and not HASH.search(value)


def looks_drawn(value: str) -> bool:
    """Whether a value is no word, path, address or placeholder that a person wrote."""
    digits, letters = sum(c.isdigit() for c in value), sum(c.isalpha() for c in value)
    return (
        digits >= 2 <= letters
        and not re.search(r"[\s/{}$()]|://", value)
        and not PLACEHOLDER.search(value)
        and entropy(value) >= BITS
    )


def entropy(text: str) -> float:
    """Bits a character (Shannon)."""
    return -sum(n / len(text) * math.log2(n / len(text)) for n in Counter(text).values())
