"""A queue that keeps what it is given."""

from __future__ import annotations

import itertools

from pymta.errors import SpoolError
from pymta.model.queue import QueueEntry, QueueId
from pymta.ports import ContentWriter


class FakeContent:
    """Content in memory; `discarded` tells that it was thrown away."""

    def __init__(self) -> None:
        self._chunks: list[bytes] = []
        self._size = 0
        self.discarded = False

    @property
    def size(self) -> int:
        return self._size

    @property
    def data(self) -> bytes:
        return b"".join(self._chunks)

    def write(self, data: bytes) -> None:
        self._chunks.append(data)
        self._size += len(data)

    def prepend(self, data: bytes) -> None:
        self._chunks.insert(0, data)
        self._size += len(data)

    async def discard(self) -> None:
        self.discarded = True


class FakeQueue:
    """A `Queue` in memory: what was enqueued is in `messages`, every content ever opened in `opened`.

    With `failure` set, enqueue raises SpoolError with that text.
    """

    def __init__(self) -> None:
        self.messages: list[tuple[QueueEntry, bytes]] = []
        self.opened: list[FakeContent] = []
        self.flushed: list[str] = []
        self.failure = ""
        self._numbers = itertools.count(1)

    def new_queue_id(self) -> QueueId:
        return f"{next(self._numbers):010X}"

    def new_content(self, queue_id: QueueId) -> FakeContent:
        content = FakeContent()
        self.opened.append(content)
        return content

    async def flush_site(self, site: str) -> None:
        self.flushed.append(site)

    async def enqueue(self, entry: QueueEntry, content: ContentWriter) -> None:
        if self.failure:
            raise SpoolError(self.failure)
        assert isinstance(content, FakeContent)
        self.messages.append((entry, content.data))

    @property
    def entry(self) -> QueueEntry:
        """The last message's entry."""
        return self.messages[-1][0]

    @property
    def content(self) -> bytes:
        """The last message's content."""
        return self.messages[-1][1]
