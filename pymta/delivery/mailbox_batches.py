"""Small messages for one user's maildirs, stored in groups: a group is one question to his worker, and shares syncs."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Sequence

from pymta.delivery.mailbox_jobs import Identity, MaildirJob, Stored
from pymta.errors import DeliveryError
from pymta.model.frozen import frozen

# Larger contents are not worth gathering, and come in pieces.
SMALL = 65536
# While one group is synced, the next one is gathered and written.
_LANES = 2
_MOST = 64


@frozen
class _Waiting:
    job: MaildirJob
    data: bytes
    answer: asyncio.Future[Stored]


_Send = Callable[[Identity, Sequence[MaildirJob], Sequence[bytes]], Awaitable[Sequence[Stored]]]


class MaildirBatches:
    """What comes while two groups of a user are under way waits, and goes as the next group, at most 64 together.

    `send` has a group stored with a user's rights, and gives the answers in its order.
    """

    def __init__(self, send: _Send) -> None:
        self._send = send
        self._waiting: dict[Identity, deque[_Waiting]] = {}
        self._lanes: dict[Identity, set[asyncio.Task[None]]] = {}

    async def store(self, identity: Identity, job: MaildirJob, data: bytes) -> Stored:
        """Raises DeliveryError where the group could not be stored."""
        answer: asyncio.Future[Stored] = asyncio.get_running_loop().create_future()
        self._waiting.setdefault(identity, deque()).append(_Waiting(job, data, answer))
        lanes = self._lanes.setdefault(identity, set())
        if len(lanes) < _LANES:
            task = asyncio.create_task(self._work(identity))
            lanes.add(task)
            task.add_done_callback(lambda task: self._ended(identity, task))
        return await answer

    async def _work(self, identity: Identity) -> None:
        waiting = self._waiting[identity]
        while waiting:
            group = [waiting.popleft() for _ in range(min(len(waiting), _MOST))]
            group = [one for one in group if not one.answer.cancelled()]
            if group:
                await self._store_group(identity, group)
        # Now, not when the loop tells of the task's end: who came in between would count on a lane that is over.
        task = asyncio.current_task()
        assert task is not None
        self._ended(identity, task)

    async def _store_group(self, identity: Identity, group: list[_Waiting]) -> None:
        try:
            answers = await self._send(identity, [one.job for one in group], [one.data for one in group])
        except Exception as error:
            # Each gets his own: what they raise is shared by nobody.
            text = str(error) if isinstance(error, DeliveryError) else f"storing in maildirs: {error!r}"
            for one in group:
                if not one.answer.done():
                    one.answer.set_exception(DeliveryError(text))
            return
        for one, stored in zip(group, answers, strict=True):
            if not one.answer.done():
                one.answer.set_result(stored)

    def _ended(self, identity: Identity, task: asyncio.Task[None]) -> None:
        lanes = self._lanes.get(identity, set())
        if task not in lanes:
            return
        lanes.remove(task)
        if not lanes:
            del self._lanes[identity]
            # Somebody is left here only where a lane was cancelled.
            for one in self._waiting.pop(identity):
                one.answer.cancel()
