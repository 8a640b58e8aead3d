"""The system's clock."""

from __future__ import annotations

import time


class SystemClock:
    """Wall time and monotonic time in seconds."""

    # The functions themselves: a message asks for the time some ten times.
    now = staticmethod(time.time)
    monotonic = staticmethod(time.monotonic)
