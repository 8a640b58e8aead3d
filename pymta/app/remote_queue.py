"""`ports.Queue` in a process without the spool: messages go to the queue manager's process and are durable there."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path

from pymta.app.remote_kinds import ID_SLOTS, SMTPD, Kind
from pymta.app.remote_upstream import Upstream
from pymta.app.remote_values import pack_entry
from pymta.errors import SpoolError
from pymta.model.queue import QueueEntry, QueueId
from pymta.ports import Clock, ContentWriter
from pymta.runtime.ipc_calls import LinkLost
from pymta.spool.failures import PASSING
from pymta.spool.faults import NO_FAULTS, Faults
from pymta.spool.handover import DraftContent, drafts_folder
from pymta.spool.ids import QueueIds

# After a failed sync, how long nothing is accepted here: twice that each further time.
_FIRST_PAUSE = 1.0
_LONGEST_PAUSE = 60.0
_NO_QUEUE_MANAGER = "the queue manager is not there"


class RemoteQueue:
    """Small content travels with its entry; large content is a synced file in this process's folder of drafts.

    Without a queue manager nothing is accepted. Where it goes away before it answered nobody knows whether the
    message is stored: that is a failure too, and the client keeps what it has.
    """

    def __init__(
        self,
        spool: Path,
        socket: Path,
        token: str,
        number: int,
        clock: Clock,
        *,
        long_ids: bool,
        on_welcome: Callable[[], None] = lambda: None,
        faults: Faults = NO_FAULTS,
    ) -> None:
        self._drafts = drafts_folder(spool, number)
        self._number = number
        self._clock = clock
        self._long_ids = long_ids
        self._ids: QueueIds | None = None
        self._disk_failure = ""
        self._pause = _FIRST_PAUSE
        self._paused_until = 0.0
        self._on_welcome = on_welcome
        self._faults = faults
        self.upstream = Upstream(socket, token, SMTPD, number, on_welcome=self._welcomed)

    def _welcomed(self, greeting: tuple[int, int]) -> None:
        """Ids go on above all that the spool has seen, whatever became of the clock."""
        last, instance = greeting
        floor = max(last, self._ids.last if self._ids else 0)
        self._ids = QueueIds(
            self._clock.now, long=self._long_ids, instance=instance, floor=floor, slot=self._number, slots=ID_SLOTS
        )
        self._on_welcome()

    def new_queue_id(self) -> QueueId:
        if self._ids is None:
            raise SpoolError(_NO_QUEUE_MANAGER)
        return self._ids.new()

    def new_content(self, queue_id: QueueId) -> ContentWriter:
        """Raises SpoolError where the message could not be stored anyway."""
        if self._disk_failure and self._clock.monotonic() < self._paused_until:
            raise SpoolError(self._disk_failure)
        if not self.upstream.is_up:
            raise SpoolError(_NO_QUEUE_MANAGER)
        return DraftContent(self._drafts, queue_id)

    async def enqueue(self, entry: QueueEntry, content: ContentWriter) -> None:
        """Make durable over there. Raises SpoolError."""
        assert isinstance(content, DraftContent) and self._ids is not None
        body = b""
        in_file = content.in_file
        if in_file:
            await self._sync(content)
            self._faults("draft synced")
        else:
            body = content.take()
        values = (self._ids.last, in_file, pack_entry(entry))
        try:
            error = str(await self.upstream.ask(Kind.ENQUEUE, values, body))
            self._faults("message stored")
        except LinkLost:
            error = _NO_QUEUE_MANAGER
        if error:
            content.abandon()
            raise SpoolError(error)
        content.release()

    async def flush_site(self, site: str) -> None:
        """Raises SpoolError."""
        try:
            await self.upstream.ask(Kind.FLUSH, (site,), b"")
        except LinkLost as error:
            raise SpoolError(_NO_QUEUE_MANAGER) from error

    async def _sync(self, content: DraftContent) -> None:
        """Where the disk failed, nothing is accepted for a while; then a new file shows whether it is sound again."""
        try:
            await asyncio.to_thread(content.sync)
            self._disk_failure, self._pause = "", _FIRST_PAUSE
        except OSError as error:
            content.abandon()
            text = f"content file: {error.strerror}"
            if error.errno not in PASSING:
                self._note_failure(text)
            raise SpoolError(text) from error

    def _note_failure(self, text: str) -> None:
        """Messages that were under way together fail together: that is one failure."""
        now = self._clock.monotonic()
        self._disk_failure = text
        if now >= self._paused_until:
            self._paused_until = now + self._pause
            self._pause = min(self._pause * 2, _LONGEST_PAUSE)
