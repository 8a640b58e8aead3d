"""When to try again, and when to stop trying (qmgr(8), postconf(5) minimal_backoff_time)."""

from __future__ import annotations

from pymta.model.frozen import frozen


@frozen
class Backoff:
    """The queue's patience; all in seconds.

    A message waits as long as it has been here, within `minimal` and `maximal`. It expires at the age `lifetime`,
    a message from the null sender at `bounce_lifetime`; zero means one attempt. `warning` is the age at which its
    sender is told, zero never.
    """

    minimal: float
    maximal: float
    lifetime: float
    bounce_lifetime: float
    warning: float

    def next_attempt(self, now: float, arrival_time: float) -> float:
        """When a message that could not be delivered at `now` is due; a clock that went back waits `minimal`."""
        return now + max(self.minimal, min(now - arrival_time, self.maximal))

    def is_expired(self, now: float, arrival_time: float, *, null_sender: bool) -> bool:
        return now >= arrival_time + (self.bounce_lifetime if null_sender else self.lifetime)

    def is_warning_due(self, now: float, arrival_time: float, warned_time: float | None) -> bool:
        return self.warning > 0 and warned_time is None and now >= arrival_time + self.warning
