"""Queue ids: unique for ever, sorted by arrival, never going back with the clock (enable_long_queue_ids)."""

from __future__ import annotations

import re
from collections.abc import Callable

from pymta.model.queue import QueueId

_BASE52 = "0123456789BCDFGHJKLMNPQRSTVWXYZbcdfghjklmnpqrstvwxyz"
_SECONDS_DIGITS = 6
_MICROSECONDS_DIGITS = 4
_QUEUE_ID = re.compile(r"[0-9A-Za-z]{6,64}")


class QueueIds:
    """Hands out ids, each one microsecond or more above the one before.

    Short ids are 13 upper-case hexadecimal digits of microseconds since the epoch: hexadecimal is what tools that
    read logs take for a queue id, and with fewer digits ids would sort wrongly some day, or there would be too few
    for a second. Long ids are base 52, without
    vowels: six digits of seconds, four of microseconds, a `z` and `instance` in base 51; so both sort by time.
    `last` is the newest id's time in microseconds; whoever persists it hands it back as `floor`. Where several
    processes give ids for one spool, each has its own `slot` of `slots`: only every so many microseconds are its own.
    """

    def __init__(
        self,
        now: Callable[[], float],
        *,
        long: bool = False,
        instance: int = 0,
        floor: int = 0,
        slot: int = 0,
        slots: int = 1,
    ) -> None:
        self._now = now
        self._slot = slot
        self._slots = slots
        self._suffix = "z" + _encode(instance, 51, 1) if long else ""
        self.last = floor

    def new(self) -> QueueId:
        moment = max(int(self._now() * 1_000_000), self.last + 1)
        # Up to the next microsecond that is ours.
        moment += (self._slot - moment) % self._slots
        self.last = moment
        if not self._suffix:
            return f"{moment:013X}"
        seconds, microseconds = divmod(moment, 1_000_000)
        return _encode(seconds, 52, _SECONDS_DIGITS) + _encode(microseconds, 52, _MICROSECONDS_DIGITS) + self._suffix


def is_queue_id(name: str) -> bool:
    """Whether `name` can be a queue id: what is not is a foreign file or a typing error."""
    return _QUEUE_ID.fullmatch(name) is not None


def _encode(number: int, base: int, width: int) -> str:
    digits = ""
    while number:
        number, digit = divmod(number, base)
        digits = _BASE52[digit] + digits
    return digits.rjust(width, "0")
