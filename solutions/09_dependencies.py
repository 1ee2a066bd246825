# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3 (ipykernel)
#     language: python
#     name: python3
# ---

# %% [markdown]
# # 9 · Dependencies
#
# *Whose code is this, and does anybody still mend it?* You break what the library is built on, and write the tools that
# watch over it. There is no network here: the advisories are those of November 2026, frozen, on this machine.
#
# | beat | what you do |
# |---|---|
# | See | audit the checklist's own requirements |
# | Break | six attacks on what Larkspur installs, and on its tools |
# | Fix | exercises 9.1 to 9.4, and a migration |
# | Prove | the same attacks on your code |
# | Apply | the checklist for your own app |
#
# About three hours. `check` runs the very checks that a grader runs.

# %%
from lab_app.jupyter import check, hint, progress, serve

# %% [markdown]
# ## See
#
# You write an app of a thousand lines. pip brings the rest, and all of it runs with the app's own rights: it reads the
# secrets, the database, the network.
#
# ```mermaid
# flowchart LR
#     R[requirements.txt] --> P[pip] --> A[your app]
#     I[(package index)] --> P
#     F["a flaw that everybody knows"] -.-> I
#     S["a wheel that somebody swapped"] -.-> I
#     N["a name that somebody claimed"] -.-> I
# ```
#
# Three things go wrong: a package has a known flaw, it is not the file that you tested, or it is not even the package
# that you meant. That is number 3 of the [OWASP Top
# 10:2025](https://owasp.org/Top10/2025/A03_2025-Software_Supply_Chain_Failures/).

# %%
import re
from importlib.metadata import distributions

from lab_app.workbook.source import ROOT

asked_for = re.findall(r"(?m)^\w\S+", (ROOT / "requirements.in").read_text())
installed = {found.metadata["Name"].lower() for found in distributions()}
print(f"This workbook asks for {len(asked_for)} packages by name. {len(installed)} are installed.")

# %% [markdown]
# The checklist's advice is good: pin versions, run `pip-audit`, let Dependabot propose updates. Its own file was pinned
# once, early in 2024.

# %%
# INSECURE: pinned once, and never looked at again.
CHECKLIST = """\
fastapi==0.109.0
starlette==0.35.1
python-jose==3.3.0
passlib==1.7.4
python-multipart==0.0.6
"""

# %% [markdown]
# Now the real `pip-audit`. It asks a service about every pin: PyPI, unless `-s osv` says
# [OSV](https://google.github.io/osv.dev/post-v1-query/). Ours speaks OSV's `/v1/query`, over the frozen records; open
# the link and look what there is.

# %%
from lab_app.jupyter.services import advisories as advisory_service

serve(advisory_service.app, "advisories")

# %%
import subprocess
import sys
import tempfile
from pathlib import Path


def pip_audit(requirements):
    """What pip-audit prints about a file of requirements."""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "requirements.txt"
        file.write_text(requirements)
        options = f"-s osv --osv-url {advisory_service.url} --no-deps --disable-pip --progress-spinner off --desc off"
        command = [sys.executable, "-m", "pip_audit", *options.split(), "--aliases", "off", "-r", str(file)]
        return subprocess.run(command, capture_output=True, text=True).stdout


print(pip_audit(CHECKLIST))

# %% [markdown]
# An advisory is a short text in [OSV's format](https://ossf.github.io/osv-schema/): which package, and what happened at
# which version. This one says that 3.5.0 is the last version known to be affected. It is also the newest.

# %%
records = {record["id"]: record for record in advisory_service.records}
records["CVE-2026-85394"]["affected"]

# %% [markdown]
# Here are all that are known about starlette. A bar is a range of affected versions; the line is what the checklist
# pins. No single upgrade would have been enough: new bars keep coming.

# %%
import matplotlib.pyplot as plt

RELEASES = "0 0.13.5 0.25 0.27 0.35.1 0.39 0.40 0.47.2 0.49.1 1.0.1 1.3 1.10".split()
about = [one for one in records.values() if one["affected"][0]["package"]["name"] == "starlette"]
figure, axis = plt.subplots(figsize=(7, 2.8))
for row, one in enumerate(about):
    start, end = (next(iter(event.values())).removesuffix(".0") for event in one["affected"][0]["ranges"][0]["events"])
    left = RELEASES.index(start) if start in RELEASES else 0
    axis.barh(row, RELEASES.index(end) - left, left=left, height=0.6)
