"""SMTP and LMTP deliveries in processes of their own: the queue manager's side."""

from __future__ import annotations

import asyncio
import zlib
from collections.abc import Callable, Sequence
from typing import Any

from pymta.app.remote_kinds import Kind
from pymta.app.remote_values import dumps, loads, pack_request, unpack_results
from pymta.errors import DeliveryError, SpoolError
from pymta.model.delivery import DeliveryRequest, DeliveryResult, Outcome
from pymta.ports import Content
from pymta.runtime.ipc import Link
from pymta.runtime.ipc_calls import Answered, Calls, LinkLost
from pymta.spool.content import IN_DATABASE_BELOW, StoredContent

_ROLE_SECONDS = 10.0

Done = Callable[[Sequence[DeliveryResult] | Exception], None]


class DeliveryRoles:
    """The queue manager's side: which delivery processes there are, and what each has in hand."""

    def __init__(self) -> None:
        self._calls: dict[Link, Calls] = {}
        self._numbers: dict[Link, int] = {}
        self._there = asyncio.Event()

    def add(self, link: Link, number: int) -> Calls:
        """What the process is asked goes through the result, and so must what it answers."""
        calls = self._calls[link] = Calls(link)
        self._numbers[link] = number
        self._there.set()
        return calls

    def remove(self, link: Link) -> None:
        """A process ended; nobody knows what became of the deliveries it had: each of them fails."""
        calls = self._calls.pop(link, None)
        if calls is not None:
            del self._numbers[link]
            calls.lost()
        if not self._calls:
            self._there.clear()

    async def ask(self, request: DeliveryRequest, body: bytes) -> Any:
        """Raises LinkLost where the process ended meanwhile, DeliveryError where there is none."""
        if not self._calls:
            try:
                async with asyncio.timeout(_ROLE_SECONDS):
                    await self._there.wait()
            except TimeoutError:
                raise DeliveryError("there is no delivery process") from None
        return loads(await self._choose(request.nexthop).ask(Kind.DELIVER, dumps(pack_request(request)), body))

    def begin(self, request: DeliveryRequest, body: bytes, answered: Answered) -> bool:
        """Ask without waiting; False where that must wait for a process."""
        if not self._calls:
            return False
        return self._choose(request.nexthop).begin(Kind.DELIVER, dumps(pack_request(request)), body, answered)

    def _choose(self, nexthop: str) -> Calls:
        """The process with the least in hand; of equals always the same one for a next hop, as it keeps the session."""
        if len(self._calls) == 1:
            return next(iter(self._calls.values()))
        return self._calls[min(self._calls, key=lambda link: self._burden(link, nexthop))]

    def _burden(self, link: Link, nexthop: str) -> tuple[int, int]:
        return len(self._calls[link]), zlib.crc32(nexthop.encode("utf-8", "replace")) ^ self._numbers[link]


class RemoteAgent:
    """A `DeliveryAgent` whose deliveries another process makes."""

    def __init__(self, roles: DeliveryRoles) -> None:
        self._roles = roles
        self._waiting: set[asyncio.Task[None]] = set()

    async def deliver(self, request: DeliveryRequest, content: Content) -> Sequence[DeliveryResult]:
        """Raises DeliveryError. A process that ends says nothing about its transport: only what it had must wait."""
        body = b""
        if request.size < IN_DATABASE_BELOW:
            data = content.data
            body = b"".join([chunk async for chunk in content.chunks()]) if data is None else data
        try:
            answer = await self._roles.ask(request, body)
        except LinkLost:
            return _nobody_knows(request)
        if isinstance(answer, str):
            raise DeliveryError(answer)
        return unpack_results(answer)

    def begin(self, request: DeliveryRequest, content: Content, done: Done) -> bool:
        """The same where a process is there; content from the database is fetched first."""

        def answered(head: bytes | LinkLost) -> None:
            if isinstance(head, LinkLost):
                done(_nobody_knows(request))
                return
            answer = loads(head)
            done(DeliveryError(answer) if isinstance(answer, str) else unpack_results(answer))

        def fetched(data: bytes | SpoolError) -> None:
            if isinstance(data, SpoolError):
                done(data)
            elif not self._roles.begin(request, data, answered):
                task = asyncio.ensure_future(self._wait(request, content, done))
                self._waiting.add(task)
                task.add_done_callback(self._waiting.discard)

        if request.size >= IN_DATABASE_BELOW:
            return self._roles.begin(request, b"", answered)
        if content.data is None and isinstance(content, StoredContent):
            content.fetch(fetched)
            return True
        return content.data is not None and self._roles.begin(request, content.data, answered)

    async def _wait(self, request: DeliveryRequest, content: Content, done: Done) -> None:
        try:
            answer: Sequence[DeliveryResult] | Exception = await self.deliver(request, content)
        except Exception as error:
            answer = error
        done(answer)


def _nobody_knows(request: DeliveryRequest) -> list[DeliveryResult]:
    reason = "the delivery process ended, nobody knows how far it came"
    return [DeliveryResult(one.number, Outcome.DEFERRED, "4.3.0", reason) for one in request.recipients]
