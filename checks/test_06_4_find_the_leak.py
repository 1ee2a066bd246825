"""6.4 Find the leak: what a scanner finds in a repository and its history, and what it leaves alone."""

import base64
import json
import posixpath
import unicodedata
import uuid
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from checks.leaks import leaked
from checks.repositories import Repository
from checks.starting import api_key
from lab_app.harness import CheckFailed, Desk, attack, exercise, legit
from lab_app.harness.draw import Draw
from lab_app.harness.evidence import Exchange

BASE32 = "ABCDEFGHIJKLMNOPQRSTUVWXYZ234567"
ALPHANUMERIC = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789"
KEY_KINDS = ("RSA ", "EC ", "OPENSSH ", "")
REPO = "repo"
LONG = 100  # commits that change nothing


@dataclass(frozen=True)
class Leak:
    """A secret in a file: the lines that will do, none if any will, and the commits. Commit 0 is the working tree."""

    file: str
    lines: tuple[int, ...] = ()
    commits: tuple[int, ...] = (0, 1)


def github_token(draw: Draw) -> str:
    """As GitHub makes them for people."""
    return "ghp_" + "".join(draw.random.choices(ALPHANUMERIC, k=36))


def aws_key(draw: Draw) -> str:
    """As AWS names its access keys."""
    return "AKIA" + "".join(draw.random.choices(BASE32, k=16))


def private_key(draw: Draw, kind: str = "RSA ") -> str:
    """A block as openssl writes it, though there is no key in it."""
    body = base64.b64encode(draw.random.randbytes(48 * 12)).decode()
    lines = [body[at : at + 64] for at in range(0, len(body), 64)]
    return "\n".join([f"-----BEGIN {kind}PRIVATE KEY-----", *lines, f"-----END {kind}PRIVATE KEY-----", ""])


def in_base64(text: str) -> str:
    """A text in base64, on one line."""
    return base64.b64encode(text.encode()).decode()


def notebook(draw: Draw, source: list[str], *outputs: dict[str, Any]) -> str:
    """A notebook as Jupyter saves it: a cell with its outputs, and a cell with a picture."""
    picture = {"output_type": "display_data", "metadata": {}, "data": {"image/png": in_base64(draw.secret(400))}}
    cells = [
        {
            "cell_type": "code",
            "execution_count": n,
            "id": draw.secret(8),
            "metadata": {},
            "outputs": out,
            "source": text,
        }
        for n, (text, out) in enumerate(((source, list(outputs)), (["plot()"], [picture])), start=1)
    ]
    return json.dumps({"cells": cells, "metadata": {}, "nbformat": 4, "nbformat_minor": 5}, indent=1) + "\n"


def stream(*lines: str) -> dict[str, Any]:
    """What a cell printed."""
    return {"name": "stdout", "output_type": "stream", "text": [f"{line}\n" for line in lines]}


def result(*lines: str) -> dict[str, Any]:
    """What a cell's last line was worth."""
    return {"data": {"text/plain": list(lines)}, "execution_count": 1, "metadata": {}, "output_type": "execute_result"}


def scanned(
    desk: Desk, repository: Repository, changed: Mapping[str, str | bytes] | None = None
) -> list[dict[str, Any]]:
    """What the answer finds in a repository. Raises AnswerTrouble, and CheckFailed when it is no list of findings."""
    desk.write(repository.made(REPO, changed))
    where = f"{desk.where}/{REPO}"
    findings = desk.call("scan", repository=where)
    for finding in findings if isinstance(findings, list) else [findings]:
        fields = finding if isinstance(finding, dict) else {}
        kinds = [type(fields.get(name)) for name in ("file", "line", "rule", "commit")]
        if kinds[:3] != [str, int, str] or kinds[3] not in (str, type(None)) or not fields["rule"]:
            raise CheckFailed(
                f"gave {json.dumps(finding)[:200]} for a finding",
                "A finding has file, line (a number), commit (a full hash, or null for the working tree) and rule.",
            )
    for finding in findings:
        inside = finding["file"].replace("\\", "/").removeprefix(where + "/")
        finding["file"] = unicodedata.normalize("NFC", posixpath.normpath(inside))
    return list(findings)