axis.axvline(RELEASES.index("0.35.1"), color="black", linestyle="--")
axis.set_yticks(range(len(about)), [one["id"] for one in about], fontsize=7)
axis.set_xticks(range(len(RELEASES)), RELEASES, rotation=45)
axis.set_title("Which versions of starlette are affected?")
figure.tight_layout()

# %% [markdown]
# ## Break
#
# Larkspur lends books to a partner library, whose people sign in with tokens of their own. And Larkspur has four tools
# that watch over its dependencies, each with a flaw. Start it.

# %%
from lab_app.larkspur import dependencies as flawed

larkspur = serve(flawed.app, "larkspur")
larkspur

# %% [markdown]
# ### 1 · A flaw that everybody knows
#
# The partner signs with a private key; Larkspur knows the public one, in the two spellings in which such keys are sent
# around, PEM and DER. python-jose 3.5.0 refuses PEM as an HMAC secret and [forgets
# DER](https://github.com/mpdavis/python-jose/issues/414). So the public key, which everybody may have, signs tokens
# (CVE-2026-85394, CWE-347). Each attack below is a function that returns what it got, or None.

# %%
import base64

from jose import jwt as jose_jwt


def be_grace(target):
    """Attack 1: sign in as Grace with a token that is signed with a public key."""
    key = target.get("/interlibrary/key").json()["der"]
    token = jose_jwt.encode({"sub": "grace", "role": "staff"}, base64.b64decode(key), "HS256")
    answer = target.get("/interlibrary/me", headers={"Authorization": f"Bearer {token}"})
    return answer.json() if answer.status_code == 200 else None


be_grace(larkspur)

# %% [markdown]
# Nothing in Larkspur's own code changed to let you in. Somebody published an advisory, and nobody read it. So reading
# them is what the tools are for. Now break the tools.
#
# ### 2 · Six is more than eighteen
#
# Is python-multipart 0.0.6 affected by a flaw that 0.0.18 mends? Larkspur's tool compares text (CWE-697).


# %%
def hide_behind_eighteen(is_affected):
    """Attack 2: the flawed version that a tool calls mended."""
    advisory = records["GHSA-59g5-xgcq-4qw3"]  # introduced 0, fixed 0.0.18
    return None if is_affected(advisory, "0.0.6") else "python-multipart 0.0.6 looks mended"


hide_behind_eighteen(flawed.is_affected)

# %% [markdown]
# ### 3 · The day on which everything is clean
#
# `audit` asks the service about every pin. What does it say on a day when the service answers 500 to everything
# (CWE-636)?

# %%
import os

os.environ["OSV_URL"] = advisory_service.url


def fall_silent(audit):
    """Attack 3: the report of an outage, if it looks like the report of a clean file."""
    with advisory_service.fails(500):
        report = audit("python-jose==3.3.0")
    return report if not report["findings"] and not report["unaudited"] else None


print(flawed.audit("python-jose==3.3.0")["findings"])
fall_silent(flawed.audit)

# %% [markdown]
# ### 4 · Another wheel by the same name
#
# Larkspur has wheels of its own, on a shelf that its servers install from. `lock` pins them. You cannot publish under a
# new name, but you may write to the shelf. So you swap a wheel (CWE-494).

# %%
from lab_app.jupyter.services import wheels as wheel_shelf

os.environ.update(WHEEL_DIR=wheel_shelf.folder, REQUIREMENTS=wheel_shelf.wanted)
print(sorted(path.name for path in Path(wheel_shelf.folder).iterdir()))
print(flawed.lock())


# %%
def install(lock, shelves):
    """pip installs a lock from some shelves into a fresh folder, and the app starts there: what it prints."""
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "lock.txt").write_text(lock)
        options = "--isolated -q install --no-index --no-cache-dir --disable-pip-version-check --no-compile"
        where = [f"--find-links={shelf}" for shelf in shelves]
        command = [sys.executable, "-m", "pip", *options.split(), *where, f"--target={folder}/app"]
        subprocess.run([*command, "-r", f"{folder}/lock.txt"], capture_output=True)
        start = "import sys; sys.path.insert(0, 'app'); import larkspur_labels"
        return subprocess.run([sys.executable, "-c", start], cwd=folder, capture_output=True, text=True).stdout


