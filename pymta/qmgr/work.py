"""What is under way in the queue manager, so that it can be waited for."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Coroutine
from typing import Any

from pymta.ports import Log


class Work:
    """Tasks, and what others answer by a callback: that is `begun` and `ended`, once each."""

    __slots__ = ("_answers", "_idle", "_log", "_tasks")

    def __init__(self, log: Log) -> None:
        self._log = log
        self._tasks: set[asyncio.Task[None]] = set()
        self._answers = 0
        self._idle: asyncio.Event | None = None

    def spawn(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._task_ended)

    def _task_ended(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            self._log.error(f"queue manager: {error!r}")
        if self._idle is not None:
            self._note_end(self._idle)

    def begun(self) -> None:
        self._answers += 1

    def ended(self) -> None:
        self._answers -= 1
        if self._idle is not None:
            self._note_end(self._idle)

    def _note_end(self, idle: asyncio.Event) -> None:
        if not self._tasks and not self._answers:
            idle.set()

    async def stop(self, drain_seconds: float) -> None:
        """Give it `drain_seconds` to end, then cancel the tasks; answers may come later still."""
        if drain_seconds > 0 and (self._tasks or self._answers):
            self._idle = asyncio.Event()
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._idle.wait(), drain_seconds)
            self._idle = None
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