def expect_found(
    findings: Iterable[dict[str, Any]], repository: Repository, leak: Leak, about: str, shown: str = ""
) -> None:
    """The leak is among the findings, at its place. Raises CheckFailed."""
    commits = {None if number == 0 else repository.ids[number] for number in leak.commits}
    there = [finding for finding in findings if finding["file"] == leak.file]
    right = [finding for finding in there if finding["commit"] in commits]
    if any(not leak.lines or finding["line"] in leak.lines for finding in right):
        return
    but = ", but on another line" if right else ", but in another commit" if there else ""
    lines = f"line {' or '.join(map(str, leak.lines))}" if leak.lines else "any line"
    where = " or ".join(sorted(commit or "null" for commit in commits))
    raise CheckFailed(
        f"found {about} in {leak.file}{but}" if but else f"did not find {about} in {leak.file}",
        f"A finding with file {leak.file!r}, {lines}, commit {where} was wanted.",
        Exchange(shown or f"A repository with {about}", f"Findings in this file: {json.dumps(there, indent=1)}", ""),
    )


def expect_all(desk: Desk, files: dict[str, tuple[str, str, int]]) -> None:
    """What is in these files, given as (what it is, text, its line or 0), is found. Raises CheckFailed."""
    repository = Repository()
    repository.commit({file: text for file, (_, text, _) in files.items()})
    findings = scanned(desk, repository)
    for file, (about, text, line) in files.items():
        expect_found(findings, repository, Leak(file, (line,) if line else ()), about, f"{file}:\n{text}")


def decoys(draw: Draw) -> dict[str, str | bytes]:
    """Files of an honest project, without a secret in them."""
    one, two = (str(uuid.UUID(int=draw.random.getrandbits(128), version=4)) for _ in range(2))
    digest = base64.b64encode(draw.random.randbytes(64)).decode()
    example = (
        "JWT_SECRET=changeme\nAPI_KEY=<your-api-key>\nDB_PASSWORD=${DB_PASSWORD}\npassword=xxxxxxxxxxxxxxxxxxxxxxxx\n"
    )
    return {
        ".env.example": f"{example}JWT_SECRET_PREVIOUS=\n",
        "docs/setup.md": "Set JWT_SECRET=your-secret-key-change-in-production to `openssl rand -hex 32`.\n",
        "settings.py": 'import os\n\nJWT_SECRET = os.environ["JWT_SECRET"]\npassword = None\napi_key = ""\n',
        "compose.yaml": "environment:\n  JWT_SECRET: ${JWT_SECRET}\n  password: changeme\n  api_key: your-secret-key\n",
        "tenants.json": json.dumps({"id": one, "tenant": two, "request_id": two}, indent=1) + "\n",
        "ids.py": f'TENANT = "{one}"\nSESSION_ID = "{two}"\n',
        "requirements.txt": f"fastapi==0.165.0 \\\n    --hash=sha256:{draw.secret(64)}\n",
        "SHA256SUMS": f"{draw.secret(64)}  larkspur.tar.gz\n{draw.secret(64)}  larkspur.whl\n",
        "package-lock.json": json.dumps({"version": "4.1.0", "integrity": f"sha512-{digest}"}, indent=1) + "\n",
        ".pre-commit-config.yaml": f"repos:\n  - repo: local\n    rev: {draw.secret(40)}\n",
        "checksums.toml": f'sha256 = "{draw.secret(64)}"\nmd5 = "{draw.secret(32)}"\n',
        "logo.svg": f'<image href="data:image/png;base64,{in_base64(draw.secret(300))}"/>\n',
        "logo.png": b"\x89PNG\r\n\x1a\n" + draw.random.randbytes(600),
        "analysis.ipynb": notebook(
            draw, ["import os\n", 'os.environ["JWT_SECRET"][:0]'], stream("loans: 42"), result("''")
        ),
    }


