"""Group commit: one thread that turns whatever changes wait into one transaction, again and again.

While a transaction syncs, the next batch gathers; so a batch is as large as the load makes it, and a change waits
for at most the transaction under way and its own.
"""

from __future__ import annotations

from pymta.model.frozen import frozen

import asyncio
import contextlib
import queue
import threading
from collections.abc import Callable, Sequence

from pymta.errors import SpoolError
from pymta.model.queue import EntryUpdate, QueueId
from pymta.spool.rows import NewMessage
from pymta.spool.sqlite import RefusedChange, StorageFailure, Writer

_BATCH_CHANGES = 2000
_BATCH_BYTES = 32 * 1024 * 1024

Payload = NewMessage | EntryUpdate | QueueId


@frozen
class Change:
    """One caller's change and where its result goes: the sizes of messages that the transaction removed."""

    payload: Payload
    done: asyncio.Future[dict[QueueId, int]]


class GroupCommit:
    """The writer thread. `submit` is called on the event loop, results arrive there.

    `failure` is set for good when the storage failed: no change is tried after it.
    """

    def __init__(
        self,
        writer: Writer,
        loop: asyncio.AbstractEventLoop,
        last_id_time: Callable[[], int],
        on_removed: Callable[[dict[QueueId, int]], None],
    ) -> None:
        self._writer = writer
        self._loop = loop
        self._last_id_time = last_id_time
        self._on_removed = on_removed
        self._changes: queue.SimpleQueue[Change | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._run, name="spool", daemon=True)
        self.failure: SpoolError | None = None

    def start(self) -> None:
        self._thread.start()

    def submit(self, payload: Payload) -> asyncio.Future[dict[QueueId, int]]:
        done = self._loop.create_future()
        if self.failure is not None:
            done.set_exception(self.failure)
        else:
            self._changes.put(Change(payload, done))
        return done

    def stop(self) -> None:
        """Commit what waits, then end the thread; blocks."""
        self._changes.put(None)
        self._thread.join()

    def _run(self) -> None:
        while (change := self._changes.get()) is not None:
            batch = [change]
            ends = self._gather(batch)
            outcomes = self._commit(batch)
            with contextlib.suppress(RuntimeError):
                self._loop.call_soon_threadsafe(self._report, batch, outcomes)
            if ends:
                return

    def _gather(self, batch: list[Change]) -> bool:
        """Add what waits, within limits; whether `stop` was among it."""
        room = _BATCH_BYTES
        for _ in range(min(self._changes.qsize(), _BATCH_CHANGES)):
            change = self._changes.get()
            if change is None:
                return True
            batch.append(change)
            if isinstance(change.payload, NewMessage):
                room -= change.payload.weight
                if room < 0:
                    break
        return False

    def _commit(self, batch: Sequence[Change]) -> list[dict[QueueId, int] | SpoolError]:
        """One outcome per change. A change that is impossible is found by trying each alone."""
        try:
            return [self._apply(batch)] * len(batch)
        except RefusedChange as error:
            if len(batch) == 1:
                return [error]
            return [outcome for change in batch for outcome in self._commit([change])]
        except StorageFailure as error:
            self.failure = error
            return [error] * len(batch)
        except SpoolError as error:
            return [error] * len(batch)

    def _apply(self, batch: Sequence[Change]) -> dict[QueueId, int]:
        if self.failure is not None:
            raise self.failure
        new, updates, gone = [], [], []
        for change in batch:
            payload = change.payload
            if isinstance(payload, NewMessage):
                new.append(payload)
            elif isinstance(payload, str):
                gone.append(payload)
            else:
                updates.append(payload)
        return self._writer.apply(new, updates, gone, self._last_id_time())

    def _report(self, batch: Sequence[Change], outcomes: Sequence[dict[QueueId, int] | SpoolError]) -> None:
        reported: object = None
        for change, outcome in zip(batch, outcomes, strict=True):
            if isinstance(outcome, SpoolError):
                if not change.done.done():
                    change.done.set_exception(outcome)
                continue
            if outcome and outcome is not reported:
                reported = outcome
                self._on_removed(outcome)
            if not change.done.done():
                change.done.set_result(outcome)
