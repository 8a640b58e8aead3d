"""Small messages for one user's maildirs, stored in groups: a group is one question to his worker, and shares syncs."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Sequence

from pymta.delivery.mailbox_jobs import Answered, Identity, MaildirJob, Stored
from pymta.errors import DeliveryError

# Larger contents are not worth gathering, and come in pieces.
SMALL = 65536
_MOST = 64
# A group that takes longer is in a mailbox that is slow; others need not wait for it.
_PATIENCE = 0.1
_LANES = 4


class _Waiting:
    __slots__ = ("answered", "data", "is_withdrawn", "job")

    def __init__(self, job: MaildirJob, data: bytes, answered: Answered) -> None:
        self.job = job
        self.data = data
        self.answered = answered
        self.is_withdrawn = False


_Send = Callable[[Identity, Sequence[MaildirJob], Sequence[bytes]], Awaitable[Sequence[Stored]]]


class MaildirBatches:
    """What comes while a group of a user is under way waits, and goes as the next group, at most 64 together.

    `send` has a group stored with a user's rights, and gives the answers in its order. A group that takes more
    than `patience` seconds keeps nobody waiting: the next one goes beside it, up to four at a time.
    """

    def __init__(self, send: _Send, *, patience: float = _PATIENCE) -> None:
        self._send = send
        self._patience = patience
        self._users: dict[Identity, _User] = {}

    def put(self, identity: Identity, job: MaildirJob, data: bytes, answered: Answered) -> None:
        """Have `answered` called later, once."""
        self._put(identity, _Waiting(job, data, answered))

    async def store(self, identity: Identity, job: MaildirJob, data: bytes) -> Stored:
        """Raises DeliveryError where the group could not be stored."""
        answer: asyncio.Future[Stored | DeliveryError] = asyncio.get_running_loop().create_future()
        one = _Waiting(job, data, lambda stored: None if answer.done() else answer.set_result(stored))
        self._put(identity, one)
        try:
            stored = await answer
        finally:
            one.is_withdrawn = True
        if isinstance(stored, DeliveryError):
            raise stored
        return stored

    def _put(self, identity: Identity, one: _Waiting) -> None:
        user = self._users.get(identity)
        if user is None:
            user = self._users[identity] = _User(identity, self._send, self._patience, self._idle)
        user.put(one)

    def _idle(self, identity: Identity) -> None:
        del self._users[identity]


class _User:
    """What waits for one user, and the groups of his under way, each in a lane of its own."""

    def __init__(self, identity: Identity, send: _Send, patience: float, idle: Callable[[Identity], None]) -> None:
        self._identity = identity
        self._send = send
        self._patience = patience
        self._idle = idle
        self._waiting: deque[_Waiting] = deque()
        self._lanes: set[asyncio.Task[None]] = set()
        self._groups = 0
        self._timer: asyncio.TimerHandle | None = None

    def put(self, one: _Waiting) -> None:
        self._waiting.append(one)
        if not self._lanes:
            self._open_lane()
        elif self._timer is None:
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
        if self._waiting and len(self._lanes) < _LANES:
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

    async def _store(self, group: list[_Waiting]) -> None:
        answers: Sequence[Stored | DeliveryError]
        try:
            answers = await self._send(self._identity, [one.job for one in group], [one.data for one in group])
        except Exception as error:
            # Each gets his own: what they raise is shared by nobody.
            text = str(error) if isinstance(error, DeliveryError) else f"storing in maildirs: {error!r}"
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
        self._idle(self._identity)
