"""detect-secrets on the source, without its verification, which would send what it finds to whoever issued it."""

import re
import shutil
import subprocess
from collections.abc import Iterator
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

from detect_secrets.core.scan import scan_file
from detect_secrets.settings import transient_settings

from lab_app.audit.finding import Finding
from lab_app.audit.probes.leaks import looks_drawn
from lab_app.audit.source.tree import Tree, lines_of

# Those that know a secret by its form, and the one that knows it by its name.
BY_FORM = (
    "AWSKeyDetector AzureStorageKeyDetector DiscordBotTokenDetector GitHubTokenDetector GitLabTokenDetector "
    "MailchimpDetector NpmDetector OpenAIDetector PrivateKeyDetector PypiTokenDetector SendGridDetector SlackDetector "
    "SquareOAuthDetector StripeDetector TelegramBotTokenDetector TwilioKeyDetector"
).split()
BY_NAME = "KeywordDetector"
LEAST = 12  # characters of a secret that is known by its name
FILTERS = ("allowlist.is_line_allowlisted", "heuristic.is_sequential_string", "heuristic.is_templated_secret")
SETTINGS = ("*.toml", "*.yml", "*.yaml", "*.json", "*.ini", "*.cfg", "*.conf", "Dockerfile*", "*.sh", "*.pem", "*.key")
LOCKS = re.compile(r"lock|requirements|package(-lock)?\.json$", re.I)
KEY = re.compile(r"(secret|signing|jwt|private|encryption)_?(key|secret)?\b|api_?key|password", re.I)
NAMED = re.compile(r"(\w+)[\"']?\s*(?::[\w\[\]| .]+)?[:=]\s*[\w(]*[\"']+$")  # what stands before a value
ASKED = re.compile(r"environ|getenv|config\(|settings\.", re.I)
STARTS = ("Dockerfile*", "*compose*.y*ml", "*.service")
VARIABLE = re.compile(  # as .env, Dockerfile, compose and systemd files write one
    r"""^\s*(?:export\s|ENV\s|ARG\s|Environment=|-\s)?\s*["']?(\w+)(?:\s*[=:]\s*|\s+)["']?([^\s"']+)["']?\s*$"""
)
PATTERNS = {"example", "sample", "template", "dist", "test"}  # ends of names of .env files that hold no secrets
GIT = ("-c", "core.fsmonitor=false", "ls-files", "--", "*.env", "*.env.*")  # a monitor would be the project's program


def look(tree: Tree) -> Iterator[Finding]:
    """Secrets by their form, in Python files and those that set variables also by name; one finding a line."""
    found: dict[str, Finding] = {}
    for each in (*_scanned(tree), *_variables(tree)):
        found.setdefault(each.key, each)
    yield from found.values()


def _scanned(tree: Tree) -> Iterator[Finding]:
    with _settings(*BY_FORM, BY_NAME):
        for path in tree.python:
            yield from _in(tree, path)
    with _settings(*BY_FORM):
        for path in (*tree.files(*SETTINGS), *_environments(tree)):
            if not LOCKS.search(path.name):
                yield from _in(tree, path)


def _variables(tree: Tree) -> Iterator[Finding]:
    """Variables that are secrets by their names, and look drawn."""
    for path in (*tree.files(*STARTS), *_environments(tree)):
        for number, line in enumerate(lines_of(path), 1):
            found = VARIABLE.match(line)
            if found and KEY.search(found[1]) and len(found[2]) >= LEAST and looks_drawn(found[2]):
                shown = line.strip().replace(found[2], f"{found[2][:3]}…")
                yield tree.finding("secret-in-source", path, number, f"The value of {found[1]}.", shown, "read")


def _environments(tree: Tree) -> list[Path]:
    """The .env files that go wherever the source goes: those in its repository, else those that nothing ignores."""
    found = [path for path in tree.files("*.env", "*.env.*") if path.suffix.removeprefix(".") not in PATTERNS]
    git = shutil.which("git")
    if not found or not git:
        return found
    listed = subprocess.run([git, *GIT], cwd=tree.top, capture_output=True, text=True, check=False)
    if listed.returncode == 0:
        return [path for path in found if tree.name(path) in listed.stdout.splitlines()]
    ignored = [line.strip().strip("/") for line in lines_of(tree.top / ".gitignore")]
    return [path for path in found if not any(fnmatch(path.name, pattern) for pattern in ignored)]


def _settings(*plugins: str) -> Any:
    filters = [{"path": f"detect_secrets.filters.{name}"} for name in FILTERS]
    return transient_settings({"plugins_used": [{"name": name} for name in plugins], "filters_used": filters})


def _in(tree: Tree, path: Path) -> Iterator[Finding]:
    lines = lines_of(path)
    for found in scan_file(str(path)) if lines else ():
        value = found.secret_value or ""
        line = lines[found.line_number - 1].strip() if 0 < found.line_number <= len(lines) else ""
        if found.type != "Secret Keyword" or _is_one(line, value):
            shown = line.replace(value, f"{value[:3]}…") if value else line
            yield tree.finding("secret-in-source", path, found.line_number, f"{found.type}.", shown, "detect-secrets")


def _is_one(line: str, value: str) -> bool:
    """A name alone is a weak sign: the value must look drawn, and be assigned, not asked for."""
    found = NAMED.search(line.partition(value)[0]) if value else None
    name = found[1] if found else line.partition("=")[0]
    return bool(KEY.search(name)) and not ASKED.search(line) and len(value) >= LEAST and looks_drawn(value)
