"""Message content on its way in and out: small in memory and in the database, large in files of its own.

A file is `content/XX/QUEUE_ID`, XX a checksum of the id in hexadecimal, so that 256 directories share a large queue.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import os
import zlib
from collections.abc import AsyncIterator, Callable
from pathlib import Path

from pymta.errors import SpoolError
from pymta.model.queue import QueueId
from pymta.ports import Content
from pymta.spool.faults import NO_FAULTS, Faults

# What is in the database is written twice, but needs no file, no syncs of it and its directory, no threads for them.
# With 100 KB that costs a fifth less, with 200 KB more.
IN_DATABASE_BELOW = 131072
_FILE_BUFFER = 262144


def file_path(directory: Path, queue_id: QueueId) -> Path:
    """Where the content of `queue_id` lies when it is too large for the database."""
    return directory / f"{zlib.crc32(queue_id.encode()) & 0xFF:02x}" / queue_id


class MemoryContent:
    """`ports.Content` in memory."""

    __slots__ = ("data",)

    def __init__(self, data: bytes) -> None:
        self.data: bytes = data

    @property
    def size(self) -> int:
        return len(self.data)

    async def chunks(self, limit: int = 65536) -> AsyncIterator[bytes]:
        for start in range(0, len(self.data), limit):
            yield self.data[start : start + limit]


class FileContent:
    """`ports.Content` in a file; what is not in the system's cache is read in a thread.

    Raises SpoolError where the file is gone or too short.
    """

    __slots__ = ("_path", "size")

    def __init__(self, path: Path, size: int) -> None:
        self._path = path
        self.size = size

    @property
    def data(self) -> bytes | None:
        return None

    async def chunks(self, limit: int = 65536) -> AsyncIterator[bytes]:
        position, left = 0, self.size
        try:
            descriptor = os.open(self._path, os.O_RDONLY | os.O_CLOEXEC)
            try:
                while left:
                    wanted = min(limit, left)
                    piece = _cached(descriptor, position, wanted)
                    if not piece:
                        piece = await asyncio.to_thread(os.pread, descriptor, wanted, position)
                    if not piece:
                        raise SpoolError(f"{self._path}: content ends {left} bytes early")
                    position += len(piece)
                    left -= len(piece)
                    yield piece
            finally:
                os.close(descriptor)
        except OSError as error:
            raise SpoolError(f"{self._path}: {error.strerror}") from error


_cache_window = memoryview(bytearray(_FILE_BUFFER))


def _cached(descriptor: int, position: int, wanted: int) -> bytes:
    """Up to `wanted` bytes that are in the system's cache, for the event loop's thread; empty where there are none."""
    try:
        # Not into a new buffer: zeroing that costs more than reading.
        size = os.preadv(descriptor, [_cache_window[:wanted]], position, os.RWF_NOWAIT)
    except OSError:
        return b""
    return bytes(_cache_window[:size])


Fetched = Callable[[bytes | SpoolError], None]


class StoredContent:
    """`ports.Content` in the database; read once, then at hand. `read` calls back with it, or why there is none."""

    __slots__ = ("_data", "_read", "size")

    def __init__(self, read: Callable[[Fetched], None], size: int) -> None:
        self._read = read
        self._data: bytes | None = None
        self.size = size

    @property
    def data(self) -> bytes | None:
        return self._data

    def fetch(self, done: Fetched) -> None:
        """Have `done` called once the content is at hand, with it, or with why it is not."""

        def fetched(data: bytes | SpoolError) -> None:
            if isinstance(data, bytes):
                self._data = data
            done(data)

        self._read(fetched)

    async def chunks(self, limit: int = 65536) -> AsyncIterator[bytes]:
        data = self._data if self._data is not None else await self._fetched()
        for start in range(0, len(data), limit):
            yield data[start : start + limit]

    async def _fetched(self) -> bytes:
        waiter: asyncio.Future[bytes | SpoolError] = asyncio.get_running_loop().create_future()
        self.fetch(lambda data: None if waiter.done() else waiter.set_result(data))
        data = await waiter
        if isinstance(data, SpoolError):
            raise data
        return data


class SpooledContent:
    """`ports.ContentWriter`: in memory up to 128 KiB, beyond that in a file that grows as data comes.

    `failure` keeps the first error of the file system until `Spool.add` reports it; what is written after it is
    counted and dropped. What is prepended to a file waits for `sync`, which copies the file once, within the kernel.
    """

    __slots__ = (
        "_buffer",
        "_buffered",
        "_descriptor",
        "_directory",
        "_faults",
        "_head",
        "_live",
        "_queue_id",
        "failure",
        "size",
    )

    def __init__(self, directory: Path, queue_id: QueueId, live: set[QueueId], faults: Faults = NO_FAULTS) -> None:
        """`live` holds the ids whose file may lie there without a row; this one is in it from create to `release`."""
        self._directory = directory
        self._queue_id = queue_id
        self._live = live
        self._faults = faults
        self._buffer: list[bytes] = []
        self._buffered = 0
        self._head = b""
        self._descriptor: int | None = None
        self.failure: OSError | None = None
        self.size = 0

    @property
    def in_file(self) -> bool:
        return self.size >= IN_DATABASE_BELOW

    @property
    def _path(self) -> Path:
        return file_path(self._directory, self._queue_id)

    def write(self, data: bytes) -> None:
        self._buffer.append(data)
        self._buffered += len(data)
        self.size += len(data)
        if self._buffered >= (_FILE_BUFFER if self._descriptor is not None else IN_DATABASE_BELOW):
            self._flush()

    def prepend(self, data: bytes) -> None:
        self.size += len(data)
        if self._descriptor is not None or self.failure is not None:
            self._head = data + self._head
            return
        self._buffer.insert(0, data)
        self._buffered += len(data)
        if self._buffered >= IN_DATABASE_BELOW:
            self._flush()

    def _flush(self) -> None:
        data = self.take()
        if self.failure is not None:
            return
        try:
            if self._descriptor is None:
                self._descriptor = self._create()
            _write_all(self._descriptor, data)
        except OSError as error:
            self.failure = error

    def _create(self) -> int:
        flags = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC | os.O_NOFOLLOW
        path = self._path
        was_live = self._queue_id in self._live
        self._live.add(self._queue_id)
        try:
            descriptor = os.open(path, flags, 0o600)
        except FileNotFoundError:
            path.parent.mkdir(mode=0o700, exist_ok=True)
            sync_directory(path.parent.parent)
            descriptor = os.open(path, flags, 0o600)
        except FileExistsError:
            if not was_live:
                self._live.discard(self._queue_id)
            raise
        self._faults("content created")
        return descriptor

    def take(self) -> bytes:
        """What is in memory; for small content that is all of it, and the writer keeps nothing."""
        data = self._buffer[0] if len(self._buffer) == 1 else b"".join(self._buffer)
        self._buffer.clear()
        self._buffered = 0
        return data

    def content(self) -> Content:
        """What was written, for reading back while it is at hand."""
        if self.in_file:
            return FileContent(self._path, self.size)
        if len(self._buffer) != 1:
            self._buffer[:] = [b"".join(self._buffer)]
        return MemoryContent(self._buffer[0])

    def sync(self) -> None:
        """Bring file and directory entry to the disk; blocks, and is not tried twice. Raises OSError."""
        self._flush()
        if self.failure is not None:
            raise self.failure
        assert self._descriptor is not None
        try:
            if self._head:
                self._put_head_before(self._descriptor)
            os.fsync(self._descriptor)
            self._sync_name()
        except OSError as error:
            self.failure = error
            raise
        finally:
            os.close(self._descriptor)
            self._descriptor = None
        self._faults("content synced")

    def _sync_name(self) -> None:
        sync_directory(self._path.parent)

    def _put_head_before(self, rest: int) -> None:
        """Start the file anew under its name, the head first; the old one is gone when its descriptor is."""
        self._path.unlink()
        self._descriptor = self._create()
        try:
            _write_all(self._descriptor, self._head)
            _copy(rest, self._descriptor, self.size - len(self._head))
        finally:
            os.close(rest)
        self._head = b""

    async def discard(self) -> None:
        self.abandon()

    def abandon(self) -> None:
        """Remove what there is; harmless when done twice."""
        self._buffer.clear()
        self._buffered = 0
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None
        # What was there before belongs to another message of this id.
        if self.in_file and not isinstance(self.failure, FileExistsError):
            with contextlib.suppress(OSError):
                self._path.unlink()
            self.release()

    def release(self) -> None:
        """The file has its row now, or is gone, or may be removed as nobody's."""
        self._live.discard(self._queue_id)


def _write_all(descriptor: int, data: bytes) -> None:
    written = os.write(descriptor, data)
    while written < len(data):
        written += os.write(descriptor, memoryview(data)[written:])


def _copy(source: int, target: int, size: int) -> None:
    done = 0
    while done < size:
        copied = os.sendfile(target, source, done, size - done)
        if not copied:
            raise OSError(errno.EIO, f"content ends {size - done} bytes early")
        done += copied


def sync_directory(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
