"""Advisories that nobody has read before: drawn ids and versions, in OSV's form."""

from lab_app.harness.draw import Draw

GHSA = "23456789cfghjmpqrvwx"  # the letters that GitHub's ids are made of


def cve(draw: Draw) -> str:
    """An id in CVE's form."""
    return f"CVE-{draw.number(2031, 2090)}-{draw.number(10_000, 99_999)}"


def ghsa(draw: Draw) -> str:
    """An id in GitHub's form."""
    return "GHSA-" + "-".join("".join(draw.random.choices(GHSA, k=4)) for _ in range(3))


def pysec(draw: Draw) -> str:
    """An id in the form of the Python Packaging Advisory Database."""
    return f"PYSEC-{draw.number(2031, 2090)}-{draw.number(1_000, 9_999)}"
