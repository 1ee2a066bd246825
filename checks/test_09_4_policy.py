"""9.4 Policy: who keeps the dependencies fresh, and which findings may wait."""

import json
from datetime import date, timedelta
from typing import Any

import yaml

from checks.advisories import cve, ghsa, pysec
from checks.calls import Call, many
from lab_app.harness import CheckFailed, attack, exercise, legit
from lab_app.harness.draw import Draw
from lab_app.harness.evidence import Exchange
from lab_app.harness.world import Desk

ECOSYSTEMS = ("pip", "github-actions")
INTERVALS = {"daily", "weekly", "monthly", "quarterly", "semiannually", "yearly", "cron"}
READ = "def _yml():\n    return dependabot_yml\n"
LONGEST, MOST_ALIASES = 20_000, 20
LEAST_DAYS = 3
Finding = dict[str, Any]
Ignore = dict[str, Any]
Case = tuple[list[Finding], list[Ignore], str]


def updates(desk: Desk) -> dict[str, list[dict[str, Any]]]:
    """The entries of `dependabot_yml` by ecosystem. Raises CheckFailed and AnswerTrouble."""
    text = desk.call("_yml", driver=READ)
    said = Exchange("dependabot_yml", str(text)[:2000], "")
    config = loaded(text)
    if not isinstance(config, dict) or config.get("version") != 2 or not isinstance(config.get("updates"), list):
        raise CheckFailed("has a dependabot_yml that is no YAML with `version: 2` and a list of `updates`", "", said)
    entries = [entry for entry in config["updates"] if isinstance(entry, dict)]
    found = {name: [entry for entry in entries if entry.get("package-ecosystem") == name] for name in ECOSYSTEMS}
    for name, some in found.items():
        if not some:
            raise CheckFailed(f"has a dependabot_yml without updates for {name}", "", said)
    return found


def loaded(text: object) -> Any:
    """What a text says as YAML; None if it is none, or built to swell when it is read."""
    if not isinstance(text, str) or len(text) > LONGEST:
        return None
    try:
        aliases = sum(isinstance(token, yaml.AliasToken) for token in yaml.scan(text))
        return yaml.safe_load(text) if aliases <= MOST_ALIASES else None
    except (yaml.YAMLError, ValueError, RecursionError):
        return None


class Day:
    """A drawn day, long before or long after the one on which this runs, and days around it."""

    def __init__(self, draw: Draw, long_ago: bool) -> None:
        year = draw.number(2004, 2017) if long_ago else draw.number(2046, 2070)
        self.day = date(year, draw.number(1, 13), draw.number(1, 28))
        self.today = self.day.isoformat()

    def later(self, days: int) -> str:
        """As ISO text."""
        return (self.day + timedelta(days=days)).isoformat()


def days(draw: Draw) -> tuple[Day, Day]:
    """One day long ago and one to come, so that a gate that asks the clock is wrong on one of them."""
    return Day(draw, long_ago=True), Day(draw, long_ago=False)


def finding(draw: Draw) -> Finding:
    """A finding as `audit` reports them, with three ids."""
    version = f"{draw.number(1, 9)}.{draw.number(0, 9)}"
    ids = draw.random.sample([ghsa(draw), pysec(draw), cve(draw)], 3)
    return {"package": draw.username(), "version": version, "ids": ids, "fixed_in": []}


def ignore(id_: str, expires: str, reason: str = "we never parse untrusted keys") -> Ignore:
    """An ignore that has all three parts."""
    return {"id": id_, "reason": reason, "expires": expires}


def gates(desk: Desk, *cases: Case) -> list[Call]:
    """What `gate` says of each case. Raises CheckFailed."""
    given = ({"findings": findings, "ignores": ignores, "today": today} for findings, ignores, today in cases)
    calls = list(many(desk, "gate", given))
    for call in calls:
        formed = isinstance(call.value, dict) and isinstance(call.value.get("ok"), bool) and "reasons" in call.value
        call.expect(formed, "returned something else than {ok: bool, reasons: …}")
    return calls


def expect_open(calls: list[Call], found: str) -> None:
    """Every gate let the findings through. Raises CheckFailed."""
    for call in calls:
        call.expect(call.value["ok"], found, "`ok` is true here.")


