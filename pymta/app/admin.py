"""qmgr's administration as the port that the control socket speaks."""

from __future__ import annotations

from collections.abc import AsyncIterator

from pymta.model.queue import QueueEntry, QueueFilter, QueueId
from pymta.qmgr import QueueAdmin


class Administration:
    """`ports.QueueAdmin` over qmgr's own."""

    def __init__(self, admin: QueueAdmin) -> None:
        self._admin = admin

    def entries(self, query: QueueFilter) -> AsyncIterator[QueueEntry]:
        return self._admin.entries(query)

    async def flush(self, query: QueueFilter) -> int:
        return await self._admin.flush(query)

    def change(self, action: str, query: QueueFilter) -> AsyncIterator[QueueId]:
        return self._admin.change(action, query)

    async def counts(self) -> dict[str, int]:
        return {name.value: count for name, count in (await self._admin.counts()).items()}
