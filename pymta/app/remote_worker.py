"""The delivery process: what the queue manager asks for, made and answered."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any

from pymta.app.remote_hosts import hear, share
from pymta.app.remote_kinds import DELIVERY, Kind
from pymta.app.remote_upstream import Upstream
from pymta.app.remote_values import dumps, loads, pack_results, unpack_request
from pymta.delivery.host_failures import HostFailures
from pymta.model.delivery import DeliveryRequest
from pymta.ports import Content, DeliveryAgent, Log
from pymta.runtime.ipc import Link
from pymta.spool.content import IN_DATABASE_BELOW, FileContent, MemoryContent, file_path
from pymta.spool.faults import NO_FAULTS, Faults


class DeliveryWorker:
    """The delivery process: asks its agents, answers with their results.

    Large content is read from its file below `content`. Deliveries under way end when the queue manager does: its
    successor will ask for them again. `failures` are the hosts that its agents found down, which the other processes
    hear of.
    """

    def __init__(
        self,
        content: Path,
        socket: Path,
        token: str,
        number: int,
        agents: Callable[[str], DeliveryAgent | None],
        log: Log,
        faults: Faults = NO_FAULTS,
        failures: HostFailures | None = None,
    ) -> None:
        self._faults = faults
        self._failures = failures or HostFailures()
        self._content = content
        self._agents = agents
        self._log = log
        self._tasks: set[asyncio.Task[None]] = set()
        self.upstream = Upstream(socket, token, DELIVERY, number, on_frame=self._on_frame, on_lost=self._cancel)
        share(self._failures, self.upstream)

    def _on_frame(self, link: Link, kind: int, number: int, head: bytes, body: bytes) -> None:
        if kind == Kind.DELIVER:
            task = asyncio.create_task(self._deliver(link, number, unpack_request(loads(head)), body))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)
        elif kind == Kind.HOST:
            hear(self._failures, head)

    def _cancel(self) -> None:
        for task in list(self._tasks):
            task.cancel()

    async def _deliver(self, link: Link, number: int, request: DeliveryRequest, body: bytes) -> None:
        self._faults("delivery begun")
        agent = self._agents(request.transport)
        content: Content = MemoryContent(body)
        if request.size >= IN_DATABASE_BELOW:
            content = FileContent(file_path(self._content, request.queue_id), request.size)
        answer: Any = "mail transport unavailable"
        try:
            if agent is not None:
                answer = pack_results(await agent.deliver(request, content))
        except Exception as error:
            self._log.error(f"{request.queue_id}: transport {request.transport} failed: {error!r}")
            answer = f"transport {request.transport} failed"
        self._faults("delivery made")
        link.send(Kind.RESULTS, number, dumps(answer))
