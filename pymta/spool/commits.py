"""Group commit: one thread that turns whatever changes wait into one transaction, again and again.

A transaction costs about the same whatever is in it: pages, system calls, a sync. So two of them begin a few
milliseconds apart at least, and one that nobody waits for goes along with the next that somebody does. A change that
comes alone begins at once.
"""

from __future__ import annotations

import asyncio
import contextlib
import queue
import threading
from collections.abc import Callable, Sequence

from pymta.errors import SpoolError
from pymta.model.frozen import frozen
from pymta.model.queue import EntryUpdate, QueueId
from pymta.spool.rows import NewMessage
from pymta.spool.sqlite import RefusedChange, StorageFailure, Writer

_BATCH_CHANGES = 2000
_BATCH_BYTES = 32 * 1024 * 1024
# Seconds from the beginning of one transaction to that of the next.
_APART = 0.002
# How long a change waits for company that nobody waits for, unless there are this many.
_PATIENCE = 0.002
_COMPANY = 200

Payload = NewMessage | EntryUpdate | QueueId
Outcome = dict[QueueId, int] | SpoolError
Done = Callable[[Outcome], None]


@frozen
class Change:
    """One change, and who is told what came of it: the sizes of the messages that its transaction removed."""

    payload: Payload
    done: Done


class GroupCommit:
    """Everything but the writing itself happens on the event loop; that is a thread's.

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
        self._waiting: list[Change] = []
        self._is_writing = False
        self._begun = 0.0
        self._due = float("inf")
        self._timer: asyncio.Handle | None = None
        self._is_finished = False
        self._batches: queue.SimpleQueue[list[Change] | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._run, name="spool", daemon=True)
        self.failure: SpoolError | None = None

    def start(self) -> None:
        self._thread.start()

    def submit(self, payload: Payload, done: Done, *, patient: bool = False) -> None:
        """Have `payload` written; `done` is called later, from the loop. A `patient` one is in no hurry."""
        if self.failure is not None or self._is_finished:
            self._loop.call_soon(done, self.failure or SpoolError("the spool is closed"))
            return
        self._waiting.append(Change(payload, done))
        now = self._loop.time()
        due = self._begun + _APART
        if patient and len(self._waiting) < _COMPANY:
            due = max(due, now + _PATIENCE)
        if due < self._due:
            self._due = due
            if not self._is_writing:
                self._set_timer(now)

    def _set_timer(self, now: float) -> None:
        if self._timer is not None:
            self._timer.cancel()
        delay = self._due - now
        # The end of this turn at the earliest: what else is in it goes along.
        self._timer = self._loop.call_later(delay, self._begin) if delay > 0 else self._loop.call_soon(self._begin)

    def _begin(self) -> None:
        """Hand what waits to the thread, within limits."""
        self._timer = None
        self._begun = self._loop.time()
        count = self._batch_length()
        batch, self._waiting = self._waiting[:count], self._waiting[count:]
        self._due = self._begun if self._waiting else float("inf")
        self._is_writing = True
        self._batches.put(batch)

    def _batch_length(self) -> int:
        room = _BATCH_BYTES
        for number, change in enumerate(self._waiting[:_BATCH_CHANGES], 1):
            if isinstance(change.payload, NewMessage):
                room -= change.payload.weight
                if room < 0:
                    return number
        return min(len(self._waiting), _BATCH_CHANGES)

    def finish(self) -> None:
        """Hand over what waits, whatever its size; what is submitted after it fails."""
        self._is_finished = True
        if self._timer is not None:
            self._timer.cancel()
        self._batches.put(self._waiting)
        self._waiting = []
        self._batches.put(None)

    def join(self) -> None:
        """Wait for the end of what was handed over; blocks."""
        self._thread.join()

    # -- in the thread

    def _run(self) -> None:
        while (batch := self._batches.get()) is not None:
            outcomes = self._commit(batch) if batch else []
            with contextlib.suppress(RuntimeError):
                self._loop.call_soon_threadsafe(self._report, batch, outcomes)

    def _commit(self, batch: Sequence[Change]) -> Sequence[Outcome]:
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

    # -- on the loop again

    def _report(self, batch: Sequence[Change], outcomes: Sequence[Outcome]) -> None:
        self._is_writing = False
        if self._waiting:
            self._set_timer(self._loop.time())
        reported: object = None
        for change, outcome in zip(batch, outcomes, strict=True):
            if outcome and outcome is not reported and not isinstance(outcome, SpoolError):
                reported = outcome
                self._on_removed(outcome)
            try:
                change.done(outcome)
            except Exception as error:
                # The others of the batch are durable, or not, whatever happened to this one.
                self._loop.call_exception_handler({"message": "after a commit", "exception": error})
