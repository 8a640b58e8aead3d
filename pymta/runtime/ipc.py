"""Frames between our own processes over a unix stream socket: kind, number, head and body, with flow control.

Both ends are this program under one user id, which the kernel vouches for; what a mail client sent is only ever
inside a head's values or a body. Frames of one turn of the event loop go out in one write, and those of a few
milliseconds where an end is made so: waking the other end costs more than most frames do there.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import struct
from collections.abc import Callable
from pathlib import Path
from typing import cast

_HEADER = struct.Struct("!BQII")
_HEADER_SIZE = _HEADER.size
_read_header = _HEADER.unpack_from
# An alias list of 100,000 addresses in one envelope is some 20 MiB; content of 128 KiB goes by the name of its file.
HEAD_LIMIT = 64 * 1024 * 1024
BODY_LIMIT = 1024 * 1024
_WRITE_HIGH = 1024 * 1024
# So many pieces do not wait for more: the other end can begin with them while this one goes on.
_ENOUGH = 8

Receive = Callable[["Link", int, int, bytes, bytes], None]
Lost = Callable[["Link"], None]


class Link(asyncio.Protocol):
    """One connection. `receive` is called for each frame with kind, number, head and body; `lost` once, at its end.

    Who knows who the other end is may set another `receive` for the frames to come. A frame beyond the limits, or an
    error in `receive`, ends the connection: its other end starts anew. Writes are `apart` seconds from each other,
    unless a frame is urgent or several wait.
    """

    def __init__(self, receive: Receive, lost: Lost, apart: float = 0.0) -> None:
        self._apart = apart
        self._flushed = 0.0
        self._flush_timer: asyncio.Handle | None = None
        self.receive = receive
        self._lost = lost
        self._loop = asyncio.get_running_loop()
        self._transport: asyncio.Transport | None = None
        self._out: list[bytes] = []
        self._partial: list[bytes] = []
        self._partial_size = 0
        self._needed = _HEADER_SIZE
        self._drained: asyncio.Future[None] | None = None

    # asyncio calls these.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        self._transport.set_write_buffer_limits(high=_WRITE_HIGH)

    def data_received(self, data: bytes) -> None:
        if self._partial:
            self._partial.append(data)
            self._partial_size += len(data)
            if self._partial_size < self._needed:
                return
            data = b"".join(self._partial)
            self._partial.clear()
        position = self._take_frames(data)
        if position < len(data) and self._transport is not None:
            rest = data[position:]
            self._partial.append(rest)
            self._partial_size = len(rest)

    def _take_frames(self, data: bytes) -> int:
        """Hand over the whole frames of `data`; where the rest begins."""
        position, end = 0, len(data)
        self._needed = _HEADER_SIZE
        while (head := position + _HEADER_SIZE) <= end:
            kind, number, head_size, body_size = _read_header(data, position)
            if head_size > HEAD_LIMIT or body_size > BODY_LIMIT:
                self.close()
                return end
            body = head + head_size
            if body + body_size > end:
                self._needed = _HEADER_SIZE + head_size + body_size
                break
            position = body + body_size
            self.receive(self, kind, number, data[head:body], data[body:position])
        return position

    def pause_writing(self) -> None:
        self._drained = self._loop.create_future()

    def resume_writing(self) -> None:
        drained, self._drained = self._drained, None
        if drained is not None and not drained.done():
            drained.set_result(None)

    def connection_lost(self, error: Exception | None) -> None:
        self._transport = None
        self._out.clear()
        self.resume_writing()
        self._lost(self)

    # The owner calls these.

    @property
    def is_open(self) -> bool:
        return self._transport is not None and not self._transport.is_closing()

    def send(self, kind: int, number: int, head: bytes, body: bytes = b"", *, urgent: bool = False) -> None:
        """Queue a frame; nothing happens on a link that is lost. An urgent one takes those before it along."""
        is_enough = len(self._out) == _ENOUGH
        if not self._out or (self._apart and (urgent or is_enough)):
            self._set_flush(urgent or is_enough)
        self._out.append(_HEADER.pack(kind, number, len(head), len(body)) + head)
        if body:
            self._out.append(body)

    @property
    def has_room(self) -> bool:
        """Whether a frame may go now: the link is open and its other end not behind with reading."""
        return self._drained is None and self._transport is not None and not self._transport.is_closing()

    async def drained(self) -> None:
        """Wait while the other end is behind with reading."""
        while self._drained is not None:
            await asyncio.shield(self._drained)

    def hold(self, held: bool) -> None:
        """Stop reading, or go on."""
        if self._transport is not None and not self._transport.is_closing():
            if held:
                self._transport.pause_reading()
            else:
                self._transport.resume_reading()

    def close(self) -> None:
        """End the connection after what is queued."""
        self._flush()
        if self._transport is not None:
            self._transport.close()

    def _set_flush(self, urgent: bool) -> None:
        if self._flush_timer is not None:
            self._flush_timer.cancel()
        delay = self._flushed + self._apart - self._loop.time() if self._apart and not urgent else 0.0
        call_later, call_soon = self._loop.call_later, self._loop.call_soon
        self._flush_timer = call_later(delay, self._flush) if delay > 0 else call_soon(self._flush)

    def _flush(self) -> None:
        if self._apart:
            self._flushed = self._loop.time()
        out, self._out = self._out, []
        if out and self._transport is not None:
            self._transport.writelines(out)


async def connect(path: Path, receive: Receive, lost: Lost, apart: float = 0.0) -> Link:
    """Raises OSError where nobody listens."""
    loop = asyncio.get_running_loop()
    _, link = await loop.create_unix_connection(lambda: Link(receive, lost, apart), str(path))
    return link


class LinkListener:
    """Accepts links of this user's processes (and root's) on `path`; the caller makes sure that the path is his."""

    def __init__(self, path: Path, receive: Receive, lost: Lost) -> None:
        self._path = path
        self._receive = receive
        self._lost = lost
        self._links: set[Link] = set()
        self._server: asyncio.Server | None = None

    async def start(self) -> None:
        with contextlib.suppress(FileNotFoundError):
            self._path.unlink()
        loop = asyncio.get_running_loop()
        self._server = await loop.create_unix_server(self._accept, str(self._path), backlog=128)
        self._path.chmod(0o600)

    def close(self) -> None:
        if self._server is not None:
            self._server.close()
            self._server = None
        for link in list(self._links):
            link.close()
        with contextlib.suppress(OSError):
            self._path.unlink()

    def _accept(self) -> Link:
        link = _AcceptedLink(self._receive, self._forget)
        self._links.add(link)
        return link

    def _forget(self, link: Link) -> None:
        self._links.discard(link)
        self._lost(link)


class _AcceptedLink(Link):
    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        if _peer_uid(transport.get_extra_info("socket")) not in (os.geteuid(), 0):
            transport.close()


def _peer_uid(connection: socket.socket) -> int:
    credentials = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, struct.calcsize("3i"))
    return int(struct.unpack("3i", credentials)[1])
