"""The end of an attempt: notices first, then the record of it (docs/queue.md)."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import replace

from pymta.errors import SpoolError
from pymta.model.delivery import DeliveryResult, Outcome
from pymta.model.queue import (
    ENTRY_RECIPIENTS,
    EntryUpdate,
    QueuedRecipient,
    QueueEntry,
    QueueId,
    QueueName,
    RecipientState,
    RecipientUpdate,
)
from pymta.ports import Clock, Log, Notifier, Spool
from pymta.qmgr import lines
from pymta.qmgr.active import ActiveMessage, Result, updates
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

    def plain_ending(self, message: ActiveMessage) -> EntryUpdate | QueueId | None:
        """The change that ends an attempt; None where more is to be done than to record it.

        A message that is done with is named by its id, as `Spool.record` has it.
        """
        if message.is_withdrawn or message.is_damaged or message.failures or message.successes or message.traced:
            return None
        if not message.deferred and not message.stored:
            return message.queue_id
        entry, now = message.entry, self._clock.now()
        if self._is_overdue(entry, now) or self._backoff.is_warning_due(now, entry.arrival_time, entry.warned_time):
            return None
        return self._postponed(message, now, updates((message.done, message.deferred)))

    def _postponed(
        self, message: ActiveMessage, now: float, recipients: tuple[RecipientUpdate, ...] = ()
    ) -> EntryUpdate:
        entry = message.entry
        next_attempt = self._backoff.next_attempt(now, entry.arrival_time)
        return EntryUpdate(entry.queue_id, QueueName.DEFERRED, next_attempt, entry.attempts + 1, recipients=recipients)

    def ended(self, ending: EntryUpdate | QueueId) -> float | None:
        """A plain ending is recorded; when the message is due again."""
        self._faults("attempt recorded")
        if isinstance(ending, EntryUpdate):
            return ending.next_attempt
        self._log.info(f"{ending}: removed")
        return None

    async def settle(self, message: ActiveMessage) -> float | None:
        """Send what notices are due and record the attempt; when the message is due again, None where it is not.

        Raises SpoolError where nothing could be made durable; settling may then be tried again, and notices that
        are durable already are not repeated.
        """
        entry = message.entry
        if message.is_deleted:
            await self._remove(message)
            return None
        expires = not message.is_held and self._expires(message)
        if expires:
            message.expire()
        await self._report(message)
        if message.is_held or message.is_damaged:
            place = QueueName.CORRUPT if message.is_damaged else QueueName.HOLD
            await self._record(message, EntryUpdate(entry.queue_id, place))
            return None
        if expires and message.stored:
            await self._expire_stored(message)
            return None
        if not message.deferred and not message.stored:
            await self._remove(message)
            return None
        now = self._clock.now()
        warned = await self._warn(message, now)
        postponed = self._postponed(message, now)
        await self._record(message, replace(postponed, warned_time=warned))
        return self.ended(postponed)

    async def relieve(self, message: ActiveMessage) -> None:
        """Report and record what is known of a message that is still under way, so that memory has an end."""
        await self._report(message)
        await self._record(message, EntryUpdate(message.queue_id))

    async def _record(self, message: ActiveMessage, update: EntryUpdate) -> None:
        changes = message.take_changes()
        try:
            await self._spool.update(replace(update, recipients=updates(changes)))
        except SpoolError:
            message.untake(changes)
            raise
        message.stored += len(changes[1])

    async def _remove(self, message: ActiveMessage) -> None:
        await self._spool.remove(message.queue_id)
        self.ended(message.queue_id)

    def _expires(self, message: ActiveMessage) -> bool:
        entry = message.entry
        if not message.deferred and not message.stored:
            return False
        if self._is_overdue(entry, self._clock.now()):
            self._log.info(lines.expired(entry, forced=entry.forced_expire))
            return True
        return False

    def _is_overdue(self, entry: QueueEntry, now: float) -> bool:
        return entry.forced_expire or self._backoff.is_expired(
            now, entry.arrival_time, null_sender=entry.sender.is_null
        )

    async def _expire_stored(self, message: ActiveMessage) -> None:
        """Return a message to its sender whose deferred recipients are on disk, one page of them at a time."""
        await self._record(message, EntryUpdate(message.queue_id))
        queue_id = message.queue_id
        while page := await self._spool.recipients(queue_id, -1, ENTRY_RECIPIENTS):
            failures = [(one, _expired(one)) for one in page]
            await self._notify(message, failures, self._notifier.failed)
            done = tuple([RecipientUpdate(one.number, RecipientState.DONE) for one in page])
            await self._spool.update(EntryUpdate(queue_id, recipients=done))
        message.stored = 0
        self._log.info(f"{queue_id}: removed")

    async def _report(self, message: ActiveMessage) -> None:
        """Send the notices that are due; what comes up meanwhile is for the next time."""
        failures, message.failures = message.failures, []
        if failures:
            try:
                await self._notify(message, failures, self._notifier.failed)
            except SpoolError:
                message.failures[:0] = failures
                raise
            except Exception as error:
                self._log.error(f"{message.queue_id}: cannot send a non-delivery notice: {error!r}")
                message.postpone(failures)
            else:
                message.done.extend(result.number for _, result in failures)
        successes, message.successes = message.successes, []
        if successes:
            try:
                await self._notify(message, successes, self._notifier.succeeded, repeats=False)
            except SpoolError:
                message.successes[:0] = successes
                raise
            except Exception as error:
                # The message itself arrived: delivering it twice would be worse than a missing report.
                self._log.error(f"{message.queue_id}: cannot send a success notice: {error!r}")
            message.done.extend(_recorded(successes))

        if message.traced:
            await self._report_trace(message)

    async def _report_trace(self, message: ActiveMessage) -> None:
        """Tell the sender what became of everybody, where he asked for it."""
        traced, message.traced = message.traced, []
        try:
            await self._notify(message, traced, self._notifier.traced, repeats=False)
        except SpoolError:
            message.traced[:0] = traced
            raise
        except Exception as error:
            # The log has it all: neither a delivery nor a probe is repeated for a missing report.
            self._log.error(f"{message.queue_id}: cannot send a delivery report: {error!r}")
        message.done.extend(_recorded(one for one in traced if message.ends_with_report(one[1])))

    async def _notify(
        self,
        message: ActiveMessage,
        results: Sequence[Result],
        notify: Callable[..., Awaitable[None]],
        *,
        repeats: bool = True,
    ) -> None:
        await notify(message.entry_of(results), tuple([result for _, result in results]), message.content)
        if repeats:
            self._faults("notice durable")

    async def _warn(self, message: ActiveMessage, now: float) -> float | None:
        entry = message.entry
        if not self._backoff.is_warning_due(now, entry.arrival_time, entry.warned_time):
            return None
        waiting = [_with_reason(recipient, result) for recipient, result in message.deferred]
        try:
            if waiting:
                await self._notifier.delayed(_with(entry, waiting), message.content)
            await self._warn_of_stored(message)
        except Exception as error:
            # A warning is a courtesy: the next attempt tries it again.
            self._log.error(f"{entry.queue_id}: cannot send a delay warning: {error!r}")
            return None
        self._faults("notice durable")
        return now

    async def _warn_of_stored(self, message: ActiveMessage) -> None:
        """The same for recipients that this attempt has recorded, one page at a time."""
        if not message.stored:
            return
        known = {result.number for _, result in message.deferred} | set(message.done)
        after = -1
        while page := await self._spool.recipients(message.queue_id, after, ENTRY_RECIPIENTS):
            after = page[-1].number
            if waiting := [one for one in page if one.number not in known]:
                await self._notifier.delayed(_with(message.entry, waiting), message.content)


def _recorded(results: Iterable[Result]) -> list[int]:
    """The recipients that are done; aliases that intake replaced are none (`QueueEntry.expanded`)."""
    return [result.number for _, result in results if result.number >= 0]


def _expired(one: QueuedRecipient) -> DeliveryResult:
    """What the last attempt said of a recipient, for the last time."""
    return DeliveryResult(
        one.number,
        Outcome.EXPIRED,
        one.status or "4.0.0",
        one.reason or "delivery temporarily suspended",
        one.relay or "none",
        one.remote_mta,
        one.diagnostic,
    )


def _with(entry: QueueEntry, recipients: Sequence[QueuedRecipient]) -> QueueEntry:
    return replace(entry, recipients=tuple(recipients))


def _with_reason(recipient: QueuedRecipient, result: DeliveryResult) -> QueuedRecipient:
    """A recipient that waits, with what this attempt said about it."""
    return replace(
        recipient,
        status=result.status,
        reason=result.reason,
        relay=result.relay,
        remote_mta=result.remote_mta,
        diagnostic=result.diagnostic,
    )
