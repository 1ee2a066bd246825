"""Git repositories with a history, made for a check by git itself."""

import os
import shutil
import subprocess
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import pytest

MISSING = "6.4 needs git, which is not on this machine: install it (https://git-scm.com/downloads), then check again."
WHO = "Ada <ada@larkspur.example> {} +0000"
BEGAN = 1_780_000_000
# Nobody's own configuration, templates or hooks; the same commits for the same content.
GIT_ENV = {
    "GIT_CONFIG_GLOBAL": os.devnull,
    "GIT_CONFIG_NOSYSTEM": "1",
    "GIT_TEMPLATE_DIR": "",
    "LC_ALL": "C",
}


def git_or_skip() -> str:
    """The git program. Without it a check is skipped, and says why; in CI it fails, so that nobody overlooks it."""
    if program := shutil.which("git"):
        return program
    return pytest.fail(MISSING, pytrace=False) if os.environ.get("CI") else pytest.skip(MISSING)


@dataclass
class Repository:
    """A history to be made. Branches and tags are full names of refs; a commit is known by its number from 1."""

    stream: list[bytes] = field(default_factory=list)
    commits: int = 0
    ids: dict[int, str] = field(default_factory=dict)

    def commit(
        self,
        files: Mapping[str, str | bytes | None],
        ref: str = "refs/heads/main",
        after: int | None = None,
        merged: int | None = None,
    ) -> int:
        """Add a commit that writes files, None deleting one. It follows the last one of its ref, or `after`."""
        self.commits += 1
        who = WHO.format(BEGAN + 3600 * self.commits)
        lines = [f"commit {ref}", f"mark :{self.commits}", f"author {who}", f"committer {who}"]
        self.stream += ["\n".join(lines).encode(), data(f"Commit {self.commits}".encode())]
        self.stream += [f"{word} :{parent}".encode() for word, parent in (("from", after), ("merge", merged)) if parent]
        for path, content in files.items():
            name = '"' + path + '"'
            if content is None:
                self.stream.append(f"D {name}".encode())
            else:
                raw = content.encode() if isinstance(content, str) else content
                self.stream += [f"M 100644 inline {name}".encode(), data(raw)]
        self.stream.append(b"")
        return self.commits

    def tag(self, name: str, commit: int) -> None:
        """Add an annotated tag."""
        lines = [f"tag {name}", f"from :{commit}", "tagger " + WHO.format(BEGAN)]
        self.stream += ["\n".join(lines).encode(), data(b"A tag")]

    def ref(self, name: str, commit: int) -> None:
        """Point a ref at a commit."""
        self.stream += [f"reset {name}\nfrom :{commit}\n".encode()]

    def remove(self, ref: str) -> None:
        """Forget a branch; what a tag points to stays."""
        self.stream += [f"reset {ref}\nfrom {'0' * 40}\n".encode()]

    def made(self, prefix: str, changed: Mapping[str, str | bytes] | None = None) -> dict[str, bytes]:
        """The repository as files below `prefix`, main checked out, `changed` written to its working tree.

        Sets `ids`, the full hash of every commit.
        """
        program = git_or_skip()
        with tempfile.TemporaryDirectory() as folder:

            def git(*words: str, given: bytes | None = None) -> None:
                environment = {**GIT_ENV, "PATH": os.environ.get("PATH", os.defpath), "HOME": folder}
                subprocess.run(
                    [program, "-C", folder, *words], input=given, env=environment, check=True, capture_output=True
                )

            git("init", "-q", "-b", "main")
            marks = Path(folder, ".git", "marks")
            # Packed, as a repository is that was cloned.
            git(
                "-c",
                "fastimport.unpackLimit=1",
                "fast-import",
                "--quiet",
                f"--export-marks={marks}",
                given=self._whole(),
            )
            self.ids = {int(mark[1:]): id_ for mark, id_ in map(str.split, marks.read_text().splitlines())}
            marks.unlink()
            git("reset", "-q", "--hard", "main")
            for path, content in (changed or {}).items():
                target = Path(folder, path)
                target.parent.mkdir(parents=True, exist_ok=True)
                target.write_bytes(content.encode() if isinstance(content, str) else content)
            paths = [path for path in Path(folder).rglob("*") if path.is_file()]
            return {f"{prefix}/{path.relative_to(folder).as_posix()}": path.read_bytes() for path in paths}

    def _whole(self) -> bytes:
        return b"\n".join([*self.stream, b"done\n"])


def data(content: bytes) -> bytes:
    """Bytes as git fast-import reads them."""
    return b"data %d\n%s" % (len(content), content)
