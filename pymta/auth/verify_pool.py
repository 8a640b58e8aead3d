"""Threads for password hashing: few, with a short queue, so that a storm of logins cannot stop the mail."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import ParamSpec, TypeVar

from pymta.errors import AuthUnavailableError

P = ParamSpec("P")
R = TypeVar("R")

THREADS = 2
QUEUE_LIMIT = 100


class HashPool:
    """Runs slow functions off the event loop. `queue_limit` counts those that run or wait."""

    def __init__(self, threads: int = THREADS, queue_limit: int = QUEUE_LIMIT) -> None:
        self._executor = ThreadPoolExecutor(threads, thread_name_prefix="password")
        self._queue_limit = queue_limit
        self._under_way = 0

    async def run(self, function: Callable[P, R], *arguments: P.args, **keywords: P.kwargs) -> R:
        """Raises AuthUnavailableError at once where too many wait already; else what `function` raises."""
        if self._under_way >= self._queue_limit:
            raise AuthUnavailableError(f"more than {self._queue_limit} logins at once")
        self._under_way += 1
        future = self._executor.submit(function, *arguments, **keywords)
        future.add_done_callback(self._done(asyncio.get_running_loop()))
        return await asyncio.wrap_future(future)

    def _done(self, loop: asyncio.AbstractEventLoop) -> Callable[[object], None]:
        """A place is free when the work is done, not when the client is gone: threads cannot be stopped."""

        def count() -> None:
            self._under_way -= 1

        def done(_: object) -> None:
            if not loop.is_closed():
                loop.call_soon_threadsafe(count)

        return done

    def close(self) -> None:
        self._executor.shutdown(wait=False, cancel_futures=True)
