"""The apps of 10.5: what the audit finds in them, held against what they were given, by the scoring of the exercise."""

import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from checks.audits import BY_HTTP, FLAWS, SHOWN_BY, Finding, message, same, seen, send
from lab_app.audit.audit import Options, audit
from lab_app.audit.report.told import as_data
from lab_app.harness.draw import Draw
from lab_app.larkspur.audited import PIN, Audited, words
from lab_app.larkspur.audited.parts import TWINS
from lab_app.runner.client import Bounds, client
from lab_app.runner.services.advisories import Advisories, frozen

SEEDS = (1, 2)
IN_SOURCE = (PIN, "log")  # what no answer shows; these audits take bandit and pip-audit, the others need not
Auditing = Callable[..., tuple[Audited, list[Finding]]]


@pytest.fixture
def audited(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Auditing]:
    """Write an app, serve it, audit it, and give both it and the findings in the form of 10.5."""
    apps: list[Audited] = []
    advisories = Advisories(frozen()).start()
    monkeypatch.setenv("OSV_URL", advisories.url)

    def audited(seed: object, *flaws: str, twin: str = "", source: bool = True) -> tuple[Audited, list[Finding]]:
        app = Audited(words(Draw(seed, *flaws, twin)), flaws, twin).start()
        apps.append(app)
        path, pins = tmp_path / "app.py", tmp_path / "requirements.txt"
        path.write_text(app.source)
        pins.write_text(app.requirements)
        options = Options(app.url, active=True, a_second=5000)
        report = audit(replace(options, source=path, requirements=pins) if source else options)
        return app, [Finding(each) for each in as_data(report)["findings"]]

    yield audited
    for app in apps:
        app.stop()
    advisories.stop()


def score(app: Audited, findings: list[Finding]) -> tuple[float, float, list[str]]:
    """Recall, precision, and what was missed or made up."""
    named = {flaw: [each for each in findings if FLAWS[flaw].is_named(each, app)] for flaw in app.flaws}
    good = {id(each) for found in named.values() for each in found}
    missed = [flaw for flaw, found in named.items() if not found]
    wrong = [f"CWE-{each.cwe} at {each.where}" for each in findings if id(each) not in good]
    recall = 1 - len(missed) / len(named) if named else 1.0
    return recall, len(good) / len(findings) if findings else 1.0, missed + wrong


@pytest.mark.parametrize("seed", SEEDS)
def test_of_all_flaws_alone_it_finds_nine_of_ten_and_makes_up_nearly_none(audited: Auditing, seed: int) -> None:
    scores = [score(*audited(seed, flaw, source=flaw in IN_SOURCE)) for flaw in FLAWS]
    trouble = [each for *_, troubles in scores for each in troubles]
    assert sum(recall for recall, *_ in scores) / len(scores) >= 0.9, trouble
    assert sum(precision for _, precision, _ in scores) / len(scores) >= 0.95, trouble


@pytest.mark.parametrize("seed", SEEDS)
def test_of_all_flaws_together_it_finds_nine_of_ten(audited: Auditing, seed: int) -> None:
    recall, precision, trouble = score(*audited(seed, *FLAWS))
    assert recall >= 0.9, trouble
    assert precision >= 0.95, trouble


@pytest.mark.parametrize("twin", ["", *TWINS])
def test_where_nothing_is_it_finds_nothing(audited: Auditing, twin: str) -> None:
    for seed in SEEDS:
        _, findings = audited(seed, twin=twin, source=seed == SEEDS[0])
        assert [(each.where, each.cwe) for each in findings] == []


def test_evidence_replays_and_ends_with_the_flaw(audited: Auditing) -> None:
    app, findings = audited(9, *BY_HTTP, source=False)
    with ThreadPoolExecutor(4) as pool:
        proven = list(pool.map(lambda flaw: proves(app, findings, flaw), BY_HTTP))
    assert sum(proven) / len(BY_HTTP) >= 0.9, dict(zip(BY_HTTP, proven, strict=True))


def proves(app: Audited, findings: list[Finding], flaw: str) -> bool:
    """Whether the request of a finding, sent again, gets its response, and another one once the flaw is mended."""
    mended = app.without(flaw).start()
    try:
        return any(replays(app, mended, each) for each in findings if FLAWS[flaw].is_named(each, app))
    finally:
        mended.stop()


def replays(app: Audited, mended: Audited, finding: Finding) -> bool:
    bounds = Bounds(lambda: time.monotonic() + 10, 1 << 20)
    request = message(finding.evidence["request"], "method", "path")
    response = message(finding.evidence["response"], "status")
    app.forget()
    mended.forget()
    with client(app.served.port, bounds, nothing) as http, client(mended.served.port, bounds, nothing) as other:
        first = send(http, request)
        if first is None or not same(first, response):
            return False
        return any(seen(send(http, request)) != seen(send(other, request)) for _ in range(SHOWN_BY))


def nothing(*_: Any) -> None:
    pass
