"""The files around an app: nginx in front, how it is started, Dependabot behind."""

import re
from collections.abc import Iterator
from pathlib import Path

import yaml

from lab_app.audit.finding import Finding
from lab_app.audit.source.tree import Tree, lines_of

OLD = re.compile(r"^\s*ssl_protocols\b.*\b(SSLv[23]|TLSv1(\.1)?)(?=[\s;])")
TO_HOST = re.compile(r"^\s*(?:return\s+30[1278]|rewrite)\b.*https?://\$(?:http_)?host\b")
FORGED = re.compile(r"^\s*proxy_set_header\s+(?:X-Forwarded-For|X-Real-IP|Forwarded)\s+\"?\$http_", re.I)
LOCATION = re.compile(r"^\s*location\s+(?:\^~\s+)?(/[^\s{]*[^\s{/])\s*\{")
ALIAS = re.compile(r"^\s*alias\s+\S+/\s*;")
SERVER = re.compile(r"^\s*server\s*(\{|$)")
PLAIN = re.compile(r"^\s*listen\s+(?:\S*:)?80\b(?!.*\bssl\b)")
TLS = re.compile(r"^\s*listen\b.*\bssl\b")
HANDS_ON = re.compile(r"^\s*(?:location\b.*\{\s*)?(?:proxy|uwsgi|fastcgi)_pass\b")
HSTS = re.compile(r"strict-transport-security", re.I)
ANY_PROXY = re.compile(r"forwarded[-_]allow[-_]ips[\"']?[\s,=:]+[\"']?\*", re.I)
STARTS = ("Dockerfile*", "*compose*.y*ml", "*.sh", "Procfile", "*.service", "*.py")
PIP = {"pip", "uv", "poetry", "pipenv"}


def look(tree: Tree) -> Iterator[Finding]:
    """What nginx files and dependabot.yml say."""
    for path in tree.files("*.conf", "*.conf.template", "nginx*"):
        lines = [line.split("#")[0] for line in lines_of(path)]
        if re.search(r"\b(server|location)\b[^;]*\{", "\n".join(lines)):
            yield from _nginx(tree, path, lines)
    for path in tree.files(*STARTS):
        for number, line in enumerate(lines_of(path), 1):
            if ANY_PROXY.search(line.partition("#")[0]):
                yield tree.finding("trusts-every-proxy", path, number, "* is everybody.", line.strip(), "read")
    for path in tree.files("dependabot.y*ml"):
        yield from _dependabot(tree, path)


def _nginx(tree: Tree, path: Path, lines: list[str]) -> Iterator[Finding]:
    refuses = any("default_server" in line for line in lines)
    yield from _plain_and_tls(tree, path, lines)
    open_location = ""
    for number, line in enumerate(lines, 1):
        shown = line.strip()
        if OLD.search(line):
            yield tree.finding(
                "old-tls", path, number, "RFC 8996 withdrew TLS 1.0 and 1.1 in 2021; SSL went before.", shown, "read"
            )
        if TO_HOST.search(line) and not refuses:
            yield tree.finding("redirects-to-host", path, number, "$host is what the client wrote.", shown, "read")
        if FORGED.search(line):
            yield tree.finding(
                "forwards-forged-address", path, number, "$http_… is what the client wrote.", shown, "read"
            )
        if found := LOCATION.search(line):
            open_location = found[1]
        elif "location" in line:
            open_location = ""
        if open_location and ALIAS.search(line):
            said = f"{open_location}../ leaves the folder."
            yield tree.finding("alias-traversal", path, number, said, shown, "read")


def _plain_and_tls(tree: Tree, path: Path, lines: list[str]) -> Iterator[Finding]:
    """What serves HTTPS must say so to browsers, and what stands beside it on port 80 must not serve the app."""
    servers = list(_servers(lines))
    tls = [block for block in servers if any(TLS.search(lines[number]) for number in block)]
    for block in servers if tls else ():
        plain = block not in tls and any(PLAIN.search(lines[number]) for number in block)
        for number in [each for each in block if plain and HANDS_ON.search(lines[each])][:1]:
            said = "Port 80 hands requests on to the app."
            yield tree.finding("plain-http", path, number + 1, said, lines[number].strip(), "read")
    said_so = any(map(HSTS.search, lines)) or any("include" in line and "mime" not in line for line in lines)
    if tls and not said_so and not any(HSTS.search("\n".join(lines_of(each))) for each in tree.python):
        number = next(each for each in tls[0] if TLS.search(lines[each]))
        said = "No Strict-Transport-Security, here or in the app."
        yield tree.finding("no-hsts", path, number + 1, said, lines[number].strip(), "read")


def _servers(lines: list[str]) -> Iterator[range]:
    """The numbers of the lines of each server block."""
    begun, depth = -1, 0
    for number, line in enumerate(lines):
        if begun < 0 and SERVER.search(line):
            begun, depth = number, 0
        if begun >= 0:
            depth += line.count("{") - line.count("}")
            if depth <= 0 and "}" in line:
                yield range(begun, number + 1)
                begun = -1


def _dependabot(tree: Tree, path: Path) -> Iterator[Finding]:
    try:
        table = yaml.safe_load("\n".join(lines_of(path)))
        watched = {str(each["package-ecosystem"]) for each in table["updates"]}
    except (yaml.YAMLError, KeyError, TypeError):
        return
    wanted = {
        "Actions": ({"github-actions"}, (path.parent / "workflows").is_dir()),
        "packages": (PIP, bool(tree.python)),
    }
    missing = [name for name, (ecosystems, there) in wanted.items() if there and not ecosystems & watched]
    if missing:
        said = f"Nobody is told of new versions of {' and '.join(missing)}."
        yield tree.finding("unwatched", path, 1, said, "\n".join(lines_of(path)[:30]), "read")
