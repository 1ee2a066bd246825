"""What an answer says about the way to it: Strict-Transport-Security."""

import re

import httpx

YEAR = 31_536_000


def max_age(answer: httpx.Response) -> int | None:
    """For how many seconds an answer asks for HTTPS, as a browser reads it (RFC 6797 §8.1: the first header counts)."""
    header = next(iter(answer.headers.get_list("strict-transport-security")), "")
    names = [part.partition("=")[0].strip().lower() for part in header.split(";")]
    found = re.search(r'(?:^|;)\s*max-age\s*=\s*(?:(\d+)|"(\d+)")\s*(?:;|$)', header, re.IGNORECASE)
    if found is None or names.count("max-age") != 1:
        return None
    return int(found[1] or found[2])