# %%
import shutil

from lab_app.runner.services.wheels import wheel

EVIL = "print('I read your secrets, for I run as you')"


def swap_a_wheel(lock):
    """Attack 4: what a swapped wheel says once it is installed."""
    with tempfile.TemporaryDirectory() as folder:
        shelf = Path(shutil.copytree(wheel_shelf.folder, f"{folder}/shelf"))
        file, content = wheel("larkspur-labels", "2.1", code=EVIL)
        (shelf / file).write_bytes(content)
        return install(lock, [shelf]) or None


swap_a_wheel(flawed.lock())

# %% [markdown]
# ### 5 · The name that nobody had taken
#
# You cannot write to the shelf? Then publish `larkspur-labels` 99.0 yourself, where everybody may publish. Whoever
# installs from two places gets the higher version. pip's own manual [warns of
# it](https://pip.pypa.io/en/stable/cli/pip_install/): dependency confusion (ASVS 5.0 15.2.4).


# %%
def claim_the_name(lock):
    """Attack 5: what a stranger's package says that has the name of one of ours, and a higher version."""
    with tempfile.TemporaryDirectory() as public:
        file, content = wheel("larkspur-labels", "99.0", code=EVIL)
        (Path(public) / file).write_bytes(content)
        return install(lock, [wheel_shelf.folder, public]) or None


claim_the_name(flawed.lock())

# %% [markdown]
# ### 6 · For now
#
# "Ignore it for now, the release is on Friday." That was in 2024. `gate` decides whether a release may go out, and its
# list of ignores only ever grows (CWE-1395, ASVS 5.0 15.2.1).


# %%
def outlive_the_excuse(gate):
    """Attack 6: what a gate says to a finding whose ignore ran out two years ago, if it lets it through."""
    finding = {"package": "python-jose", "version": "3.3.0", "ids": ["CVE-2024-33663"], "fixed_in": ["3.4.0"]}
    ignore = {"id": "CVE-2024-33663", "reason": "release on Friday", "expires": "2024-06-01"}
    verdict = gate([finding], [ignore], "2026-11-23")
    return verdict if verdict["ok"] else None


outlive_the_excuse(flawed.gate)

# %% [markdown]
# Six ways past. Now shut them.
#
# ## Fix
#
# Each exercise is one cell. Run it, then run its `check`. Here they are functions and texts, not apps: a checker calls
# them with records, files and wheels that it has just made up. What a cell needs from outside stands in environment
# variables. They are set here and, with other values, when you are graded; so read them, and never write them into the
# code. Use any library you like, `packaging` and pip itself among them. An exception is no answer.

# %%
os.environ.update(OSV_URL=advisory_service.url, WHEEL_DIR=wheel_shelf.folder, REQUIREMENTS=wheel_shelf.wanted)

# %% [markdown]
# ### Exercise 9.1 · Is it affected?
#
# `is_affected(record: dict, version: str) -> bool` on OSV records: PEP 440 order, `introduced`/`fixed`/`last_affected`,
# unsorted intervals, several ranges, `versions`, withdrawn, pre-releases; `introduced: "0"` is the beginning of time.
#
# [OSV's own rules](https://ossf.github.io/osv-schema/#evaluation) fit on a screen. `fixed` is the first version without
# the flaw, `last_affected` the last with it. A version that stands in `versions` is affected, and so is one within any
# range of any entry. [PEP 440](https://peps.python.org/pep-0440/) says what comes before what: 2.0rc1 before 2.0, 0.9
# before 0.10. Every record here is about one package.

# %% exercise="9.1" role="starter"
# Exercise 9.1 — Is it affected? (INSECURE: this is the code to mend)


def is_affected(record: dict, version: str) -> bool:
    events = record["affected"][0]["ranges"][0]["events"]
    introduced = events[0]["introduced"]
    fixed = events[1]["fixed"] if len(events) > 1 else "999"
    return introduced <= version < fixed


# %% exercise="9.1" role="solution"
# Exercise 9.1 — Is it affected?
from packaging.version import Version


def is_affected(record: dict, version: str) -> bool:
    if "withdrawn" in record:
        return False
    return any(listed(entry, version) or within_any(entry, Version(version)) for entry in record["affected"])


def listed(entry: dict, version: str) -> bool:
    return version in entry.get("versions", [])


