"""The queue manager's end of the links: tells who is at the other end, and lets that have its answers."""

from __future__ import annotations

import asyncio
from functools import partial
from pathlib import Path

from pymta.app.remote_counts import ClientCounts
from pymta.app.remote_delivery import DeliveryRoles
from pymta.app.remote_hosts import HostNews
from pymta.app.remote_kinds import DELIVERY, SMTPD, Kind
from pymta.app.remote_smtpd import SmtpdEnd
from pymta.app.remote_values import dumps, loads
from pymta.delivery.host_failures import HostFailures
from pymta.ports import Log
from pymta.qmgr import QueueManager
from pymta.runtime.ipc import Link, LinkListener
from pymta.runtime.ipc_calls import Calls
from pymta.spool import SqliteSpool

_CLOSING_SECONDS = 5.0


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
        failures: HostFailures,
        log: Log,
    ) -> None:
        self._token = token
        self._queue = queue
        self._spool = spool
        self._counts = counts
        self._delivery = delivery
        self._log = log
        self._hosts = HostNews(failures)
        self._listener = LinkListener(path, self._receive, self._lost)
        self._smtpd: dict[Link, SmtpdEnd] = {}

    async def start(self) -> None:
        await self._listener.start()

    async def close(self) -> None:
        """End all links; what was not answered is not acknowledged."""
        ends = list(self._smtpd.values())
        self._listener.close()
        await asyncio.gather(*[end.ended(_CLOSING_SECONDS) for end in ends])

    def _receive(self, link: Link, kind: int, number: int, head: bytes, body: bytes) -> None:
        """What a link says first must be who is there."""
        if kind == Kind.HELLO:
            self._hello(link, *loads(head))
        else:
            link.close()

    def _hello(self, link: Link, token: str, role: str, number: int) -> None:
        if token != self._token:
            self._log.warning("a process of another instance wants to be served; it is not")
            link.close()
        elif role == SMTPD:
            end = self._smtpd[link] = SmtpdEnd(link, number, self._queue, self._spool, self._counts)
            link.receive = end.receive
            link.send(Kind.WELCOME, 0, dumps((self._spool.last_id_time, self._spool.instance)))
        elif role == DELIVERY:
            link.send(Kind.WELCOME, 0, dumps(()))
            link.receive = partial(self._from_delivery, self._delivery.add(link, number))
            self._hosts.add(link)

    def _from_delivery(self, calls: Calls, link: Link, kind: int, number: int, head: bytes, body: bytes) -> None:
        if kind == Kind.RESULTS:
            calls.answered(number, head)
        elif kind == Kind.HOST:
            self._hosts.told(link, number, head, body)

    def _lost(self, link: Link) -> None:
        self._counts.forget(link)
        self._delivery.remove(link)
        self._hosts.remove(link)
        self._smtpd.pop(link, None)
