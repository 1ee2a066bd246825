"""Waiting for what happens later."""

import time
from collections.abc import Callable


class Patience:
    """How long one waits; once it was in vain, `after` times as long."""

    def __init__(self, after: float = 1.0) -> None:
        self.after, self.share = after, 1.0

    def until(self, wanted: Callable[[], object], seconds: float) -> bool:
        """Whether something becomes true in time."""
        end = time.monotonic() + self.share * seconds
        while not (true := wanted()) and time.monotonic() < end:
            time.sleep(0.02)
        if not true:
            self.share = self.after
        return bool(true)
