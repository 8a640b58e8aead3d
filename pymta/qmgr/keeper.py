"""After a failed sync: the spool is opened again, with patience, while mail is refused for now (docs/queue.md)."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable

from pymta.errors import SpoolError
from pymta.ports import Log, Spool

_FIRST_SECONDS = 1.0
_LONGEST_SECONDS = 60.0


class SpoolKeeper:
    """`check` is called when a change has failed; `reopened` when the spool is there again.

    The first try comes after `first_seconds`, each later one after twice the time, at most a minute.
    """

    def __init__(
        self, spool: Spool, log: Log, reopened: Callable[[], None], first_seconds: float = _FIRST_SECONDS
    ) -> None:
        self._spool = spool
        self._log = log
        self._reopened = reopened
        self._first_seconds = first_seconds
        self._task: asyncio.Task[None] | None = None

    def check(self) -> None:
        """See to the spool where it has failed; once is enough."""
        if self._spool.failure is not None and self._task is None:
            self._log.error(f"the queue cannot be written, mail is refused until it can: {self._spool.failure}")
            self._task = asyncio.create_task(self._run())

    async def _run(self) -> None:
        delay = self._first_seconds
        try:
            while True:
                await asyncio.sleep(delay)
                try:
                    await self._spool.reopen()
                    break
                except SpoolError as error:
                    delay = min(delay * 2, _LONGEST_SECONDS)
                    self._log.warning(f"the queue cannot be opened again yet: {error}")
            self._log.info("the queue is open again")
            self._reopened()
        finally:
            self._task = None

    async def close(self) -> None:
        if self._task is not None:
            self._task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._task
