"""INSECURE: a repository whose newest commit has no secret, and a scanner that looks no further."""

import atexit
import os
import re
import secrets
import shutil
import subprocess
import tempfile
from pathlib import Path
from typing import Any

MISSING = "git is not installed here, so this part has nothing to show (https://git-scm.com/downloads)."
# Nobody's own configuration or hooks, and a name for the author.
WHO = {"NAME": "Ada", "EMAIL": "ada@larkspur.example"}
ENVIRONMENT = {f"GIT_{role}_{name}": value for role in ("AUTHOR", "COMMITTER") for name, value in WHO.items()}
ENVIRONMENT |= {"GIT_CONFIG_GLOBAL": os.devnull, "GIT_CONFIG_NOSYSTEM": "1"}


def git(repository: str, *words: str) -> str:
    """What a git command prints about a repository."""
    if not shutil.which("git"):
        return MISSING
    command = ["git", "-c", "init.defaultBranch=main", "-C", repository, *words]
    ran = subprocess.run(command, env=os.environ | ENVIRONMENT, check=True, capture_output=True, text=True)
    return ran.stdout


def leaky_repository() -> str:
    """A new repository in a temporary folder: a key was committed, and removed by the next commit."""
    repository = tempfile.mkdtemp(prefix="larkspur-repository-")
    atexit.register(shutil.rmtree, repository, ignore_errors=True)
    settings = Path(repository, "settings.py")
    git(repository, "init", "--quiet")
    for text, message in (
        ("DEBUG = True\n", "Begin"),
        (f'DEBUG = True\nJWT_SECRET = "{secrets.token_hex(32)}"\n', "Log people in"),
        ('import os\n\nDEBUG = False\nJWT_SECRET = os.environ["JWT_SECRET"]\n', "Remove secret"),
    ):
        settings.write_text(text)
        git(repository, "add", "--all")
        git(repository, "commit", "--quiet", "--message", message)
    return repository


def scan(repository: str) -> list[dict[str, Any]]:
    """Lines of today's files that look like a secret."""
    return [
        {"file": path.name, "line": number, "commit": None, "rule": "assigned secret"}
        for path in Path(repository).glob("*.py")
        for number, line in enumerate(path.read_text().splitlines(), start=1)
        if re.search(r"""(secret|password|api_key)\s*=\s*["']""", line, re.IGNORECASE)
    ]