def expect_shut(calls: list[Call], about: list[Finding], found: str) -> None:
    """Every gate stayed shut, and named its finding by package or id. Raises CheckFailed."""
    for call, one in zip(calls, about, strict=True):
        call.expect(not call.value["ok"], found, "`ok` is false here.")
        reasons = json.dumps(call.value["reasons"], ensure_ascii=False)
        named = any(name in reasons for name in (one["package"], *one["ids"]))
        call.expect(named, f"did not name {one['package']} or one of its ids in `reasons`")


@exercise("9.4")
@legit("ASVS 5.0 15.1.1", "CWE-1104")
def test_updates_come_by_themselves(desk: Desk) -> None:
    """Dependabot looks for new versions of Python packages and of GitHub Actions, on a schedule.

    Actions are dependencies too: their code runs with the secrets of your repository.

    Hint: two entries under `updates`, each with `package-ecosystem`, `directory` and `schedule.interval`.
    """
    for name, entries in updates(desk).items():
        for entry in entries:
            schedule = entry.get("schedule")
            interval = schedule.get("interval") if isinstance(schedule, dict) else None
            assert isinstance(interval, str) and interval in INTERVALS, f"looks for updates of {name} on no schedule"
            where = entry.get("directory") or entry.get("directories")
            assert where, f"does not say in which directory the files of {name} are"


@exercise("9.4")
@attack("CWE-1357", "zizmor dependabot-cooldown")
def test_new_versions_cool_down_first(desk: Desk) -> None:
    """A version that was published this minute is not proposed; three days must pass, for both ecosystems.

    Stolen releases are mostly found and taken down within days. Whoever updates first installs them.

    Hint: `cooldown:` with `default-days: 7` in each entry. Security updates do not wait for it.
    """
    for name, entries in updates(desk).items():
        for entry in entries:
            cooldown = entry.get("cooldown")
            days = cooldown.get("default-days") if isinstance(cooldown, dict) else None
            waits = isinstance(days, int) and not isinstance(days, bool) and days >= LEAST_DAYS
            assert waits, f"proposes versions of {name} after {days!r} days; it is to be a number, 3 at least"


@exercise("9.4")
@legit("ASVS 5.0 15.2.1")
def test_what_is_clean_or_excused_passes(desk: Desk, draw: Draw) -> None:
    """No finding passes, and so does one with an ignore that counts, whichever of its ids it names.

    A gate that never opens is soon taken off its hinges.

    Hint: an ignore covers a finding when its `id` is one of the finding's `ids`.
    """
    cases: list[Case] = []
    for day in days(draw):
        cases.append(([], [], day.today))
        cases.append(([], [ignore(cve(draw), day.later(9)), ignore(cve(draw), day.later(-9))], day.today))
        for id_ in range(3):
            one, other, left = finding(draw), finding(draw), draw.number(1, 400)
            cases.append(([one], [ignore(one["ids"][id_], day.later(left))], day.today))
            both = [ignore(other["ids"][0], day.later(1)), ignore(one["ids"][id_], day.later(left))]
            cases.append(([one, other], both, day.today))
    expect_open(gates(desk, *cases), "stopped what is clean, or covered by an ignore that counts")


@exercise("9.4")
@legit("ASVS 5.0 15.2.1")
def test_one_good_ignore_is_enough(desk: Desk, draw: Draw) -> None:
    """An ignore that counts still counts beside others that do not, before them or after them.

    Renewing an ignore leaves the old one in the file.

    Hint: `any(…)` over all ignores. A dictionary by id keeps only the last.
    """
    cases: list[Case] = []
    for day in days(draw):
        one = finding(draw)
        first, second, _ = one["ids"]
        good = ignore(second, day.later(draw.number(1, 90)))
        bad = [ignore(second, day.later(-3)), ignore(first, day.later(-30)), ignore(second, day.later(5), "")]
        cases += [([one], [good, *bad], day.today), ([one], [*bad, good], day.today)]
    expect_open(gates(desk, *cases), "forgot an ignore that counts because of another that does not")


