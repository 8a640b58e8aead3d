"""What is in the database and what is only in the journal, as one queue to whoever reads it.

A message goes from the journal to the database and never back: who asks the journal first overlooks none, and of a
message that is found in both the database has the newer state. Reading never writes, so it goes on when nothing can
be written.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import islice
from typing import Any

from pymta.model.queue import QueueFilter, QueueId
from pymta.spool.fresh import Fresh, FreshMessages
from pymta.spool.rows import MESSAGE_COLUMNS, decode
from pymta.spool.segments import Journal
from pymta.spool.selection import matches
from pymta.spool.sqlite import Reader

Row = Sequence[Any]


class View:
    """The methods of `Reader`, for the same threads."""

    def __init__(self, reader: Reader, fresh: FreshMessages, journal: Journal) -> None:
        self._reader = reader
        self._fresh = fresh
        self._journal = journal

    def close(self) -> None:
        self._reader.close()

    def due(self, queues: Sequence[str], now: float, limit: int, after: tuple[float, QueueId]) -> list[Row]:
        """Message rows of `queues` in order of `(next_attempt, queue_id)`."""
        found: dict[QueueId, Row] = {}
        for queue_id, fresh in self._fresh.all().items():
            row = fresh.message
            if row[2] <= now and (row[2], queue_id) > after and row[1] in queues:
                found[queue_id] = row
        rows = self._reader.due(queues, now, limit, after)
        if found:
            found.update((row[0], row) for row in rows)
            rows = sorted(found.values(), key=lambda row: (row[2], row[0]))[:limit]
        return rows

    def next_due(self, queues: Sequence[str], after: float) -> float | None:
        messages = [fresh.message for fresh in self._fresh.all().values()]
        times = [row[2] for row in messages if row[2] > after and row[1] in queues]
        stored = self._reader.next_due(queues, after)
        return min(times if stored is None else [*times, stored], default=None)

    def message(self, queue_id: QueueId) -> Row | None:
        fresh = self._fresh.get(queue_id)
        return self._reader.message(queue_id) if fresh is None else fresh.message

    def recipients(self, queue_ids: Sequence[QueueId], each: int) -> dict[QueueId, list[Row]]:
        """The first `each` recipient rows of each message, by number."""
        fresh, stored = self._apart(queue_ids)
        found: dict[QueueId, list[Row]] = {one.queue_id: list(one.recipients[:each]) for one in fresh}
        return found | self._reader.recipients(stored, each) if stored else found

    def recipient_counts(self, queue_ids: Sequence[QueueId]) -> dict[QueueId, int]:
        fresh, stored = self._apart(queue_ids)
        counts = {one.queue_id: len(one.recipients) for one in fresh}
        return counts | self._reader.recipient_counts(stored) if stored else counts

    def more_recipients(self, queue_id: QueueId, after: int, limit: int) -> list[Row]:
        """A message's recipient rows behind number `after`."""
        fresh = self._fresh.get(queue_id)
        if fresh is None:
            return self._reader.more_recipients(queue_id, after, limit)
        return list(islice((row for row in fresh.recipients if row[1] > after), limit))

    def contents(self, queue_ids: Sequence[QueueId]) -> dict[QueueId, bytes]:
        """The contents that are in the journal or the database."""
        found: dict[QueueId, bytes] = {}
        for fresh in self._apart(queue_ids)[0]:
            if fresh.length is not None:
                content = self._journal.content(fresh.generation, fresh.offset, fresh.length)
                # A segment is overwritten when its messages are in the database, and not before.
                if content is not None and fresh.queue_id in self._fresh:
                    found[fresh.queue_id] = content
        rest = [queue_id for queue_id in queue_ids if queue_id not in found]
        return found | self._reader.contents(rest) if rest else found

    def content_sizes(self, queue_ids: Sequence[QueueId]) -> dict[QueueId, int]:
        """The size of each content that is in the journal or the database."""
        fresh, stored = self._apart(queue_ids)
        sizes = {one.queue_id: one.length for one in fresh if one.length is not None}
        return sizes | self._reader.content_sizes(stored) if stored else sizes

    def page(
        self, query: QueueFilter, after: QueueId, limit: int, columns: str = MESSAGE_COLUMNS
    ) -> tuple[list[Row], QueueId | None]:
        """Rows above `after` in order of id that `query` may mean, and after what the next page begins; None: no more.

        `columns` begin with the queue id.
        """
        # Before the database is asked: what moves meanwhile is found there.
        behind = sorted((queue_id, fresh) for queue_id, fresh in self._fresh.all().items() if queue_id > after)
        rows, more = self._reader.page(query, after, limit, columns)
        wanted = _places(columns)
        found: dict[QueueId, Row] = {
            one.queue_id: [one.message[place] for place in wanted] for one in _meant(behind, query, more, limit)
        }
        if not found:
            return rows, more
        found.update((row[0], row) for row in rows)
        merged = [found[queue_id] for queue_id in sorted(found)]
        if len(merged) >= limit:
            return merged[:limit], str(merged[limit - 1][0])
        return merged, more

    def counts(self) -> dict[str, int]:
        fresh = self._fresh.all()
        counts = self._reader.counts(list(fresh))
        for one in fresh.values():
            counts[one.message[1]] = counts.get(one.message[1], 0) + 1
        return counts

    def existing(self, queue_ids: Sequence[QueueId]) -> set[QueueId]:
        fresh, stored = self._apart(queue_ids)
        found = {one.queue_id for one in fresh}
        return found | self._reader.existing(stored) if stored else found

    def _apart(self, queue_ids: Sequence[QueueId]) -> tuple[list[Fresh], list[QueueId]]:
        """The messages that are only in the journal, and the ids of the others."""
        fresh, stored = [], []
        for queue_id in queue_ids:
            one = self._fresh.get(queue_id)
            if one is None:
                stored.append(queue_id)
            else:
                fresh.append(one)
        return fresh, stored


def _places(columns: str) -> list[int]:
    names = MESSAGE_COLUMNS.split(", ")
    return [names.index(column) for column in columns.split(", ")]


def _meant(
    behind: Iterable[tuple[QueueId, Fresh]], query: QueueFilter, last: QueueId | None, limit: int
) -> list[Fresh]:
    """The first `limit` that `query` means, up to the id `last`; what cannot be read counts as one."""
    found: list[Fresh] = []
    for queue_id, fresh in behind:
        if len(found) == limit or (last is not None and queue_id > last):
            break
        try:
            is_meant = matches(decode(fresh.message, fresh.recipients), query)
        except ValueError:
            is_meant = True
        if is_meant:
            found.append(fresh)
    return found