def within_any(entry: dict, version: Version) -> bool:
    # A GIT range counts commits, and says nothing of versions.
    ranges = [one for one in entry.get("ranges", []) if one["type"] != "GIT"]
    return any(within(one["events"], version) for one in ranges)


def within(events: list[dict], version: Version) -> bool:
    """Walk the events in the order of their versions; the last one that has happened decides."""
    affected = False
    timeline = [(kind, at) for event in events for kind, at in event.items()]
    for kind, at in sorted(timeline, key=when):
        if kind == "introduced" and (at == "0" or Version(at) <= version):
            affected = True
        elif kind == "fixed" and Version(at) <= version:
            affected = False
        elif kind == "last_affected" and Version(at) < version:
            affected = False
    return affected


def when(event: tuple[str, str]) -> tuple[bool, Version]:
    """Where on the timeline an event belongs: `introduced: "0"` comes before everything, even before 0.dev1."""
    return event != ("introduced", "0"), Version(event[1])


# %%
check("9.1")

# %% [markdown]
# ### Exercise 9.2 · Audit a lock file
#
# `audit(requirements: str) -> {"findings": [{"package", "version", "ids", "fixed_in"}], "unaudited": […]}` against the
# local advisory service at `OSV_URL` (the full address of `/v1/query`).
#
# One finding per advisory with its aliases merged; `package` normalised; `fixed_in` the list of fixed versions above
# the pinned one, `[]` if none; `unaudited` the requirement lines that cannot be judged: not pinned with `==`, not
# understood, or the service failed. Never silently clean; hashes, extras, markers, comments and continued lines are
# handled.

# %% [markdown]
# The service takes `{"package": {"name", "ecosystem": "PyPI"}, "version"}` and answers `{"vulns": [record, …]}`, or
# `{}` when it knows of nothing. A failure is an error status, an answer that is no JSON, or no answer.
#
# "Not understood" is meant: URLs, folders, `-e`, `-r`. A line that brings in packages and is skipped looks clean.
#
# Records that share an `id` or alias are one finding.
#
# Not judged, but real: OSV hands out more than a thousand records [page by
# page](https://google.github.io/osv.dev/post-v1-query/#pagination). While there is a `next_page_token`, ask again with
# it as `page_token`.

# %% exercise="9.2" role="starter"
# Exercise 9.2 — Audit a lock file (INSECURE: this is the code to mend)
import os

import httpx


def audit(requirements: str) -> dict:
    findings = []
    for line in requirements.splitlines():
        if "==" not in line:
            continue
        package, version = line.split("==")
        query = {"package": {"name": package, "ecosystem": "PyPI"}, "version": version}
        try:
            answer = httpx.post(os.environ["OSV_URL"], json=query).json()
        except (httpx.HTTPError, ValueError):
            continue
        for advisory in answer.get("vulns", []):
            findings.append({"package": package, "version": version, "ids": [advisory["id"]], "fixed_in": []})
    return {"findings": findings, "unaudited": []}


# %% exercise="9.2" role="solution"
# Exercise 9.2 — Audit a lock file
import os
import re

import httpx
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

Advisory = dict


def audit(requirements: str) -> dict:
    findings, unaudited = [], []
    with httpx.Client(timeout=10) as osv:
        for line in logical_lines(requirements):
            try:
                package, version = pinned(line)
                known = merged(ask(osv, package, version))
            except (ValueError, LookupError, TypeError, AttributeError, httpx.HTTPError):
                unaudited.append(line)
                continue
            findings += [finding(package, version, *one) for one in known]
    return {"findings": findings, "unaudited": unaudited}


def logical_lines(text: str) -> list[str]:
    """The lines as pip joins them, without comments; a comment line ends what was continued."""
    without = re.sub(r"(?m)^[ \t]*#.*$", "", text.replace("\r\n", "\n"))
    joined = without.replace("\\\n", " ").splitlines()
    return [line for one in joined if (line := re.sub(r"(^|\s)#.*", "", one).strip())]


def pinned(line: str) -> tuple[str, Version]:
    """The normal name and the version of a line that pins one. Raises ValueError."""
    one = Requirement(re.sub(r"\s--hash[ =]\S+", "", line))
    exact = [each.version for each in one.specifier if each.operator == "=="]
    if one.url or len(one.specifier) != 1 or not exact:
        raise ValueError("not pinned")
    return canonicalize_name(one.name), Version(exact[0])


