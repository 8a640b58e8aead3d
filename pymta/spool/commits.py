"""Group commit: one thread that writes whatever changes wait, synced once, again and again.

A batch costs about the same whatever is in it: waking a thread, system calls, a sync. So two of them begin a few
milliseconds apart at least, and a change that nobody waits for goes along with the next that somebody does. One that
comes alone begins at once.
"""

from __future__ import annotations

import asyncio
import contextlib
import queue
import threading
from collections.abc import Callable, Sequence
from typing import TypeVar

from pymta.errors import SpoolError
from pymta.model.frozen import frozen
from pymta.model.queue import QueueId
from pymta.spool.failures import StorageFailure
from pymta.spool.rows import NewMessage
from pymta.spool.writing import Outcome, Payload, SpoolWriter

_BATCH_CHANGES = 2000
_BATCH_BYTES = 8 * 1024 * 1024
# Seconds from the beginning of one batch to that of the next.
_APART = 0.002
# How long a change waits for company that nobody waits for, unless there are this many.
_PATIENCE = 0.002
_COMPANY = 200

Done = Callable[[Outcome], None]
T = TypeVar("T")


@frozen
class Change:
    """One change, and who is told what came of it: the sizes of the messages that are gone by it."""

    payload: Payload
    done: Done


class GroupCommit:
    """Everything but the writing itself happens on the event loop; that is a thread's.

    `failure` is set for good when the storage failed: no change is tried after it.
    """

    def __init__(
        self,
        writer: SpoolWriter,
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
            if not batch:
                continue
            outcomes = self._write(batch)
            with contextlib.suppress(RuntimeError):
                self._loop.call_soon_threadsafe(self._report, batch, outcomes)
            # Whoever waited knows by now.
            if self.failure is None:
                self._try(self._writer.tidy)

    def _write(self, batch: Sequence[Change]) -> Sequence[Outcome]:
        """One outcome per change, whatever happens."""
        outcomes: Sequence[Outcome] | None = None
        if self.failure is None:
            payloads = [change.payload for change in batch]
            outcomes = self._try(lambda last_id_time: self._writer.apply(payloads, last_id_time))
        if outcomes is None:
            assert self.failure is not None
            outcomes = [self.failure] * len(batch)
        return outcomes

    def _try(self, do: Callable[[int], T]) -> T | None:
        """None where something went wrong that nobody thought of: then it is as if the disk had failed."""
        try:
            done = do(self._last_id_time())
        except Exception as error:
            self.failure = StorageFailure(f"queue: {error!r}")
            return None
        self.failure = self.failure or self._writer.failure
        return done

    # -- on the loop again

    def _report(self, batch: Sequence[Change], outcomes: Sequence[Outcome]) -> None:
        self._is_writing = False
        if self._waiting:
            self._set_timer(self._loop.time())
        # Changes that were made together share what they removed.
        removed = {id(outcome): outcome for outcome in outcomes if outcome}
        for outcome in removed.values():
            if not isinstance(outcome, SpoolError):
                self._on_removed(outcome)
        for change, outcome in zip(batch, outcomes, strict=True):
            try:
                change.done(outcome)
            except Exception as error:
                # The others of the batch are durable, or not, whatever happened to this one.
                self._loop.call_exception_handler({"message": "after a commit", "exception": error})
