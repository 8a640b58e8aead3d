"""The active queue: which messages are in memory, and how many more may be."""

from __future__ import annotations

from collections.abc import Callable

from pymta.model.queue import QueueEntry, QueueId
from pymta.ports import Content, Spool
from pymta.qmgr.active import ActiveMessage
from pymta.qmgr.supply import Supply

_CONTENT_MEMORY = 64 * 1024 * 1024


class ActiveQueue:
    """At most `limit` messages (postconf(5) qmgr_message_active_limit), their content in 64 MiB of memory at most.

    `has_room` is told when a message could come in again after one could not.
    """

    __slots__ = ("_content_memory", "_has_room", "_messages", "_spool", "_supply", "_was_full", "limit")

    def __init__(self, spool: Spool, supply: Supply, limit: int, has_room: Callable[[], None]) -> None:
        self._spool = spool
        self._supply = supply
        self._has_room = has_room
        self._messages: dict[QueueId, ActiveMessage] = {}
        self._content_memory = 0
        self._was_full = False
        self.limit = limit

    def __len__(self) -> int:
        return len(self._messages)

    def __contains__(self, queue_id: QueueId) -> bool:
        return queue_id in self._messages

    def get(self, queue_id: QueueId) -> ActiveMessage | None:
        return self._messages.get(queue_id)

    def holds(self, message: object, queue_id: QueueId) -> bool:
        """Whether `message` is still what is active under its id."""
        return self._messages.get(queue_id) is message

    def ids(self) -> list[QueueId]:
        return sorted(self._messages)

    def room(self) -> int:
        """How many more messages may become active; remembers that somebody had to wait."""
        room = self.limit - len(self._messages)
        if self._messages and self._supply.is_exhausted:
            room = 0
        if room <= 0:
            self._was_full = True
        return room

    def add(self, entry: QueueEntry, content: Content, start: float, *, since: float, flushed: bool) -> ActiveMessage:
        in_memory = entry.size if content.data is not None else 0
        if self._content_memory + in_memory > _CONTENT_MEMORY:
            content, in_memory = self._spool.content(entry), 0
        self._content_memory += in_memory
        message = ActiveMessage(entry, content, start, in_memory, since=since, flushed=flushed)
        self._messages[entry.queue_id] = message
        self._supply.in_core += message.in_core
        return message

    def remove(self, message: ActiveMessage) -> None:
        del self._messages[message.queue_id]
        self._supply.in_core -= message.in_core
        self._content_memory -= message.in_memory
        if self._was_full and self.room() > 0:
            self._was_full = False
            self._has_room()

    def clear(self) -> None:
        self._messages.clear()
