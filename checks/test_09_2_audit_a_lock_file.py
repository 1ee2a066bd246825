"""9.2 Audit a lock file: what an audit finds, and what it must not pass over in silence."""

import platform
import socket
from collections.abc import Iterator
from typing import Any

import pytest
from packaging.version import InvalidVersion, Version

from checks.advisories import cve, ghsa, pysec
from checks.calls import Call, many
from lab_app.harness import attack, exercise, legit
from lab_app.harness.draw import Draw
from lab_app.harness.world import Desk
from lab_app.runner.services.advisories import Advisories, Record, record

ANY = [{"introduced": "0"}]
REFUSALS, ODD = (400, 401, 403, 404, 429), (402, 405, 406, 408, 409, 410, 413, 418, 422, 423, 426, 428, 431, 451)
FAILURES = (500, 501, 502, 503, 504, 505, 507, 508, 511)


@pytest.fixture(scope="session")
def osv_service() -> Iterator[Advisories]:
    """One advisory service for all checks of a run."""
    service = Advisories([]).start()
    yield service
    service.stop()


@pytest.fixture
def osv(osv_service: Advisories) -> Advisories:
    """The advisory service, which knows nothing yet."""
    osv_service.records.clear()
    return osv_service


class Report:
    """What an audit said, once it has the form that the contract gives it. Raises CheckFailed."""

    def __init__(self, call: Call) -> None:
        self.call, said = call, call.value
        formed = isinstance(said, dict) and all(isinstance(said.get(key), list) for key in ("findings", "unaudited"))
        call.expect(formed, "returned something else than {findings: […], unaudited: […]}")
        self.findings: list[dict[str, Any]] = said["findings"]
        self.unaudited = [str(line) for line in said["unaudited"]]
        for finding in self.findings:
            call.expect(whole(finding), "returned a finding without package, version, ids and fixed_in")

    def of(self, package: str) -> list[dict[str, Any]]:
        """The findings of a package, by its normal name."""
        return [finding for finding in self.findings if finding["package"] == package]

    def expect_found(self, one: Record, version: str) -> dict[str, Any]:
        """There is one finding of this advisory, by whichever of its ids, for this version."""
        package, ids = one["affected"][0]["package"]["name"], {one["id"], *one.get("aliases", [])}
        named = [finding for finding in self.of(package) if ids & set(finding["ids"])]
        self.call.expect(bool(named), f"did not find {one['id']} in {package} {version}")
        self.call.expect(len(named) == 1, f"found {one['id']} more than once")
        found = named[0]
        self.call.expect(same(found["version"], version), f"called version {version} {found['version']!r}")
        return found

    def expect_ids(self, one: Record, version: str) -> None:
        """There is one finding of this advisory, and it has all of the ids and no others."""
        found, ids = self.expect_found(one, version)["ids"], {one["id"], *one.get("aliases", [])}
        self.call.expect(set(found) == ids, f"gave {one['id']} the ids {found}", f"They are {sorted(ids)}.")

    def expect_fixed(self, one: Record, version: str, fixed_in: tuple[str, ...]) -> None:
        """The finding of this advisory offers just these versions."""
        found = self.expect_found(one, version)["fixed_in"]
        good = versions(found) == versions(fixed_in)
        self.call.expect(good, f"said that {found} mend it", f"Above {version}, it is {list(fixed_in)}.")

    def expect_unaudited(self, *lines: str, name: str) -> None:
        """A line that names a package cannot be judged, and is said to be so."""
        said = any(name in line for line in self.unaudited)
        self.call.expect(
            said, f"said nothing of the line {lines[0]!r}, so it looks clean", "It belongs into `unaudited`."
        )

    def expect_all_audited(self) -> None:
        """Nothing is left over."""
        self.call.expect(not self.unaudited, f"left over what can be judged: {self.unaudited[:3]}")


def whole(finding: Any) -> bool:
    """Whether a finding has its four parts."""
    return (
        isinstance(finding, dict)
        and isinstance(finding.get("package"), str)
        and isinstance(finding.get("version"), str)
        and all(
            isinstance(finding.get(part), list) and all(isinstance(text, str) for text in finding[part])
            for part in ("ids", "fixed_in")
        )
    )


def versions(texts: Any) -> set[Version] | None:
    """Versions, however they are spelled; None if one of them is none."""
    try:
        return {Version(text) for text in texts}
    except InvalidVersion:
        return None


def same(one: str, other: str) -> bool:
    """Whether two texts name one version."""
    return versions([one]) == versions([other])


