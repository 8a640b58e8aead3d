"""The end of an attempt: notices first, then the record of it (docs/queue.md)."""

from __future__ import annotations

from dataclasses import replace

from pymta.errors import SpoolError
from pymta.model.delivery import DeliveryResult
from pymta.model.queue import EntryUpdate, QueueEntry, QueueName
from pymta.ports import Clock, Log, Notifier, Spool
from pymta.qmgr import lines
from pymta.qmgr.active import ActiveMessage
from pymta.qmgr.backoff import Backoff
from pymta.spool.faults import Faults


class Settlement:
    """Brings a tried message to its next resting place."""

    def __init__(
        self, spool: Spool, notifier: Notifier, backoff: Backoff, clock: Clock, log: Log, faults: Faults
    ) -> None:
        self._spool = spool
        self._notifier = notifier
        self._backoff = backoff
        self._clock = clock
        self._log = log
        self._faults = faults

    def configure(self, backoff: Backoff) -> None:
        self._backoff = backoff

    async def settle(self, message: ActiveMessage) -> float | None:
        """Send what notices are due and record the attempt; when the message is due again, None where it is not.

        Raises SpoolError where nothing could be made durable; settling may then be tried again, and notices that
        are durable already are not repeated.
        """
        entry = message.entry
        if message.is_deleted:
            await self._remove(message)
            return None
        if not message.is_held:
            self._expire(message)
        await self._report_failures(message)
        await self._report_successes(message)
        if message.is_held:
            await self._spool.update(EntryUpdate(entry.queue_id, QueueName.HOLD, recipients=message.changes()))
            return None
        if not message.deferred:
            await self._remove(message)
            return None
        now = self._clock.now()
        warned = await self._warn(message, now)
        next_attempt = self._backoff.next_attempt(now, entry.arrival_time)
        await self._spool.update(
            EntryUpdate(
                entry.queue_id,
                QueueName.DEFERRED,
                next_attempt,
                entry.attempts + 1,
                warned,
                message.changes(),
            )
        )
        self._faults("attempt recorded")
        return next_attempt

    async def _remove(self, message: ActiveMessage) -> None:
        await self._spool.remove(message.entry.queue_id)
        self._faults("attempt recorded")
        self._log.info(f"{message.entry.queue_id}: removed")

    def _expire(self, message: ActiveMessage) -> None:
        entry = message.entry
        if not message.deferred:
            return
        null_sender = entry.sender.is_null
        if entry.forced_expire or self._backoff.is_expired(
            self._clock.now(), entry.arrival_time, null_sender=null_sender
        ):
            self._log.info(lines.expired(entry, forced=entry.forced_expire))
            message.expire()

    async def _report_failures(self, message: ActiveMessage) -> None:
        if not message.failures:
            return
        try:
            await self._notifier.failed(message.entry, tuple(message.failures), message.content)
        except SpoolError:
            raise
        except Exception as error:
            self._log.error(f"{message.entry.queue_id}: cannot send a non-delivery notice: {error!r}")
            message.postpone_failures()
            return
        self._faults("notice durable")
        message.done.extend(result.number for result in message.failures)
        message.failures.clear()

    async def _report_successes(self, message: ActiveMessage) -> None:
        if not message.successes:
            return
        try:
            await self._notifier.succeeded(message.entry, tuple(message.successes), message.content)
        except SpoolError:
            raise
        except Exception as error:
            # The message itself arrived: delivering it twice would be worse than a missing report.
            self._log.error(f"{message.entry.queue_id}: cannot send a success notice: {error!r}")
        message.done.extend(result.number for result in message.successes)
        message.successes.clear()

    async def _warn(self, message: ActiveMessage, now: float) -> float | None:
        entry = message.entry
        if not self._backoff.is_warning_due(now, entry.arrival_time, entry.warned_time):
            return None
        waiting = {result.number: result for result in message.deferred}
        try:
            await self._notifier.delayed(_with_reasons(entry, waiting), message.content)
        except Exception as error:
            # A warning is a courtesy: the next attempt tries it again.
            self._log.error(f"{entry.queue_id}: cannot send a delay warning: {error!r}")
            return None
        self._faults("notice durable")
        return now


def _with_reasons(entry: QueueEntry, waiting: dict[int, DeliveryResult]) -> QueueEntry:
    """`entry` with the recipients that wait and what this attempt said about them."""
    recipients = [
        replace(
            recipient,
            status=result.status,
            reason=result.reason,
            relay=result.relay,
            remote_mta=result.remote_mta,
            diagnostic=result.diagnostic,
        )
        for recipient in entry.recipients
        if (result := waiting.get(recipient.number)) is not None
    ]
    return replace(entry, recipients=tuple(recipients))