@exercise("6.4")
@legit("ASVS 5.0 13.3.1", "CWE-540")
def test_a_leak_is_reported_with_its_place(desk: Desk, draw: Draw) -> None:
    """A secret in a file is reported with the file, its line, the commit or null, and a rule.

    Whoever has to mend it needs to know where it is, and since when.

    Hint: paths from the root of the repository, lines from 1.
    """
    repository = Repository()
    start = draw.number(3, 30)
    code = "# settings\n" * start + f'JWT_SECRET = "{draw.secret(64)}"\nDEBUG = False\n'
    repository.commit(
        {"app/settings.py": code, "notes/old notes.txt": f"\n\napi_key={api_key(draw)}\n", "README.md": "Larkspur\n"}
    )
    repository.commit({"README.md": "Larkspur Library\n"})
    findings = scanned(desk, repository)
    expect_found(findings, repository, Leak("app/settings.py", (start + 1,), (0, 1, 2)), "a secret", code[-200:])
    expect_found(findings, repository, Leak("notes/old notes.txt", (3,), (0, 1, 2)), "a secret")
    others = [finding for finding in findings if finding["file"] == "README.md"]
    assert not others, f"reported a secret in README.md, which has none: {others}"


@exercise("6.4")
@legit("ASVS 5.0 13.3.1", "CWE-540")
def test_decoys_are_not_reported(desk: Desk, draw: Draw) -> None:
    """A repository without secrets gives an empty list, in spite of its placeholders, UUIDs, checksums and pictures.

    A scanner that cries wolf is switched off within a week.

    Hint: randomness alone is no secret, and neither is a name alone. It takes both.
    """
    repository = Repository()
    repository.commit(decoys(draw))
    repository.commit(decoys(draw) | {"ids.py": None})
    findings = scanned(desk, repository, {"SHA256SUMS": f"{draw.secret(64)}  larkspur.zip\n"})
    if findings:
        first = findings[0]
        raise CheckFailed(
            f"reported {len(findings)} secrets where there are none, one in {first['file']}, line {first['line']}",
            "Placeholders, UUIDs and checksums are no secrets.",
            Exchange("scan() of a repository without secrets", json.dumps(findings, indent=1), ""),
        )


@exercise("6.4")
@attack("CWE-540", "ASVS 5.0 13.3.1")
def test_the_working_tree_is_searched(desk: Desk, draw: Draw) -> None:
    """Secrets in files that are changed, new or not yet known to git are found, with commit null.

    That is the moment to find one: before it is in the history.

    Hint: `git ls-files --cached --others --exclude-standard -z` lists what is there.
    """
    repository = Repository()
    repository.commit({"settings.py": "DEBUG = True\n", "deploy/app.yaml": "port: 80\n"})
    changed = {
        "settings.py": f'DEBUG = True\nJWT_SECRET = "{draw.secret(64)}"\n',
        ".env": f"# mine\nAPI_KEY={api_key(draw)}\n",
        "scratch/try it.py": f'token = "{github_token(draw)}"\n',
        "deploy/id_rsa": private_key(draw),
        "cl\u00e9.env": f"JWT_SECRET={draw.secret(64)}\n",
    }
    findings = scanned(desk, repository, changed)
    places = {"settings.py": (2,), ".env": (2,), "scratch/try it.py": (1,), "deploy/id_rsa": (), "cl\u00e9.env": (1,)}
    for file, lines in places.items():
        expect_found(findings, repository, Leak(file, lines, (0,)), "a secret that is not committed")


