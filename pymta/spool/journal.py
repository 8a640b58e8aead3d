"""The journal's format (docs/queue.md): labels and groups of changes as bytes, and back. Pure.

A segment is two copies of its label, a page each, and groups behind them. A group takes whole pages: head, records,
the contents of its additions one after the other, zeros. What counts in a segment bears the label's random key, so
neither what is left of the segment's earlier life nor what somebody sends in a message passes for a group.
"""

from __future__ import annotations

import marshal
import struct
from collections.abc import Callable, Iterator, Sequence
from zlib import crc32

from pymta.model.frozen import frozen
from pymta.model.queue import QueueId
from pymta.spool.rows import MessageRow, NewMessage, RecipientRow, UpdateRow

VERSION = 1
PAGE = 4096
LABEL_BYTES = 2 * PAGE

_MAGIC = b"pymtaJNL"
# Magic, version, whether it is closed, generation, since, last id's time, key, CRC.
_LABEL = struct.Struct("<8sHH4xQQQ16sI")
# Key, sequence, last id's time, bytes of records, bytes of contents, CRC of these and the records.
_HEAD = struct.Struct("<16sQQIQI")
# What Python 3.4 and later read; later versions of the format stay readable too.
_MARSHAL_VERSION = 4
_ZEROS = bytes(PAGE)


@frozen
class Label:
    """What a segment's groups have in common.

    Of all segments those count whose generation is at least `since` of the newest; none does where that one
    `is_closed`. `last_id_time` is the newest queue id's, in microseconds.
    """

    generation: int
    since: int
    last_id_time: int
    key: bytes
    is_closed: bool = False


class OtherVersion(ValueError):
    """A label that another version of this program wrote."""


def encode_label(label: Label) -> bytes:
    values = (_MAGIC, VERSION, label.is_closed, label.generation, label.since, label.last_id_time, label.key)
    page = _with_crc(_LABEL.pack(*values, 0)).ljust(PAGE, b"\0")
    return page * 2


def decode_label(data: bytes) -> Label | None:
    """The newest whole one of the copies; None where there is none. Raises OtherVersion."""
    labels = [_decode_label(data[start : start + _LABEL.size]) for start in (0, PAGE)]
    whole = [label for label in labels if label is not None]
    if not whole and data[: len(_MAGIC)] == _MAGIC and data[:10] == data[PAGE : PAGE + 10]:
        (version,) = struct.unpack_from("<H", data, len(_MAGIC))
        if version != VERSION:
            raise OtherVersion(f"journal of format version {version} found, this program reads version {VERSION}")
    return max(whole, key=lambda label: label.generation, default=None)


def _decode_label(data: bytes) -> Label | None:
    if len(data) < _LABEL.size or _with_crc(data) != data:
        return None
    magic, version, is_closed, generation, since, last_id_time, key, _ = _LABEL.unpack(data)
    if magic != _MAGIC or version != VERSION:
        return None
    return Label(generation, since, last_id_time, key, bool(is_closed))


def _with_crc(label: bytes) -> bytes:
    covered = label[:-4]
    return covered + crc32(covered).to_bytes(4, "little")


@frozen
class Group:
    """Changes that became durable together, in the order in which they count.

    `changes` are of messages that are only in the journal, as `gone` are; what `moved` is in the database.
    """

    additions: Sequence[NewMessage]
    changes: Sequence[UpdateRow] = ()
    gone: Sequence[QueueId] = ()
    moved: Sequence[QueueId] = ()


def encode_group(group: Group, key: bytes, sequence: int, last_id_time: int) -> tuple[list[bytes], list[int]]:
    """The group's bytes in pieces, and where in it each addition's content begins.

    Raises ValueError for what cannot be told as bytes.
    """
    additions, contents = [], []
    for message in group.additions:
        content = message.content
        if content is None:
            additions.append((message.message, message.recipients, -1, 0))
        else:
            additions.append((message.message, message.recipients, len(content), crc32(content)))
            contents.append(content)
    records = marshal.dumps((additions, list(group.changes), list(group.gone), list(group.moved)), _MARSHAL_VERSION)
    size = sum(map(len, contents))
    head = _HEAD.pack(key, sequence, last_id_time, len(records), size, 0)[:-4]
    head += crc32(records, crc32(head)).to_bytes(4, "little")
    pieces = [head, records, *contents, _ZEROS[: -(_HEAD.size + len(records) + size) % PAGE]]
    places, place = [], _HEAD.size + len(records)
    for _, _, length, _ in additions:
        places.append(place)
        place += max(length, 0)
    return pieces, places


