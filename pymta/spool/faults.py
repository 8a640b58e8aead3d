"""Named steps of the spool, the queue manager and the roles around it at which a crash test stops the process.

A `Faults` is called with the name of each step that is reached. `NO_FAULTS` does nothing; `strike_at` ends the process
as a power cut would, without any clean-up, or lets it hang. docs/queue.md says what each step leaves on disk.
"""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Mapping

Faults = Callable[[str], None]

STEPS = (
    "content created",
    "content synced",
    "journal written",
    "journal synced",
    "transaction begun",
    "rows written",
    "committed",
    "moved to database",
    "content removed",
    "delivered",
    "notice durable",
    "attempt recorded",
)
# Those of the processes around the queue manager, where there are several (docs/processes.md).
ROLE_STEPS = (
    "draft synced",
    "message stored",
    "delivery begun",
    "delivery made",
)
_HANG_SECONDS = 3600.0


def NO_FAULTS(step: str) -> None:
    """The faults of a healthy process."""


def strike_at(step: str, occurrence: int = 1, *, hang: bool = False) -> Faults:
    """SIGKILL this process when `step` is reached for the `occurrence`-th time; or let that thread do nothing more."""
    if step not in STEPS + ROLE_STEPS:
        raise ValueError(f"no such step: {step!r}; steps are {', '.join(STEPS + ROLE_STEPS)}")
    left = occurrence

    def reach(reached: str) -> None:
        nonlocal left
        if reached == step:
            left -= 1
            if left <= 0 and hang:
                time.sleep(_HANG_SECONDS)
            elif left <= 0:
                os.kill(os.getpid(), signal.SIGKILL)

    return reach


def from_environment(environment: Mapping[str, str]) -> Faults:
    """What `PYMTA_FAULT=STEP[:OCCURRENCE[:hang]]` asks for; crash tests set it for the processes that they start."""
    asked = environment.get("PYMTA_FAULT", "")
    if not asked:
        return NO_FAULTS
    step, occurrence, how, *_ = [*asked.split(":"), "", ""]
    return strike_at(step, int(occurrence or 1), hang=how == "hang")
