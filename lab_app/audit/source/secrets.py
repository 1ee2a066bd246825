"""detect-secrets on the source, without its verification, which would send what it finds to whoever issued it."""

import re
from collections.abc import Iterator
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
FILTERS = ("allowlist.is_line_allowlisted", "heuristic.is_sequential_string", "heuristic.is_templated_secret")
SETTINGS = ("*.toml", "*.yml", "*.yaml", "*.json", "*.ini", "*.cfg", "*.conf", "Dockerfile*", "*.sh", "*.pem", "*.key")
LOCKS = re.compile(r"lock|requirements|package(-lock)?\.json$", re.I)
KEY = re.compile(r"(secret|signing|jwt|private|encryption)_?(key|secret)?\b|api_?key|password", re.I)
NAMED = re.compile(r"(\w+)[\"']?\s*(?::[\w\[\]| .]+)?[:=]\s*[\w(]*[\"']+$")  # what stands before a value
ASKED = re.compile(r"environ|getenv|config\(|settings\.", re.I)


def look(tree: Tree) -> Iterator[Finding]:
    """Secrets in Python files by form and by name, in other files by form."""
    with _settings(*BY_FORM, BY_NAME):
        for path in tree.python:
            yield from _in(tree, path)
    with _settings(*BY_FORM):
        for path in tree.files(*SETTINGS):
            if not LOCKS.search(path.name):
                yield from _in(tree, path)


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
    return bool(KEY.search(name)) and not ASKED.search(line) and len(value) >= 12 and looks_drawn(value)