@frozen
class ReadAddition:
    """A message as a group in a segment has it: its content is `length` bytes at `offset` of the segment.

    `length` is None where the content lies in a file of its own, or is broken.
    """

    message: MessageRow
    recipients: list[RecipientRow]
    offset: int
    length: int | None


@frozen
class ReadGroup:
    """A group that was found in a segment from `offset` to `end`; `broken` are the messages whose content is."""

    offset: int
    end: int
    sequence: int
    last_id_time: int
    additions: list[ReadAddition]
    changes: list[UpdateRow]
    gone: list[QueueId]
    moved: list[QueueId]
    broken: list[QueueId]


Read = Callable[[int, int], bytes]


class SegmentReader:
    """Reads a segment of `size` bytes by way of `read(offset, length)`.

    After `groups` has ended, the next one belongs to `end` and has the number `sequence`; `damages` says what is
    broken before that, and `is_unfinished` whether a group began there.
    """

    def __init__(self, read: Read, size: int, key: bytes) -> None:
        self._read = read
        self._size = size
        self._key = key
        self.end = LABEL_BYTES
        self.sequence = 0
        self.damages: list[str] = []
        self.is_unfinished = False

    def groups(self) -> Iterator[ReadGroup]:
        """All groups up to where writing ended.

        One behind which there is another was synced, so what is wrong with it is damage; what is wrong with the last
        one means that it never was, and it does not count.
        """
        doubtful: ReadGroup | None = None
        offset = LABEL_BYTES
        while (found := self._next(offset)) is not None:
            if doubtful is not None:
                self.damages.append(f"content of {', '.join(doubtful.broken)} at offset {doubtful.offset}")
                yield doubtful
            if found.offset != offset:
                self.damages.append(f"the changes from offset {offset} to {found.offset}")
            offset, self.sequence = found.end, found.sequence + 1
            doubtful = found if found.broken else None
            if doubtful is None:
                self.end = offset
                yield found
        if doubtful is not None:
            self.end, self.sequence = doubtful.offset, doubtful.sequence
        self.is_unfinished = self._read(self.end, len(self._key)) == self._key

    def _next(self, offset: int) -> ReadGroup | None:
        """The first group at `offset` or behind it that comes after those that were read."""
        while offset < self._size:
            found = self._at(offset)
            if found is not None and found.sequence >= self.sequence:
                return found
            offset += PAGE
        return None

    def _at(self, offset: int) -> ReadGroup | None:
        head = self._read(offset, _HEAD.size)
        if len(head) < _HEAD.size or not head.startswith(self._key):
            return None
        _, sequence, last_id_time, records_size, contents_size, crc = _HEAD.unpack(head)
        start = offset + _HEAD.size
        if records_size > self._size - start:
            return None
        records = self._read(start, records_size)
        # Nothing of it is believed before this, lengths least of all.
        if crc32(records, crc32(head[:-4])) != crc:
            return None
        return self._group(offset, sequence, last_id_time, start + records_size, contents_size, records)

    def _group(
        self, offset: int, sequence: int, last_id_time: int, place: int, contents_size: int, records: bytes
    ) -> ReadGroup:
        """`place` is where the contents begin."""
        end = -(-(place + contents_size) // PAGE) * PAGE
        additions, changes, gone, moved = marshal.loads(records)  # noqa: S302 - the key and the CRC say it is ours
        found, broken = [], []
        for message, recipients, length, crc in additions:
            whole: int | None = length if length >= 0 else None
            if whole is not None and crc32(self._read(place, whole)) != crc:
                whole = None
                broken.append(message[0])
            found.append(ReadAddition(message, recipients, place, whole))
            place += max(length, 0)
        return ReadGroup(offset, end, sequence, last_id_time, found, changes, gone, moved, broken)