@exercise("9.4")
@attack("CWE-1395", "ASVS 5.0 15.2.1")
def test_a_finding_shuts_the_gate(desk: Desk, draw: Draw) -> None:
    """A finding that no ignore covers makes `ok` false and is named in `reasons`, first or last of many, or all.

    Whoever stands before a shut gate wants to know why.

    Hint: collect the findings that are not covered; `ok` means that there are none.
    """
    cases: list[Case] = []
    open_ = []
    for day in days(draw):
        for place in range(3):
            some = [finding(draw) for _ in range(3)]
            covered = [ignore(one["ids"][0], day.later(8)) for one in some if one is not some[place]]
            cases.append((some, covered, day.today))
            open_.append(some[place])
        open_.append(finding(draw))
        cases.append((open_[-1:], [], day.today))
    many_open = [finding(draw) for _ in range(3)]
    calls = gates(desk, *cases, (many_open, [], Day(draw, long_ago=False).today))
    found = "let a finding through that nobody has excused"
    expect_shut([*calls, calls[-1], calls[-1]], [*open_, *many_open], found)


@exercise("9.4")
@attack("CWE-672", "ASVS 5.0 15.2.1")
def test_an_ignore_ends(desk: Desk, draw: Draw) -> None:
    """From the day on which it expires an ignore counts no more, by the day that the gate is told.

    "For now" without a date is for ever.

    Hint: `expires > today`, both as ISO text or both as dates, and never `date.today()`.
    """
    cases: list[Case] = []
    about = []
    for day in days(draw):
        for over in (0, 1, 40, 800, 3000):
            one = finding(draw)
            cases.append(([one], [ignore(id_, day.later(-over)) for id_ in one["ids"]], day.today))
            about.append(one)
    expect_shut(gates(desk, *cases), about, "went on ignoring a finding after the ignore had expired")


@exercise("9.4")
@attack("CWE-636", "ASVS 5.0 15.2.1")
def test_an_ignore_is_whole_or_nothing(desk: Desk, draw: Draw) -> None:
    """An ignore without an id, a reason or an expiry does not count, and is no reason to crash.

    In a year nobody remembers why. The reason is for them.

    Hint: `ignore.get("reason")`, and the same for the other two.
    """
    day, about = Day(draw, long_ago=False), []
    cases: list[Case] = []
    for part in ("id", "reason", "expires"):
        for empty in ("missing", "", None):
            one = finding(draw)
            broken = [ignore(id_, day.later(30)) for id_ in one["ids"]]
            for each in broken:
                each[part] = empty
                if empty == "missing":
                    del each[part]
            cases.append(([one], broken, day.today))
            about.append(one)
    expect_shut(gates(desk, *cases), about, "counted an ignore that lacks a part")
    mended = [(some, [*broken, ignore(some[0]["ids"][0], day.later(30))], today) for some, broken, today in cases]
    expect_open(gates(desk, *mended), "forgot an ignore that counts, behind one that lacks a part")


@exercise("9.4")
@attack("CWE-697", "CWE-1395")
def test_an_ignore_is_for_one_flaw(desk: Desk, draw: Draw) -> None:
    """An ignore covers the flaw whose id it names: no longer id, no shorter one, no whole package, no wildcard.

    The next flaw in the same package is another flaw.

    Hint: compare whole ids: `ignore["id"] in finding["ids"]`, with `ids` a list and not a joined text.
    """
    day, about = Day(draw, long_ago=False), []
    cases: list[Case] = []
    for _ in range(2):
        one, other = finding(draw), finding(draw)
        number = next(id_ for id_ in one["ids"] if id_.startswith("CVE-"))
        for wrong in (number[:-1], number + "1", other["ids"][0], one["package"], "*", "CVE-*", number[4:], "GHSA"):
            cases.append(([one], [ignore(wrong, day.later(30))], day.today))
            about.append(one)
        twin = finding(draw) | {"package": one["package"], "version": one["version"]}
        cases.append(([one, twin], [ignore(one["ids"][0], day.later(30))], day.today))
        about.append(twin)
    expect_shut(gates(desk, *cases), about, "let an ignore cover more than the flaw that it names")
