"""What brings waiting messages into the active queue when their time comes (docs/queue.md).

A cursor `(next_attempt, queue_id)` says up to where the queue on disk has been read: what lies before it is active,
or was put there since and moved the cursor back. So a message in delivery costs no write, and is not read twice.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Iterator

from pymta.errors import SpoolError
from pymta.model.queue import QueueEntry, QueueId
from pymta.ports import Clock, Log, Spool

_AT_ONCE = 100
_START = (-1.0, "")


class Feed:
    """Reads due entries while there is room, then sleeps until the next is due, at most `run_delay` seconds.

    `admit` takes an entry, `room` says how many more may come, `is_active` which need not; `drained` is told when
    nothing that is due is left on disk.
    """

    def __init__(
        self,
        spool: Spool,
        clock: Clock,
        log: Log,
        run_delay: float,
        room: Callable[[], int],
        is_active: Callable[[QueueId], bool],
        admit: Callable[[QueueEntry], None],
        drained: Callable[[], None],
    ) -> None:
        self._spool = spool
        self._clock = clock
        self._log = log
        self._run_delay = run_delay
        self._room = room
        self._is_active = is_active
        self._admit = admit
        self._drained = drained
        self._cursor: tuple[float, QueueId] = _START
        self._wake = asyncio.Event()
        self._wake_at = 0.0
        self._readings: list[set[QueueId]] = []
        self._task: asyncio.Task[None] | None = None

    def configure(self, run_delay: float) -> None:
        self._run_delay = run_delay

    def start(self) -> None:
        self._task = asyncio.create_task(self._run())

    async def stop(self) -> None:
        if self._task is not None:
            self._task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._task
            self._task = None

    def waits(self, queue_id: QueueId, next_attempt: float) -> None:
        """A message lies on disk and is due at `next_attempt`."""
        if (next_attempt, queue_id) <= self._cursor:
            # A prefix sorts just before the id itself.
            self._cursor = (next_attempt, queue_id[:-1])
        if next_attempt < self._wake_at:
            self._wake.set()

    def settled(self, queue_id: QueueId) -> None:
        """A message left the active queue or was changed on disk: what is being read of it right now is old."""
        for outdated in self._readings:
            outdated.add(queue_id)

    @contextlib.contextmanager
    def reading(self) -> Iterator[set[QueueId]]:
        """Collects the ids of messages that are settled while somebody reads the queue."""
        outdated: set[QueueId] = set()
        self._readings.append(outdated)
        try:
            yield outdated
        finally:
            self._readings = [other for other in self._readings if other is not outdated]

    def start_over(self) -> None:
        """What is on disk may be other than what was read: look at all that is due."""
        self._cursor = _START
        self._wake.set()

    def has_room(self) -> None:
        """The active queue was full and is not any more."""
        self._wake.set()

    async def _run(self) -> None:
        while True:
            self._wake.clear()
            try:
                self._wake_at = await self._read_due()
            except SpoolError as error:
                self._log.warning(f"cannot read the queue: {error}")
                self._wake_at = self._clock.now() + self._run_delay
            delay = min(self._wake_at - self._clock.now(), self._run_delay)
            try:
                async with asyncio.timeout(max(0.0, delay)):
                    await self._wake.wait()
            except TimeoutError:
                if delay >= self._run_delay:
                    # Once per run everything due is looked at again, whatever clocks or errors hid it.
                    self._cursor = _START

    async def _read_due(self) -> float:
        """Admit what is due while there is room; when to look again."""
        while (room := self._room()) > 0:
            now = self._clock.now()
            limit = min(room, _AT_ONCE)
            cursor = self._cursor
            with self.reading() as outdated:
                entries = await self._spool.due(now, limit, cursor)
            for entry in entries:
                if not self._is_active(entry.queue_id) and entry.queue_id not in outdated:
                    self._admit(entry)
            moved = self._cursor != cursor
            if not moved and entries:
                self._cursor = (entries[-1].next_attempt, entries[-1].queue_id)
            if not moved and len(entries) < limit:
                self._drained()
                self._wake_at = float("inf")
                upcoming = await self._spool.next_due(max(now, self._cursor[0]))
                return float("inf") if upcoming is None else upcoming
        return float("inf")