def audit(desk: Desk, osv: Advisories, *texts: str, url: str = "") -> list[Report]:
    """What the cell's `audit` says of requirements. Raises CheckFailed."""
    calls = many(desk, "audit", ({"requirements": text} for text in texts), OSV_URL=url or osv.url)
    return [Report(call) for call in calls]


def advisory(draw: Draw, package: str, *ranges: list[dict[str, str]]) -> Record:
    """An advisory about a package; about all of its versions unless ranges are given."""
    return record(draw.random.choice((ghsa, pysec))(draw), package, *(ranges or [ANY]), aliases=[cve(draw)])


def flawed(draw: Draw, osv: Advisories) -> tuple[str, str, Record]:
    """A package that has an advisory, the version that is pinned, and the advisory."""
    package, version = draw.username(), f"{draw.number(1, 9)}.{draw.number(0, 9)}.{draw.number(0, 9)}"
    one = advisory(draw, package)
    osv.records.append(one)
    return package, version, one


def hashes(draw: Draw, count: int = 2) -> list[str]:
    """`--hash` options as a lock file has them."""
    return [f"--hash=sha256:{draw.secret(64)}" for _ in range(count)]


@exercise("9.2")
@legit("CWE-1395", "ASVS 5.0 15.2.1")
def test_known_flaws_are_found(desk: Desk, osv: Advisories, draw: Draw) -> None:
    """Every pinned package that has an advisory is found, with its version and the ids.

    The service knows; one has to ask it about every line.

    Hint: POST `{"package": {"name": …, "ecosystem": "PyPI"}, "version": …}` to `OSV_URL` and read `vulns`.
    """
    people = [flawed(draw, osv) for _ in range(4)]
    one, other = ("\n".join(f"{name}=={version}" for name, version, _ in some) for some in (people[:3], people[3:]))
    first, second = audit(desk, osv, one, other + "\n")
    for _, version, about in people[:3]:
        first.expect_ids(about, version)
    second.expect_ids(people[3][2], people[3][1])
    first.expect_all_audited()


@exercise("9.2")
@legit("CWE-1395")
def test_clean_files_are_clean(desk: Desk, osv: Advisories, draw: Draw) -> None:
    """A package without an advisory, or mended by the pinned version, gives no finding and is not left over.

    An audit that always finds something is read by nobody.

    Hint: an answer of `{}` means that nothing is known. That is an answer.
    """
    name, n = draw.username(), draw.number(2, 8)
    osv.records.append(advisory(draw, name, [{"introduced": "0"}, {"fixed": f"{n}.1"}]))
    flawed(draw, osv)
    clean = f"{name}=={n}.1\n{draw.username()}=={n}.0\n{draw.username()}==0.{n}\n"
    for report in audit(desk, osv, clean, "", "# nothing to see here\n\n"):
        report.call.expect(not report.findings, "found something in what is clean")
        report.expect_all_audited()


@exercise("9.2")
@legit("CWE-1395", "ASVS 5.0 15.1.2")
def test_real_lock_files_are_understood(desk: Desk, osv: Advisories, draw: Draw) -> None:
    """Hashes, continued lines, comments, extras, markers and spaces do not get in the way.

    `uv pip compile --generate-hashes` writes files like this one.

    Hint: join the lines that end in a backslash, cut comments and `--hash`, and give the rest to `Requirement`.
    """
    people, (unused, unused_version, _) = [flawed(draw, osv) for _ in range(7)], flawed(draw, osv)
    a, b, c, _, e, _, g = (f"{name}=={version}" for name, version, _ in people)
    (d, d_version, _), (f, f_version, _) = people[3], people[5]
    lines = [
        "# This file was autogenerated by uv via the following command:",
        "#    uv pip compile --universal --generate-hashes requirements.in -o requirements.txt",
        f"{a} \\",
        *(f"    {one} \\" for one in hashes(draw)),
        f"    {hashes(draw)[0]}",
        "    # via",
        "    #   -r requirements.in",
        f"{b} {' '.join(hashes(draw))}",
        f"{c} ; python_version >= '3.8' \\",
        f"    {hashes(draw)[0]}",
        "    # via fastapi",
        "",
        f"{d}[standard,cli] == {d_version}  # the one with the colours",
        f"# {unused}=={unused_version}",
        f"   {e}",
        f'{f}[all]=={f_version} ; python_version > "3" and implementation_name != "none"  # {unused}=={unused_version}',
        g,
    ]
    (report,) = audit(desk, osv, "\n".join(lines))
    for _, version, about in people:
        report.expect_found(about, version)
    report.call.expect(not report.of(unused), "took a comment for a requirement")
    report.expect_all_audited()


