"""Small content back from the database: what is asked for in one turn of the event loop is read at once."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from functools import partial

from pymta.errors import SpoolError
from pymta.model.queue import QueueId
from pymta.spool.content import Fetched

Read = Callable[[Sequence[QueueId]], Awaitable[Mapping[QueueId, bytes]]]


class ContentFetcher:
    """`read` gives the contents that there are; it may raise SpoolError."""

    def __init__(self, read: Read) -> None:
        self._read = read
        self._wanted: list[tuple[QueueId, Fetched]] = []
        self._readings: set[asyncio.Future[Mapping[QueueId, bytes]]] = set()

    def fetch(self, queue_id: QueueId, done: Fetched) -> None:
        """Have `done` called with the content, or with why there is none."""
        if not self._wanted:
            asyncio.get_running_loop().call_soon(self._begin)
        self._wanted.append((queue_id, done))

    def _begin(self) -> None:
        wanted, self._wanted = self._wanted, []
        queue_ids = [queue_id for queue_id, _ in wanted]
        task = asyncio.ensure_future(self._read(queue_ids))
        self._readings.add(task)
        task.add_done_callback(partial(self._read_back, wanted))

    def _read_back(
        self, wanted: Sequence[tuple[QueueId, Fetched]], task: asyncio.Future[Mapping[QueueId, bytes]]
    ) -> None:
        self._readings.discard(task)
        error = SpoolError("interrupted") if task.cancelled() else task.exception()
        found: Mapping[QueueId, bytes] = {} if error else task.result()
        for queue_id, done in wanted:
            if error is not None:
                done(error if isinstance(error, SpoolError) else SpoolError(repr(error)))
            else:
                done(found[queue_id] if queue_id in found else SpoolError(f"{queue_id}: content is missing"))