def ask(osv: httpx.Client, package: str, version: Version) -> list[Advisory]:
    """All that the service knows, page by page. Raises httpx.HTTPError and ValueError."""
    query, found = {"package": {"name": package, "ecosystem": "PyPI"}, "version": str(version)}, []
    while True:
        answer = osv.post(os.environ["OSV_URL"], json=query).raise_for_status().json()
        found += [one for one in answer.get("vulns", []) if "withdrawn" not in one]
        if not (token := answer.get("next_page_token")):
            return found
        query["page_token"] = token


def merged(found: list[Advisory]) -> list[tuple[set[str], list[Advisory]]]:
    """Advisories that share an id are one, also where a third one ties them together."""
    groups: list[tuple[set[str], list[Advisory]]] = []
    for one in found:
        ids, records = {one["id"], *one.get("aliases", [])}, [one]
        for group in [group for group in groups if group[0] & ids]:
            groups.remove(group)
            ids, records = ids | group[0], records + group[1]
        groups.append((ids, records))
    return groups


def finding(package: str, version: Version, ids: set[str], records: list[Advisory]) -> dict:
    entries = [entry for one in records for entry in one.get("affected", [])]
    own = [entry for entry in entries if canonicalize_name(entry["package"]["name"]) == package]
    ranges = [one for entry in own for one in entry.get("ranges", []) if one["type"] != "GIT"]
    fixed = {event["fixed"] for one in ranges for event in one["events"] if "fixed" in event}
    later = sorted((one for one in fixed if Version(one) > version), key=Version)
    return {"package": package, "version": str(version), "ids": sorted(ids), "fixed_in": later}


# %%
check("9.2")

# %% [markdown]
# ### Our own house
#
# This workbook stands on some 200 packages. Here is the real `pip-audit` on its `requirements.txt`. We would
# rather you read it here than found it yourself.

# %%
print(pip_audit((ROOT / "requirements.txt").read_text()))

# %% [markdown]
# Two findings, and neither has a fix.
#
# - **python-jose 3.5.0** is the newest there is. [A mend](https://github.com/mpdavis/python-jose/pull/422) waits to be
#   merged. It brings **ecdsa**, whose authors [plan no fix](https://github.com/advisories/GHSA-wj6h-64fc-37mp): Python
#   cannot promise constant time.
# - **passlib 1.7.4** has no advisory, and is the worse case: its last release is from October 2020. bcrypt 5 breaks it
#   ([issue](https://github.com/pyca/bcrypt/issues/1082)), so we pin bcrypt 4.0.1, and one unmaintained package freezes
#   another (CWE-1104).

# %% [markdown]
# Why do we still have them? You will meet both in the apps that you are paid to mend, so you meet them here. They run
# on 127.0.0.1, the only key in DER is the one that you have just abused, and ecdsa is installed and never called. That
# is an excuse with a reason. It still needs a date; exercise 9.4 is about that.
#
# In your own app, leave. The question is only how to leave without logging everybody out.

# %% [markdown]
# ### Leave them
#
# A token is a format, not a library: what python-jose has signed, PyJWT verifies, with the same secret. A bcrypt hash
# is a format as well: [pwdlib](https://github.com/frankie567/pwdlib) reads what passlib wrote, and writes argon2id in
# its place when its owner logs in next. Only then is the password at hand.
#
# ```mermaid
# sequenceDiagram
#     participant A as Ada
#     participant L as Larkspur, after the migration
#     A->>L: the token of yesterday (python-jose)
#     L-->>A: 200, verified by PyJWT
#     A->>L: name and password
#     L->>L: bcrypt hash fits (passlib's)
#     L->>L: store argon2id in its place
#     L-->>A: a new token (PyJWT)
# ```

# %% [markdown]
# First, yesterday: Ada has a token and a hash that the old libraries made.

# %%
import time

from passlib.context import CryptContext

from lab_app.larkspur.database import change, rows

ADAS_PASSWORD = "seven purple geese on a pond"
old_hash = CryptContext(schemes=["bcrypt"], bcrypt__rounds=10).hash(ADAS_PASSWORD)
change("UPDATE members SET password_hash = :hash WHERE username = 'ada'", hash=old_hash)
claims = {"sub": "ada", "iat": int(time.time()), "exp": int(time.time()) + 1800}
claims |= {"iss": os.environ["JWT_ISSUER"], "aud": os.environ["JWT_AUDIENCE"]}
old_token = jose_jwt.encode(claims, os.environ["JWT_SECRET"], "HS256")
old_hash, old_token[:40] + "…"

