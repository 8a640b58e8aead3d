"""The content of messages from disk, read before their turn comes."""

from __future__ import annotations

from collections import OrderedDict

from pymta.errors import SpoolError
from pymta.model.queue import QueueId
from pymta.qmgr.active import ActiveMessage
from pymta.spool.content import StoredContent

_MESSAGES = 200
_BYTES = 8 * 1024 * 1024


class ReadAhead:
    """Has the content of those that come next read, many at a time, while others are delivered.

    Messages are taken to be delivered in the order in which they get their place. Where that is wrong one reads its
    own when its turn comes, and at most 200 of 8 MiB wait with theirs.
    """

    __slots__ = ("_ahead", "_bytes", "_next")

    def __init__(self) -> None:
        self._next: OrderedDict[QueueId, ActiveMessage] = OrderedDict()
        self._ahead: dict[QueueId, int] = {}
        self._bytes = 0

    def add(self, message: ActiveMessage) -> None:
        """`message` waits for its delivery."""
        if message.content.data is None and isinstance(message.content, StoredContent):
            self._next[message.queue_id] = message
            self._read()

    def begun(self, message: ActiveMessage) -> None:
        """`message` is delivered now, or is gone."""
        size = self._ahead.pop(message.queue_id, None)
        if size is None:
            self._next.pop(message.queue_id, None)
            return
        self._bytes -= size
        if len(self._ahead) <= _MESSAGES // 2:
            self._read()

    def _read(self) -> None:
        while self._next and len(self._ahead) < _MESSAGES and self._bytes < _BYTES:
            queue_id, message = self._next.popitem(last=False)
            content = message.content
            assert isinstance(content, StoredContent)
            self._ahead[queue_id] = content.size
            self._bytes += content.size
            content.fetch(_at_hand)


def _at_hand(data: bytes | SpoolError) -> None:
    """Whoever delivers the message finds it with its content, or reads it again and hears what is wrong."""
