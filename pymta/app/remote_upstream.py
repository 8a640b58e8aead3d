"""A role's connection to the queue manager: made again whenever it breaks."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

from pymta.app.remote_kinds import Kind
from pymta.app.remote_values import dumps, loads
from pymta.runtime.ipc import Link, connect
from pymta.runtime.ipc_calls import Calls, LinkLost

_FIRST_DELAY = 0.05
_LONGEST_DELAY = 1.0
# Messages and results of so many seconds go to the queue manager in one write.
_APART = 0.002

OnFrame = Callable[[Link, int, int, bytes, bytes], None]


class Upstream:
    """`on_frame` gets what is not an answer; `on_welcome` the queue manager's greeting, `on_lost` its end.

    `token` is the instance's secret: another instance's queue manager does not know it.
    """

    def __init__(
        self,
        path: Path,
        token: str,
        role: str,
        number: int,
        *,
        on_frame: OnFrame | None = None,
        on_welcome: Callable[[Any], None] = lambda greeting: None,
        on_lost: Callable[[], None] = lambda: None,
    ) -> None:
        self._path = path
        self._hello = dumps((token, role, number))
        self._on_frame = on_frame
        self._on_welcome = on_welcome
        self._on_lost = on_lost
        self._link: Link | None = None
        self._calls: Calls | None = None
        self._welcome = asyncio.Event()
        self._lost = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    @property
    def is_up(self) -> bool:
        return self._welcome.is_set()

    def start(self) -> None:
        self._task = asyncio.create_task(self._run())

    async def welcomed(self) -> None:
        """Wait until the queue manager is there."""
        await self._welcome.wait()

    async def close(self) -> None:
        if self._task is not None:
            self._task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._task
        if self._link is not None:
            self._link.close()

    async def ask(self, kind: Kind, values: Any, body: bytes = b"") -> Any:
        """The queue manager's answer; raises LinkLost where there is none (any more)."""
        if self._calls is None or not self._welcome.is_set():
            raise LinkLost
        return loads(await self._calls.ask(kind, dumps(values), body, urgent=kind is not Kind.ENQUEUE))

    def tell(self, kind: Kind, values: Any) -> None:
        if self._link is not None and self._welcome.is_set():
            self._link.send(kind, 0, dumps(values))

    async def _run(self) -> None:
        delay = _FIRST_DELAY
        while True:
            self._lost.clear()
            try:
                self._link = await connect(self._path, self._receive, self._end, _APART)
            except OSError:
                await asyncio.sleep(delay)
                delay = min(delay * 2, _LONGEST_DELAY)
                continue
            self._calls = Calls(self._link)
            self._link.send(Kind.HELLO, 0, self._hello)
            await self._lost.wait()
            delay = _FIRST_DELAY
            await asyncio.sleep(delay)

    def _receive(self, link: Link, kind: int, number: int, head: bytes, body: bytes) -> None:
        if kind == Kind.ANSWER:
            if self._calls is not None:
                self._calls.answered(number, head)
        elif kind == Kind.WELCOME:
            self._welcome.set()
            self._on_welcome(loads(head))
        elif self._on_frame is not None:
            self._on_frame(link, kind, number, head, body)

    def _end(self, link: Link) -> None:
        was_up = self._welcome.is_set()
        self._welcome.clear()
        if self._calls is not None:
            self._calls.lost()
        self._link = self._calls = None
        self._lost.set()
        if was_up:
            self._on_lost()
