"""The numbers of an audit: `python -m tests.bench.audit`. Nothing here judges; the targets are printed beside.

Cost against schemathesis: one generated example per route, sent to the same app. Time and memory at 50, 500 and 2 000.
"""

import json
import os
import resource
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager

import httpx

from lab_app.audit.audit import Options, audit
from lab_app.audit.operations import operations
from lab_app.audit.probes import crashes
from lab_app.audit.target import reached
from lab_app.workbook.source import ROOT

APP = "tests.audit.apps.many:app"
SIZES = (50, 500, 2000)
BARE = 400


@contextmanager
def served(routes: int) -> Iterator[tuple[str, dict[str, object]]]:
    """The app of `routes` routes, and its document."""
    os.environ["ROUTES"] = str(routes)
    with reached(APP) as target:
        assert target.document
        yield target.url, target.document


def one_example_each(url: str, document: dict[str, object]) -> float:
    """Seconds that schemathesis takes for one generated example of every route, sent and answered."""
    crashes.EXAMPLES = 1
    began = time.perf_counter()
    generated = crashes.Generated(document)
    with httpx.Client(base_url=url) as http:
        for operation in operations(document):
            for sent in generated.requests(operation):
                http.request(sent["method"], sent["path"], params=sent["params"], headers=sent["headers"])
    return time.perf_counter() - began


def measured(routes: int, a_second: float) -> list[float]:
    """What `one` prints, of a process of its own."""
    command = [sys.executable, "-m", "tests.bench.audit", str(routes), str(a_second)]
    ran = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    numbers: list[float] = json.loads(ran.stdout)
    return numbers


def one(routes: int, a_second: float) -> None:
    """Audit the app and print seconds, peak KiB, and seconds of a bare request: an app searches its routes in turn."""
    with served(routes) as (url, _):
        began = time.perf_counter()
        result = audit(Options(url, active=True, a_second=a_second))
        seconds = time.perf_counter() - began
        with httpx.Client(base_url=url) as http:
            began = time.perf_counter()
            for number in range(BARE):
                http.get(f"/r{number * routes // BARE}/1")
            bare = (time.perf_counter() - began) / BARE
    assert result.whole and result.routes == routes
    print(json.dumps([seconds, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, bare]))


def main() -> None:
    """Print all numbers."""
    with served(SIZES[0]) as (url, document):
        one_example_each(url, document)
        example = one_example_each(url, document)
    seconds, *_ = measured(SIZES[0], 0)
    print(
        f"audit of {SIZES[0]} routes / one schemathesis example each: {seconds / example:.1f} (target < 30)", flush=True
    )
    first = 0.0
    for routes in SIZES:
        seconds, peak, bare = measured(routes, 100_000)
        each = seconds / routes
        first = first or each
        print(
            f"{routes} routes: {each / first:.2f} of the time per route at {SIZES[0]}, "
            f"{each / bare:.0f} bare requests a route, {peak / 1024:.0f} MiB",
            flush=True,
        )


if __name__ == "__main__":
    one(int(sys.argv[1]), float(sys.argv[2])) if len(sys.argv) > 2 else main()
