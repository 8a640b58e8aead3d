"""The queue manager's end of the links: takes messages from smtpd roles, and finds delivery roles for what goes out."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from pymta.app.remote_counts import ClientCounts
from pymta.app.remote_delivery import DeliveryRoles
from pymta.app.remote_hosts import HostNews
from pymta.app.remote_kinds import DELIVERY, SMTPD, Kind
from pymta.app.remote_values import dumps, loads, unpack_entry
from pymta.errors import SpoolError
from pymta.ports import Log
from pymta.qmgr import QueueManager
from pymta.runtime.ipc import Link, LinkListener
from pymta.spool import SqliteSpool

# More than this under way for one smtpd role, and it is read no further until some is done.
_WINDOW_MESSAGES = 2000
_WINDOW_BYTES = 32 * 1024 * 1024
_STORED = dumps("")
_NOT_STORED = "the message could not be stored"


class _Writer:
    """One smtpd role: what it has under way here."""

    def __init__(self, number: int) -> None:
        self.number = number
        self.messages = 0
        self.bytes = 0
        self.is_held = False

    @property
    def is_full(self) -> bool:
        return self.messages >= _WINDOW_MESSAGES or self.bytes >= _WINDOW_BYTES


class RoleServer:
    """Listens for the roles of this instance. The spool is open; its lock makes sure that the socket is ours."""

    def __init__(
        self,
        path: Path,
        token: str,
        queue: QueueManager,
        spool: SqliteSpool,
        counts: ClientCounts,
        delivery: DeliveryRoles,
        log: Log,
    ) -> None:
        self._token = token
        self._queue = queue
        self._spool = spool
        self._counts = counts
        self._delivery = delivery
        self._log = log
        self._hosts = HostNews()
        self._listener = LinkListener(path, self._receive, self._lost)
        self._writers: dict[Link, _Writer] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._answers: dict[int, Callable[[Link, int, bytes, bytes], None]] = {
            Kind.ENQUEUE: self._enqueue,
            Kind.OPENED: self._opened,
            Kind.CLOSED: self._closed,
            Kind.HELD: self._held,
            Kind.COUNTED: self._counted,
            Kind.HAPPENED: self._happened,
            Kind.RESULTS: self._results,
            Kind.FLUSH: self._flush,
            Kind.HOST: self._hosts.told,
        }

    async def start(self) -> None:
        await self._listener.start()

    async def close(self) -> None:
        """End all links; what was not answered is not acknowledged."""
        self._listener.close()
        if self._tasks:
            await asyncio.wait(list(self._tasks), timeout=5.0)

    def _receive(self, link: Link, kind: int, number: int, head: bytes, body: bytes) -> None:
        if kind == Kind.HELLO:
            self._hello(link, loads(head))
        elif link in self._writers or self._delivery.knows(link):
            self._answers[kind](link, number, head, body)
        else:
            link.close()

    def _hello(self, link: Link, values: tuple[str, str, int]) -> None:
        token, role, number = values
        if token != self._token:
            self._log.warning("a process of another instance wants to be served; it is not")
            link.close()
        elif role == SMTPD:
            self._writers[link] = _Writer(number)
            link.send(Kind.WELCOME, 0, dumps((self._spool.last_id_time, self._spool.instance)))
        elif role == DELIVERY:
            link.send(Kind.WELCOME, 0, dumps(()))
            self._delivery.add(link, number)
            self._hosts.add(link)

    def _lost(self, link: Link) -> None:
        self._counts.forget(link)
        self._delivery.remove(link)
        self._hosts.remove(link)
        self._writers.pop(link, None)

    # -- messages

    def _enqueue(self, link: Link, number: int, head: bytes, body: bytes) -> None:
        writer = self._writers[link]
        last, in_file, texts, *values = loads(head)
        entry = unpack_entry(values)
        self._spool.note_id_time(last)
        if in_file:
            content = self._spool.handed_content(entry.queue_id, writer.number, entry.size, texts)
        else:
            content = self._spool.given_content(entry.queue_id, body, texts)
        writer.messages += 1
        writer.bytes += len(body)
        if writer.is_full and not writer.is_held:
            writer.is_held = True
            link.hold(True)
        self._queue.store(entry, content, partial(self._stored, link, writer, number, len(body)))

    def _stored(self, link: Link, writer: _Writer, number: int, size: int, error: SpoolError | None) -> None:
        link.send(Kind.ANSWER, number, _STORED if error is None else dumps(str(error) or _NOT_STORED))
        writer.messages -= 1
        writer.bytes -= size
        if writer.is_held and not writer.is_full:
            writer.is_held = False
            link.hold(False)

    # -- clients' limits

    def _opened(self, link: Link, number: int, head: bytes, body: bytes) -> None:
        values: Any = loads(head)
        link.send(Kind.ANSWER, number, dumps(self._counts.opened(link, *values)))

    def _closed(self, link: Link, number: int, head: bytes, body: bytes) -> None:
        self._counts.closed(link, *loads(head))

    def _held(self, link: Link, number: int, head: bytes, body: bytes) -> None:
        self._counts.held(link, *loads(head))

    def _counted(self, link: Link, number: int, head: bytes, body: bytes) -> None:
        link.send(Kind.ANSWER, number, dumps(self._counts.counted(*loads(head))))

    def _happened(self, link: Link, number: int, head: bytes, body: bytes) -> None:
        self._counts.happened(*loads(head))

    # -- what clients ask for (ETRN)

    def _flush(self, link: Link, number: int, head: bytes, body: bytes) -> None:
        (site,) = loads(head)
        task = asyncio.create_task(self._flush_site(link, number, site))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _flush_site(self, link: Link, number: int, site: str) -> None:
        await self._queue.flush_site(site)
        link.send(Kind.ANSWER, number, _STORED)

    # -- deliveries

    def _results(self, link: Link, number: int, head: bytes, body: bytes) -> None:
        self._delivery.answered(link, number, head)
