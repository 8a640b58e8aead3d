"""What follows when deliveries of a message have ended: more recipients, a record of what is done, or its end."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from functools import partial

from pymta.errors import SpoolError
from pymta.model.queue import EntryUpdate, QueueId
from pymta.qmgr.active import ActiveMessage, done_update
from pymta.qmgr.keeper import SpoolKeeper
from pymta.qmgr.parts import Parts
from pymta.qmgr.settle import Settlement

# Results of one attempt that are in memory before they are reported and recorded.
_RESULTS_AT_ONCE = 10_000


class Endings:
    """`more` has further recipients planned; `dismiss` takes a message that has ended, and when it is due again.

    Until its end is durable a message stays active, so that nothing is delivered twice.
    """

    def __init__(
        self,
        parts: Parts,
        settlement: Settlement,
        keeper: SpoolKeeper,
        retry_seconds: float,
        *,
        more: Callable[[ActiveMessage], None],
        dismiss: Callable[[ActiveMessage, float | None], None],
    ) -> None:
        self._settlement = settlement
        self._spool = parts.spool
        self._active = parts.active
        self._supply = parts.supply
        self._work = parts.work
        self._clock = parts.clock
        self._log = parts.log
        self._keeper = keeper
        self.retry_seconds = retry_seconds
        self._more = more
        self._dismiss = dismiss

    def advance(self, message: ActiveMessage) -> None:
        """Record what is done, route more recipients, or settle the message."""
        if message.is_tried or message.is_withdrawn:
            self.settle(message)
            return
        if message.unread and not message.is_routing and self._supply.wanted(message, self._clock.monotonic()):
            self._more(message)
        if message.is_recording:
            return
        if message.is_long and message.results_in_core >= _RESULTS_AT_ONCE:
            message.is_recording = True
            self._work.spawn(self._relieve(message))
        elif message.done:
            self._record_done(message)

    async def _relieve(self, message: ActiveMessage) -> None:
        failure = None
        try:
            await self._settlement.relieve(message)
        except SpoolError as error:
            failure = error
        finally:
            self._after_record(message, failure)

    def _record_done(self, message: ActiveMessage) -> None:
        """Have a crash not repeat what is delivered of a message that is still under way."""
        done, message.done = message.done, []
        message.is_recording = True
        self._work.begun()
        change = EntryUpdate(message.queue_id, recipients=done_update(done))
        self._spool.record(change, partial(self._recorded_done, message, done))

    def _recorded_done(self, message: ActiveMessage, done: list[int], error: SpoolError | None) -> None:
        self._work.ended()
        if error is not None:
            message.untake((done, []))
        self._after_record(message, error)

    def _after_record(self, message: ActiveMessage, error: SpoolError | None) -> None:
        message.is_recording = False
        if not self._active.holds(message, message.queue_id):
            return
        if error is not None:
            self._log.warning(f"{message.queue_id}: cannot record deliveries yet: {error}")
            self._keeper.check()
        if error is None or message.is_tried or message.is_withdrawn:
            self.advance(message)

    def settle(self, message: ActiveMessage) -> None:
        """End a message, unless something is under way that will; the long way only where more than a record is due."""
        if message.is_busy:
            return
        message.is_settling = True
        ending = self._settlement.plain_ending(message)
        if ending is None:
            self._work.spawn(self._settle(message))
        else:
            self._work.begun()
            self._spool.record(ending, partial(self._recorded, message, ending))

    def _recorded(self, message: ActiveMessage, ending: EntryUpdate | QueueId, error: SpoolError | None) -> None:
        self._work.ended()
        if error is None:
            self._dismiss(message, self._settlement.ended(ending))
        elif self._active.holds(message, message.queue_id):
            self._work.spawn(self._settle(message, error))

    async def _settle(self, message: ActiveMessage, error: SpoolError | None = None) -> None:
        """The long way: notices, and patience with a disk that failed (`error`, where it has)."""
        due = None
        while True:
            if error is not None:
                self._log.warning(f"{message.queue_id}: cannot record the delivery attempt: {error}")
                self._keeper.check()
                await asyncio.sleep(self.retry_seconds)
            try:
                due = await self._settlement.settle(message)
                break
            except SpoolError as failure:
                error = failure
            except Exception as failure:
                self._log.error(f"{message.queue_id}: cannot end the delivery attempt: {failure!r}")
                break
        self._dismiss(message, due)
