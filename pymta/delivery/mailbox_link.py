"""Our end of the socket to one worker of the root helper: a job and its content go out, an answer comes back."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import cast

from pymta.delivery.mailbox_batches import SMALL
from pymta.delivery.mailbox_codec import CodecError, decode_answer, encode_value
from pymta.delivery.mailbox_jobs import Answer, Identity, Job, MaildirJobs, MboxJobs
from pymta.delivery.mailbox_worker import LENGTH, MAX_FRAME
from pymta.ports import Content

_END = LENGTH.pack(0)


class WorkerLink(asyncio.Protocol):
    """One worker, which does one job at a time."""

    def __init__(self, identity: Identity) -> None:
        self.identity = identity
        self.idle_since = 0.0
        self._loop = asyncio.get_running_loop()
        self._transport: asyncio.Transport | None = None
        self._received = b""
        self._answer: asyncio.Future[bytes] | None = None
        self._room: asyncio.Future[None] | None = None

    async def ask(self, job: Job, content: Content | bytes) -> Answer:
        """Raises OSError, EOFError or CodecError when the worker is gone or out of step: then close it."""
        frame = encode_value(job)
        data = content if isinstance(content, bytes) else content.data
        if data is not None and len(data) <= SMALL:
            piece = (LENGTH.pack(len(data)), data) if data else ()
            return await self._exchange((LENGTH.pack(len(frame)), frame, *piece, _END))
        assert not isinstance(content, bytes)
        self._write((LENGTH.pack(len(frame)), frame))
        async for chunk in content.chunks():
            if chunk:
                self._write((LENGTH.pack(len(chunk)), chunk))
                await self._drain()
        return await self._exchange((_END,))

    async def ask_group(self, jobs: MaildirJobs | MboxJobs, contents: Sequence[bytes]) -> Answer:
        """The same for small messages that are stored together."""
        frame = encode_value(jobs)
        out = [LENGTH.pack(len(frame)), frame]
        for data in contents:
            out += (LENGTH.pack(len(data)), data)
        return await self._exchange(out)

    async def _exchange(self, out: Sequence[bytes]) -> Answer:
        self._answer = self._loop.create_future()
        self._write(out)
        return decode_answer(await self._answer)

    def _write(self, out: Sequence[bytes]) -> None:
        if self._transport is None:
            raise EOFError("it has ended")
        self._transport.writelines(out)

    async def _drain(self) -> None:
        while self._room is not None:
            await asyncio.shield(self._room)

    @property
    def is_open(self) -> bool:
        return self._transport is not None

    def close(self) -> None:
        if self._transport is not None:
            self._transport.close()

    # asyncio calls these.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)

    def data_received(self, data: bytes) -> None:
        self._received += data
        if len(self._received) < LENGTH.size:
            return
        end = LENGTH.size + LENGTH.unpack_from(self._received)[0]
        if end > MAX_FRAME:
            self._fail(CodecError(f"answer of {end - LENGTH.size} octets"))
        elif len(self._received) >= end:
            frame, self._received = self._received[LENGTH.size : end], self._received[end:]
            if self._answer is None or self._answer.done() or self._received:
                self._fail(CodecError("an answer to no question"))
            else:
                self._answer.set_result(frame)

    def pause_writing(self) -> None:
        self._room = self._loop.create_future()

    def resume_writing(self) -> None:
        room, self._room = self._room, None
        if room is not None and not room.done():
            room.set_result(None)

    def connection_lost(self, error: Exception | None) -> None:
        self._fail(error or EOFError("it has ended"))
        self._transport = None
        self.resume_writing()

    def _fail(self, error: Exception) -> None:
        if self._answer is not None and not self._answer.done():
            self._answer.set_exception(error)
        self.close()
