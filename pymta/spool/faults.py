"""Named steps of the spool and queue manager at which a crash test stops the process.

A `Faults` is called with the name of each step that is reached. `NO_FAULTS` does nothing; `kill_at` ends the process
as a power cut would, without any clean-up. docs/queue.md says what each step leaves on disk.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Mapping

Faults = Callable[[str], None]

STEPS = (
    "content created",
    "content synced",
    "transaction begun",
    "rows written",
    "committed",
    "content removed",
    "delivered",
    "notice durable",
    "attempt recorded",
)


def NO_FAULTS(step: str) -> None:
    """The faults of a healthy process."""


def kill_at(step: str, occurrence: int = 1) -> Faults:
    """SIGKILL this process when `step` is reached for the `occurrence`-th time."""
    if step not in STEPS:
        raise ValueError(f"no such step: {step!r}; steps are {', '.join(STEPS)}")
    left = occurrence

    def reach(reached: str) -> None:
        nonlocal left
        if reached == step:
            left -= 1
            if left <= 0:
                os.kill(os.getpid(), signal.SIGKILL)

    return reach


def from_environment(environment: Mapping[str, str]) -> Faults:
    """What `PYMTA_FAULT=STEP[:OCCURRENCE]` asks for; crash tests set it for the processes that they start."""
    asked = environment.get("PYMTA_FAULT", "")
    if not asked:
        return NO_FAULTS
    step, _, occurrence = asked.partition(":")
    return kill_at(step, int(occurrence or 1))