# %% [markdown]
# Then today. PyJWT is the stricter of the two: once you name an `audience`, a token without `aud` is refused, and so is
# an `iat` that lies in the future. Look at what your old tokens hold before you switch.

# %%
import jwt
from fastapi import Depends, FastAPI, HTTPException
from fastapi.security import OAuth2PasswordBearer

migrated = FastAPI()
WHO = {"issuer": os.environ["JWT_ISSUER"], "audience": os.environ["JWT_AUDIENCE"]}


@migrated.get("/members/me")
def read_me(token: str = Depends(OAuth2PasswordBearer("token"))):
    try:
        return {"username": jwt.decode(token, os.environ["JWT_SECRET"], algorithms=["HS256"], **WHO)["sub"]}
    except jwt.InvalidTokenError:
        raise HTTPException(401, "Log in, please.") from None


# %%
from fastapi.security import OAuth2PasswordRequestForm
from pwdlib import PasswordHash
from pwdlib.hashers.argon2 import Argon2Hasher
from pwdlib.hashers.bcrypt import BcryptHasher

passwords = PasswordHash((Argon2Hasher(), BcryptHasher()))  # the first one writes, both read


@migrated.post("/token")
def log_in(form: OAuth2PasswordRequestForm = Depends()):
    found = rows("SELECT password_hash AS stored FROM members WHERE username = :name", name=form.username)
    fits, better = passwords.verify_and_update(form.password, found[0]["stored"]) if found else (False, None)
    if not fits:
        raise HTTPException(401, "Incorrect username or password")
    if better:
        change("UPDATE members SET password_hash = :new WHERE username = :name", new=better, name=form.username)
    fresh = claims | {"sub": form.username, "exp": int(time.time()) + 1800}
    return {"access_token": jwt.encode(fresh, os.environ["JWT_SECRET"], "HS256"), "token_type": "bearer"}


# %% [markdown]
# And now the morning after. Nobody is logged out, and Ada's hash has changed its kind.

# %%
today = serve(migrated, "migrated")
kind = "SELECT substr(password_hash, 1, 9) AS kind FROM members WHERE username = 'ada'"
print("yesterday's token:", today.get("/members/me", headers={"Authorization": f"Bearer {old_token}"}).json())
for password in (ADAS_PASSWORD, ADAS_PASSWORD, "a wrong one"):
    before = rows(kind)[0]["kind"]
    answer = today.post("/token", data={"username": "ada", "password": password})
    print(f"log in: {answer.status_code}, the hash was {before}… and is {rows(kind)[0]['kind']}…")
print("left to migrate:", rows("SELECT count(*) AS n FROM members WHERE password_hash LIKE '$2b$%'")[0]["n"])

# %% [markdown]
# When the last line says 0, or the rest have not logged in for a year, drop bcrypt, and with it the pin. Mind two
# things on the way. passlib with bcrypt 4 cuts passwords at 72 bytes, and bcrypt 5 refuses longer ones, so upgrade
# bcrypt last. And pwdlib knows argon2 and bcrypt only; hashes of another kind need a `HasherProtocol` of your own, or a
# new password.
#
# The partner's tokens, by PyJWT, with the algorithm chosen by us and a key that is loaded as what it is:

# %%
from cryptography.hazmat.primitives.serialization import load_der_public_key

PARTNER = larkspur.get("/interlibrary/key").json()


@migrated.get("/interlibrary/key")
def read_key():
    return PARTNER


@migrated.get("/interlibrary/me")
def read_partner(token: str = Depends(OAuth2PasswordBearer("token"))):
    try:
        return jwt.decode(token, load_der_public_key(base64.b64decode(PARTNER["der"])), algorithms=["RS256"])
    except jwt.InvalidTokenError:
        raise HTTPException(401, "Log in, please.") from None


