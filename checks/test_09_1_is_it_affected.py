"""9.1 Is it affected?: how records are read, and what a careless reading overlooks."""

from checks.advisories import ghsa
from checks.calls import many
from lab_app.harness import attack, exercise, legit
from lab_app.harness.draw import Draw
from lab_app.harness.world import Desk
from lab_app.runner.services.advisories import Record, record

Case = tuple[Record, str, bool]


def advisory(draw: Draw, *ranges: str, versions: list[str] | None = None, withdrawn: str = "") -> Record:
    """A record of a drawn package; a range is its events as text, such as "introduced 1.0, fixed 1.2"."""
    events = [[dict([event.split()]) for event in text.split(", ")] for text in ranges]
    about = record(ghsa(draw), draw.username(), *events, versions=versions)
    return about | ({"withdrawn": withdrawn} if withdrawn else {})


def expect_read(desk: Desk, *cases: Case) -> None:
    """Every version is affected, or not, as its record means it. Raises CheckFailed."""
    calls = many(desk, "is_affected", ({"record": one, "version": version} for one, version, _ in cases))
    for call, (_, version, affected) in zip(calls, cases, strict=True):
        wanted = "affected" if affected else "not affected"
        call.expect(call.value is affected, f"said {call.value!r} of {version}, which is {wanted}", f"It is {wanted}.")


@exercise("9.1")
@legit("CWE-1395", "ASVS 5.0 15.2.1")
def test_affected_versions_are_found(desk: Desk, draw: Draw) -> None:
    """A version between `introduced` and `fixed` is affected, and so is every later one while there is no fix.

    This is what the record is there to say.

    Hint: walk the events of a range: `introduced` opens it, `fixed` closes it.
    """
    cases: list[Case] = []
    for _ in range(3):
        n = draw.number(1, 9)
        mended = advisory(draw, f"introduced {n}.2.{n}, fixed {n}.6.{n}")
        cases += [(mended, f"{n}.{minor}.{draw.number(1, 9)}", True) for minor in (3, 4, 5)]
        unmended = advisory(draw, f"introduced {n}.3.0")
        cases += [(unmended, f"{n}.{minor}.{draw.number(1, 9)}", True) for minor in (4, 7)]
    expect_read(desk, *cases)


@exercise("9.1")
@legit("CWE-1395", "ASVS 5.0 15.2.1")
def test_other_versions_are_left_alone(desk: Desk, draw: Draw) -> None:
    """A version from before the flaw, or from after the fix, is not affected.

    An alarm that rings for everybody is switched off after a week.

    Hint: after `fixed`, the range is over.
    """
    cases: list[Case] = []
    for _ in range(3):
        n = draw.number(1, 9)
        mended = advisory(draw, f"introduced {n}.3.{n}, fixed {n}.6.{n}")
        cases += [(mended, f"{n}.{minor}.{draw.number(1, 9)}", False) for minor in (1, 2, 7, 8)]
        cases.append((advisory(draw, f"introduced {n}.4.0"), f"{n}.{draw.number(1, 4)}.5", False))
    expect_read(desk, *cases)


@exercise("9.1")
@attack("CWE-193", "CWE-1395")
def test_introduced_is_in_and_fixed_is_out(desk: Desk, draw: Draw) -> None:
    """The version that brought the flaw is affected; the one that mends it is not.

    These two are the versions that people really have: the release that broke it, and the upgrade.

    Hint: `introduced <= version < fixed`.
    """
    cases: list[Case] = []
    for _ in range(3):
        n, k = draw.number(1, 9), draw.number(1, 4)
        first, fixed = f"{n}.{k}.3", f"{n}.{k + 3}.5"
        one = advisory(draw, f"introduced {first}, fixed {fixed}")
        cases += [(one, first, True), (one, fixed, False), (one, f"{n}.{k}.2", False), (one, f"{n}.{k + 3}.4", True)]
    expect_read(desk, *cases)


