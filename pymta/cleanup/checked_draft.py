"""A draft whose content passes header_checks and body_checks before anything else is done to it."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Sequence
from typing import Protocol

from pymta.checks.content_checks import KINDS, CheckRules, ContentChecks, open_checks
from pymta.cleanup.check_actions import IntakeActions
from pymta.cleanup.replies import NOT_WRITTEN
from pymta.cleanup.settings import CleanupSettings
from pymta.errors import TableError
from pymta.model.access import Effect
from pymta.model.queue import QueueId
from pymta.model.reply import Reply
from pymta.ports import Draft, Log
from pymta.tables import TableFactory

_PIECE = 16384


def intake_rules(settings: CleanupSettings, tables: TableFactory) -> CheckRules:
    """What cleanup(8) looks at. Raises ConfigError."""
    return CheckRules(
        open_checks({kind: getattr(settings, kind) for kind in KINDS}, tables),
        line_limit=settings.line_length_limit,
        header_limit=settings.header_size_limit,
        body_limit=settings.body_checks_size_limit,
        reads_mime=not settings.disable_mime_input_processing,
    )


class TidyDraft(Draft, Protocol):
    """A draft that takes a hint: with `is_tidy` there is nothing stray in `data`."""

    def write(self, data: bytes, *, is_tidy: bool = False) -> None: ...


class CheckedDraft:
    """`ports.Draft` around another.

    Tables are asked in a task; content that comes meanwhile waits in memory. Beyond `size_limit` bytes (0 for none)
    nothing is looked at any more: the message is refused for its size.
    """

    def __init__(self, draft: TidyDraft, rules: CheckRules, actions: IntakeActions, log: Log, size_limit: int) -> None:
        self._draft = draft
        self._actions = actions
        self._checks = ContentChecks(rules, actions)
        self._log = log
        self._size_limit = size_limit
        self._size = 0
        self._waiting: deque[tuple[bytes, bool]] = deque()
        self._task: asyncio.Task[None] | None = None
        self._failure: Reply | None = None

    @property
    def queue_id(self) -> QueueId:
        return self._draft.queue_id

    def write(self, data: bytes, *, is_tidy: bool = False) -> None:
        if self._failure is not None:
            return
        self._size += len(data)
        if 0 < self._size_limit < self._size:
            self._waiting.clear()
            self._draft.write(data, is_tidy=is_tidy)
            return
        self._waiting.append((data, is_tidy))
        if self._task is None:
            self._task = asyncio.ensure_future(self._look())

    async def commit(self, effects: Sequence[Effect] = ()) -> Reply:
        while self._task is not None:
            await self._task
        if self._failure is None:
            await self._finish()
        refusal = self._failure or self._actions.refusal
        if refusal is not None:
            await self._draft.abort()
            return refusal
        return await self._draft.commit([*effects, *self._actions.effects])

    async def abort(self) -> None:
        self._waiting.clear()
        if self._task is not None:
            self._task.cancel()
        await self._draft.abort()

    async def _look(self) -> None:
        try:
            while self._waiting:
                data, is_tidy = self._waiting.popleft()
                for start in range(0, len(data), _PIECE):
                    self._draft.write(await self._checks.take(data[start : start + _PIECE]), is_tidy=is_tidy)
                    # Tables that answer at once leave no room for others.
                    await asyncio.sleep(0)
        except TableError as error:
            self._fail(error)
        finally:
            self._task = None

    async def _finish(self) -> None:
        try:
            if last := await self._checks.finish():
                self._draft.write(last)
        except TableError as error:
            self._fail(error)

    def _fail(self, error: TableError) -> None:
        problem = f"{error.table} map lookup problem: {error.message} -- message not accepted, try again later"
        self._log.warning(f"{self.queue_id}: {problem}")
        self._waiting.clear()
        self._failure = NOT_WRITTEN
