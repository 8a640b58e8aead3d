"""Questions over a link: each has a number, and gets an answer, or an error when the link breaks."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from functools import partial

from pymta.runtime.ipc import Link


class LinkLost(Exception):
    """The process at the other end went away before it answered: what it did is not known."""


Answered = Callable[[bytes | LinkLost], None]


class Calls:
    """The questions under way on one link."""

    def __init__(self, link: Link) -> None:
        self._link = link
        self._number = 0
        self._waiting: dict[int, Answered] = {}
        self._loop = asyncio.get_running_loop()

    def __len__(self) -> int:
        return len(self._waiting)

    async def ask(self, kind: int, head: bytes, body: bytes = b"", *, urgent: bool = True) -> bytes:
        """The head of the answer; raises LinkLost. Waits first while the other end is behind with reading."""
        await self._link.drained()
        if not self._link.is_open:
            raise LinkLost
        answer: asyncio.Future[bytes] = self._loop.create_future()
        number = self._send(kind, head, body, partial(_settle, answer), urgent)
        try:
            return await answer
        finally:
            self._waiting.pop(number, None)

    def begin(self, kind: int, head: bytes, body: bytes, answered: Answered) -> bool:
        """Ask without waiting for the answer; False where the other end is behind or gone."""
        if not self._link.has_room:
            return False
        self._send(kind, head, body, answered, True)
        return True

    def _send(self, kind: int, head: bytes, body: bytes, answered: Answered, urgent: bool) -> int:
        self._number += 1
        self._waiting[self._number] = answered
        self._link.send(kind, self._number, head, body, urgent=urgent)
        return self._number

    def answered(self, number: int, head: bytes) -> None:
        """An answer came; one that nobody waits for any more is no matter."""
        answered = self._waiting.pop(number, None)
        if answered is not None:
            answered(head)

    def lost(self) -> None:
        waiting, self._waiting = self._waiting, {}
        for answered in waiting.values():
            answered(LinkLost())


def _settle(answer: asyncio.Future[bytes], head: bytes | LinkLost) -> None:
    if answer.done():
        return
    if isinstance(head, LinkLost):
        answer.set_exception(head)
    else:
        answer.set_result(head)
