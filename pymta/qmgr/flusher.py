"""Delivery now instead of when it is due: of all that waits, of one site's mail, of some messages (flush(8))."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from pymta.errors import SpoolError
from pymta.model.queue import QueueEntry, QueueFilter
from pymta.qmgr.feed import Feed
from pymta.qmgr.parts import Parts

_ROOM_CHECK_SECONDS = 0.05
_OUTDATED_LIMIT = 50_000
_AT_ONCE = 20


class Flusher:
    """Brings waiting messages into the active queue as it has room.

    A flush that is asked for while the same one is under way is that one: the queue is not read twice at once for
    one question, however often clients ask it.
    """

    def __init__(
        self, parts: Parts, feed: Feed, has_room: Callable[[], bool], admit: Callable[[QueueEntry], None]
    ) -> None:
        self._spool = parts.spool
        self._active = parts.active
        self._clock = parts.clock
        self._log = parts.log
        self._feed = feed
        self._has_room = has_room
        self._admit = admit
        self._running: dict[QueueFilter, asyncio.Task[None]] = {}

    def start(self, query: QueueFilter) -> None:
        """Begin, and return at once; what comes in later than now is not meant."""
        if query in self._running:
            return
        task = asyncio.create_task(self._run(query, self._clock.now()))
        self._running[query] = task
        task.add_done_callback(lambda done: self._running.pop(query, None))

    async def close(self) -> None:
        """End what is under way."""
        tasks = list(self._running.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _run(self, query: QueueFilter, began: float) -> None:
        try:
            with self._feed.reading() as outdated:
                admitted = 0
                async for entry in self._spool.entries(query):
                    if began < entry.queued_time <= self._clock.now():
                        # Not compared by id: ids of both forms may lie in the queue (enable_long_queue_ids). What
                        # came in the future came before the clock was set back, and waits for this very flush.
                        continue
                    while not self._has_room():  # noqa: ASYNC110 - room comes and goes, an event would tell the past
                        await asyncio.sleep(_ROOM_CHECK_SECONDS)
                    if entry.queue_id not in outdated and entry.queue_id not in self._active:
                        self._admit(entry)
                        admitted += 1
                        if admitted % _AT_ONCE == 0:
                            # What is under way goes on between a few and the next.
                            await asyncio.sleep(0)
                    if len(outdated) > _OUTDATED_LIMIT:
                        # Only what is still to come can be old when it comes.
                        outdated.intersection_update([name for name in outdated if entry.queue_id < name])
        except SpoolError as error:
            self._log.warning(f"flush ended early: {error}")