@exercise("9.1")
@attack("CWE-193", "CWE-1395")
def test_last_affected_is_itself_affected(desk: Desk, draw: Draw) -> None:
    """`last_affected` names a version that has the flaw; the next one has not.

    CVE-2026-85394 ends so: python-jose 3.5.0 is the last that is known to be affected, and nothing mends it.

    Hint: `version <= last_affected`, unlike `version < fixed`.
    """
    cases: list[Case] = []
    for _ in range(3):
        n, k = draw.number(1, 9), draw.number(2, 6)
        last = f"{n}.{k}.4"
        one = advisory(draw, f"introduced {n}.1.0, last_affected {last}")
        cases += [
            (one, last, True),
            (one, f"{n}.{k}.3", True),
            (one, f"{n}.{k}.5", False),
            (one, f"{n}.{k + 1}.0", False),
        ]
        only = advisory(draw, f"introduced {last}, last_affected {last}")
        cases += [(only, last, True), (only, f"{n}.{k}.3", False), (only, f"{n}.{k}.5", False)]
    expect_read(desk, *cases)


@exercise("9.1")
@attack("CWE-697", "CWE-1395")
def test_versions_are_numbers_and_not_text(desk: Desk, draw: Draw) -> None:
    """0.9 comes before 0.10, 1.0 is 1.0.0, and epochs, post-releases and local labels have their places.

    As text, python-multipart 0.0.6 is newer than 0.0.18. So it looks mended, and is not.

    Hint: `packaging.version.Version` compares as PEP 440 says.
    """
    n, k = draw.number(5, 9), draw.number(11, 40)
    numbers = advisory(draw, f"introduced {n}.{k}.0, fixed {n}.{10 * k}.0")
    early = advisory(draw, f"introduced 0.{n}, fixed 0.{k}.{k}")
    long = advisory(draw, f"introduced {n}.1, fixed {n}.8.0")
    epoch = advisory(draw, f"introduced 1!{n}.1, fixed 1!{n}.5")
    post = advisory(draw, f"introduced {n}.1, fixed {n}.4.post2")
    expect_read(
        desk,
        *((numbers, f"{n}.{minor}.5", True) for minor in (k, k + 50, 9 * k)),
        *((numbers, f"{n}.{minor}.5", False) for minor in (1, 9, 10 * k + 5)),
        *((early, f"0.{minor}", True) for minor in (n, n + 1, k)),
        *((early, version, False) for version in (f"0.{k}.{k + 1}", f"0.{k + 1}.1", "1.0", f"0.{n - 1}.{k}")),
        *((long, version, False) for version in (f"{n}.8", f"{n}.8.0.0", f"{n}.9")),
        *((long, version, True) for version in (f"{n}.1.0", f"{n}.7.99", f"{n}.5+cu118")),
        *((epoch, version, True) for version in (f"1!{n}.1", f"1!{n}.4")),
        *((epoch, version, False) for version in (f"{n}.4", f"{n + 50}.0", f"1!{n}.6", f"2!{n}.4")),
        *((post, version, True) for version in (f"{n}.4", f"{n}.4.post1", f"{n}.3.post7")),
        *((post, version, False) for version in (f"{n}.4.post3", f"{n}.4.post10", f"{n}.5")),
    )


