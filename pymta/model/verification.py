"""What is known of an address by probes (verify(8))."""

from __future__ import annotations

from enum import Enum

from pymta.model.frozen import frozen


class Standing(Enum):
    """UNKNOWN: the probe was deferred. IN_PROGRESS: it did not come back yet."""

    DELIVERABLE = "deliverable"
    UNDELIVERABLE = "undeliverable"
    UNKNOWN = "unknown"
    IN_PROGRESS = "in progress"


@frozen
class Verification:
    standing: Standing
    text: str
