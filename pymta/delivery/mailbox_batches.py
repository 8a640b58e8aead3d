"""Small messages stored in groups: a group is one question to a user's worker, and shares locks and syncs."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Hashable, Sequence
from typing import Generic, TypeVar

from pymta.delivery.mailbox_jobs import Answered, Stored
from pymta.errors import DeliveryError

Key = TypeVar("Key", bound=Hashable)
Job = TypeVar("Job")

# Larger contents are not worth gathering, and come in pieces.
SMALL = 65536
_MOST = 64
# A group that takes longer is in a mailbox that is slow; others need not wait for it.
_PATIENCE = 0.1
_LANES = 4


class _Waiting(Generic[Job]):
    __slots__ = ("answered", "data", "is_withdrawn", "job")

    def __init__(self, job: Job, data: bytes, answered: Answered) -> None:
        self.job = job
        self.data = data
        self.answered = answered
        self.is_withdrawn = False


_Send = Callable[[Key, Sequence[Job], Sequence[bytes]], Awaitable[Sequence[Stored]]]


class Batches(Generic[Key, Job]):
    """What comes while a group for the same key is under way waits, and goes as the next group, at most 64 together.

    `send` has a group stored, and gives the answers in its order. A group that takes more than `patience` seconds
    keeps nobody waiting: the next one goes beside it, up to `lanes` at a time.
    """

    def __init__(self, send: _Send[Key, Job], *, lanes: int = _LANES, patience: float = _PATIENCE) -> None:
        self._send = send
        self._most_lanes = lanes
        self._patience = patience
        self._keys: dict[Key, _Groups[Key, Job]] = {}

    def put(self, key: Key, job: Job, data: bytes, answered: Answered) -> None:
        """Have `answered` called later, once."""
        self._put(key, _Waiting(job, data, answered))

    async def store(self, key: Key, job: Job, data: bytes) -> Stored:
        """Raises DeliveryError where the group could not be stored."""
        answer: asyncio.Future[Stored | DeliveryError] = asyncio.get_running_loop().create_future()
        one: _Waiting[Job] = _Waiting(job, data, lambda stored: None if answer.done() else answer.set_result(stored))
        self._put(key, one)
        try:
            stored = await answer
        finally:
            one.is_withdrawn = True
        if isinstance(stored, DeliveryError):
            raise stored
        return stored

    def _put(self, key: Key, one: _Waiting[Job]) -> None:
        groups = self._keys.get(key)
        if groups is None:
            groups = self._keys[key] = _Groups(key, self._send, self._most_lanes, self._patience, self._idle)
        groups.put(one)

    def _idle(self, key: Key) -> None:
        del self._keys[key]


class _Groups(Generic[Key, Job]):
    """What waits for one key, and the groups under way, each in a lane of its own."""

    def __init__(
        self, key: Key, send: _Send[Key, Job], most_lanes: int, patience: float, idle: Callable[[Key], None]
    ) -> None:
        self._key = key
        self._send = send
        self._most_lanes = most_lanes
        self._patience = patience
        self._idle = idle
        self._waiting: deque[_Waiting[Job]] = deque()
        self._lanes: set[asyncio.Task[None]] = set()
        self._groups = 0
        self._timer: asyncio.TimerHandle | None = None

    def put(self, one: _Waiting[Job]) -> None:
        self._waiting.append(one)
        if not self._lanes:
            self._open_lane()
        elif self._timer is None and len(self._lanes) < self._most_lanes:
            self._watch()

    def _open_lane(self) -> None:
        task = asyncio.create_task(self._work())
        self._lanes.add(task)
        task.add_done_callback(self._ended)

    def _watch(self) -> None:
        self._timer = asyncio.get_running_loop().call_later(self._patience, self._check, self._groups)

    def _check(self, groups: int) -> None:
        """Open another lane where no group began meanwhile for those that wait."""
        self._timer = None
        if self._waiting and len(self._lanes) < self._most_lanes:
            if groups == self._groups:
                self._open_lane()
            self._watch()

    async def _work(self) -> None:
        while self._waiting:
            self._groups += 1
            group = [self._waiting.popleft() for _ in range(min(len(self._waiting), _MOST))]
            if group := [one for one in group if not one.is_withdrawn]:
                await self._store(group)
        # Now, not when the loop tells of the task's end: who comes in between would count on a lane that is over.
        task = asyncio.current_task()
        assert task is not None
        self._ended(task)

    async def _store(self, group: list[_Waiting[Job]]) -> None:
        answers: Sequence[Stored | DeliveryError]
        try:
            answers = await self._send(self._key, [one.job for one in group], [one.data for one in group])
        except Exception as error:
            # Each gets his own: what they raise is shared by nobody.
            text = str(error) if isinstance(error, DeliveryError) else f"storing in mailboxes: {error!r}"
            answers = [DeliveryError(text) for _ in group]
        for one, answer in zip(group, answers, strict=True):
            one.answered(answer)

    def _ended(self, task: asyncio.Task[None]) -> None:
        if task in self._lanes:
            self._lanes.remove(task)
            if not self._lanes:
                self._stop()

    def _stop(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._idle(self._key)
