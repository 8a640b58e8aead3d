"""The journal's files: two segments in turn, overwritten again and again so that a sync has only data to write.

The segment of a generation is `journal/0` where that is even, `journal/1` where it is odd.
"""

from __future__ import annotations

import contextlib
import os
import secrets
from collections.abc import Iterator, Sequence
from pathlib import Path

from pymta.errors import SpoolError
from pymta.ports import Log
from pymta.spool.content import sync_directory
from pymta.spool.failures import PASSING, RefusedChange, StorageFailure
from pymta.spool.faults import NO_FAULTS, Faults
from pymta.spool.journal import (
    LABEL_BYTES,
    Group,
    Label,
    OtherVersion,
    ReadGroup,
    SegmentReader,
    decode_label,
    encode_group,
    encode_label,
)

# A segment that has reached this is followed by the other one; the last group may go beyond it.
SEGMENT_BYTES = 32 * 1024 * 1024
_PIECES_AT_ONCE = 1000


class Journal:
    """`label` is that of the segment which is written; `read` comes first, and is exhausted before anything else.

    After a StorageFailure only `content` and `close` may be called.
    """

    def __init__(self, directory: Path, log: Log, faults: Faults = NO_FAULTS) -> None:
        """Open or create the files. Raises SpoolError."""
        self._paths = directory / "0", directory / "1"
        self._log = log
        self._faults = faults
        self.label = Label(0, 0, 0, b"")
        self._position = LABEL_BYTES
        self._sequence = 0
        self._files: list[int] = []
        try:
            directory.mkdir(mode=0o700, exist_ok=True)
            for path in self._paths:
                self._files.append(_open(path))
            sync_directory(directory)
            sync_directory(directory.parent)
        except OSError as error:
            self.close()
            raise SpoolError(f"{directory}: {error.strerror}") from error

    def close(self) -> None:
        for descriptor in self._files:
            os.close(descriptor)
        self._files.clear()

    # -- reading what there is

    def read(self) -> Iterator[tuple[int, ReadGroup]]:
        """Every group that counts, oldest first, with its generation; afterwards groups may be appended.

        Raises SpoolError, also for a journal of another version.
        """
        labels = [label for number in (0, 1) if (label := self._label(number)) is not None]
        newest = max(labels, key=lambda label: label.generation, default=None)
        self.label = newest or self.label
        if newest is None or newest.is_closed:
            self.begin(self.label.last_id_time, alone=True)
            return
        for label in sorted(labels, key=lambda label: label.generation):
            if label.generation >= newest.since:
                yield from self._groups(label)

    def _label(self, number: int) -> Label | None:
        path = self._paths[number]
        try:
            data = os.pread(self._files[number], LABEL_BYTES, 0)
            label = decode_label(data)
            # A segment's label is synced before anything else is in it.
            if label is None and len(data) == LABEL_BYTES and any(data):
                self._set_aside(number)
            if label is not None and label.generation % 2 != number:
                raise SpoolError(f"{path}: this is the other segment")
        except OtherVersion as error:
            raise SpoolError(f"{path}: {error}") from error
        except OSError as error:
            raise SpoolError(f"{path}: {error.strerror}") from error
        return label

    def _set_aside(self, number: int) -> None:
        path = self._paths[number]
        damaged = path.with_name(f"{path.name}.damaged")
        self._log.error(f"{path} cannot be read, messages may be lost; it is kept as {damaged.name}")
        path.rename(damaged)
        os.close(self._files[number])
        self._files[number] = _open(path)
        sync_directory(path.parent)

    def _groups(self, label: Label) -> Iterator[tuple[int, ReadGroup]]:
        number = label.generation % 2
        file, path = self._files[number], self._paths[number]
        try:
            reader = SegmentReader(
                lambda offset, length: os.pread(file, length, offset), os.fstat(file).st_size, label.key
            )
            for group in reader.groups():
                yield label.generation, group
        except (OSError, ValueError, TypeError, EOFError) as error:
            raise SpoolError(f"{path}: {error}") from error
        for damage in reader.damages:
            self._log.warning(f"{path} is damaged: {damage}")
        if reader.is_unfinished:
            self._log.info(f"{path}: what was begun at offset {reader.end} was never finished, and does not count")
        self._position, self._sequence = reader.end, reader.sequence

    def content(self, generation: int, offset: int, length: int) -> bytes | None:
        """Bytes of a segment, None where they cannot be read. For any thread."""
        try:
            data = os.pread(self._files[generation % 2], length, offset)
        except (OSError, IndexError):
            return None
        return data if len(data) == length else None

    # -- writing

    @property
    def fill(self) -> float:
        """How much of the segment is written; 1 or more: it is time for the other one."""
        return self._position / SEGMENT_BYTES

    def begin(self, last_id_time: int, *, alone: bool = False, closed: bool = False) -> None:
        """Go on in the other segment; `alone`, what is in this one does not count any more. Raises SpoolError."""
        generation = self.label.generation + 1
        since = generation if alone else self.label.generation
        label = Label(generation, since, last_id_time, secrets.token_bytes(16), closed)
        self._write(generation, [encode_label(label)], 0)
        self.label, self._position, self._sequence = label, LABEL_BYTES, 0

    def append(self, group: Group, last_id_time: int) -> list[int]:
        """Make `group` durable; where in the segment the content of each addition begins.

        Raises SpoolError where it may be tried again, RefusedChange where the group cannot be written at all, and
        StorageFailure.
        """
        label = self.label
        try:
            pieces, places = encode_group(group, label.key, self._sequence, last_id_time)
        except ValueError as error:
            raise RefusedChange(f"journal: {error}") from error
        start = self._position
        size = self._write(label.generation, pieces, start)
        self._faults("journal synced")
        self._position += size
        self._sequence += 1
        return [start + place for place in places]

    def _write(self, generation: int, pieces: Sequence[bytes], offset: int) -> int:
        """Make it durable; how many bytes it is."""
        file = self._files[generation % 2]
        try:
            size = _write_all(file, pieces, offset)
            _sync(file, self._faults)
        except (OSError, StorageFailure) as error:
            # What was written may not count later, and takes room.
            with contextlib.suppress(OSError):
                os.ftruncate(file, offset)
            if isinstance(error, OSError):
                raise _failure(error) from error
            raise
        return size


def _sync(file: int, faults: Faults) -> None:
    try:
        faults("journal written")
        os.fdatasync(file)
    except OSError as error:
        # Whatever the error, nobody knows what is on the disk now.
        raise StorageFailure(f"journal: {error.strerror}") from error


def _open(path: Path) -> int:
    return os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)


def _failure(error: OSError) -> SpoolError:
    text = f"journal: {error.strerror}"
    return SpoolError(text) if error.errno in PASSING else StorageFailure(text)


def _write_all(file: int, pieces: Sequence[bytes], offset: int) -> int:
    if len(pieces) > _PIECES_AT_ONCE:
        pieces = [b"".join(pieces)]
    size = sum(map(len, pieces))
    written = os.pwritev(file, pieces, offset)
    while written < size:
        rest = memoryview(b"".join(pieces))[written:]
        written += os.pwrite(file, rest, offset + written)
    return size
