"""Doing jobs through the root helper's workers: each has one user's rights and one socket (runtime/privileged)."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace

from pymta.delivery.mailbox_batches import SMALL, Batches
from pymta.delivery.mailbox_codec import CodecError
from pymta.delivery.mailbox_jobs import (
    Answer,
    Answered,
    CommandExit,
    CommandJob,
    FileText,
    Identity,
    MaildirJob,
    MaildirJobs,
    MboxJob,
    MboxJobs,
    ReadJob,
    Stored,
    StoredAll,
)
from pymta.delivery.mailbox_link import WorkerLink
from pymta.errors import DeliveryError, PymtaError
from pymta.ports import Content
from pymta.runtime.privileged import PrivilegedHelper


def _close_unwanted(opening: asyncio.Future[socket.socket]) -> None:
    if not opening.cancelled() and opening.exception() is None:
        opening.result().close()


class HelperActions:
    """`UserActions` through the root helper. Workers live on while they have work, and `idle_time` seconds longer.

    `per_user` bounds the workers with one user's rights (so also the commands that run together for him),
    `limit` all of them.
    """

    def __init__(
        self, helper: PrivilegedHelper, *, limit: int = 100, per_user: int = 10, idle_time: float = 30.0
    ) -> None:
        self.helper = helper
        self._limit = limit
        self._per_user = per_user
        self._idle_time = idle_time
        self._idle: dict[Identity, list[WorkerLink]] = {}
        self._counts: dict[Identity, int] = {}
        self._waiting: list[asyncio.Future[None]] = []
        self._helper_lock = asyncio.Lock()
        self._timer: asyncio.TimerHandle | None = None
        self._maildirs: Batches[Identity, MaildirJob] = Batches(self._store_maildirs)
        self._mboxes: Batches[tuple[Identity, MboxJob], bytes] = Batches(self._store_mboxes, lanes=1)
        self._closed = False

    async def store(self, identity: Identity, job: MboxJob | MaildirJob, content: Content) -> Stored:
        data = content.data
        if data is not None and len(data) <= SMALL:
            if isinstance(job, MaildirJob):
                return await self._maildirs.store(identity, job, data)
            return await self._mboxes.store((identity, replace(job, header=b"")), job.header, data)
        answer = await self._do(identity, lambda worker: worker.ask(job, content))
        assert isinstance(answer, Stored)
        return answer

    def begin_store(self, identity: Identity, job: MaildirJob, data: bytes, answered: Answered) -> None:
        self._maildirs.put(identity, job, data, answered)

    async def _store_maildirs(
        self, identity: Identity, jobs: Sequence[MaildirJob], contents: Sequence[bytes]
    ) -> Sequence[Stored]:
        return await self._store_group(identity, MaildirJobs(tuple(jobs)), contents)

    async def _store_mboxes(
        self, key: tuple[Identity, MboxJob], headers: Sequence[bytes], contents: Sequence[bytes]
    ) -> Sequence[Stored]:
        identity, target = key
        return await self._store_group(identity, MboxJobs(target, tuple(headers)), contents)

    async def _store_group(
        self, identity: Identity, group: MaildirJobs | MboxJobs, contents: Sequence[bytes]
    ) -> Sequence[Stored]:
        answer = await self._do(identity, lambda worker: worker.ask_group(group, contents))
        assert isinstance(answer, StoredAll)
        return answer.for_each(len(contents))

    async def run(self, identity: Identity, job: CommandJob, content: Content) -> CommandExit:
        answer = await self._do(identity, lambda worker: worker.ask(job, content))
        assert isinstance(answer, CommandExit)
        return answer

    async def read(self, identity: Identity, job: ReadJob) -> FileText:
        answer = await self._do(identity, lambda worker: worker.ask(job, b""))
        assert isinstance(answer, FileText)
        return answer

    def close(self) -> None:
        """End the idle workers and the helper; busy workers end with their job."""
        self._closed = True
        if self._timer is not None:
            self._timer.cancel()
        for worker in [worker for workers in self._idle.values() for worker in workers]:
            self._end(worker)
        self._idle.clear()
        self.helper.close()

    async def _do(self, identity: Identity, ask: Callable[[WorkerLink], Awaitable[Answer]]) -> Answer:
        worker = await self._borrow(identity)
        answer = None
        try:
            answer = await ask(worker)
        except (OSError, EOFError, CodecError) as error:
            raise DeliveryError(f"a delivery worker for uid {identity.uid} failed: {error}") from error
        finally:
            # A worker whose answer was not awaited is out of step; closing it makes it undo what it began.
            self._give_back(worker, keep=answer is not None)
        return answer

    async def _borrow(self, identity: Identity) -> WorkerLink:
        while (worker := self._take_idle(identity)) is None and not self._may_open(identity):
            change = asyncio.get_running_loop().create_future()
            self._waiting.append(change)
            await change
        if worker is not None:
            return worker
        self._counts[identity] = self._counts.get(identity, 0) + 1
        try:
            return await self._open(identity)
        except BaseException:
            self._forget(identity)
            raise

    def _take_idle(self, identity: Identity) -> WorkerLink | None:
        idle = self._idle.get(identity, [])
        while idle:
            worker = idle.pop()
            if worker.is_open:
                return worker
            # It was killed: nothing of it was under way.
            self._decrease(identity)
        return None

    def _may_open(self, identity: Identity) -> bool:
        if self._counts.get(identity, 0) >= self._per_user:
            return False
        if sum(self._counts.values()) < self._limit:
            return True
        # Room is made by ending a worker that has been idle longest, of another user.
        idle = [workers[0] for workers in self._idle.values() if workers]
        if not idle:
            return False
        oldest = min(idle, key=lambda worker: worker.idle_since)
        self._idle[oldest.identity].remove(oldest)
        self._end(oldest)
        return True

    async def _open(self, identity: Identity) -> WorkerLink:
        loop = asyncio.get_running_loop()
        async with self._helper_lock:
            opening = loop.run_in_executor(
                None,
                lambda: self.helper.open_worker(
                    identity.uid, identity.gid, identity.chroot, is_keeper=identity.is_keeper
                ),
            )
            try:
                connection = await asyncio.shield(opening)
            except asyncio.CancelledError:
                opening.add_done_callback(_close_unwanted)
                raise
            except PymtaError as error:
                raise DeliveryError(str(error)) from error
        connection.setblocking(False)
        _, worker = await loop.create_unix_connection(lambda: WorkerLink(identity), sock=connection)
        return worker

    def _give_back(self, worker: WorkerLink, *, keep: bool) -> None:
        if not keep or self._closed:
            worker.close()
            self._forget(worker.identity)
            return
        worker.idle_since = asyncio.get_running_loop().time()
        self._idle.setdefault(worker.identity, []).append(worker)
        if self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(self._idle_time, self._sweep)
        self._tell_waiting()

    def _forget(self, identity: Identity) -> None:
        self._decrease(identity)
        self._tell_waiting()

    def _tell_waiting(self) -> None:
        """Let everyone look again: a worker is free, or there is room for another."""
        waiting, self._waiting = self._waiting, []
        for change in waiting:
            if not change.done():
                change.set_result(None)

    def _decrease(self, identity: Identity) -> None:
        self._counts[identity] -= 1
        if not self._counts[identity]:
            del self._counts[identity]

    def _end(self, worker: WorkerLink) -> None:
        worker.close()
        self._decrease(worker.identity)

    def _sweep(self) -> None:
        """End workers that have been idle for too long."""
        now = asyncio.get_running_loop().time()
        for identity, workers in list(self._idle.items()):
            for worker in [worker for worker in workers if now - worker.idle_since >= self._idle_time]:
                workers.remove(worker)
                self._end(worker)
            if not workers:
                del self._idle[identity]
        self._timer = asyncio.get_running_loop().call_later(self._idle_time, self._sweep) if self._idle else None
