"""How many recipients are in memory, and when more are read from disk (postconf(5) qmgr_message_recipient_limit)."""

from __future__ import annotations

from pymta.model.queue import ENTRY_RECIPIENTS
from pymta.qmgr.active import ActiveMessage
from pymta.qmgr.scheduler import Scheduler


class Supply:
    """`limit` is for recipients of all messages, `minimum` is what every message may have whatever the others take.

    `in_core` counts them.
    """

    __slots__ = ("_scheduler", "in_core", "limit", "minimum")

    def __init__(self, scheduler: Scheduler, limit: int, minimum: int) -> None:
        self._scheduler = scheduler
        self.limit = limit
        self.minimum = minimum
        self.in_core = 0

    def configure(self, limit: int, minimum: int) -> None:
        self.limit = limit
        self.minimum = minimum

    @property
    def is_exhausted(self) -> bool:
        return self.in_core >= self.limit

    def wanted(self, message: ActiveMessage, now: float) -> int:
        """How many recipients of `message` to read now.

        None as long as it has enough: recipients are grouped the better the more are read at once.
        """
        free = self.limit - self.in_core
        is_due = not message.in_core
        for name in message.transports:
            pool, room = self._scheduler.room(name, message)
            free = min(free, room)
            is_due = is_due or room >= pool.refill_limit or now - message.read_at >= pool.refill_delay
        free = max(free, self.minimum - message.in_core)
        return min(free, message.unread, ENTRY_RECIPIENTS) if is_due and free > 0 else 0


class FlowTokens:
    """Slows intake down by `in_flow_delay` where mail arrives faster than it becomes active (qmgr(8)).

    A message that must wait on disk takes a token, one that comes from there gives it back; `limit` are there
    while nothing waits.
    """

    __slots__ = ("_left", "limit")

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self._left = limit

    @property
    def are_used_up(self) -> bool:
        return self._left <= 0

    def take(self) -> None:
        self._left = max(0, self._left - 1)

    def give_back(self) -> None:
        self._left = min(self.limit, self._left + 1)

    def refill(self) -> None:
        self._left = self.limit
