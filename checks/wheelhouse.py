"""Folders of wheels that nobody has installed before, and what the real pip makes of a lock for them."""

import hashlib
import os
import re
import subprocess
import sys
import tempfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from packaging.requirements import InvalidRequirement, Requirement
from packaging.utils import canonicalize_name, parse_wheel_filename
from packaging.version import Version

from lab_app.runner.services.wheels import wheel

LONGEST = 1 << 16
PIP_SECONDS = 60
HASH = re.compile(r"--hash(?:=| +)([a-z0-9]+):([0-9a-f]+)")
# Far less than pip takes: nothing that pip could read as an option, a path, an address or a variable.
EXTRAS, BOUND, MARKER = r"( ?\[[A-Za-z0-9._, -]*\])?", r"[=<>!~]{1,3} ?[A-Za-z0-9.!+*_]+", r"( ?;[^@$:/\\-]*)?"
LINE = re.compile(rf"[A-Za-z0-9][A-Za-z0-9._-]*{EXTRAS}( ?{BOUND}( ?, ?{BOUND})*)?{MARKER}")


class BadLock(Exception):
    """The lock is not what the contract asks for; the text completes "your app …"."""


@dataclass(frozen=True)
class Pin:
    """A line of a lock: the version, None without `==`, and the sha256 hashes that its wheel may have."""

    version: Version | None
    hashes: frozenset[str]


@dataclass
class House:
    """A folder of wheels by file name, the requirements of each by name and version, and what is wanted of it.

    `indirect`: what is needed, whichever versions are chosen, though nobody wants it for itself.
    """

    wanted: str = ""
    indirect: tuple[str, ...] = ()
    wheels: dict[str, bytes] = field(default_factory=dict)
    requires: dict[tuple[str, str], list[str]] = field(default_factory=dict)

    def put(self, name: str, version: str, *requires: str, **more: Any) -> None:
        """Add a wheel; `more` as in `wheel`."""
        file, content = wheel(name, version, requires, **more)
        self.wheels[file] = content
        self.requires[canonicalize_name(name), version] = list(requires)

    def closure(self, lock: dict[str, Pin]) -> set[str]:
        """The names that the wanted packages need, directly or not, in the versions that a lock pins."""
        needed: set[tuple[str, str]] = set()
        open_ = [one for one in map(Requirement, self.wanted.splitlines()) if applies(one, "")]
        while open_:
            one = open_.pop()
            name = canonicalize_name(one.name)
            for extra in ("", *one.extras):
                if (name, extra) not in needed:
                    needed.add((name, extra))
                    open_ += [each for each in self._requires(name, lock) if applies(each, extra)]
        return {name for name, _ in needed}

    def _requires(self, name: str, lock: dict[str, Pin]) -> list[Requirement]:
        pinned = lock[name].version if name in lock else None
        texts = [texts for (other, at), texts in self.requires.items() if other == name and Version(at) == pinned]
        return [Requirement(text) for text in (texts[0] if texts else [])]

    def hashes(self, name: str, version: Version | None) -> set[str]:
        """The sha256 of every wheel of a package in a version."""
        files = {file: parse_wheel_filename(file) for file in self.wheels}
        return {sha256(self.wheels[file]) for file, parts in files.items() if (parts[0], parts[1]) == (name, version)}

    def tampered(self, name: str) -> "House":
        """The same folder after somebody has swapped all wheels of a package for valid ones with other code in them."""
        swapped = House(self.wanted, wheels=dict(self.wheels))
        for file in self.wheels:
            of, version, _, tags = parse_wheel_filename(file)
            if of == name:
                tag = str(next(iter(tags)))
                swapped.wheels[file] = wheel(
                    name, str(version), self.requires[name, str(version)], tag=tag, code="raise\n"
                )[1]
        return swapped


def sha256(content: bytes) -> str:
    """In hexadecimal digits."""
    return hashlib.sha256(content).hexdigest()


def applies(one: Requirement, extra: str) -> bool:
    """Whether a requirement counts here, for a package that was asked for with an extra or, "", without."""
    return one.marker is None or one.marker.evaluate({"extra": extra})


def logical_lines(lock: str) -> list[str]:
    """The lines of a lock as pip joins them, without comments and blank ones."""
    joined = re.sub(r"(?m)^\s*#.*$", "", lock.replace("\r\n", "\n"))
    joined = re.sub(r"\\\n", " ", joined)
    return [line for one in joined.split("\n") if (line := re.sub(r"(^|\s)#.*$", "", one).strip())]


def harmless(lock: object) -> str:
    """The lock as pip may be given it: its lines, joined and without comments. Raises BadLock."""
    if not isinstance(lock, str):
        raise BadLock("has a `lock` that is no text")
    if len(lock) > LONGEST or not lock.translate(dict.fromkeys(map(ord, "\t\r\n"))).isprintable():
        raise BadLock("has a `lock` that is too long, or has control characters in it")
    lines = logical_lines(lock)
    for line in lines:
        rest = re.sub(r"\s+", " ", HASH.sub("", line)).strip()
        if not LINE.fullmatch(rest):
            raise BadLock(f"locks with the line {line[:80]!r}, which is no `name==version --hash=sha256:…`")
    return "\n".join(lines) + "\n"


def pins(lock: str) -> dict[str, Pin]:
    """What a harmless lock pins, by normal name. Raises BadLock."""
    found: dict[str, Pin] = {}
    for line in logical_lines(lock):
        try:
            one = Requirement(HASH.sub("", line).strip())
        except InvalidRequirement:
            raise BadLock(f"locks with the line {line[:80]!r}, which pip does not understand") from None
        exact = [each.version for each in one.specifier if each.operator == "==" and not each.version.endswith("*")]
        version = Version(exact[0]) if exact and len(one.specifier) == 1 else None
        hashes = frozenset(digits for name, digits in HASH.findall(line) if name == "sha256")
        if applies(one, ""):
            found[canonicalize_name(one.name)] = Pin(version, hashes)
    return found


def refusal(house: House, lock: str, *options: str) -> str:
    """Why the real pip, which is to install nothing, refuses a harmless lock; "" when it would install."""
    with tempfile.TemporaryDirectory(prefix="lab-pip-") as folder:
        here = Path(folder)
        (here / "wheels").mkdir()
        for file, content in house.wheels.items():
            (here / "wheels" / file).write_bytes(content)
        (here / "lock.txt").write_text(lock, encoding="utf-8")
        own = {"HOME": folder, "TMPDIR": folder, "TEMP": folder, "PIP_CONFIG_FILE": os.devnull}
        system = {name: os.environ[name] for name in ("PATH", "SYSTEMROOT") if name in os.environ}
        quiet = "--isolated --disable-pip-version-check --no-input install --dry-run --ignore-installed --quiet"
        local = "--no-cache-dir --only-binary :all: --no-index --find-links wheels -r lock.txt"
        command = [sys.executable, "-I", "-m", "pip", *quiet.split(), *options, *local.split()]
        try:
            ran = subprocess.run(
                command, cwd=here, env=system | own, stdin=subprocess.DEVNULL, capture_output=True, timeout=PIP_SECONDS
            )
        except subprocess.TimeoutExpired:
            return "pip did not come to an end."
    said = ran.stderr.decode(errors="replace").splitlines()
    errors = " ".join(line.removeprefix("ERROR: ") for line in said if line.startswith("ERROR: "))
    return (errors[:600] or f"pip ended with {ran.returncode}") if ran.returncode else ""
