"""Doing jobs in this process: an MTA without root delivers everything as the user that it runs as."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import TypeVar

from pymta.delivery.command import run_command
from pymta.delivery.mailbox_batches import SMALL, Batches
from pymta.delivery.mailbox_jobs import (
    Answered,
    CommandExit,
    CommandJob,
    FileText,
    Identity,
    MaildirJob,
    MboxJob,
    ReadJob,
    Stored,
)
from pymta.delivery.mailbox_read import read_file
from pymta.delivery.maildir import deliver_maildir, deliver_maildirs
from pymta.delivery.mbox import append_mbox, append_mboxes
from pymta.errors import ConfigError, DeliveryError
from pymta.ports import Content

_T = TypeVar("_T")


class ThreadedActions:
    """`UserActions` in threads of this process, so that syncs and locks never hold up the event loop.

    The identity of a job plays no part: nobody without root can be anybody else. Refuses to work for root, whose
    rights no command or file of a user may ever get. `threads` bounds the files that are written together,
    `commands` the commands that run together.
    """

    def __init__(self, *, threads: int = 16, commands: int = 50) -> None:
        if os.geteuid() == 0:
            raise ConfigError("running as root: local delivery needs the privileged helper", name="local")
        self._files = ThreadPoolExecutor(threads, "mailbox")
        self._commands = ThreadPoolExecutor(commands, "command")
        self._maildirs: Batches[Identity, MaildirJob] = Batches(self._store_maildirs)
        self._mboxes: Batches[MboxJob, bytes] = Batches(self._store_mboxes, lanes=1)

    async def store(self, identity: Identity, job: MboxJob | MaildirJob, content: Content) -> Stored:
        if isinstance(job, MaildirJob):
            maildir, data = job, content.data
            if data is not None and len(data) <= SMALL:
                return await self._maildirs.store(identity, maildir, data)
            return await self._feed(self._files, content, lambda pieces: deliver_maildir(maildir, pieces))
        # Mailboxes belong to whom we run as, whoever the recipient is.
        owner = None if job.owner_uid is None else os.geteuid()
        mbox = replace(job, owner_uid=owner, create_uid=None, create_gid=None)
        if content.data is not None and len(content.data) <= SMALL:
            return await self._mboxes.store(replace(mbox, header=b""), job.header, content.data)
        return await self._feed(self._files, content, lambda pieces: append_mbox(mbox, pieces))

    def begin_store(self, identity: Identity, job: MaildirJob, data: bytes, answered: Answered) -> None:
        self._maildirs.put(identity, job, data, answered)

    async def _store_maildirs(
        self, identity: Identity, jobs: Sequence[MaildirJob], contents: Sequence[bytes]
    ) -> Sequence[Stored]:
        pieces = [(data,) for data in contents]
        return await asyncio.get_running_loop().run_in_executor(self._files, deliver_maildirs, jobs, pieces)

    async def _store_mboxes(
        self, target: MboxJob, headers: Sequence[bytes], contents: Sequence[bytes]
    ) -> Sequence[Stored]:
        pieces = [(data,) for data in contents]
        return await asyncio.get_running_loop().run_in_executor(self._files, append_mboxes, target, headers, pieces)

    async def run(self, identity: Identity, job: CommandJob, content: Content) -> CommandExit:
        if identity.chroot:
            return CommandExit(failure=f"cannot change root directory to {identity.chroot}: not running as root")
        return await self._feed(self._commands, content, lambda pieces: run_command(job, pieces))

    async def read(self, identity: Identity, job: ReadJob) -> FileText:
        return await asyncio.get_running_loop().run_in_executor(self._files, read_file, job)

    def close(self) -> None:
        """Let what is under way finish, and end the threads."""
        self._files.shutdown()
        self._commands.shutdown()

    async def _feed(self, pool: ThreadPoolExecutor, content: Content, work: Callable[[Iterator[bytes]], _T]) -> _T:
        loop = asyncio.get_running_loop()
        data = content.data
        if data is not None:
            return await loop.run_in_executor(pool, work, iter((data,)))
        pieces = _Bridge(loop, content)
        try:
            return await loop.run_in_executor(pool, work, pieces)
        finally:
            pieces.abandon()


class _Bridge:
    """The pieces of a large content for a thread, fetched one by one from the event loop."""

    def __init__(self, loop: asyncio.AbstractEventLoop, content: Content) -> None:
        self._loop = loop
        self._chunks: AsyncIterator[bytes] = content.chunks()
        self._abandoned = False

    def __iter__(self) -> Iterator[bytes]:
        return self

    def __next__(self) -> bytes:
        if self._abandoned:
            raise DeliveryError("delivery was cancelled")
        try:
            return asyncio.run_coroutine_threadsafe(self._next(), self._loop).result()
        except StopAsyncIteration:
            raise StopIteration from None

    async def _next(self) -> bytes:
        return await anext(self._chunks)

    def abandon(self) -> None:
        """The caller is gone: the thread stops at its next piece, and undoes what it wrote."""
        self._abandoned = True