@exercise("9.2")
@legit("CWE-1395")
def test_two_flaws_are_two_findings(desk: Desk, osv: Advisories, draw: Draw) -> None:
    """Two advisories about one package, with no id in common, are two findings.

    Each is mended, ignored and argued about by itself.

    Hint: one finding per advisory, not per package.
    """
    first, second = flawed(draw, osv), flawed(draw, osv)
    more = [advisory(draw, name) for name in (first[0], second[0], second[0])]
    osv.records.extend(more)
    text = f"{first[0]}=={first[1]}\n{second[0]}=={second[1]}\n"
    (report,) = audit(desk, osv, text)
    for (_, version, about), others in ((first, more[:1]), (second, more[1:])):
        for each in (about, *others):
            report.expect_ids(each, version)


@exercise("9.2")
@attack("CWE-636", "ASVS 5.0 15.2.1")
def test_what_is_not_pinned_is_said(desk: Desk, osv: Advisories, draw: Draw) -> None:
    """A line without `==` cannot be judged: nobody knows which version will come. It is unaudited.

    The least careful lines of a file would otherwise look the cleanest.

    Hint: a pin is exactly one `==` without a `*`. Everything else goes to `unaudited`.
    """
    n, here = draw.number(1, 9), ".".join(platform.python_version_tuple()[:2])  # a marker that holds
    name, version, about = flawed(draw, osv)
    endings = (
        "",
        f">={n}.1",
        f"~={n}.1",
        f"<{n}.9",
        f"!={n}.2",
        f"=={n}.*",
        f">{n}",
        f"[cli]>={n}.0",
        f">={n}.0,<{n + 1}",
        f'>={n} ; python_version == "{here}"',
        f" ; python_version == '{here}'",
    )
    loose = [(draw.username(), ending) for ending in endings]
    osv.records.extend(advisory(draw, other) for other, _ in loose[::2])
    (report,) = audit(desk, osv, "\n".join([f"{name}=={version}", *(other + ending for other, ending in loose)]))
    for other, ending in loose:
        report.expect_unaudited(other + ending, name=other)
        report.call.expect(not report.of(other), f"judged {other + ending!r}, whose version nobody knows")
    report.expect_found(about, version)
    report.call.expect(not any(name in line for line in report.unaudited), "left over what can be judged")


@exercise("9.2")
@attack("CWE-636", "ASVS 5.0 15.2.4")
def test_what_is_not_understood_is_said(desk: Desk, osv: Advisories, draw: Draw) -> None:
    """URLs, folders, other files and broken lines cannot be judged either. They are unaudited.

    `-r more.txt` brings in as many packages as it likes.

    Hint: when `Requirement` refuses a line, keep the line. When it has a `url`, keep it as well.
    """
    shapes = (
        "{0} @ https://files.example/{0}-1.0-py3-none-any.whl",
        "git+https://git.example/{0}.git@v1.0",
        "https://files.example/{0}-1.0-py3-none-any.whl",
        "-e ./{0}",
        "-r {0}.txt",
        "-r{0}.txt",
        "--requirement {0}.txt",
        "--editable ./{0}",
        "./wheels/{0}-1.0-py3-none-any.whl",
        "{0}=1.0",
        "{0}==",
        "{0}==one.two",
        "{0} 1.0",
        "==1.0 {0}",
    )
    odd = [(name := draw.username(), shape.format(name)) for shape in shapes]
    name, version, about = flawed(draw, osv)
    osv.records.extend(advisory(draw, other) for other, _ in odd)
    draw.random.shuffle(odd)
    (report,) = audit(desk, osv, "\n".join([*(line for _, line in odd), f"{name}=={version}", ""]))
    for other, line in odd:
        report.expect_unaudited(line, name=other)
    report.expect_found(about, version)


@exercise("9.2")
@attack("CWE-636", "CWE-754")
def test_an_answer_with_an_error_is_no_answer(desk: Desk, osv: Advisories, draw: Draw) -> None:
    """Where the service answers with an error status, the line is unaudited, and the others are judged.

    Its error is JSON as well, and has no `vulns` in it, just as good news would.

    Hint: look at the status before the body: `raise_for_status()`.
    """
    name, version, about = flawed(draw, osv)
    statuses = [*REFUSALS, *draw.random.sample(ODD, 2), *draw.random.sample(FAILURES, 2)]
    draw.random.shuffle(statuses)
    broken = {status: flawed(draw, osv) for status in statuses}
    for status, (other, _, _) in broken.items():
        osv.troubles[other] = status
    lines = [f"{other}=={at}" for other, at, _ in broken.values()]
    try:
        (report,) = audit(desk, osv, "\n".join([*lines[:2], f"{name}=={version}", *lines[2:]]))
    finally:
        osv.troubles.clear()
    for other, at, _ in broken.values():
        report.expect_unaudited(f"{other}=={at}", name=other)
    report.expect_found(about, version)
    report.call.expect(not any(name in line for line in report.unaudited), "left over what can be judged")


