"""What an administrator does to the queue (postqueue(1), postsuper(1)); the control socket calls these."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncGenerator, Awaitable, Callable
from dataclasses import replace

from pymta.errors import SpoolError
from pymta.model.queue import EntryUpdate, Found, QueueEntry, QueueFilter, QueueId, QueueName
from pymta.ports import Clock, Content, Log, Spool
from pymta.qmgr.service import QueueManager

_WAITING = (QueueName.INCOMING, QueueName.DEFERRED)
_CHANGES_AT_ONCE = 1000
_RESUBMISSIONS_AT_ONCE = 20

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
        # What is done to a message, and to how many of them at once: a resubmission has the content in hand.
        self._actions: dict[str, tuple[Callable[[Found], Awaitable[bool]], int]] = {
            "delete": (self._delete, _CHANGES_AT_ONCE),
            "hold": (self._hold, _CHANGES_AT_ONCE),
            "release": (self._release, _CHANGES_AT_ONCE),
            "requeue": (self._requeue, _RESUBMISSIONS_AT_ONCE),
            "expire": (self._expire, _CHANGES_AT_ONCE),
        }

    # -- looking

    async def entries(self, query: QueueFilter) -> AsyncGenerator[QueueEntry, None]:
        """Entries in order of id; what is being delivered is in the queue `active`."""
        on_disk = self._on_disk(query)
        if on_disk is None:
            return
        async for entry in self._spool.entries(on_disk):
            queue = self._queue_of(entry)
            if not query.queues or queue in query.queues:
                yield entry if queue is entry.queue else replace(entry, queue=queue)

    async def _found(self, query: QueueFilter) -> AsyncGenerator[list[Found], None]:
        """The same messages, many at a time."""
        on_disk = self._on_disk(query)
        if on_disk is None:
            return
        async for page in self._spool.find(on_disk):
            yield [one for one in page if not query.queues or self._queue_of(one) in query.queues]

    def _on_disk(self, query: QueueFilter) -> QueueFilter | None:
        """What to ask the spool, which knows no `active`; None where nothing can match."""
        if query.queues == (QueueName.ACTIVE,):
            ids = set(self._queue.active_ids())
            wanted = tuple(sorted(ids & set(query.queue_ids) if query.queue_ids else ids))
            return replace(query, queues=(), queue_ids=wanted) if wanted else None
        return replace(query, queues=()) if QueueName.ACTIVE in query.queues else query

    def _queue_of(self, message: QueueEntry | Found) -> QueueName:
        if message.queue in _WAITING and self._queue.is_active(message.queue_id):
            return QueueName.ACTIVE
        return message.queue

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
        queues = tuple(name for name in _WAITING if not query.queues or name in query.queues)
        waiting = replace(query, queues=queues)
        count = await self._count(waiting) if queues else 0
        self._queue.flush(waiting)
        return count

    async def _count(self, query: QueueFilter) -> int:
        if query == QueueFilter(queues=query.queues, now=query.now):
            counts = await self.counts()
            return sum(counts[name] for name in query.queues)
        return sum([len(page) async for page in self._found(query)])

    # -- changing

    async def change(self, action: str, query: QueueFilter) -> AsyncGenerator[QueueId, None]:
        """Apply `delete`, `hold`, `release`, `requeue` or `expire`, many messages to a sync; yields what it changed."""
        act, at_once = self._actions[action]
        async with contextlib.aclosing(self._found(query)) as pages:
            async for page in pages:
                for start in range(0, len(page), at_once):
                    batch = page[start : start + at_once]
                    for one, changed in zip(batch, await asyncio.gather(*map(act, batch)), strict=True):
                        if changed:
                            yield one.queue_id

    async def delete(self, query: QueueFilter) -> int:
        """Forget messages. One that an agent has right now goes when the attempt ends, without notices."""
        return await self._count_changes("delete", query)

    async def hold(self, query: QueueFilter) -> int:
        """Have messages wait until `release`. One in delivery is held with what the attempt leaves."""
        return await self._count_changes("hold", query)

    async def release(self, query: QueueFilter) -> int:
        """Have held messages tried again, from now on."""
        return await self._count_changes("release", query)

    async def requeue(self, query: QueueFilter) -> int:
        """Take messages through intake again, so that rewriting and aliases of today hold; a corrupt one as it is.

        One in delivery is left alone.
        """
        return await self._count_changes("requeue", query)

    async def expire(self, query: QueueFilter, *, flush: bool = False) -> int:
        """Have messages returned to their senders with their next attempt; with `flush` that is now (-f)."""
        count = await self._count_changes("expire", query)
        if flush and count:
            await self.flush(query)
        return count

    async def _count_changes(self, action: str, query: QueueFilter) -> int:
        return sum([1 async for _ in self.change(action, query)])

    async def _delete(self, found: Found) -> bool:
        queue_id = found.queue_id
        message = self._queue.active(queue_id)
        if message is not None:
            # The queue manager removes it, now or after the attempt, and logs that.
            message.is_deleted = True
            self._queue.withdraw(message)
            return True
        removed = await self._spool.remove(queue_id)
        self._queue.feed.settled(queue_id)
        if (late := self._queue.active(queue_id)) is not None:
            late.is_deleted = True
            self._queue.withdraw(late)
        if removed:
            self._log.info(f"{queue_id}: removed")
        return removed

    async def _hold(self, found: Found) -> bool:
        if found.queue is QueueName.HOLD or found.queue is QueueName.CORRUPT:
            return False
        await self._update(EntryUpdate(found.queue_id, queue=QueueName.HOLD))
        message = self._queue.active(found.queue_id)
        if message is not None:
            message.is_held = True
            self._queue.withdraw(message)
        self._log.info(f"{found.queue_id}: placed on hold")
        return True

    async def _release(self, found: Found) -> bool:
        message = self._queue.active(found.queue_id)
        if found.queue is not QueueName.HOLD and not (message and message.is_held):
            return False
        await self._update(EntryUpdate(found.queue_id, queue=QueueName.DEFERRED, next_attempt=0.0))
        if message is not None:
            message.is_held = False
        self._queue.feed.waits(found.queue_id, 0.0)
        self._log.info(f"{found.queue_id}: released from hold")
        return True

    async def _requeue(self, found: Found) -> bool:
        queue_id = found.queue_id
        if self._queue.is_active(queue_id):
            self._log.info(f"{queue_id}: skipped, still being delivered")
            return False
        if self._resubmit is None or found.queue is QueueName.CORRUPT:
            await self._update(EntryUpdate(queue_id, QueueName.INCOMING, next_attempt=0.0, attempts=0))
            self._queue.feed.waits(queue_id, 0.0)
        elif not await self._replace(queue_id, self._resubmit):
            return False
        self._log.info(f"{queue_id}: requeued")
        return True

    async def _replace(self, queue_id: QueueId, resubmit: Resubmit) -> bool:
        """Have a new message take the place of this one, which is held first: they are not delivered side by side."""
        entry = await self._spool.load(queue_id)
        if entry is None:
            return False
        await self._update(EntryUpdate(queue_id, queue=QueueName.HOLD))
        try:
            await resubmit(entry, self._spool.content(entry))
        except SpoolError:
            await self._update(EntryUpdate(queue_id, queue=entry.queue))
            self._queue.feed.waits(queue_id, entry.next_attempt)
            raise
        await self._spool.remove(queue_id)
        return True

    async def _expire(self, found: Found) -> bool:
        if found.queue is QueueName.CORRUPT or found.forced_expire:
            return False
        await self._spool.update(EntryUpdate(found.queue_id, forced_expire=True))
        message = self._queue.active(found.queue_id)
        if message is not None:
            message.entry = replace(message.entry, forced_expire=True)
        self._log.info(f"{found.queue_id}: expired")
        return True

    async def _update(self, update: EntryUpdate) -> None:
        await self._spool.update(update)
        self._queue.feed.settled(update.queue_id)
