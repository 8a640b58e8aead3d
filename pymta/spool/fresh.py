"""Messages that are only in the journal: what became of them, and where their content lies.

The writer's thread alone changes them; others may look at any time, as each value is replaced and never changed.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import islice

from pymta.model.frozen import frozen
from pymta.model.queue import QueueId
from pymta.spool.rows import MessageRow, RecipientRow, UpdateRow, updated_message, updated_recipients


@frozen(eq=False)
class Fresh:
    """A message without its content, which is `length` bytes at `offset` of the segment of that generation.

    `length` is None where the content is in a file of its own, or broken.
    """

    message: MessageRow
    recipients: list[RecipientRow]
    generation: int
    offset: int
    length: int | None

    @property
    def queue_id(self) -> QueueId:
        return self.message[0]


class FreshMessages:
    """In the order in which they came. `recipients` is how many rows of recipients there are in all."""

    def __init__(self) -> None:
        self._messages: dict[QueueId, Fresh] = {}
        self.recipients = 0

    def __len__(self) -> int:
        return len(self._messages)

    def __contains__(self, queue_id: object) -> bool:
        return queue_id in self._messages

    def get(self, queue_id: QueueId) -> Fresh | None:
        return self._messages.get(queue_id)

    def all(self) -> dict[QueueId, Fresh]:
        """As they are now; a dictionary of strings is copied without letting another thread in."""
        return self._messages.copy()

    # -- for the writer's thread

    def first(self, count: int) -> list[Fresh]:
        """Up to `count` messages, the oldest."""
        return list(islice(self._messages.values(), count))

    def before(self, generation: int) -> Iterator[Fresh]:
        """Those of older segments; they are the first."""
        for fresh in self._messages.values():
            if fresh.generation >= generation:
                return
            yield fresh

    def fold(
        self, additions: Sequence[Fresh], changes: Sequence[UpdateRow], gone: Sequence[QueueId]
    ) -> dict[QueueId, int]:
        """What a group of the journal does; gives the messages that are gone by it, with their sizes."""
        removed = {}
        for fresh in additions:
            self._messages[fresh.message[0]] = fresh
            self.recipients += len(fresh.recipients)
        for change in changes:
            if self._change(change):
                gone = [*gone, change[0]]
        for queue_id in gone:
            left = self._remove(queue_id)
            if left is not None:
                removed[queue_id] = left.message[7]
        return removed

    def forget(self, queue_ids: Sequence[QueueId]) -> None:
        """They are in the database now."""
        for queue_id in queue_ids:
            self._remove(queue_id)

    def _change(self, change: UpdateRow) -> bool:
        """Whether nothing is left to do of the message."""
        fresh = self._messages.get(change[0])
        if fresh is None:
            return False
        recipients = updated_recipients(fresh.recipients, change)
        self.recipients += len(recipients) - len(fresh.recipients)
        message = updated_message(fresh.message, change)
        self._messages[change[0]] = Fresh(message, recipients, fresh.generation, fresh.offset, fresh.length)
        return not recipients

    def _remove(self, queue_id: QueueId) -> Fresh | None:
        fresh = self._messages.pop(queue_id, None)
        if fresh is not None:
            self.recipients -= len(fresh.recipients)
        return fresh
