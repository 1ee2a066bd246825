"""INSECURE: counts by the window of the clock, so that two windows' worth meet at its edge."""

import time
from collections import Counter

from fastapi import HTTPException, Request

from lab_app.larkspur.rate_limiting.forwarded import client_of

LARKSPURS_LIMIT, LARKSPURS_WINDOW = 5, 2


class FixedWindow:
    """At most `limit` requests of a client in each window of the clock."""

    def __init__(self, limit: int, window: int) -> None:
        self.limit, self.window = limit, window
        self.counts: Counter[tuple[str, int]] = Counter()

    def __call__(self, request: Request) -> None:
        """Refuse, or count."""
        key = client_of(request), int(time.time() // self.window)
        self.counts[key] += 1
        if self.counts[key] > self.limit:
            raise HTTPException(429, "Too many requests")