@exercise("6.4")
@attack("CWE-540", "CWE-798", "ASVS 5.0 13.3.1")
def test_the_history_is_searched(desk: Desk, draw: Draw) -> None:
    """Secrets that were changed, removed or deleted with their file are found in the commits that had them.

    "Remove secret" is a commit like others. Everybody who clones the repository has the one before it.

    Hint: go through every commit, not only the newest, and every file of it; `git rev-list --all` lists them.
    """
    repository = Repository()
    first = {"settings.py": f'import os\nJWT_SECRET = "{draw.secret(64)}"\n', "keys/server.pem": private_key(draw)}
    script = "echo and on\n" * 60
    line = draw.number(30, 50)
    keyed = script.splitlines(keepends=True)
    keyed.insert(line - 1, f"export API_KEY={api_key(draw)}\n")
    copied = f"JWT_SECRET={draw.secret(64)}\n"
    repository.commit({**first, "ci.sh": "make\n", "run.sh": script})
    repository.commit({"settings.py": 'import os\nJWT_SECRET = os.environ["JWT_SECRET"]\n'})
    repository.commit({"keys/server.pem": None, "ci.sh": f"export GH={github_token(draw)}\nmake\n"})
    new = {"config.json": json.dumps({"password": api_key(draw)}), "cl\u00e9.env": copied, "copy/.env": copied}
    repository.commit({"ci.sh": None, "run.sh": "".join(keyed), **new})
    gone = {"run.sh": script, "cl\u00e9.env": None, "copy/.env": None}
    repository.commit({"config.json": json.dumps({"password": ""}), "README.md": "clean\n", **gone})
    for _ in range(LONG):
        repository.commit({})
    findings = scanned(desk, repository)
    for leak in (
        Leak("settings.py", (2,), (1, 2)),
        Leak("keys/server.pem", (), (1, 2, 3)),
        Leak("ci.sh", (1,), (3, 4)),
        Leak("config.json", (1,), (4, 5)),
        Leak("run.sh", (line,), (4, 5)),
        Leak("cl\u00e9.env", (1,), (4, 5)),
        Leak("copy/.env", (1,), (4, 5)),
    ):
        expect_found(findings, repository, leak, "a secret that is only in the history")


@exercise("6.4")
@attack("CWE-540", "CWE-798")
def test_every_ref_is_searched(desk: Desk, draw: Draw) -> None:
    """Secrets on other branches, under tags, on remote branches and in the stash are found.

    What somebody pushed once as an experiment is fetched by everybody.

    Hint: `--all` means all refs; without it git starts at HEAD.
    """
    repository = Repository()
    repository.commit({"README.md": "Larkspur\n"})
    refs = ("refs/heads/experiment", "refs/heads/tagged", "refs/heads/signed", "refs/remotes/origin/old", "refs/stash")
    files = [f"{draw.username()}.env" for _ in refs]
    for ref, file in zip(refs, files, strict=True):
        repository.commit({file: f"JWT_SECRET={draw.secret(64)}\n"}, ref, after=1)
    repository.ref("refs/tags/v1", 3)
    repository.tag("v2", 4)
    for ref in ("refs/heads/tagged", "refs/heads/signed"):
        repository.remove(ref)
    findings = scanned(desk, repository)
    for number, (ref, file) in enumerate(zip(refs, files, strict=True), start=2):
        expect_found(findings, repository, Leak(file, (1,), (number,)), f"a secret under {ref}")