@exercise("9.2")
@attack("CWE-636", "CWE-754")
def test_garbage_is_no_answer(desk: Desk, osv: Advisories, draw: Draw) -> None:
    """Where the service answers 200 with a page, with nothing, or with half an answer, the line is unaudited.

    A hotel's network answers everything with 200 and its own login page.

    Hint: what is no JSON is a failure of the service, and no crash of the audit.
    """
    name, version, about = flawed(draw, osv)
    broken = {how: flawed(draw, osv) for how in ("html", "empty", "cut")}
    for how, (other, _, _) in broken.items():
        osv.troubles[other] = how
    try:
        lines = [f"{other}=={at}" for other, at, _ in broken.values()]
        (report,) = audit(desk, osv, "\n".join([*lines[:2], f"{name}=={version}", *lines[2:]]))
    finally:
        osv.troubles.clear()
    for other, at, _ in broken.values():
        report.expect_unaudited(f"{other}=={at}", name=other)
    report.expect_found(about, version)


@exercise("9.2")
@attack("CWE-636", "CWE-754")
def test_silence_is_no_answer(desk: Desk, osv: Advisories, draw: Draw) -> None:
    """While the service is down every line is unaudited, and the audit ends in order.

    On the day of the great outage, every build would be clean.

    Hint: catch what your HTTP client raises when it cannot connect.
    """
    people = [flawed(draw, osv) for _ in range(2)]
    with socket.socket() as taken:  # bound and not listening: nobody else gets the port, and nobody answers
        taken.bind(("127.0.0.1", 0))
        url = osv.url.replace(str(osv.served.port), str(taken.getsockname()[1]))
        (report,) = audit(desk, osv, "\n".join(f"{name}=={version}" for name, version, _ in people), url=url)
    for name, version, _ in people:
        report.expect_unaudited(f"{name}=={version}", name=name)
    report.call.expect(not report.findings, "found something without asking anybody")


@exercise("9.2")
@attack("CWE-1395")
def test_aliases_are_one_finding(desk: Desk, osv: Advisories, draw: Draw) -> None:
    """One flaw that stands in several databases is one finding with all of its ids, and with the fix of any of them.

    Counted twice it looks like two flaws, and ignored once it still breaks the build.

    Hint: two records belong together when they share an id, be it `id` or alias, also where only one of them says so.
    What is `related` is another flaw.
    """
    cases = []
    for shape in range(5):
        name, version = draw.username(), f"{draw.number(1, 9)}.{draw.number(0, 9)}"
        one, two, three = ghsa(draw), pysec(draw), cve(draw)
        records = (
            [
                record(one, name, ANY, aliases=[two, three], related=[cve(draw)]),
                record(two, name, ANY, aliases=[three, one]),
            ],
            [record(one, name, ANY), record(two, name, ANY, aliases=[one, three])],
            [record(two, name, ANY, aliases=[one, three]), record(one, name, ANY)],
            [
                record(each, name, ANY, aliases=[o for o in (one, two, three) if o != each])
                for each in (three, one, two)
            ],
            [record(one, name, ANY, aliases=[three]), record(two, name, ANY, aliases=[three])],
        )[shape]
        osv.records.extend(records)
        cases.append((record(one, name, ANY, aliases=[two, three]), version))
    n, mended = draw.number(2, 9), []
    for late in (False, True):  # one of two databases has not heard of the fix yet
        one, two, name = ghsa(draw), pysec(draw), draw.username()
        about = record(one, name, [{"introduced": "0"}, {"fixed": f"{n}.6"}], aliases=[two])
        osv.records.extend([about, record(two, name, ANY, aliases=[one])][:: -1 if late else 1])
        mended.append((about, f"{n}.2"))
    cases += mended
    alone = flawed(draw, osv)
    lines = [f"{about['affected'][0]['package']['name']}=={version}" for about, version in cases]
    (report,) = audit(desk, osv, "\n".join([*lines, f"{alone[0]}=={alone[1]}"]))
    for about, version in (*cases, (alone[2], alone[1])):
        report.expect_ids(about, version)
    for about, version in mended:
        report.expect_fixed(about, version, (f"{n}.6",))


