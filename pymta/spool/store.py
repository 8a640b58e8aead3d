"""The durable spool: a journal, tables in SQLite, large content in files (docs/queue.md)."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

from pymta.errors import SpoolError
from pymta.model.queue import EntryUpdate, Found, QueuedRecipient, QueueEntry, QueueFilter, QueueId, QueueName
from pymta.ports import Clock, Content, ContentWriter, Log, Recorded
from pymta.spool.commits import Done, GroupCommit
from pymta.spool.conditions import is_exact
from pymta.spool.content import (
    IN_DATABASE_BELOW,
    FileContent,
    SpooledContent,
    StoredContent,
    file_path,
    sync_directory,
)
from pymta.spool.failures import PASSING, StorageFailure
from pymta.spool.faults import NO_FAULTS, Faults
from pymta.spool.fetching import ContentFetcher
from pymta.spool.fresh import FreshMessages
from pymta.spool.handover import HandedContent
from pymta.spool.ids import QueueIds
from pymta.spool.lock import SpoolLock
from pymta.spool.reading import (
    DUE_QUEUES,
    Damage,
    find_page,
    read_due,
    read_message,
    read_page,
    read_recipients,
)
from pymta.spool.rows import NewMessage, encode
from pymta.spool.segments import Journal
from pymta.spool.selection import matches
from pymta.spool.sqlite import Reader, Writer
from pymta.spool.strays import remove_strays
from pymta.spool.view import View
from pymta.spool.writing import Outcome, SpoolWriter

# The first line of a listing is there at once, the others come in larger pieces.
_FIRST_PAGE = 20
_PAGE = 500
_FOUND_PAGE = 1000

T = TypeVar("T")


@dataclass(slots=True)
class _Open:
    """What exists between `open` and `close`."""

    database: Writer
    journal: Journal
    writer: SpoolWriter
    commits: GroupCommit
    ids: QueueIds
    reader: View
    lister: View
    # One thread per reader; files are synced beside the database, so that a large message delays no small one.
    reading: ThreadPoolExecutor
    listing: ThreadPoolExecutor
    files: ThreadPoolExecutor


def _new_message(entry: QueueEntry, content: SpooledContent) -> NewMessage:
    """Raises SpoolError; then nothing of `content` stays."""
    try:
        if entry.size != content.size or not entry.recipients:
            raise SpoolError(f"{entry.queue_id}: an entry needs recipients and the size of its content")
        return encode(entry, None if content.in_file else content.content().data)
    except SpoolError:
        content.abandon()
        raise


def _answer(waiter: asyncio.Future[Any], outcome: Any) -> None:
    """Let who awaits `waiter` have the outcome; he may have gone."""
    if waiter.done():
        return
    if isinstance(outcome, SpoolError):
        waiter.set_exception(outcome)
    else:
        waiter.set_result(outcome)


class SqliteSpool:
    """`ports.Spool` in `directory`, which is made for its owner only.

    After a failed write or sync, `failure` is set and changes raise SpoolError until `reopen`, or `close` and
    `open`; reading goes on. Nothing is synced twice: after an error the system may have dropped what it could not
    write.
    """

    def __init__(
        self,
        directory: Path,
        log: Log,
        clock: Clock,
        *,
        long_ids: bool = False,
        id_slots: int = 1,
        faults: Faults = NO_FAULTS,
    ) -> None:
        self._directory = directory
        self._database = directory / "queue.db"
        self._content = directory / "content"
        self._log = log
        self._clock = clock
        self._long_ids = long_ids
        self._id_slots = id_slots
        self._faults = faults
        self._lock = SpoolLock(directory / "lock")
        self._live: set[QueueId] = set()
        # Messages of which a failure left unknown whether they are stored; the next opening looks.
        self._unsure: set[QueueId] = set()
        self._syncs: set[asyncio.Task[None]] = set()
        self._state: _Open | None = None
        self._ids: QueueIds | None = None
        self._lost: SpoolError | None = None
        self._cleaning: asyncio.Future[None] | None = None
        self._fetcher = ContentFetcher(self._read_contents)

    # -- opening and closing

    async def open(self) -> None:
        """Raises SpoolLockedError where another process has the spool open, SpoolError where it is unusable."""
        if self._state is not None:
            raise SpoolError(f"{self._directory} is open already")
        loop = asyncio.get_running_loop()
        state = await asyncio.to_thread(self._open, loop)
        state.commits.start()
        self._live -= self._unsure
        self._unsure.clear()
        self._state = state
        self._ids = state.ids
        self._lost = None
        self._cleaning = asyncio.ensure_future(self._remove_strays(state))

    def _open(self, loop: asyncio.AbstractEventLoop) -> _Open:
        was_locked = self._lock.is_held
        try:
            self._directory.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._lock.acquire()
            self._content.mkdir(mode=0o700, exist_ok=True)
            sync_directory(self._directory)
        except OSError as error:
            if not was_locked:
                self._lock.release()
            raise SpoolError(f"{self._directory}: {error.strerror}") from error
        try:
            return self._open_parts(loop)
        except BaseException:
            if not was_locked:
                self._lock.release()
            raise

    def _open_parts(self, loop: asyncio.AbstractEventLoop) -> _Open:
        with contextlib.ExitStack() as undo:
            database = Writer(self._database, self._faults)
            undo.callback(database.close)
            journal = Journal(self._directory / "journal", self._log, self._faults)
            undo.callback(journal.close)
            fresh = FreshMessages()
            writer = SpoolWriter(database, journal, fresh, self._log, self._faults)
            floor = max(database.last_id_time(), writer.load(), self._ids.last if self._ids else 0)
            ids = QueueIds(
                self._clock.now, long=self._long_ids, instance=self.instance, floor=floor, slots=self._id_slots
            )
            commits = GroupCommit(writer, loop, lambda: ids.last, self._forget_files)
            reader, lister = Reader(self._database), Reader(self._database)
            undo.pop_all()
        pools = [ThreadPoolExecutor(count, f"spool-{use}") for use, count in (("read", 1), ("list", 1), ("files", 4))]
        reading, listing = View(reader, fresh, journal), View(lister, fresh, journal)
        return _Open(database, journal, writer, commits, ids, reading, listing, *pools)

    @property
    def failure(self) -> SpoolError | None:
        """Why nothing is stored at present."""
        return self._state.commits.failure if self._state else self._lost

    async def reopen(self) -> None:
        """Begin anew after a failure, with what is on the disk; nobody else gets the spool in between.

        Raises SpoolError; then it is closed, and `reopen` may be tried again. Ids are given all the while.
        """
        self._lost = self.failure or SpoolError(f"{self._directory} is not open")
        await self._shut()
        await self.open()

    async def close(self) -> None:
        """Finish what is under way and give the spool free; harmless when it is not open."""
        self._lost = None
        await self._shut()
        self._lock.release()

    async def _shut(self) -> None:
        state, self._state = self._state, None
        if state is None:
            return
        if self._cleaning is not None:
            self._cleaning.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._cleaning
        state.commits.finish()
        await asyncio.to_thread(self._close, state)
        # Results of the last batch are on their way to the loop.
        await asyncio.sleep(0)

    def _close(self, state: _Open) -> None:
        state.commits.join()
        for pool in (state.reading, state.listing, state.files):
            pool.shutdown()
        # The writer closes last: the last connection checkpoints, and that is its right alone.
        for connection in (state.reader, state.lister):
            connection.close()
        with contextlib.suppress(SpoolError):
            if state.commits.failure is None:
                state.writer.finish(state.ids.last)
        state.journal.close()
        state.database.close()

    def _known_ids(self) -> QueueIds:
        if self._ids is None or (self._state is None and self._lost is None):
            raise SpoolError(f"{self._directory} is not open")
        return self._ids

    def _opened(self) -> _Open:
        if self._state is None:
            raise SpoolError(f"{self._directory} is not open")
        return self._state

    # -- changing

    def new_queue_id(self) -> QueueId:
        return self._known_ids().new()

    @property
    def instance(self) -> int:
        """What tells this spool's long ids from those of others (its inode)."""
        return self._database.stat().st_ino

    @property
    def last_id_time(self) -> int:
        """The time of the newest id that was given or noted, in microseconds."""
        return self._known_ids().last

    def note_id_time(self, moment: int) -> None:
        """Another process gave an id of this time."""
        ids = self._known_ids()
        ids.last = max(ids.last, moment)

    def new_content(self, queue_id: QueueId) -> ContentWriter:
        return SpooledContent(self._content, queue_id, self._live, self._faults)

    def given_content(self, queue_id: QueueId, data: bytes) -> ContentWriter:
        """Small content that another process took in."""
        content = SpooledContent(self._content, queue_id, self._live, self._faults)
        content.write(data)
        return content

    def handed_content(self, queue_id: QueueId, writer: int, size: int) -> ContentWriter:
        """Large content of which another process has written the file (`handover.DraftContent`)."""
        return HandedContent(self._directory, self._content, writer, queue_id, size, self._live, self._faults)

    async def add(self, entry: QueueEntry, content: ContentWriter) -> None:
        waiter: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.store(entry, content, partial(_answer, waiter))
        await waiter

    def store(self, entry: QueueEntry, content: ContentWriter, done: Recorded) -> None:
        try:
            state = self._opened()
            if not isinstance(content, SpooledContent):
                raise SpoolError(f"{entry.queue_id}: content was not written with new_content of this spool")
            new = _new_message(entry, content)
        except SpoolError as error:
            asyncio.get_running_loop().call_soon(done, error)
            return
        stored = partial(self._stored, entry.queue_id, content, done)
        if not content.in_file:
            state.commits.submit(new, stored)
            return
        task = asyncio.ensure_future(self._sync_file(state, content))
        self._syncs.add(task)
        task.add_done_callback(partial(self._synced, state, new, stored))

    def _synced(self, state: _Open, new: NewMessage, stored: Done, task: asyncio.Task[None]) -> None:
        self._syncs.discard(task)
        error = SpoolError("interrupted") if task.cancelled() else task.exception()
        if error is None:
            state.commits.submit(new, stored)
        else:
            stored(error if isinstance(error, SpoolError) else SpoolError(repr(error)))

    def _stored(self, queue_id: QueueId, content: SpooledContent, done: Recorded, outcome: Outcome) -> None:
        if not isinstance(outcome, SpoolError):
            content.release()
            done(None)
            return
        if isinstance(outcome, StorageFailure):
            # The row may be on the disk: its file stays until the next opening has looked.
            self._unsure.add(queue_id)
        else:
            content.abandon()
        done(outcome)

    async def _sync_file(self, state: _Open, content: SpooledContent) -> None:
        if state.commits.failure is not None:
            raise state.commits.failure
        try:
            await asyncio.get_running_loop().run_in_executor(state.files, content.sync)
        except OSError as error:
            text = f"content file: {error.strerror}"
            if error.errno in PASSING:
                raise SpoolError(text) from error
            state.commits.failure = StorageFailure(text)
            content.abandon()
            raise state.commits.failure from error

    async def update(self, update: EntryUpdate) -> None:
        await self._written(update)

    async def remove(self, queue_id: QueueId) -> bool:
        return queue_id in await self._written(queue_id)

    async def _written(self, change: EntryUpdate | QueueId) -> dict[QueueId, int]:
        waiter: asyncio.Future[dict[QueueId, int]] = asyncio.get_running_loop().create_future()
        self._opened().commits.submit(change, partial(_answer, waiter))
        return await waiter

    def record(self, change: EntryUpdate | QueueId, done: Recorded) -> None:
        try:
            commits = self._opened().commits
        except SpoolError as error:
            asyncio.get_running_loop().call_soon(done, error)
            return
        commits.submit(change, lambda out: done(out if isinstance(out, SpoolError) else None), patient=True)

    def _forget_files(self, removed: dict[QueueId, int]) -> None:
        large = [queue_id for queue_id, size in removed.items() if size >= IN_DATABASE_BELOW]
        if large and self._state is not None:
            self._state.files.submit(self._unlink, large)

    def _unlink(self, queue_ids: list[QueueId]) -> None:
        for queue_id in queue_ids:
            with contextlib.suppress(OSError):
                file_path(self._content, queue_id).unlink()
                self._faults("content removed")

    # -- reading

    async def load(self, queue_id: QueueId) -> QueueEntry | None:
        entry, damage = await self._read(lambda reader: read_message(reader, queue_id, self._content))
        await self._set_aside(damage)
        return entry

    def content(self, entry: QueueEntry) -> Content:
        if entry.size >= IN_DATABASE_BELOW:
            return FileContent(file_path(self._content, entry.queue_id), entry.size)
        return StoredContent(partial(self._fetcher.fetch, entry.queue_id), entry.size)

    async def _read_contents(self, queue_ids: Sequence[QueueId]) -> dict[QueueId, bytes]:
        return await self._read(lambda reader: reader.contents(queue_ids))

    async def due(self, now: float, limit: int, after: tuple[float, QueueId] = (0.0, "")) -> list[QueueEntry]:
        found: list[QueueEntry] = []
        while len(found) < limit:
            wanted, start = limit - len(found), after
            page = await self._read(lambda reader: read_due(reader, now, wanted, start, self._content))  # noqa: B023
            await self._set_aside(page.damage)
            found.extend(page.entries)
            if page.rows < wanted:
                break
            after = page.last
        return found

    async def next_due(self, after: float = -1.0) -> float | None:
        return await self._read(lambda reader: reader.next_due(DUE_QUEUES, after))

    async def recipients(self, queue_id: QueueId, after: int, limit: int) -> list[QueuedRecipient]:
        found, damage = await self._read(lambda reader: read_recipients(reader, queue_id, after, limit))
        await self._set_aside(damage)
        return found

    async def entries(self, query: QueueFilter) -> AsyncIterator[QueueEntry]:
        after: QueueId | None = ""
        size = _FIRST_PAGE
        while after is not None:
            start, limit = after, size
            entries, after = await self._list(lambda reader: read_page(reader, query, start, limit))  # noqa: B023
            for entry in entries:
                if matches(entry, query):
                    yield entry
            size = _PAGE

    async def find(self, query: QueueFilter) -> AsyncIterator[Sequence[Found]]:
        if not is_exact(query):
            async for entry in self.entries(query):
                yield [Found(entry.queue_id, entry.queue, entry.forced_expire)]
            return
        after: QueueId | None = ""
        while after is not None:
            start = after
            found, after = await self._list(lambda reader: find_page(reader, query, start, _FOUND_PAGE))  # noqa: B023
            if found:
                yield found

    async def counts(self) -> dict[str, int]:
        return await self._list(lambda reader: reader.counts())

    async def _read(self, read: Callable[[View], T]) -> T:
        state = self._opened()
        return await asyncio.get_running_loop().run_in_executor(state.reading, read, state.reader)

    async def _list(self, read: Callable[[View], T]) -> T:
        state = self._opened()
        return await asyncio.get_running_loop().run_in_executor(state.listing, read, state.lister)

    async def _set_aside(self, damage: list[Damage]) -> None:
        """Move broken messages to the corrupt queue, so that nothing else waits for them."""
        for message in damage:
            self._log.warning(f"corrupt queue entry {message.queue_id}: {message.reason}; moved to the corrupt queue")
            with contextlib.suppress(SpoolError):
                await self.update(EntryUpdate(message.queue_id, queue=QueueName.CORRUPT))

    async def _remove_strays(self, state: _Open) -> None:
        """What a crash left of unfinished messages, one directory at a time, while mail flows."""
        loop = asyncio.get_running_loop()
        for number in range(256):
            place = self._content / f"{number:02x}"
            try:
                removed = await loop.run_in_executor(state.listing, remove_strays, place, state.lister, self._live)
            except SpoolError as error:
                self._log.warning(f"cannot look for left-over content files: {error}")
                return
            if removed:
                self._log.info(f"removed {removed} left-over content file{'s' if removed > 1 else ''} in {place}")
