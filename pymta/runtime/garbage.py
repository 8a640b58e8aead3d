"""When Python looks for garbage among all objects: seldom, and not because there is more mail."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import time
from collections.abc import Iterator

# Full collections that Python begins by itself: after so many of the middle generation, some 700,000 objects.
_AUTOMATIC = 100
_EVERY_SECONDS = 60.0
# A part in so many of the time, at most, goes into full collections.
_SHARE = 1000


class SeldomCollections:
    """Full collections every minute, or less often where they take long, until `stop`.

    Python's rule is one whenever the number of objects has grown by a quarter. With 10,000 messages in hand that takes
    0.15 seconds in which nothing else happens, several times while a queue grows, and finds next to nothing: what
    messages are made of goes when they do.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._before = gc.get_threshold()
        gc.set_threshold(*self._before[:2], _AUTOMATIC)
        self._timer = loop.call_later(_EVERY_SECONDS, self._collect)

    def _collect(self) -> None:
        begun = time.perf_counter()
        gc.collect()
        took = time.perf_counter() - begun
        self._timer = self._loop.call_later(max(_EVERY_SECONDS, _SHARE * took), self._collect)

    def stop(self) -> None:
        """Python's own rule is in force again."""
        self._timer.cancel()
        gc.set_threshold(*self._before)


@contextlib.contextmanager
def seldom_collections() -> Iterator[None]:
    """For a process that holds a queue, on its running loop."""
    collections = SeldomCollections(asyncio.get_running_loop())
    try:
        yield
    finally:
        collections.stop()
