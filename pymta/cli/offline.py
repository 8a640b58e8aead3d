"""Queue commands on a spool at rest: the command itself holds the spool while it works, as postsuper(1) may."""

from __future__ import annotations

import asyncio
import sys
import time
from collections.abc import AsyncIterator, Iterator, Mapping
from typing import Any

from pymta.cli.errors import CommandFailed
from pymta.control.queue import QueueCommands
from pymta.errors import SpoolError
from pymta.model.queue import EntryUpdate, Found, QueueEntry, QueueFilter, QueueId, QueueName
from pymta.runtime.clock import SystemClock
from pymta.runtime.places import SpoolPlaces
from pymta.spool import SqliteSpool

_MOMENT_SECONDS = 0.1
_ROWS_AT_ONCE = 1000


class _StderrLog:
    def debug(self, line: str) -> None: ...

    def info(self, line: str) -> None: ...

    def warning(self, line: str) -> None:
        sys.stderr.write(f"warning: {line}\n")

    error = warning


class SpoolAdmin:
    """`ports.QueueAdmin` for a spool that no program uses."""

    def __init__(self, spool: SqliteSpool) -> None:
        self._spool = spool

    def entries(self, query: QueueFilter) -> AsyncIterator[QueueEntry]:
        return self._spool.entries(query)

    async def flush(self, query: QueueFilter) -> int:
        raise SpoolError("Cannot flush mail queue - mail system is down")

    async def change(self, action: str, query: QueueFilter) -> AsyncIterator[QueueId]:
        async for page in self._spool.find(query):
            changed = await asyncio.gather(*(self._change(action, found) for found in page))
            for found, done in zip(page, changed, strict=True):
                if done:
                    yield found.queue_id

    async def _change(self, action: str, found: Found) -> bool:
        if action == "delete":
            return await self._spool.remove(found.queue_id)
        update = _update(action, found)
        if update is not None:
            await self._spool.update(update)
        return update is not None

    async def counts(self) -> dict[str, int]:
        return await self._spool.counts()


def _update(action: str, entry: Found) -> EntryUpdate | None:
    """The change of state that `action` means for a message, None where it means none."""
    held = entry.queue is QueueName.HOLD
    if action == "hold" and not held and entry.queue is not QueueName.CORRUPT:
        return EntryUpdate(entry.queue_id, queue=QueueName.HOLD)
    if action == "release" and held:
        return EntryUpdate(entry.queue_id, queue=QueueName.DEFERRED, next_attempt=0.0)
    if action == "requeue":
        return EntryUpdate(entry.queue_id, queue=QueueName.INCOMING, next_attempt=0.0)
    if action == "expire" and not entry.forced_expire:
        return EntryUpdate(entry.queue_id, forced_expire=True)
    return None


def run(where: SpoolPlaces, command: str, arguments: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """The rows of one command; raises CommandFailed, SpoolError, SpoolLockedError, ValueError."""
    try:
        if not (where.queue / "queue.db").exists():
            return
    except PermissionError as error:
        raise CommandFailed(
            "the mail system is down; only its owner and root may look into its queue", temporary=True
        ) from error
    with asyncio.Runner() as runner:
        log, clock = _StderrLog(), SystemClock()
        spool = SqliteSpool(where.queue, log, clock)
        runner.run(spool.open())
        try:
            rows = QueueCommands(SpoolAdmin(spool), spool, clock).run(command, arguments)
            while batch := runner.run(_some(rows)):
                yield from batch
        finally:
            runner.run(spool.close())


async def _some(rows: AsyncIterator[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """The next rows, those that are there within a moment; none at the end."""
    batch: list[dict[str, Any]] = []
    end = time.monotonic() + _MOMENT_SECONDS
    while len(batch) < _ROWS_AT_ONCE and (not batch or time.monotonic() < end):
        row = await anext(rows, None)
        if row is None:
            break
        batch.append(dict(row))
    return batch