@exercise("6.4")
@attack("CWE-540", "CWE-798")
def test_merge_commits_are_searched(desk: Desk, draw: Draw) -> None:
    """A secret that came in with a merge, or was on a branch before it was merged, is found.

    Conflicts are solved in a hurry, and `git log -p` does not show what a merge changed.

    Hint: look at whole trees with `git ls-tree -r`, or tell git log `-m`.
    """
    repository = Repository()
    repository.commit({"settings.py": "DEBUG = True\n"})
    repository.commit({"a.py": "A = 1\n"})
    repository.commit({"b.py": "B = 1\n", "topic.env": f"JWT_SECRET={draw.secret(64)}\n"}, "refs/heads/topic", after=1)
    repository.commit({"topic.env": None}, "refs/heads/topic")
    resolved = {
        "b.py": "B = 1\n",
        "settings.py": f'DEBUG = False\napi_key = "{api_key(draw)}"\n',
        "new.env": github_token(draw),
    }
    repository.commit(resolved, after=2, merged=4)
    repository.commit({"settings.py": "DEBUG = False\n", "new.env": None})
    repository.remove("refs/heads/topic")  # as one does with a branch that is merged
    findings = scanned(desk, repository)
    for leak in (Leak("settings.py", (2,), (5, 6)), Leak("new.env", (1,), (5, 6))):
        expect_found(findings, repository, leak, "a secret that a merge brought")
    expect_found(findings, repository, Leak("topic.env", (1,), (3, 4)), "a secret of a branch that was merged")


@exercise("6.4")
@attack("CWE-540", "ASVS 5.0 13.3.1")
def test_every_secret_of_a_file_is_found(desk: Desk, draw: Draw) -> None:
    """Two secrets of one kind in a file are both found, side by side or one after the other, and deep down as well.

    Whoever is told of one key replaces one key. The other is still good.

    Hint: count a secret as known by its file and its value, or by its place. A rule and a file do not tell two apart.
    """
    first, second = (f"JWT_SECRET={draw.secret(64)}\n" for _ in range(2))
    both = f"password: {draw.secret(64)}\ndebug: 1\npassword: {draw.secret(64)}\n"
    lines = draw.number(3_000, 4_000)
    log = "".join(f"{n:05} GET /books 200 in 3 ms\n" for n in range(1, lines)) + f"api_key={api_key(draw)}\n"
    repository = Repository()
    repository.commit({"rotated.env": first, "README.md": "Larkspur\n"})
    repository.commit({"rotated.env": second, "both.yaml": both, "app.log": log})
    findings = scanned(desk, repository)
    for leak in (
        Leak("rotated.env", (1,), (1,)),
        Leak("rotated.env", (1,), (0, 2)),
        Leak("both.yaml", (1,), (0, 2)),
        Leak("both.yaml", (3,), (0, 2)),
        Leak("app.log", (lines,), (0, 2)),
    ):
        expect_found(findings, repository, leak, "one of several secrets")


@exercise("6.4")
@attack("CWE-321", "CWE-540")
def test_private_keys_are_found(desk: Desk, draw: Draw) -> None:
    """Private keys are found whatever kind they are of, and whatever the file is called.

    A key block needs no name beside it: whoever has it is the server.

    Hint: `-----BEGIN … PRIVATE KEY-----`, with RSA, EC, OPENSSH or nothing in between.
    """
    files = {
        f"{draw.username()}.txt": (f"a private key ({kind.strip() or 'PKCS #8'})", private_key(draw, kind), 0)
        for kind in KEY_KINDS
    }
    in_code = f'KEY = """\n{private_key(draw, "EC ")}"""\n'
    expect_all(desk, files | {"signing.py": ("a key in code", in_code, 0)})


@exercise("6.4")
@attack("CWE-798", "CWE-540")
def test_tokens_are_found(desk: Desk, draw: Draw) -> None:
    """Tokens of GitHub and access keys of AWS are found anywhere in a line, and in any folder.

    They are made to be recognised, so that scanners find them before others do.

    Hint: `ghp_` and 36 letters or digits; `AKIA` and 16. A test or an example may have been tried with a real one.
    """
    curl = f'curl -H "Authorization: Bearer {github_token(draw)}" https://api.github.example\n'
    expect_all(
        desk,
        {
            "ci/deploy.sh": ("a GitHub token", f"#!/bin/sh\n{curl}", 2),
            "remote.txt": ("a GitHub token in a URL", f"https://ada:{github_token(draw)}@git.example/larkspur\n", 1),
            "notes.md": ("an AWS key", f"Ada's key is {aws_key(draw)}.\n", 1),
            "backup.py": ("an AWS key", f'client("s3", "{aws_key(draw)}")\n', 1),
            "aws.ini": ("an AWS key", f"[default]\naws_access_key_id = {aws_key(draw)}\n", 2),
            "tests/conftest.py": ("a GitHub token", f'TOKEN = "{github_token(draw)}"\n', 1),
            "docs/deploy.md": ("an AWS key", f"# Deploy\n\nUse {aws_key(draw)}.\n", 3),
            "examples/client.py": ("a GitHub token", f'client("{github_token(draw)}")\n', 1),
        },
    )