@exercise("9.1")
@attack("CWE-697", "CWE-1395")
def test_prereleases_are_versions_too(desk: Desk, draw: Draw) -> None:
    """A release candidate comes before its release, so it lacks the fix, and the flaw may begin with one.

    Whoever tries 2.0rc1 in production is not asked whether it counts.

    Hint: compare versions. A SpecifierSet leaves pre-releases out unless told otherwise, and `<2.0` does even then.
    """
    n = draw.number(2, 9)
    fixed = advisory(draw, f"introduced {n}.1, fixed {n}.5")
    begun = advisory(draw, f"introduced {n}.3, last_affected {n}.6")
    within = advisory(draw, f"introduced {n}.2b2, fixed {n}.2rc3")
    expect_read(
        desk,
        *((fixed, f"{n}.5{suffix}", True) for suffix in ("a1", "b2", "rc1", ".dev3", "rc2.dev1")),
        *((fixed, f"{n}.3{suffix}", True) for suffix in ("a1", "rc1", ".dev3")),
        *((fixed, f"{n}.{rest}", False) for rest in ("6a1", "6.dev1", "1rc1", "1.dev9")),
        *((begun, f"{n}.3{suffix}", False) for suffix in ("a1", "rc4", ".dev3")),
        *((begun, f"{n}.{rest}", True) for rest in ("4rc1", "6rc1", "6.dev2")),
        *((within, f"{n}.2{suffix}", True) for suffix in ("b2", "b3", "rc1", "rc2", "rc3.dev1")),
        *((within, f"{n}.2{suffix}", False) for suffix in ("a9", "b1", "rc4", "")),
    )


@exercise("9.1")
@attack("CWE-1395")
def test_zero_is_the_beginning_of_time(desk: Desk, draw: Draw) -> None:
    """`introduced: "0"` comes before every version, also before 0.0.dev1 and 0a1.

    OSV says so; PEP 440 by itself puts both of them before 0.

    Hint: treat `"0"` as "from the very first", before you compare anything.
    """
    n = draw.number(2, 9)
    one, ever = advisory(draw, f"introduced 0, fixed {n}.4"), advisory(draw, "introduced 0")
    first = ("0", "0.0", "0.dev1", f"0.0.dev{n}", f"0a{n}", f"0.0.0b{n}", "0rc1")
    expect_read(
        desk,
        *((each, version, True) for each in (one, ever) for version in (*first, f"0.{n}.1", f"{n}.3")),
        *((one, version, False) for version in (f"{n}.5", f"{n}.6")),
        (ever, f"{n}.5", True),
    )


@exercise("9.1")
@attack("CWE-1395")
def test_intervals_come_in_any_order(desk: Desk, draw: Draw) -> None:
    """One range may hold several intervals, and the newest may come first.

    That is how urllib3's PYSEC-2023-192 is written: 2.0.0 to 2.0.6, and then everything before 1.26.17.

    Hint: sort the events by version before you walk them. The gaps between intervals are safe.
    """
    cases: list[Case] = []
    for _ in range(3):
        n = draw.number(2, 6)
        old, middle = f"introduced 0, fixed {n}.2", f"introduced {n + 1}.1, fixed {n + 1}.5"
        new = f"introduced {n + 3}.1, fixed {n + 3}.5"
        shuffled = draw.random.sample([old, middle, new], 3)
        for intervals in (shuffled, [new, old], [new, middle, old]):
            one = advisory(draw, ", ".join(intervals))
            cases += [(one, version, True) for version in (f"{n - 1}.5", f"{n}.1", f"{n + 3}.2", f"{n + 3}.4")]
            cases += [(one, version, False) for version in (f"{n}.3", f"{n + 2}.7", f"{n + 3}.6", f"{n + 4}.0")]
            cases.append((one, f"{n + 1}.3", middle in intervals))
        k = draw.number(10, 30)
        tens = advisory(
            draw, f"introduced {k}.1, fixed {k}.5, introduced 0, fixed {n}.2, introduced {n}.4, fixed 9.{k}"
        )
        cases += [(tens, version, True) for version in (f"{k}.3", f"{n}.1", f"{n}.5", f"9.{k - 1}")]
        cases += [(tens, version, False) for version in (f"{k}.0", f"{k}.6", f"{n}.3", f"9.{k + 1}")]
    expect_read(desk, *cases)


