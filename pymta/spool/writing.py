"""The writer: every change goes to the journal, and to the database only where it must (docs/queue.md).

A message that is only in the journal is *fresh*. It moves to the database when its segment is to be overwritten, when
there are too many, and at the end. Everything here is for one thread.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from itertools import islice, repeat

from pymta.errors import SpoolError
from pymta.model.queue import EntryUpdate, QueueId
from pymta.ports import Log
from pymta.spool.failures import RefusedChange, StorageFailure
from pymta.spool.faults import NO_FAULTS, Faults
from pymta.spool.fresh import Fresh, FreshMessages
from pymta.spool.journal import Group
from pymta.spool.rows import NewMessage, encode_update, unreadable
from pymta.spool.segments import Journal
from pymta.spool.sqlite import Writer

# More fresh messages than this, or recipients of such, and the oldest move.
FRESH_MESSAGES = 10_000
FRESH_RECIPIENTS = 100_000
# What moves in one transaction.
_MOVED_MESSAGES = 500
_MOVED_BYTES = 8 * 1024 * 1024
# How full a segment is when messages of the other one begin to move.
_EARLY = 0.5

Payload = NewMessage | EntryUpdate | QueueId
Outcome = dict[QueueId, int] | SpoolError
_Apply = Callable[[Sequence[Payload], int], dict[QueueId, int]]


class SpoolWriter:
    """Joins `journal` and `database`. `failure` is set for good when one of them failed: no change is tried after it.

    `fresh` are the messages that are only in the journal. A message that has moved is noted so in the journal before
    it can go from the database: else the next opening would find it in the journal, nowhere else, and not know that
    it is gone.
    """

    def __init__(
        self, database: Writer, journal: Journal, fresh: FreshMessages, log: Log, faults: Faults = NO_FAULTS
    ) -> None:
        self._database = database
        self._journal = journal
        self._fresh = fresh
        self._log = log
        self._faults = faults
        self._moved: list[QueueId] = []
        # No id above this is in the database.
        self._highest = ""
        self._is_stuck = False
        self.failure: SpoolError | None = None

    def load(self) -> int:
        """Take over what is in the journal; the time of the newest id there, in microseconds. Raises SpoolError."""
        last_id_time = 0
        for generation, group in self._journal.read():
            additions = [
                Fresh(one.message, one.recipients, generation, one.offset, one.length) for one in group.additions
            ]
            self._fresh.fold(additions, group.changes, group.gone)
            self._fresh.forget(group.moved)
            last_id_time = max(last_id_time, group.last_id_time)
        self._highest = self._database.highest_id()
        # These moved, and there was no time to note it.
        self._moved = list(self._database.existing(list(self._fresh.all())))
        self._fresh.forget(self._moved)
        return max(last_id_time, self._journal.label.last_id_time)

    def apply(self, changes: Sequence[Payload], last_id_time: int) -> list[Outcome]:
        """Make changes durable: what came of each, which is the messages that are gone by it, with their sizes.

        Those of fresh messages are durable together or not at all, and so are the others.
        """
        try:
            fresh = self._fresh_ones(changes)
        except SpoolError as error:
            return self._failed(error, changes)
        written = [change for change, is_fresh in zip(changes, fresh, strict=True) if is_fresh]
        stored = [change for change, is_fresh in zip(changes, fresh, strict=True) if is_fresh is False]
        outcomes = {
            True: iter(self._attempt(self._write, written, last_id_time)),
            False: iter(self._attempt(self._store, stored, last_id_time)),
            None: repeat(RefusedChange("a message of this id exists already")),
        }
        return [next(outcomes[is_fresh]) for is_fresh in fresh]

    def _fresh_ones(self, changes: Sequence[Payload]) -> list[bool | None]:
        """Whether each is of a message that is fresh, or will be; None for a new one whose id exists."""
        added = [change.message[0] for change in changes if isinstance(change, NewMessage)]
        low = [queue_id for queue_id in added if queue_id <= self._highest]
        stored = self._database.existing(low) if low else ()
        coming: set[QueueId] = set()
        fresh: list[bool | None] = []
        for change in changes:
            if isinstance(change, NewMessage):
                queue_id = change.message[0]
                exists = queue_id in coming or queue_id in self._fresh or queue_id in stored
                coming.add(queue_id)
                fresh.append(None if exists else True)
            else:
                queue_id = change if isinstance(change, str) else change.queue_id
                fresh.append(queue_id in self._fresh or (queue_id in coming and queue_id not in stored))
        return fresh

    def _attempt(self, apply: _Apply, changes: Sequence[Payload], last_id_time: int) -> list[Outcome]:
        """One outcome per change. One that is impossible is found by trying each alone."""
        if not changes:
            return []
        if self.failure is not None:
            return self._failed(self.failure, changes)
        try:
            return [apply(changes, last_id_time)] * len(changes)
        except RefusedChange as error:
            if len(changes) == 1:
                return [error]
            return [outcome for change in changes for outcome in self._attempt(apply, [change], last_id_time)]
        except SpoolError as error:
            return self._failed(error, changes)

    def _failed(self, error: SpoolError, changes: Sequence[Payload]) -> list[Outcome]:
        if isinstance(error, StorageFailure):
            self.failure = error
        return [error] * len(changes)

    def _write(self, changes: Sequence[Payload], last_id_time: int) -> dict[QueueId, int]:
        """Changes of fresh messages: one group of the journal."""
        new, updates, gone = _by_kind(changes)
        group = Group(new, [encode_update(update) for update in updates], gone, self._moved)
        offsets = self._journal.append(group, last_id_time)
        self._moved = []
        generation = self._journal.label.generation
        additions = [
            Fresh(one.message, one.recipients, generation, offset, None if one.content is None else len(one.content))
            for one, offset in zip(new, offsets, strict=True)
        ]
        return self._fresh.fold(additions, group.changes, gone)

    def _store(self, changes: Sequence[Payload], last_id_time: int) -> dict[QueueId, int]:
        """Changes of messages in the database: one transaction."""
        if self._moved:
            self._journal.append(Group([], moved=self._moved), last_id_time)
            self._moved = []
        _, updates, gone = _by_kind(changes)
        return self._database.apply([], [encode_update(update) for update in updates], gone, last_id_time)

    # -- fresh messages into the database

    def tidy(self, last_id_time: int) -> None:
        """Have messages move where it is time for it; what cannot be now is tried again after the next changes."""
        if self.failure is not None:
            return
        try:
            self._make_room(last_id_time)
        except SpoolError as error:
            self._failed(error, ())
            if not self._is_stuck:
                self._log.warning(f"cannot move messages from the journal to the database: {error}")
            self._is_stuck = True
        else:
            self._is_stuck = False

    def _make_room(self, last_id_time: int) -> None:
        while len(self._fresh) > FRESH_MESSAGES or self._fresh.recipients > FRESH_RECIPIENTS:
            self._move(self._fresh.first(_MOVED_MESSAGES), last_id_time)
        fill = self._journal.fill
        if fill >= _EARLY:
            behind = self._fresh.before(self._journal.label.generation)
            # A few at a time while there is time: whoever adds a message does not wait for thousands of others.
            self._move(list(behind if fill >= 1 else islice(behind, _MOVED_MESSAGES)), last_id_time)
        if fill >= 1:
            self._journal.begin(last_id_time)

    def finish(self, last_id_time: int) -> None:
        """Leave nothing in the journal. Raises SpoolError; then what is there stays there."""
        while self._fresh:
            self._move(self._fresh.first(_MOVED_MESSAGES), last_id_time)
        self._database.apply([], [], [], last_id_time)
        self._journal.begin(last_id_time, alone=True, closed=True)

    def _move(self, messages: Sequence[Fresh], last_id_time: int) -> None:
        for part in _parts(messages):
            try:
                self._database.apply([self._whole(fresh) for fresh in part], [], [], last_id_time)
            except RefusedChange as error:
                if len(part) > 1:
                    for fresh in part:
                        self._move([fresh], last_id_time)
                    continue
                self._move_wreck(part[0], error, last_id_time)
            self._faults("moved to database")
            queue_ids = [fresh.queue_id for fresh in part]
            self._moved += queue_ids
            self._highest = max(self._highest, *queue_ids)
            self._fresh.forget(queue_ids)

    def _move_wreck(self, fresh: Fresh, error: SpoolError, last_id_time: int) -> None:
        """One that the database does not take as it is shall not hold up the others."""
        self._log.warning(f"corrupt queue entry {fresh.queue_id}: {error}; moved to the corrupt queue")
        self._database.apply([unreadable(self._whole(fresh))], [], [], last_id_time)

    def _whole(self, fresh: Fresh) -> NewMessage:
        content = None
        if fresh.length is not None:
            content = self._journal.content(fresh.generation, fresh.offset, fresh.length)
        return NewMessage(fresh.message, fresh.recipients, content)


def _by_kind(changes: Sequence[Payload]) -> tuple[list[NewMessage], list[EntryUpdate], list[QueueId]]:
    new, updates, gone = [], [], []
    for change in changes:
        if isinstance(change, NewMessage):
            new.append(change)
        elif isinstance(change, str):
            gone.append(change)
        else:
            updates.append(change)
    return new, updates, gone


def _parts(messages: Sequence[Fresh]) -> Iterator[list[Fresh]]:
    """As many as shall move in one transaction each."""
    part: list[Fresh] = []
    room = _MOVED_BYTES
    for fresh in messages:
        part.append(fresh)
        room -= fresh.length or 0
        if room < 0 or len(part) == _MOVED_MESSAGES:
            yield part
            part, room = [], _MOVED_BYTES
    if part:
        yield part
