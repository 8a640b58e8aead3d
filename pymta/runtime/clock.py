"""The system's clock."""

from __future__ import annotations

import time


class SystemClock:
    """Wall time and monotonic time in seconds."""

    def now(self) -> float:
        return time.time()

    def monotonic(self) -> float:
        return time.monotonic()
