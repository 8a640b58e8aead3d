"""Many short pieces of work that seldom wait, without a task for each."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Coroutine
from typing import Any


class Turns:
    """One task does all that does not wait, piece after piece; where a piece waits, another task goes on.

    A piece raises nothing.
    """

    __slots__ = ("_is_taking", "_tasks", "_waiting")

    def __init__(self) -> None:
        self._waiting: deque[Coroutine[Any, Any, None]] = deque()
        self._tasks: set[asyncio.Task[None]] = set()
        self._is_taking = False

    def add(self, work: Coroutine[Any, Any, None]) -> None:
        """Have `work` begin in the next turn of the event loop."""
        self._waiting.append(work)
        if not self._is_taking:
            self._is_taking = True
            asyncio.get_running_loop().call_soon(self._take)

    def _take(self) -> None:
        if self._waiting:
            task = asyncio.create_task(self._work())
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)
            # Runs after the first step of the new task.
            asyncio.get_running_loop().call_soon(self._take)
        else:
            self._is_taking = False

    async def _work(self) -> None:
        while self._waiting:
            await self._waiting.popleft()