# %% [markdown]
# ### Exercise 9.3 · Pin with hashes
#
# Env `WHEEL_DIR` (a folder of wheels) and `REQUIREMENTS` (the text: what is wanted, one requirement a line).
#
# `lock: str`: the whole closure and nothing else, every package `==` with sha256, accepted by `pip install --dry-run
# --require-hashes --only-binary :all:` from that folder, refused once a wheel is tampered with; no URLs, no option
# lines.
#
# In [hash-checking mode](https://pip.pypa.io/en/stable/topics/secure-installs/) pip refuses the whole file when one
# package, or one thing that a package needs, is not pinned with a hash. Any set of versions that fits will do.
#
# If you ask pip itself, let it write its report into a file: what it prints in a notebook is in colours.

# %% exercise="9.3" role="starter"
# Exercise 9.3 — Pin with hashes (INSECURE: this is the code to mend)
import os
import re
from pathlib import Path


def newest(name: str) -> str:
    wheels = sorted(Path(os.environ["WHEEL_DIR"]).glob(f"{name.replace('-', '_')}-*.whl"))
    return wheels[-1].name.split("-")[1] if wheels else "0"


wanted = re.findall(r"(?m)^[\w.-]+", os.environ["REQUIREMENTS"])
lock = "\n".join(f"{name}=={newest(name)}" for name in wanted)


# %% exercise="9.3" role="solution"
# Exercise 9.3 — Pin with hashes
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

# pip's own resolver chooses. It downloads nothing and installs nothing, and writes down what it would have done.
OPTIONS = "--isolated -q install --dry-run --ignore-installed --no-cache-dir --only-binary :all: --no-index"


def resolved(wanted: str) -> list[dict]:
    with tempfile.TemporaryDirectory() as folder:
        file, report = Path(folder) / "wanted.txt", Path(folder) / "report.json"
        file.write_text(wanted)
        where = ["--find-links", os.environ["WHEEL_DIR"], "--report", str(report), "-r", str(file)]
        subprocess.run([sys.executable, "-m", "pip", *OPTIONS.split(), *where], capture_output=True, check=True)
        return json.loads(report.read_text())["install"]


def pin(chosen: dict) -> str:
    about, digest = chosen["metadata"], chosen["download_info"]["archive_info"]["hashes"]["sha256"]
    return f"{about['name']}=={about['version']} \\\n    --hash=sha256:{digest}"


lock = "\n".join(sorted(map(pin, resolved(os.environ["REQUIREMENTS"])))) + "\n"


# %%
check("9.3")

# %% [markdown]
# ### Exercise 9.4 · Policy
#
# `dependabot_yml: str` (version 2, pip and github-actions, schedule, cooldown with `default-days` ≥ 3 for both) and
# `gate(findings, ignores, today) -> {"ok", "reasons"}`: findings as in 9.2; an ignore is `{"id", "reason", "expires"}`,
# dates are ISO text; it counts only with all three and an expiry after today, for its id or an alias of it; a finding
# that none covers makes `ok` false and is named in `reasons`.
#
# What else
# [dependabot.yml](https://docs.github.com/en/code-security/dependabot/working-with-dependabot/dependabot-options-reference)
# must have is GitHub's to say: `directory`, and `schedule.interval`.

# %% [markdown]
# The cooldown is for those who steal a maintainer's password: what they publish is mostly found within days. Dependabot
# waits [three
# days](https://github.blog/changelog/2026-07-14-dependabot-version-updates-introduce-default-package-cooldown/) by
# itself since July 2026, [zizmor](https://docs.zizmor.sh/audits/#dependabot-cooldown) asks for seven, and what stands
# in your file nobody changes for you. Security updates do not wait.

# %% exercise="9.4" role="starter"
# Exercise 9.4 — Policy (INSECURE: this is the code to mend)
dependabot_yml = """
version: 2
updates:
  - package-ecosystem: pip
    directory: /
    schedule:
      interval: weekly
"""


def gate(findings: list[dict], ignores: list[dict], today: str) -> dict:
    ignored = {ignore["id"] for ignore in ignores}
    open_ = [one for one in findings if not ignored & set(one["ids"])]
    return {"ok": not open_, "reasons": [one["package"] for one in open_]}


# %% exercise="9.4" role="solution"
# Exercise 9.4 — Policy
dependabot_yml = """
version: 2
updates:
  - package-ecosystem: pip
    directory: /
    schedule:
      interval: weekly
    cooldown:
      default-days: 7
  - package-ecosystem: github-actions
    directory: /
    schedule:
      interval: weekly
    cooldown:
      default-days: 7
"""


