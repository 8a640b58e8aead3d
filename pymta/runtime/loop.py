"""Which event loop runs us: uvloop where it is installed, plain asyncio otherwise or on request."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

from pymta.ports import Log

T = TypeVar("T")


def loop_factory(name: str | None = None) -> Callable[[], asyncio.AbstractEventLoop]:
    """The factory for `uvloop` or `asyncio`; without a name, what PYMTA_LOOP says, else uvloop where it is there."""
    wanted = name or os.environ.get("PYMTA_LOOP") or "uvloop"
    if wanted == "uvloop":
        try:
            import uvloop
        except ImportError:
            return asyncio.new_event_loop
        factory: Callable[[], asyncio.AbstractEventLoop] = uvloop.new_event_loop
        return factory
    return asyncio.new_event_loop


def log_strays(loop: asyncio.AbstractEventLoop, log: Log) -> None:
    """Have what no caller is left to hear of (a failed callback, accept() out of resources) on a line of the log."""

    def note(_: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        error = context.get("exception")
        log.error(f"{context.get('message', 'event loop')}{f': {error!r}' if error else ''}")

    loop.set_exception_handler(note)


def run(main: Coroutine[Any, Any, T], loop: str | None = None) -> T:
    """Run `main` to its end on a new loop and close that loop."""
    with asyncio.Runner(loop_factory=loop_factory(loop)) as runner:
        return runner.run(main)
