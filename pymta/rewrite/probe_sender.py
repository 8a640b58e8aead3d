"""Who sends address verification probes (postconf(5) address_verify_sender, address_verify_sender_ttl)."""

from __future__ import annotations

from collections.abc import Callable

from pymta.model.address import NULL_SENDER, Address
from pymta.model.frozen import frozen
from pymta.ports import Clock

# Digits of Postfix's time stamps: no vowels, so that no words come about.
_DIGITS = "0123456789BCDFGHJKLMNPQRSTVWXYZ"
_VALUES = {digit: value for value, digit in enumerate(_DIGITS)}
# No stamp of a 64-bit number is longer.
_LONGEST_STAMP = 13


@frozen
class ProbeSenderSettings:
    address_verify_sender: str
    address_verify_sender_ttl: float


class ProbeSender:
    """With a time to live the address changes every `address_verify_sender_ttl` seconds: `double-bounceMFMFZ@...`.

    Mail to the address of the period before or after counts as mail to the plain one; that is what a site asks for
    that verifies our senders, and what others cannot send junk to. `complete` puts addresses into standard form.
    """

    def __init__(self, settings: ProbeSenderSettings, complete: Callable[[Address], Address], clock: Clock) -> None:
        sender = settings.address_verify_sender.strip()
        self._plain = NULL_SENDER if sender in ("", "<>") else complete(Address.from_internal(sender))
        self._seconds = int(settings.address_verify_sender_ttl)
        self._clock = clock

    @property
    def changes(self) -> bool:
        return self._seconds > 0 and not self._plain.is_null

    def current(self) -> Address:
        """The sender of a probe that goes out now."""
        if not self.changes:
            return self._plain
        return Address(f"{self._plain.local_part}{_stamp(self._period())}", self._plain.domain)

    def plain(self, address: Address) -> Address | None:
        """The address without its stamp; None for what is no sender of probes of this time."""
        own = self._plain
        size = len(own.local_part)
        if address.domain.lower() != own.domain.lower() or address.local_part[:size].lower() != own.local_part.lower():
            return None
        period = _period(address.local_part[size:])
        return own if period is not None and abs(period - self._period()) <= 1 else None

    def _period(self) -> int:
        return int(self._clock.now()) // self._seconds


def _stamp(period: int) -> str:
    digits = ""
    while period:
        period, digit = divmod(period, len(_DIGITS))
        digits = _DIGITS[digit] + digits
    return digits or _DIGITS[0]


def _period(stamp: str) -> int | None:
    if not 0 < len(stamp) <= _LONGEST_STAMP:
        return None
    period = 0
    for digit in stamp:
        value = _VALUES.get(digit)
        if value is None:
            return None
        period = period * len(_DIGITS) + value
    return period
