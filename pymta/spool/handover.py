"""Content that one process writes and the one with the spool takes over (docs/processes.md).

Small content travels with its entry. Large content is a file in the writer's own folder of `drafts`; whoever has the
spool moves it to its place when the message is stored. What is in `drafts` belongs to no message: it is removed when
the folder's writer starts anew.
"""

from __future__ import annotations

import contextlib
import errno
import os
import shutil
from pathlib import Path

from pymta.errors import SpoolError
from pymta.model.queue import QueueId
from pymta.spool.content import SpooledContent, file_path, sync_directory
from pymta.spool.faults import NO_FAULTS, Faults


def drafts_folder(directory: Path, writer: int) -> Path:
    """Where the writer of this number keeps large content that has no message yet."""
    return directory / "drafts" / str(writer)


def clear_drafts(directory: Path, writer: int | None = None) -> None:
    """Remove what is left of a writer that is dead, or of all of them. Raises SpoolError."""
    folder = directory / "drafts" if writer is None else drafts_folder(directory, writer)
    try:
        with contextlib.suppress(FileNotFoundError):
            shutil.rmtree(folder)
        if writer is not None:
            folder.parent.mkdir(mode=0o700, exist_ok=True)
            folder.mkdir(mode=0o700)
    except OSError as error:
        raise SpoolError(f"{folder}: {error.strerror}") from error


class DraftContent(SpooledContent):
    """The writer's side: like the spool's own content, but a file lies in the writer's own `folder` of drafts."""

    __slots__ = ()

    def __init__(self, folder: Path, queue_id: QueueId) -> None:
        super().__init__(folder, queue_id, set())

    @property
    def _path(self) -> Path:
        return self._directory / self._queue_id

    def _sync_name(self) -> None:
        """Whoever takes the file over gives it a name that lasts."""


class HandedContent(SpooledContent):
    """The spool's side: a file of `size` bytes, written and synced by `writer`, that `sync` moves to its place."""

    __slots__ = ("_source",)

    def __init__(
        self,
        directory: Path,
        content: Path,
        writer: int,
        queue_id: QueueId,
        size: int,
        live: set[QueueId],
        faults: Faults = NO_FAULTS,
    ) -> None:
        super().__init__(content, queue_id, live, faults)
        self._source = drafts_folder(directory, writer) / queue_id
        self.size = size

    def sync(self) -> None:
        """Raises SpoolError where the file is gone with its writer, or is not whole; OSError where the disk fails."""
        try:
            found = self._source.stat().st_size
        except FileNotFoundError:
            raise SpoolError(f"{self._queue_id}: the content's writer is gone") from None
        if found != self.size:
            raise SpoolError(f"{self._queue_id}: content has {found} bytes instead of {self.size}")
        target = file_path(self._directory, self._queue_id)
        if target.exists():
            self.failure = FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST))
            raise self.failure
        self._live.add(self._queue_id)
        try:
            self._source.rename(target)
        except FileNotFoundError:
            target.parent.mkdir(mode=0o700, exist_ok=True)
            sync_directory(target.parent.parent)
            self._source.rename(target)
        self._faults("content created")
        sync_directory(target.parent)
        self._faults("content synced")