@exercise("6.4")
@attack("CWE-798", "CWE-259", "ASVS 5.0 13.3.1")
def test_assigned_secrets_are_found(desk: Desk, draw: Draw) -> None:
    """Random values are found that are assigned to JWT_SECRET, password, api_key and their like, in any file format.

    Most secrets have no prefix. Their name gives them away.

    Hint: a name with secret, password or api_key in it, then `=` or `:`, quotes or none, then a value of high entropy.
    """
    expect_all(
        desk,
        {
            ".env": ("JWT_SECRET=…", f"DEBUG=1\nJWT_SECRET={draw.secret(64)}\n", 2),
            "settings.py": ('JWT_SECRET = "…"', f'JWT_SECRET = "{api_key(draw)}"\n', 1),
            "database.py": (
                "password='…'",
                f"import db\n\ndb.connect(user='larkspur', password='{draw.secret(64)}')\n",
                3,
            ),
            "config.yaml": ("password: …", f"database:\n  password: {draw.secret(64)}\n", 2),
            "values.yaml": ('api_key: "…"', f'mail:\n  api_key: "{draw.secret(64)}"\n', 2),
            "config.json": ('"api_key": "…"', json.dumps({"a": 1, "api_key": api_key(draw)}, indent=1), 3),
            "app.toml": ("password = '…'", f"[database]\npassword = '{api_key(draw)}'\n", 2),
            "compose.yaml": ("DB_PASSWORD=…", f"environment:\n  - DB_PASSWORD={draw.secret(64)}\n", 2),
            "Dockerfile": ("ENV API_KEY=…", f"FROM python:3.13\nENV API_KEY={draw.secret(64)}\n", 2),
            "windows.env": ("JWT_SECRET=… with CRLF", f"DEBUG=1\r\nJWT_SECRET={draw.secret(64)}\r\n", 2),
        },
    )


@exercise("6.4")
@attack("CWE-540", "CWE-532")
def test_notebook_outputs_are_searched(desk: Desk, draw: Draw) -> None:
    """Secrets in the outputs of notebooks are found, printed, shown or in an error, and in their code too.

    A notebook is saved with what its cells printed. The code is clean, the file is not.

    Hint: an .ipynb is a text file. In it, a quote is written `\\"`.
    """
    error = {
        "output_type": "error",
        "ename": "E",
        "evalue": "refused",
        "traceback": [f"E: refused {github_token(draw)}"],
    }
    clean = ["import os\n", "dict(os.environ)"]
    shown = f"{{'HOME': '/home/ada', 'JWT_SECRET': '{draw.secret(64)}'}}"
    expect_all(
        desk,
        {
            "printed.ipynb": (
                "JWT_SECRET=… in an output",
                notebook(draw, clean, stream("A=1", f"JWT_SECRET={draw.secret(64)}")),
                0,
            ),
            "shown.ipynb": ("a dictionary in an output", notebook(draw, clean, result(shown)), 0),
            "failed.ipynb": ("a token in a traceback", notebook(draw, clean, error), 0),
            "aws.ipynb": ("an AWS key in an output", notebook(draw, clean, stream(aws_key(draw))), 0),
            "code.ipynb": ("api_key in a cell", notebook(draw, ["import x\n", f'api_key = "{api_key(draw)}"']), 0),
        },
    )


