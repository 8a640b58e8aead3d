"""One smtpd process as the queue manager's process sees it: its messages, and what it asks about clients."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from functools import partial
from typing import Any

from pymta.app.remote_counts import ClientCounts
from pymta.app.remote_kinds import Kind
from pymta.app.remote_values import dumps, loads, unpack_entry
from pymta.errors import SpoolError
from pymta.qmgr import QueueManager
from pymta.runtime.ipc import Link
from pymta.spool import SqliteSpool

# More than this under way for one process, and it is read no further until some is done.
_WINDOW_MESSAGES = 2000
_WINDOW_BYTES = 32 * 1024 * 1024
_STORED = dumps("")
_NOT_STORED = "the message could not be stored"


class SmtpdEnd:
    """Answers what comes over the link of smtpd process `number`."""

    def __init__(self, link: Link, number: int, queue: QueueManager, spool: SqliteSpool, counts: ClientCounts) -> None:
        self._link = link
        self._number = number
        self._queue = queue
        self._spool = spool
        self._counts = counts
        self._messages = 0
        self._bytes = 0
        self._is_held = False
        self._tasks: set[asyncio.Task[None]] = set()
        self._kinds: dict[int, Callable[[int, bytes, bytes], None]] = {
            Kind.ENQUEUE: self._enqueue,
            Kind.OPENED: self._opened,
            Kind.CLOSED: self._closed,
            Kind.HELD: self._held,
            Kind.COUNTED: self._counted,
            Kind.HAPPENED: self._happened,
            Kind.FLUSH: self._flush,
        }

    def receive(self, link: Link, kind: int, number: int, head: bytes, body: bytes) -> None:
        self._kinds[kind](number, head, body)

    async def ended(self, seconds: float) -> None:
        """Wait for what was asked and takes its time."""
        if self._tasks:
            await asyncio.wait(list(self._tasks), timeout=seconds)

    # -- messages

    def _enqueue(self, number: int, head: bytes, body: bytes) -> None:
        last, in_file, values = loads(head)
        entry = unpack_entry(values)
        spool = self._spool
        spool.note_id_time(last)
        if in_file:
            content = spool.handed_content(entry.queue_id, self._number, entry.size)
        else:
            content = spool.given_content(entry.queue_id, body)
        size = len(body)
        self._messages += 1
        self._bytes += size
        if self._messages >= _WINDOW_MESSAGES or self._bytes >= _WINDOW_BYTES:
            self._hold()
        self._queue.store(entry, content, partial(self._stored, number, size))

    def _stored(self, number: int, size: int, error: SpoolError | None) -> None:
        self._link.send(Kind.ANSWER, number, _STORED if error is None else dumps(str(error) or _NOT_STORED))
        self._messages -= 1
        self._bytes -= size
        if self._is_held and self._messages < _WINDOW_MESSAGES and self._bytes < _WINDOW_BYTES:
            self._is_held = False
            self._link.hold(False)

    def _hold(self) -> None:
        if not self._is_held:
            self._is_held = True
            self._link.hold(True)

    # -- clients' limits

    def _opened(self, number: int, head: bytes, body: bytes) -> None:
        values: Any = loads(head)
        self._answer(number, self._counts.opened(self._link, *values))

    def _closed(self, number: int, head: bytes, body: bytes) -> None:
        self._counts.closed(self._link, *loads(head))

    def _held(self, number: int, head: bytes, body: bytes) -> None:
        self._counts.held(self._link, *loads(head))

    def _counted(self, number: int, head: bytes, body: bytes) -> None:
        self._answer(number, self._counts.counted(*loads(head)))

    def _happened(self, number: int, head: bytes, body: bytes) -> None:
        self._counts.happened(*loads(head))

    def _answer(self, number: int, values: Any) -> None:
        self._link.send(Kind.ANSWER, number, dumps(values))

    # -- what clients ask for (ETRN)

    def _flush(self, number: int, head: bytes, body: bytes) -> None:
        (site,) = loads(head)
        task = asyncio.create_task(self._flush_site(number, site))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _flush_site(self, number: int, site: str) -> None:
        await self._queue.flush_site(site)
        self._answer(number, "")