@exercise("9.2")
@attack("CWE-1395", "ASVS 5.0 15.2.1")
def test_a_package_that_stands_twice_is_judged_twice(desk: Desk, osv: Advisories, draw: Draw) -> None:
    """A package with two pins, each under a marker, is judged at both versions.

    `uv pip compile --universal` writes such lines: an old release for an old Python, a new one for the others.

    Hint: ask about every line. What you have asked already is a name *and* a version.
    """
    name, n = draw.username(), draw.number(2, 8)
    about = advisory(draw, name, [{"introduced": f"{n}.0"}, {"fixed": f"{n}.5"}])
    osv.records.append(about)
    old, new = f'{name}=={n - 1}.1 ; python_version < "3"', f'{name}=={n}.1 ; python_version >= "3"'
    for report in audit(desk, osv, f"{old}\n{new}", f"{new}\n{old}"):
        report.expect_found(about, f"{n}.1")


@exercise("9.2")
@attack("CWE-178", "CWE-1395")
def test_names_are_one_however_spelled(desk: Desk, osv: Advisories, draw: Draw) -> None:
    """`Foo_Bar`, `foo.bar` and `foo-bar` are one package, and findings call it foo-bar.

    pip installs the same thing for all of them.

    Hint: `packaging.utils.canonicalize_name`.
    """
    cases = []
    for spelled in ("{0}_{1}", "{0}.{1}", "{0}-_-{1}", "{0}.{1}", "{0}-{1}"):
        one, two, version = draw.username(), draw.username(), f"{draw.number(1, 9)}.{draw.number(0, 9)}"
        about = advisory(draw, f"{one}-{two}")
        osv.records.append(about)
        cases.append((f"{spelled.format(one.capitalize(), two.upper())}=={version}", about, version))
    (report,) = audit(desk, osv, "\n".join(line for line, _, _ in cases))
    for _, about, version in cases:
        report.expect_found(about, version)
    report.expect_all_audited()


@exercise("9.2")
@attack("CWE-697", "ASVS 5.0 15.2.1")
def test_only_later_versions_mend(desk: Desk, osv: Advisories, draw: Draw) -> None:
    """`fixed_in` lists the fixed versions above the pinned one, and nothing if there is no fix.

    Nobody mends urllib3 2.0.1 by installing 1.26.17.

    Hint: `Version(fixed) > Version(pinned)`, over all ranges of all entries of the advisory.
    """
    n = draw.number(11, 40)
    branches = [
        {"introduced": f"{n}.0"},
        {"fixed": f"{n}.9.{n}"},
        {"introduced": "0"},
        {"fixed": f"9.{n}"},
    ]
    cases: list[tuple[str, tuple[list[dict[str, str]], ...], tuple[str, ...]]] = [
        (f"{n}.1", (branches,), (f"{n}.9.{n}",)),
        (f"9.{n - 1}", (branches,), (f"9.{n}", f"{n}.9.{n}")),
        (f"9.{n}rc1", ([{"introduced": "0"}, {"fixed": f"9.{n}"}],), (f"9.{n}",)),
        (
            f"{n}.1",
            ([{"introduced": "0"}, {"fixed": f"9.{n}"}], [{"introduced": f"{n}.0"}, {"fixed": f"{n}.9"}]),
            (f"{n}.9",),
        ),
        (f"{n}.1", ([{"introduced": "0"}],), ()),
        (f"{n}.1", ([{"introduced": "0"}, {"last_affected": f"{n}.1"}],), ()),
        (f"{n}.1", ([{"introduced": "0"}, {"last_affected": f"{n}.7"}],), ()),
        (f"{n}.1", ([{"introduced": f"{n}.0"}], [{"introduced": "0"}, {"fixed": f"9.{n}"}]), ()),
    ]
    known = [(advisory(draw, draw.username(), *ranges), version, fixed) for version, ranges, fixed in cases]
    split = advisory(draw, draw.username(), branches[2:])
    split["affected"] += advisory(draw, split["affected"][0]["package"]["name"], branches[:2])["affected"]
    known.append((split, f"{n}.1", (f"{n}.9.{n}",)))
    osv.records.extend(about for about, _, _ in known)
    lines = [f"{about['affected'][0]['package']['name']}=={version}" for about, version, _ in known]
    (report,) = audit(desk, osv, "\n".join(lines))
    for about, version, fixed in known:
        report.expect_fixed(about, version, fixed)
