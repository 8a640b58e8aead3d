"""A spool in memory, with the same contract as the durable one."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import replace
from functools import partial

from pymta.errors import SpoolError
from pymta.model.queue import (
    ENTRY_RECIPIENTS,
    EntryUpdate,
    Found,
    QueuedRecipient,
    QueueEntry,
    QueueFilter,
    QueueId,
    QueueName,
    RecipientState,
    RecipientUpdate,
)
from pymta.ports import Clock, Content, ContentWriter, Recorded
from pymta.runtime.clock import SystemClock
from pymta.spool.content import MemoryContent
from pymta.spool.ids import QueueIds
from pymta.spool.selection import matches

_WAITING = (QueueName.INCOMING, QueueName.DEFERRED)


class MemoryContentWriter:
    """`ports.ContentWriter` in memory, whatever the size."""

    def __init__(self) -> None:
        self._data = bytearray()

    @property
    def size(self) -> int:
        return len(self._data)

    def write(self, data: bytes) -> None:
        self._data += data

    def prepend(self, data: bytes) -> None:
        self._data[:0] = data

    def content(self) -> Content:
        return MemoryContent(bytes(self._data))

    async def discard(self) -> None:
        self._data.clear()


class MemorySpool:
    """`ports.Spool` in memory. What is stored stays over `close` and `open`, as on a disk.

    Set `failure` to have every change raise it, as after a failed sync; `lose_content` makes a message corrupt.
    """

    def __init__(self, clock: Clock | None = None) -> None:
        self._ids = QueueIds((clock or SystemClock()).now)
        self._entries: dict[QueueId, QueueEntry] = {}
        self._contents: dict[QueueId, bytes] = {}
        self._is_open = False
        self.failure: SpoolError | None = None
        self.stays_broken = False

    async def open(self) -> None:
        if self._is_open:
            raise SpoolError("the spool is open already")
        self._is_open = True

    async def close(self) -> None:
        self._is_open = False

    async def reopen(self) -> None:
        """Leaves `failure` behind, unless `stays_broken`."""
        if self.stays_broken and self.failure is not None:
            raise self.failure
        self.failure = None

    def _check_open(self) -> None:
        if not self._is_open:
            raise SpoolError("the spool is not open")

    def _check_writable(self) -> None:
        self._check_open()
        if self.failure is not None:
            raise self.failure

    def new_queue_id(self) -> QueueId:
        self._check_open()
        return self._ids.new()

    def new_content(self, queue_id: QueueId) -> ContentWriter:
        return MemoryContentWriter()

    async def add(self, entry: QueueEntry, content: ContentWriter) -> None:
        self._add(entry, content)

    def store(self, entry: QueueEntry, content: ContentWriter, done: Recorded) -> None:
        self._call(partial(self._add, entry, content), done)

    def record(self, change: EntryUpdate | QueueId, done: Recorded) -> None:
        if isinstance(change, str):
            self._call(partial(self._remove, change), done)
        else:
            self._call(partial(self._update, change), done)

    def _call(self, change: Callable[[], object], done: Recorded) -> None:
        outcome = None
        try:
            change()
        except SpoolError as error:
            outcome = error
        asyncio.get_running_loop().call_soon(done, outcome)

    def _add(self, entry: QueueEntry, content: ContentWriter) -> None:
        self._check_writable()
        if entry.size != content.size or not entry.recipients:
            raise SpoolError(f"{entry.queue_id}: an entry needs recipients and the size of its content")
        if entry.queue_id in self._entries:
            raise SpoolError(f"{entry.queue_id} exists already")
        self._contents[entry.queue_id] = content.content().data or b""
        self._entries[entry.queue_id] = entry

    async def update(self, update: EntryUpdate) -> None:
        self._update(update)

    def _update(self, update: EntryUpdate) -> None:
        self._check_writable()
        entry = self._entries.get(update.queue_id)
        if entry is None:
            return
        entry = _updated(entry, update)
        if entry.recipients:
            self._entries[update.queue_id] = entry
        else:
            self._forget(update.queue_id)

    async def remove(self, queue_id: QueueId) -> bool:
        return self._remove(queue_id)

    def _remove(self, queue_id: QueueId) -> bool:
        self._check_writable()
        return self._forget(queue_id)

    def _forget(self, queue_id: QueueId) -> bool:
        self._contents.pop(queue_id, None)
        return self._entries.pop(queue_id, None) is not None

    async def load(self, queue_id: QueueId) -> QueueEntry | None:
        self._check_open()
        entry = self._entries.get(queue_id)
        return None if entry is None else _as_read(entry)

    async def recipients(self, queue_id: QueueId, after: int, limit: int) -> list[QueuedRecipient]:
        self._check_open()
        entry = self._entries.get(queue_id)
        return [] if entry is None else [one for one in entry.recipients if one.number > after][:limit]

    def content(self, entry: QueueEntry) -> Content:
        data = self._contents.get(entry.queue_id)
        if data is None:
            raise SpoolError(f"{entry.queue_id}: content is missing")
        return MemoryContent(data)

    def lose_content(self, queue_id: QueueId) -> None:
        """Damage a message; it moves to the corrupt queue when its time comes."""
        self._contents.pop(queue_id, None)

    async def due(self, now: float, limit: int, after: tuple[float, QueueId] = (0.0, "")) -> list[QueueEntry]:
        self._check_open()
        found = sorted(
            (entry.next_attempt, queue_id)
            for queue_id, entry in self._entries.items()
            if entry.queue in _WAITING and entry.next_attempt <= now and (entry.next_attempt, queue_id) > after
        )
        whole: list[QueueEntry] = []
        for _, queue_id in found:
            if queue_id not in self._contents:
                self._entries[queue_id] = replace(self._entries[queue_id], queue=QueueName.CORRUPT)
            elif len(whole) < limit:
                whole.append(_as_read(self._entries[queue_id]))
        return whole

    async def next_due(self, after: float = -1.0) -> float | None:
        self._check_open()
        times = (entry.next_attempt for entry in self._entries.values() if entry.queue in _WAITING)
        return min((time for time in times if time > after), default=None)

    async def entries(self, query: QueueFilter) -> AsyncIterator[QueueEntry]:
        self._check_open()
        for queue_id in sorted(self._entries):
            entry = self._entries.get(queue_id)
            if entry is not None and matches(entry, query):
                yield _as_read(entry)

    async def find(self, query: QueueFilter) -> AsyncIterator[Sequence[Found]]:
        async for entry in self.entries(query):
            yield [Found(entry.queue_id, entry.queue, entry.forced_expire)]

    async def counts(self) -> dict[str, int]:
        self._check_open()
        found: dict[str, int] = {}
        for entry in self._entries.values():
            found[entry.queue.value] = found.get(entry.queue.value, 0) + 1
        return found


def _as_read(entry: QueueEntry) -> QueueEntry:
    """An entry holds no more than its first recipients."""
    unread = len(entry.recipients) - ENTRY_RECIPIENTS
    return entry if unread <= 0 else replace(entry, recipients=entry.recipients[:ENTRY_RECIPIENTS], unread=unread)


def _updated(entry: QueueEntry, update: EntryUpdate) -> QueueEntry:
    news = {change.number: change for change in update.recipients}
    recipients = [_changed(recipient, news.get(recipient.number)) for recipient in entry.recipients]
    return replace(
        entry,
        queue=entry.queue if update.queue is None else update.queue,
        next_attempt=entry.next_attempt if update.next_attempt is None else update.next_attempt,
        attempts=entry.attempts if update.attempts is None else update.attempts,
        warned_time=entry.warned_time if update.warned_time is None else update.warned_time,
        forced_expire=entry.forced_expire if update.forced_expire is None else update.forced_expire,
        recipients=tuple(recipient for recipient in recipients if recipient is not None),
    )


def _changed(recipient: QueuedRecipient, change: RecipientUpdate | None) -> QueuedRecipient | None:
    if change is None:
        return recipient
    if change.state is RecipientState.DONE:
        return None
    return replace(
        recipient,
        status=change.status,
        reason=change.reason,
        relay=change.relay,
        remote_mta=change.remote_mta,
        diagnostic=change.diagnostic,
    )
