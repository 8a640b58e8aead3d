"""Questions over a link: each has a number, and gets an answer, or an error when the link breaks."""

from __future__ import annotations

import asyncio

from pymta.runtime.ipc import Link


class LinkLost(Exception):
    """The process at the other end went away before it answered: what it did is not known."""


class Calls:
    """The questions under way on one link."""

    def __init__(self, link: Link) -> None:
        self._link = link
        self._number = 0
        self._waiting: dict[int, asyncio.Future[bytes]] = {}
        self._loop = asyncio.get_running_loop()

    def __len__(self) -> int:
        return len(self._waiting)

    async def ask(self, kind: int, head: bytes, body: bytes = b"", *, urgent: bool = True) -> bytes:
        """The head of the answer; raises LinkLost. Waits first while the other end is behind with reading."""
        await self._link.drained()
        if not self._link.is_open:
            raise LinkLost
        self._number += 1
        number = self._number
        answer: asyncio.Future[bytes] = self._loop.create_future()
        self._waiting[number] = answer
        self._link.send(kind, number, head, body, urgent=urgent)
        try:
            return await answer
        finally:
            self._waiting.pop(number, None)

    def answered(self, number: int, head: bytes) -> None:
        """An answer came; one that nobody waits for any more is no matter."""
        answer = self._waiting.pop(number, None)
        if answer is not None and not answer.done():
            answer.set_result(head)

    def lost(self) -> None:
        for answer in self._waiting.values():
            if not answer.done():
                answer.set_exception(LinkLost())
        self._waiting.clear()