@exercise("6.4")
@attack("CWE-540", "CWE-312")
def test_base64_is_looked_through(desk: Desk, draw: Draw) -> None:
    """Secrets are found in base64 too: tokens, keys and whole settings.

    Kubernetes, CI systems and people who mean to hide something write them so.

    Hint: decode what looks like base64, and look at it with the same rules.
    """
    env = in_base64(f"DEBUG=1\nJWT_SECRET={draw.secret(64)}\n")
    expect_all(
        desk,
        {
            "k8s/github.yaml": (
                "a token in base64",
                f"kind: Secret\ndata:\n  github: {in_base64(github_token(draw))}\n",
                3,
            ),
            "k8s/tls.yaml": ("a private key in base64", f"data:\n  tls.key: {in_base64(private_key(draw, ''))}\n", 2),
            "ci.yml": ("settings in base64", f"steps:\n  - run: echo {env} | base64 -d > .env\n", 2),
            "aws.py": ("an AWS key in base64", f'BLOB = "{in_base64("id:" + aws_key(draw) + ":")}"\n', 1),
        },
    )


@exercise("6.4")
@attack("CWE-755", "CWE-540")
def test_odd_files_do_not_stop_the_search(desk: Desk, draw: Draw) -> None:
    """Binary files, other encodings, empty files and very long lines do not end the search.

    A scanner that stops at the first picture finds what comes before it in the alphabet.

    Hint: read bytes, and decode with `errors="replace"`.
    """
    repository = Repository()
    odd: dict[str, str | bytes] = {
        "a.png": b"\x89PNG\r\n\x1a\n" + draw.random.randbytes(2000),
        "a.txt": b"\xff\xfe" + "Grüße".encode("utf-16-le"),
        "b.txt": "Grüße aus Köln\n".encode("latin-1"),
        "empty": "",
        "minified.js": "var a=" + "[1,2,3]," * 20_000 + "0;\n",
        "latin.env": "# für später\n".encode("latin-1") + f"JWT_SECRET={draw.secret(64)}\n".encode(),
        "z.env": f"JWT_SECRET={draw.secret(64)}",
    }
    repository.commit(odd)
    repository.commit({"a.png": None, "z.env": None, "b.txt": b"\xe9\xe8 \x80\n"})
    findings = scanned(
        desk, repository, {"new.bin": draw.random.randbytes(500), "zz.env": f"api_key={api_key(draw)}\n"}
    )
    for leak in (Leak("latin.env", (2,), (0, 1, 2)), Leak("z.env", (1,), (1, 2)), Leak("zz.env", (1,), (0,))):
        expect_found(findings, repository, leak, "a secret beside odd files")


@exercise("6.4")
@attack("CWE-532", "CWE-200")
def test_findings_do_not_repeat_the_secret(desk: Desk, draw: Draw) -> None:
    """No finding holds the value that it is about, not even in part.

    The report goes to CI's log and to the ticket: one leak would become three.

    Hint: file, line, commit and the name of the rule are enough.
    """
    hexadecimal, random, token, aws = draw.secret(64), api_key(draw), github_token(draw), aws_key(draw)
    key = private_key(draw)
    repository = Repository()
    repository.commit({".env": f"JWT_SECRET={hexadecimal}\npassword: {random}\n", "server.key": key})
    repository.commit({".env": None, "ci.sh": f"echo {token} {aws}\n", "k8s.yaml": f"data: {in_base64(token)}\n"})
    notes = notebook(draw, ["1"], stream(f"JWT_SECRET={hexadecimal}"))
    findings = scanned(desk, repository, {"notes.ipynb": notes})
    assert findings, "found nothing"
    body = key.splitlines()[1]
    secrets = {
        "JWT_SECRET": hexadecimal,
        "password": random,
        "the token": token[4:],
        "the AWS key": aws[4:],
        "the key": body,
    }
    if names := leaked(json.dumps(findings), secrets):
        raise CheckFailed(f"repeated {' and '.join(names)} in its findings", "A finding says where, not what.")
