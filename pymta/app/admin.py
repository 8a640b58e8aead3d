"""qmgr's administration as the port that the control socket speaks."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import replace

from pymta.model.queue import QueueEntry, QueueFilter, QueueId
from pymta.qmgr import QueueAdmin


class Administration:
    """`ports.QueueAdmin` over qmgr's own."""

    def __init__(self, admin: QueueAdmin) -> None:
        self._admin = admin
        self._actions = {
            "delete": admin.delete,
            "hold": admin.hold,
            "release": admin.release,
            "requeue": admin.requeue,
            "expire": admin.expire,
        }

    def entries(self, query: QueueFilter) -> AsyncIterator[QueueEntry]:
        return self._admin.entries(query)

    async def flush(self, query: QueueFilter) -> int:
        return await self._admin.flush(query)

    async def change(self, action: str, query: QueueFilter) -> AsyncIterator[QueueId]:
        act = self._actions[action]
        async for entry in self._admin.entries(query):
            if await act(replace(query, queue_ids=(entry.queue_id,), queues=())):
                yield entry.queue_id

    async def counts(self) -> dict[str, int]:
        return {name.value: count for name, count in (await self._admin.counts()).items()}
