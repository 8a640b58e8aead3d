"""Log lines of the queue manager, as tools that read Postfix logs know them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from pymta.model.delivery import DeliveryPart, DeliveryResult, Outcome
from pymta.model.queue import QueuedRecipient, QueueEntry
from pymta.qmgr.active import ActiveMessage

_SIGNIFICANT = ((10_000_000, 0), (1_000_000, 1), (100_000, 2), (10_000, 3), (1_000, 4), (100, 5))


def active(entry: QueueEntry) -> str:
    recipients = len(entry.recipients) + entry.unread
    return f"{entry.queue_id}: from=<{entry.sender.quoted()}>, size={entry.size}, nrcpt={recipients} (queue active)"


def expired(entry: QueueEntry, *, forced: bool) -> str:
    status = "force-expired" if forced else "expired"
    return f"{entry.queue_id}: from=<{entry.sender.quoted()}>, status={status}, returned to sender"


class OutcomeLines:
    """Lines about the recipients of one delivery, which the agent was `handed` and gave back `now`.

    `resolution` is delay_logging_resolution_limit. What recipients have in common is put together once.
    """

    __slots__ = ("_before", "_is_probe", "_of", "_queue", "_resolution", "_spent", "_where", "queue_id")

    def __init__(self, message: ActiveMessage, handed: float, now: float, resolution: int) -> None:
        self.queue_id = message.queue_id
        self._is_probe = message.is_probe
        self._before = message.start - message.entry.arrival_time
        self._queue = handed - message.start
        self._spent = now - handed
        self._resolution = resolution
        self._of: tuple[object, ...] = ()
        self._where = ""

    def of(self, target: QueuedRecipient, result: DeliveryResult, status: str = "") -> Iterable[str]:
        """One line, or one for each address that the recipient was expanded to.

        `status` is what `status=` says of the recipient, where that is not the word for its outcome.
        """
        of = result.relay, result.connection_use, result.connect_seconds, result.transfer_seconds
        if of != self._of:
            self._of = of
            self._where = self._where_of(result)
        if result.parts:
            return self._of_parts(target, result.parts)
        address, original = target.address, target.original
        said = f", orig_to=<{original.quoted()}>" if original is not address and original != address else ""
        return (
            f"{self.queue_id}: to=<{address.quoted()}>{said}, {self._where}, dsn={result.status},"
            f" status={status or self._status(result.outcome)} ({result.reason})",
        )

    def _of_parts(self, target: QueuedRecipient, parts: Iterable[DeliveryPart]) -> Iterator[str]:
        """The outcomes of the addresses that a recipient was expanded to (an alias), which the log has in its place."""
        for part in parts:
            original = f", orig_to=<{target.original.quoted()}>" if target.original != part.address else ""
            yield (
                f"{self.queue_id}: to=<{part.address.quoted()}>{original}, {self._where}, dsn={part.status},"
                f" status={self._status(part.outcome)} ({part.reason})"
            )

    def _status(self, outcome: Outcome) -> str:
        """The word for an outcome; of a probe, whether it could have been delivered now."""
        if self._is_probe:
            return "deliverable" if outcome is Outcome.SENT else "undeliverable"
        return outcome._value_

    def _where_of(self, result: DeliveryResult) -> str:
        """The delays are before the queue manager, in it, for the connection, for the transfer."""
        reused = f", conn_use={result.connection_use}" if result.connection_use > 1 else ""
        before, queued, connecting = self._before, self._queue, result.connect_seconds
        transfer = result.transfer_seconds or self._spent - connecting
        resolution = self._resolution
        return (
            f"relay={result.relay}{reused}, delay={seconds(before + queued + connecting + transfer, resolution)},"
            f" delays={seconds(before, resolution)}/{seconds(queued, resolution)}"
            f"/{seconds(connecting, resolution)}/{seconds(transfer, resolution)}"
        )


def seconds(delay: float, resolution: int) -> str:
    """Two significant digits, at most `resolution` decimals, no trailing zeros (delay_logging_resolution_limit)."""
    if delay >= 10:
        return str(int(delay + 0.5))
    if delay >= 0.0 and resolution == 2:
        return _HUNDREDTHS[int(delay * 100 + _HALF)] if delay < 0.995 else _TENTHS[int(delay * 10 + _HALF)]
    return _seconds(delay, resolution)


def _seconds(delay: float, resolution: int) -> str:
    microseconds = max(0, round(delay * 1_000_000))
    decimals = next((decimals for above, decimals in _SIGNIFICANT if microseconds >= above), 6)
    decimals = min(decimals, resolution)
    unit = 10 ** (6 - decimals)
    # Half goes up, as Postfix has it; format() alone would round half to even.
    rounded = (microseconds + unit // 2) // unit
    text = f"{rounded / 10**decimals:.{decimals}f}"
    return text.rstrip("0").rstrip(".") if decimals else text


# Half a unit; a little more, since what is a half to the microsecond may be a little less as a float.
_HALF = 0.500001
_TENTHS = [_seconds(tenths / 10, 2) for tenths in range(101)]
_HUNDREDTHS = [_seconds(hundredths / 100, 2) for hundredths in range(101)]
