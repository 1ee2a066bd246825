"""pip-audit, run for real on the pins of a requirements or lock file. Nothing is resolved or installed."""

import json
import os
import re
import subprocess
import sys
import tempfile
import tomllib
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from packaging.requirements import InvalidRequirement, Requirement

from lab_app.audit.errors import AuditError
from lab_app.audit.finding import WEAKNESSES, Finding, Place
from lab_app.harness.evidence import Exchange

SECONDS = 300
COMMENT = re.compile(r"(^|\s)#.*$")
CONTINUED = re.compile(r"\\\r?\n")
INDEX = re.compile(r"^\s*--extra-index-url\b.*", re.M)


class Unreachable(Exception):
    """The service that knows the advisories gave no answer; the text says what pip-audit said."""


class Unpinned(Exception):
    """A file that names no version: nobody can say what is installed."""


def look(path: Path) -> Iterator[Finding]:
    """A finding for each pin with an advisory, and for a second index. Raises AuditError, Unreachable and Unpinned."""
    text = read(path)
    for match in INDEX.finditer(text):
        line = text[: match.start()].count("\n") + 1
        shown = Exchange(f"read {path.name}:{line}", re.sub(r"//[^/@\s]+@", "//…@", match[0].strip()), "")
        weakness = WEAKNESSES["second-index"]
        yield Finding(weakness, path.name, "A name can be taken on either index.", shown, place=Place(path.name, line))
    lines = dict(pins(path, text))
    if not lines:
        raise Unpinned(
            f"{path.name} pins no version. Give --requirements what is installed: a lock file, or pip freeze"
        )
    for pin, said, told in audited(list(lines)):
        place = Place(path.name, lines[pin])
        yield Finding(
            WEAKNESSES["known-flaw"], f"{path.name}: {pin}", said, Exchange(f"pip-audit {pin}", told, ""), place=place
        )


def read(path: Path) -> str:
    """A requirements file's text. Raises AuditError."""
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise AuditError(f"{path} cannot be read. Give --requirements a requirements or lock file.") from error


def pins(path: Path, text: str) -> Iterator[tuple[str, int]]:
    """Each `name==version` and its line. Raises AuditError."""
    if path.name == "Pipfile.lock":
        yield from _pipfile(path, text)
        return
    if path.suffix in (".lock", ".toml"):
        try:
            table = tomllib.loads(text)
        except ValueError as error:
            raise AuditError(f"{path} is no TOML: {error}.") from error
        for row in table.get("package", table.get("packages", ())):
            if (
                isinstance(row, dict)
                and "name" in row
                and "version" in row
                and "." not in row.get("source", {}).values()
            ):
                yield f"{row['name']}=={row['version']}", _line(text, str(row["name"]))
        yield from _exact(_declared(table), text)
        return
    yield from _exact(CONTINUED.sub(" ", text).splitlines(), text)


def _pipfile(path: Path, text: str) -> Iterator[tuple[str, int]]:
    try:
        table = json.loads(text)
        rows = {name: row for part in ("default", "develop") for name, row in table.get(part, {}).items()}
        found = [(name, str(row.get("version", ""))) for name, row in rows.items()]
    except (ValueError, AttributeError) as error:
        raise AuditError(f"{path} is no Pipfile.lock: {error}.") from error
    yield from _exact([f"{name}{version}" for name, version in found], text)


def _declared(table: dict[str, Any]) -> list[str]:
    """What a pyproject.toml asks for: by the standard, and by Poetry's own, where a bare version is an exact one."""
    project, tool = table.get("project"), table.get("tool")
    wanted = project.get("dependencies") if isinstance(project, dict) else None
    poetry = tool.get("poetry") if isinstance(tool, dict) else None
    poetrys = poetry.get("dependencies") if isinstance(poetry, dict) else None
    exact = [
        f"{name}=={version.removeprefix('==').strip()}"
        for name, version in (poetrys.items() if isinstance(poetrys, dict) else ())
        if isinstance(version, str) and re.fullmatch(r"(==)?\s*\d[\w.]*", version) and name != "python"
    ]
    return [*map(str, wanted if isinstance(wanted, list) else ()), *exact]


def _exact(lines: Iterable[str], text: str) -> Iterator[tuple[str, int]]:
    for line in lines:
        wanted = COMMENT.sub("", line).split("--hash")[0].strip()
        try:
            requirement = Requirement(wanted) if wanted and not wanted.startswith("-") else None
        except InvalidRequirement:
            continue
        if requirement and (requirement.marker is None or requirement.marker.evaluate()):
            exact = [
                each for each in requirement.specifier if each.operator in ("==", "===") and "*" not in each.version
            ]
            if exact:
                yield f"{requirement.name}=={exact[0].version}", _line(text, requirement.name)


def _line(text: str, name: str) -> int:
    found = re.search(rf"^\W*(?:name\s*=\s*\W*|dependencies\s*=\s*\W*)?{re.escape(name)}\b", text, re.M | re.I)
    return text[: found.start()].count("\n") + 1 if found else 1


def audited(wanted: list[str]) -> Iterator[tuple[str, str, str]]:
    """Pin, one sentence and pip-audit's own words, for each pin with an advisory. Raises Unreachable.

    `OSV_URL` names another service than PyPI, in OSV's form.
    """
    if not wanted:
        return
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder, "requirements.txt")
        file.write_text("\n".join(wanted) + "\n", encoding="utf-8")
        command = [sys.executable, "-m", "pip_audit", "-r", str(file), "--no-deps", "--disable-pip", "-f", "json"]
        command += ["--progress-spinner", "off", "--cache-dir", folder]
        if url := os.environ.get("OSV_URL"):
            command += ["-s", "osv", "--osv-url", url]
        try:
            ran = subprocess.run(command, capture_output=True, text=True, timeout=SECONDS)
            answers = json.loads(ran.stdout)["dependencies"]
        except (subprocess.TimeoutExpired, ValueError, KeyError) as error:
            last = "" if isinstance(error, subprocess.TimeoutExpired) else ran.stderr.strip().rpartition("\n")[2]
            raise Unreachable(last[:200] or "pip-audit gave no answer") from error
    by_name = {re.sub(r"[-_.]+", "-", pin.split("==")[0]).lower(): pin for pin in wanted}
    skipped = [each["name"] for each in answers if each.get("skip_reason")]
    for each in answers:
        if each.get("vulns"):
            ids = [vuln["id"] for vuln in each["vulns"]]
            fixed = sorted({version for vuln in each["vulns"] for version in vuln["fix_versions"]})
            said = (
                f"{len(ids)} published flaws: {', '.join(ids[:5])}. Mended in {', '.join(fixed[:5]) or 'no version'}."
            )
            told = "\n".join(f"{v['id']} {' '.join(v['aliases'])}: {v['description'][:200]}" for v in each["vulns"][:5])
            yield by_name.get(re.sub(r"[-_.]+", "-", each["name"]).lower(), wanted[0]), said, told
    if skipped:
        raise Unreachable(f"{len(skipped)} packages could not be audited, such as {skipped[0]}")
