"""INSECURE: what was ignored once is ignored for ever, and nobody knows why."""

from typing import Any


def gate(findings: list[dict[str, Any]], ignores: list[dict[str, Any]], today: str) -> dict[str, Any]:
    """Whether a release may go out."""
    del today  # which is the flaw
    ignored = {one["id"] for one in ignores}
    stopped = [one for one in findings if ignored.isdisjoint(one["ids"])]
    return {"ok": not stopped, "reasons": [one["package"] for one in stopped]}
