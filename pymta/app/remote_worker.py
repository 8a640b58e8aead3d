"""The delivery process: what the queue manager asks for, made and answered."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

from pymta.app.remote_hosts import hear, share
from pymta.app.remote_kinds import DELIVERY, Kind
from pymta.app.remote_upstream import Upstream
from pymta.app.remote_values import dumps, loads, pack_results, unpack_request
from pymta.delivery.host_failures import HostFailures
from pymta.delivery.smtp import SmtpAgent
from pymta.model.delivery import DeliveryRequest, DeliveryResult
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
        self._failures = HostFailures() if failures is None else failures
        self._content = content
        self._agents = agents
        self._log = log
        self._tasks: set[asyncio.Task[None]] = set()
        self._in_hand: dict[int, SmtpAgent] = {}
        self.upstream = Upstream(socket, token, DELIVERY, number, on_frame=self._on_frame, on_lost=self._cancel)
        share(self._failures, self.upstream)

    def _on_frame(self, link: Link, kind: int, number: int, head: bytes, body: bytes) -> None:
        if kind == Kind.DELIVER:
            self._start(link, number, unpack_request(loads(head)), body)
        elif kind == Kind.HOST:
            hear(self._failures, head)

    def _start(self, link: Link, number: int, request: DeliveryRequest, body: bytes) -> None:
        """A kept session takes the message at once; a task waits for all that takes longer."""
        self._faults("delivery begun")
        agent = self._agents(request.transport)
        content: Content = MemoryContent(body)
        if request.size >= IN_DATABASE_BELOW:
            content = FileContent(file_path(self._content, request.queue_id), request.size)
        if isinstance(agent, SmtpAgent):
            self._in_hand[number] = agent
            if agent.begin(request, content, partial(self._answer, link, number, request)):
                return
            del self._in_hand[number]
        task = asyncio.create_task(self._deliver(link, number, agent, request, content))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def _cancel(self) -> None:
        for task in list(self._tasks):
            task.cancel()
        agents, self._in_hand = set(self._in_hand.values()), {}
        for agent in agents:
            agent.abandon()

    async def _deliver(
        self, link: Link, number: int, agent: DeliveryAgent | None, request: DeliveryRequest, content: Content
    ) -> None:
        if agent is None:
            link.send(Kind.RESULTS, number, dumps("mail transport unavailable"))
            return
        answer: Sequence[DeliveryResult] | Exception
        try:
            answer = await agent.deliver(request, content)
        except Exception as error:
            answer = error
        self._answer(link, number, request, answer)

    def _answer(
        self, link: Link, number: int, request: DeliveryRequest, answer: Sequence[DeliveryResult] | Exception
    ) -> None:
        self._in_hand.pop(number, None)
        self._faults("delivery made")
        if isinstance(answer, Exception):
            self._log.error(f"{request.queue_id}: transport {request.transport} failed: {answer!r}")
            link.send(Kind.RESULTS, number, dumps(f"transport {request.transport} failed"))
        else:
            link.send(Kind.RESULTS, number, dumps(pack_results(answer)))