def gate(findings: list[dict], ignores: list[dict], today: str) -> dict:
    excused = {ignore["id"] for ignore in ignores if counts(ignore, today)}
    reasons = [why(one) for one in findings if not excused & set(one["ids"])]
    return {"ok": not reasons, "reasons": reasons}


def counts(ignore: dict, today: str) -> bool:
    # ISO dates sort as text.
    return all(ignore.get(part) for part in ("id", "reason", "expires")) and ignore["expires"] > today


def why(finding: dict) -> str:
    way_out = " or ".join(finding["fixed_in"]) or "nothing yet: replace it, or ignore it with a reason and a date"
    return f"{finding['package']} {finding['version']}: {', '.join(finding['ids'])}; mended by {way_out}"


# %%
check("9.4")

# %% [markdown]
# Our own two findings, and our excuses for them, before your gate. They hold until the spring.

# %%
ours = [
    {"package": "python-jose", "version": "3.5.0", "ids": ["CVE-2026-85394"], "fixed_in": []},
    {"package": "ecdsa", "version": "0.19.2", "ids": ["CVE-2024-23342", "GHSA-wj6h-64fc-37mp"], "fixed_in": []},
]
excuses = [
    {"id": "CVE-2026-85394", "reason": "shown as a flaw; no key in DER elsewhere", "expires": "2027-03-31"},
    {"id": "GHSA-wj6h-64fc-37mp", "reason": "installed by python-jose, never called", "expires": "2027-03-31"},
]
for day in ("2026-11-23", "2027-04-01"):
    print(day, gate(ours, excuses, day))

# %% [markdown]
# ## Prove
#
# The checks above are one proof. Here is another: the same six attacks, on Larkspur's tools and on yours. Run this
# after any change. A crash is no defence, so an attack that ends in one is shown as what it is.

# %%
rounds = [
    (be_grace, larkspur, today),
    (hide_behind_eighteen, flawed.is_affected, is_affected),
    (fall_silent, flawed.audit, audit),
    (swap_a_wheel, flawed.lock(), lock),
    (claim_the_name, flawed.lock(), lock),
    (outlive_the_excuse, flawed.gate, gate),
]


# %%
def outcome(attack, target):
    before = getattr(target, "crashes", 0)
    try:
        got_in = attack(target)
    except Exception as error:
        return f"CRASHED: {type(error).__name__}"
    return "CRASHED" if getattr(target, "crashes", 0) > before else "got in" if got_in else "blocked"


print(f"{'attack':22}{'on Larkspur':14}on yours")
for attack, theirs, yours in rounds:
    print(f"{attack.__name__:22}{outcome(attack, theirs):14}{outcome(attack, yours)}")

# %% [markdown]
# ## Apply
#
# Your own app, line by line. Copy what you cannot tick into your issue tracker.
#
# - [ ] It is written down how soon a flaw of which severity is mended, and how old a library may get (ASVS 5.0 15.1.1),
#   and what is installed keeps to it (15.2.1).
# - [ ] There is a list of everything that is installed, indirect dependencies too (ASVS 5.0 15.1.2). A lock file with
#   hashes is one.
# - [ ] An audit of that list runs every night, and fails when it cannot ask (CWE-636).

# %% [markdown]
# - [ ] Installs run with `--require-hashes --only-binary :all:`
#   ([pip](https://pip.pypa.io/en/stable/topics/secure-installs/)).
# - [ ] Packages come from one index; nowhere stands `--extra-index-url` (ASVS 5.0 15.2.4).
# - [ ] Dependabot or Renovate watches packages *and* Actions, with [a
#   cooldown](https://docs.zizmor.sh/audits/#dependabot-cooldown) of a week.
# - [ ] What is ignored has a reason, an owner and a date (ASVS 5.0 15.1.1).

# %% [markdown]
# - [ ] Packages without a release for two years are known by name (ASVS 5.0 15.1.4, CWE-1104), and there is a plan for
#   each. For python-jose it is PyJWT or joserfc, for passlib pwdlib.
# - [ ] What nobody imports any more is not installed any more ([OWASP
#   A03:2025](https://owasp.org/Top10/2025/A03_2025-Software_Supply_Chain_Failures/)).
# - [ ] Test tools are not installed in production (ASVS 5.0 15.2.3).

# %%
progress()
