"""Tasks that work for whoever has something to wait for, one thing after the other."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

Work = Callable[[], Coroutine[Any, Any, None]]

# Idle tasks that are kept; what a burst needed beyond that ends with its work.
_KEPT = 256


class Workers:
    """A connection needs a task only while something is worked out for it, and to make one costs as much as a reply.

    Work must not raise. Who cancels the task of `run` before that work is done cancels nothing else.
    """

    def __init__(self) -> None:
        self._idle: list[tuple[asyncio.Future[Work], asyncio.Task[None]]] = []

    def run(self, work: Work) -> asyncio.Task[None]:
        """Have `work` done soon; the task that does it."""
        while self._idle:
            waiter, task = self._idle.pop()
            if not waiter.done():
                waiter.set_result(work)
                return task
        return asyncio.get_running_loop().create_task(self._serve(work))

    async def _serve(self, work: Work) -> None:
        loop, task = asyncio.get_running_loop(), asyncio.current_task()
        assert task is not None
        while True:
            await work()
            # It belongs to a connection, which may be over now.
            del work
            if len(self._idle) >= _KEPT:
                return
            waiter: asyncio.Future[Work] = loop.create_future()
            self._idle.append((waiter, task))
            work = await waiter

    def close(self) -> None:
        """End those that are idle."""
        while self._idle:
            self._idle.pop()[1].cancel()
