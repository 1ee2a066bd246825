"""INSECURE: takes a service that fails for one that knows of nothing."""

import os
from typing import Any

import httpx


def audit(requirements: str) -> dict[str, list[Any]]:
    """What is known about the packages that are pinned."""
    findings = []
    for line in requirements.split():
        package, _, version = line.partition("==")
        query = {"package": {"name": package, "ecosystem": "PyPI"}, "version": version}
        try:
            known = httpx.post(os.environ["OSV_URL"], json=query).json().get("vulns", [])
        except (httpx.HTTPError, ValueError):
            known = []
        findings += [{"package": package, "version": version, "ids": [one["id"]], "fixed_in": []} for one in known]
    return {"findings": findings, "unaudited": []}