@exercise("9.1")
@attack("CWE-1395")
def test_every_range_and_every_entry_counts(desk: Desk, draw: Draw) -> None:
    """A record may have several ranges, and several entries in `affected`; any of them is enough.

    GitHub's advisories have one entry for each line of releases that is still supported.

    Hint: `any(…)` over the entries, and within each over its ranges. One of them may have no end.
    """
    n = draw.number(2, 6)
    first, second = f"introduced {n}.1, fixed {n}.4", f"introduced {n + 2}.1, last_affected {n + 2}.4"
    third = f"introduced {n + 3}.5"
    ranges = [
        advisory(draw, *each) for each in ((first, second, third), (third, second, first), (second, third, first))
    ]
    entries = advisory(draw, first)
    for other in (second, third):
        entries["affected"] += advisory(draw, other)["affected"]
    for entry in entries["affected"]:
        entry["package"] = entries["affected"][0]["package"]
    backwards = entries | {"affected": entries["affected"][::-1]}
    affected = (f"{n}.2", f"{n + 2}.1", f"{n + 2}.4", f"{n + 3}.5", f"{n + 3}.9")
    safe = (f"{n}.0", f"{n}.5", f"{n + 1}.5", f"{n + 2}.5", f"{n + 3}.4")
    every = (*ranges, entries, backwards)
    wide, narrow = f"introduced {n}.1, fixed {n}.9", f"introduced {n}.3, fixed {n}.5"
    overlapping = [advisory(draw, *each) for each in ((wide, narrow), (narrow, wide))]
    expect_read(
        desk,
        *(
            (one, f"{n}.{minor}", affected)
            for one in overlapping
            for minor, affected in ((2, True), (7, True), (95, False))
        ),
        *((one, version, True) for one in every for version in affected),
        *((one, version, False) for one in every for version in safe),
    )


@exercise("9.1")
@attack("CWE-1395")
def test_listed_versions_count_beside_the_ranges(desk: Desk, draw: Draw) -> None:
    """A version in `versions` is affected, whatever the ranges say, and the other way round.

    Lists lag behind ranges, and some records have nothing but a list.

    Hint: listed *or* within a range. Either may be missing.
    """
    n = draw.number(2, 6)
    listed = [f"{n}.{minor}.{draw.number(1, 9)}" for minor in (1, 3, 4)]
    alone = advisory(draw, versions=listed)
    both = advisory(draw, f"introduced {n + 1}.2, fixed {n + 1}.6", versions=[*listed, f"{n + 1}.3"])
    expect_read(
        desk,
        *((one, version, True) for one in (alone, both) for version in listed),
        *((both, f"{n + 1}.{minor}", True) for minor in (2, 3, 4, 5)),
        *((alone, version, False) for version in (f"{n}.2.1", f"{n}.5.1", f"{n + 1}.3")),
        *((both, version, False) for version in (f"{n}.2.1", f"{n}.5.1", f"{n + 1}.1", f"{n + 1}.7")),
    )


@exercise("9.1")
@attack("CWE-1395")
def test_withdrawn_records_affect_nothing(desk: Desk, draw: Draw) -> None:
    """A record that was withdrawn affects no version.

    MAL-2026-4750 accused fastapi 0.136.3 of being malicious. It was a false alarm, and was taken back.

    Hint: look for the key `withdrawn` before anything else.
    """
    n, when = draw.number(2, 6), f"20{draw.number(19, 26)}-0{draw.number(1, 9)}-17T09:{draw.number(10, 59)}:00Z"
    texts = (f"introduced 0, fixed {n}.6", f"introduced {n}.1, last_affected {n}.6", f"introduced {n}.1")
    withdrawn = [advisory(draw, text, withdrawn=when) for text in texts]
    withdrawn.append(advisory(draw, versions=[f"{n}.3"], withdrawn=when))
    standing = [advisory(draw, text) for text in texts]
    expect_read(
        desk,
        *((one, f"{n}.3", False) for one in withdrawn),
        *((one, f"{n}.3", True) for one in standing),
    )
