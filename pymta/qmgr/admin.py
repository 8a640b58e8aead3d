"""What an administrator does to the queue (postqueue(1), postsuper(1)); the control socket calls these."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncGenerator, Awaitable, Callable
from dataclasses import replace

from pymta.errors import SpoolError
from pymta.model.queue import EntryUpdate, QueueEntry, QueueFilter, QueueId, QueueName
from pymta.ports import Clock, Content, Log, Spool
from pymta.qmgr.service import QueueManager

_WAITING = (QueueName.INCOMING, QueueName.DEFERRED)
_ROOM_CHECK_SECONDS = 0.05
_OUTDATED_LIMIT = 50_000

Resubmit = Callable[[QueueEntry, Content], Awaitable[QueueId]]


class QueueAdmin:
    """Lists and changes the queue while mail flows. Counts are of messages; all of it raises SpoolError.

    `resubmit` takes a message through intake again under a new id and returns once it is durable; without it,
    `requeue` keeps the id and starts the message anew.
    """

    def __init__(
        self, queue: QueueManager, spool: Spool, clock: Clock, log: Log, resubmit: Resubmit | None = None
    ) -> None:
        self._queue = queue
        self._spool = spool
        self._clock = clock
        self._log = log
        self._resubmit = resubmit
        self._flushes: set[asyncio.Task[None]] = set()

    # -- looking

    async def entries(self, query: QueueFilter) -> AsyncGenerator[QueueEntry, None]:
        """Entries in order of id; what is being delivered is in the queue `active`."""
        on_disk = query
        if query.queues == (QueueName.ACTIVE,):
            ids = set(self._queue.active_ids())
            wanted = tuple(sorted(ids & set(query.queue_ids) if query.queue_ids else ids))
            if not wanted:
                return
            on_disk = replace(query, queues=(), queue_ids=wanted)
        elif QueueName.ACTIVE in query.queues:
            on_disk = replace(query, queues=())
        async for entry in self._spool.entries(on_disk):
            if entry.queue in _WAITING and self._queue.is_active(entry.queue_id):
                entry = replace(entry, queue=QueueName.ACTIVE)
            if not query.queues or entry.queue in query.queues:
                yield entry

    async def counts(self) -> dict[QueueName, int]:
        """Messages per queue, every queue named."""
        stored = await self._spool.counts()
        found = {name: stored.get(name.value, 0) for name in QueueName}
        for queue_id in self._queue.active_ids():
            message = self._queue.active(queue_id)
            if message is not None and found[message.entry.queue] > 0:
                found[message.entry.queue] -= 1
                found[QueueName.ACTIVE] += 1
        return found

    # -- flushing

    async def flush(self, query: QueueFilter) -> int:
        """Have what waits tried now, dead destinations and deferred transports too; how many messages that is.

        The attempts begin as the active queue has room; they go on after this returns.
        """
        self._queue.revive_destinations()
        horizon = self._spool.new_queue_id()
        queues = tuple(name for name in _WAITING if not query.queues or name in query.queues)
        waiting = replace(query, queues=queues)
        count = await self._count(waiting) if queues else 0
        if count:
            task = asyncio.create_task(self._flush(waiting, horizon))
            self._flushes.add(task)
            task.add_done_callback(self._flushes.discard)
        return count

    async def _count(self, query: QueueFilter) -> int:
        if query == QueueFilter(queues=query.queues, now=query.now):
            counts = await self.counts()
            return sum(counts[name] for name in query.queues)
        return sum([1 async for _ in self.entries(query)])

    async def _flush(self, query: QueueFilter, horizon: QueueId) -> None:
        try:
            with self._queue.feed.reading() as outdated:
                async for entry in self._spool.entries(query):
                    if entry.queue_id > horizon:
                        return
                    while not self._queue.has_room():  # noqa: ASYNC110 - room comes and goes, an event would tell the past
                        await asyncio.sleep(_ROOM_CHECK_SECONDS)
                    if entry.queue_id not in outdated and not self._queue.is_active(entry.queue_id):
                        self._queue.admit(entry, flushed=True)
                    if len(outdated) > _OUTDATED_LIMIT:
                        # Only what is still to come can be old when it comes.
                        outdated.intersection_update([name for name in outdated if entry.queue_id < name <= horizon])
        except SpoolError as error:
            self._log.warning(f"flush ended early: {error}")

    async def close(self) -> None:
        """End flushes that are under way."""
        tasks = list(self._flushes)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    # -- changing

    async def delete(self, query: QueueFilter) -> int:
        """Forget messages. One that an agent has right now goes when the attempt ends, without notices."""
        return await self._each(query, self._delete)

    async def _delete(self, entry: QueueEntry) -> bool:
        message = self._queue.active(entry.queue_id)
        if message is not None:
            # The queue manager removes it, now or after the attempt, and logs that.
            message.is_deleted = True
            self._queue.withdraw(message)
            return True
        removed = await self._spool.remove(entry.queue_id)
        self._queue.feed.settled(entry.queue_id)
        if (late := self._queue.active(entry.queue_id)) is not None:
            late.is_deleted = True
            self._queue.withdraw(late)
        if removed:
            self._log.info(f"{entry.queue_id}: removed")
        return removed

    async def hold(self, query: QueueFilter) -> int:
        """Have messages wait until `release`. One in delivery is held with what the attempt leaves."""
        return await self._each(query, self._hold)

    async def _hold(self, entry: QueueEntry) -> bool:
        if entry.queue is QueueName.HOLD or entry.queue is QueueName.CORRUPT:
            return False
        await self._change(EntryUpdate(entry.queue_id, queue=QueueName.HOLD))
        message = self._queue.active(entry.queue_id)
        if message is not None:
            message.is_held = True
            self._queue.withdraw(message)
        self._log.info(f"{entry.queue_id}: placed on hold")
        return True

    async def release(self, query: QueueFilter) -> int:
        """Have held messages tried again, from now on."""
        return await self._each(query, self._release)

    async def _release(self, entry: QueueEntry) -> bool:
        message = self._queue.active(entry.queue_id)
        if entry.queue is not QueueName.HOLD and not (message and message.is_held):
            return False
        await self._change(EntryUpdate(entry.queue_id, queue=QueueName.DEFERRED, next_attempt=0.0))
        if message is not None:
            message.is_held = False
        self._queue.feed.waits(entry.queue_id, 0.0)
        self._log.info(f"{entry.queue_id}: released from hold")
        return True

    async def requeue(self, query: QueueFilter) -> int:
        """Take messages through intake again, so that rewriting and aliases of today hold; a corrupt one as it is.

        One in delivery is left alone.
        """
        return await self._each(query, self._requeue)

    async def _requeue(self, entry: QueueEntry) -> bool:
        if self._queue.is_active(entry.queue_id):
            self._log.info(f"{entry.queue_id}: skipped, still being delivered")
            return False
        if self._resubmit is None or entry.queue is QueueName.CORRUPT:
            await self._change(EntryUpdate(entry.queue_id, QueueName.INCOMING, next_attempt=0.0, attempts=0))
            self._queue.feed.waits(entry.queue_id, 0.0)
        else:
            # Held first, so that the old one is not delivered beside the new one.
            await self._change(EntryUpdate(entry.queue_id, queue=QueueName.HOLD))
            try:
                await self._resubmit(entry, self._spool.content(entry))
            except SpoolError:
                await self._change(EntryUpdate(entry.queue_id, queue=entry.queue))
                self._queue.feed.waits(entry.queue_id, entry.next_attempt)
                raise
            await self._spool.remove(entry.queue_id)
        self._log.info(f"{entry.queue_id}: requeued")
        return True

    async def expire(self, query: QueueFilter, *, flush: bool = False) -> int:
        """Have messages returned to their senders with their next attempt; with `flush` that is now (-f)."""
        count = await self._each(query, self._expire)
        if flush and count:
            await self.flush(query)
        return count

    async def _expire(self, entry: QueueEntry) -> bool:
        if entry.queue is QueueName.CORRUPT or entry.forced_expire:
            return False
        await self._spool.update(EntryUpdate(entry.queue_id, forced_expire=True))
        message = self._queue.active(entry.queue_id)
        if message is not None:
            message.entry = replace(message.entry, forced_expire=True)
        self._log.info(f"{entry.queue_id}: expired")
        return True

    async def _change(self, update: EntryUpdate) -> None:
        await self._spool.update(update)
        self._queue.feed.settled(update.queue_id)

    async def _each(self, query: QueueFilter, act: Callable[[QueueEntry], Awaitable[bool]]) -> int:
        count = 0
        async with contextlib.aclosing(self.entries(query)) as entries:
            async for entry in entries:
                count += await act(entry)
        return count
