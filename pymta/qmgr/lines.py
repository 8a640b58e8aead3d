"""Log lines of the queue manager, as tools that read Postfix logs know them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from pymta.model.delivery import DeliveryResult, Outcome
from pymta.model.queue import QueuedRecipient, QueueEntry, QueueId
from pymta.qmgr.active import ActiveMessage

_SIGNIFICANT = ((10_000_000, 0), (1_000_000, 1), (100_000, 2), (10_000, 3), (1_000, 4), (100, 5))


def active(entry: QueueEntry) -> str:
    recipients = len(entry.recipients) + entry.unread
    return f"{entry.queue_id}: from=<{entry.sender.quoted()}>, size={entry.size}, nrcpt={recipients} (queue active)"


def expired(entry: QueueEntry, *, forced: bool) -> str:
    status = "force-expired" if forced else "expired"
    return f"{entry.queue_id}: from=<{entry.sender.quoted()}>, status={status}, returned to sender"


def outcomes(
    message: ActiveMessage,
    target: QueuedRecipient,
    result: DeliveryResult,
    delays: tuple[float, ...],
    resolution: int,
    status: str,
) -> Iterable[str]:
    """One line, or one for each address that the recipient was expanded to."""
    if result.parts:
        return parts(message.queue_id, target, result, delays, resolution, is_probe=message.is_probe)
    return (recipient(message.queue_id, target, result, delays, resolution, status),)


def recipient(
    queue_id: QueueId,
    target: QueuedRecipient,
    result: DeliveryResult,
    delays: tuple[float, ...],
    resolution: int,
    status: str,
) -> str:
    """One recipient's outcome; `delays` are before the queue manager, in it, for the connection, for the transfer."""
    original = f", orig_to=<{target.original.quoted()}>" if target.original != target.address else ""
    where = _where(result, delays, resolution)
    return (
        f"{queue_id}: to=<{target.address.quoted()}>{original}, {where}, dsn={result.status},"
        f" status={status} ({result.reason})"
    )


def status_word(outcome: Outcome, *, is_probe: bool) -> str:
    """What `status=` says; of a probe, whether it could have been delivered now."""
    if is_probe:
        return "deliverable" if outcome is Outcome.SENT else "undeliverable"
    return outcome.value


def parts(
    queue_id: QueueId,
    target: QueuedRecipient,
    result: DeliveryResult,
    delays: tuple[float, ...],
    resolution: int,
    *,
    is_probe: bool = False,
) -> Iterator[str]:
    """The outcomes of the addresses that a recipient was expanded to (an alias), which the log has in its place."""
    where = _where(result, delays, resolution)
    for part in result.parts:
        original = f", orig_to=<{target.original.quoted()}>" if target.original != part.address else ""
        yield (
            f"{queue_id}: to=<{part.address.quoted()}>{original}, {where}, dsn={part.status},"
            f" status={status_word(part.outcome, is_probe=is_probe)} ({part.reason})"
        )


def _where(result: DeliveryResult, delays: tuple[float, ...], resolution: int) -> str:
    reused = f", conn_use={result.connection_use}" if result.connection_use > 1 else ""
    total = seconds(sum(delays), resolution)
    each = "/".join([seconds(delay, resolution) for delay in delays])
    return f"relay={result.relay}{reused}, delay={total}, delays={each}"


def seconds(delay: float, resolution: int) -> str:
    """Two significant digits, at most `resolution` decimals, no trailing zeros (delay_logging_resolution_limit)."""
    if delay < 0.995 and resolution == 2:
        return _HUNDREDTHS[int(max(delay, 0.0) * 100 + 0.5)]
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


_HUNDREDTHS = [_seconds(hundredths / 100, 2) for hundredths in range(101)]
