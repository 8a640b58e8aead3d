"""The control socket: who asks is known from the kernel, not from what they say (unix(7) SO_PEERCRED)."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import struct
from collections import Counter
from collections.abc import AsyncIterator, Callable, Mapping
from pathlib import Path
from typing import Any

from pymta.errors import PymtaError
from pymta.model.frozen import frozen
from pymta.ports import Log
from pymta.protocol.control import REQUEST_LIMIT, Request, format_record, parse_request

_REQUEST_SECONDS = 30.0
_IDLE_SECONDS = 300.0
_CONNECTIONS_PER_USER = 50


@frozen
class Caller:
    """The process at the other end."""

    pid: int
    uid: int
    gid: int


class ControlRefused(PymtaError):
    """The caller may not do this, or asked for what makes no sense; the text is for the caller."""

    def __init__(self, message: str, *, temporary: bool = False) -> None:
        self.temporary = temporary
        super().__init__(message)


class Body:
    """What follows the request line: raw content until the client shuts its side down."""

    def __init__(self, reader: asyncio.StreamReader) -> None:
        self._reader = reader

    async def chunks(self) -> AsyncIterator[bytes]:
        while chunk := await asyncio.wait_for(self._reader.read(65536), _IDLE_SECONDS):
            yield chunk


Handler = Callable[[Request, Caller, Body], AsyncIterator[Mapping[str, Any]]]


class ControlServer:
    """Serves `handler` on a unix socket that every user may connect to; the handler decides who may do what."""

    def __init__(self, path: Path, handler: Handler, log: Log) -> None:
        self._path = path
        self._handler = handler
        self._log = log
        self._server: asyncio.Server | None = None
        self._connections: Counter[int] = Counter()
        self._tasks: set[asyncio.Task[None]] = set()

    async def start(self) -> None:
        """Listen; a socket that a killed predecessor left is replaced. The caller holds the spool's lock."""
        with contextlib.suppress(FileNotFoundError):
            self._path.unlink()
        self._server = await asyncio.start_unix_server(self._connected, path=str(self._path), limit=REQUEST_LIMIT)
        self._path.chmod(0o666)

    async def close(self) -> None:
        if self._server is not None:
            self._server.close()
            self._server = None
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        with contextlib.suppress(OSError):
            self._path.unlink()

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        caller = _caller(writer.get_extra_info("socket"))
        self._connections[caller.uid] += 1
        try:
            await self._serve(reader, writer, caller)
        except (OSError, TimeoutError, asyncio.CancelledError, ValueError):
            pass
        finally:
            self._tasks.discard(task)
            self._connections[caller.uid] -= 1
            writer.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, caller: Caller) -> None:
        try:
            if self._connections[caller.uid] > _CONNECTIONS_PER_USER:
                raise ControlRefused("too many requests under way for this user", temporary=True)
            line = await asyncio.wait_for(reader.readline(), _REQUEST_SECONDS)
            async for row in self._handler(parse_request(line), caller, Body(reader)):
                writer.write(format_record(row))
                await writer.drain()
            closing: dict[str, Any] = {"ok": True}
        except ControlRefused as refused:
            closing = {"ok": False, "error": str(refused), "temporary": refused.temporary}
        except ValueError as error:
            closing = {"ok": False, "error": str(error), "temporary": False}
        except PymtaError as error:
            self._log.warning(f"control: {error}")
            closing = {"ok": False, "error": str(error), "temporary": True}
        writer.write(format_record(closing))
        await writer.drain()


def _caller(connection: socket.socket) -> Caller:
    size = struct.calcsize("3i")
    pid, uid, gid = struct.unpack("3i", connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, size))
    return Caller(pid, uid, gid)
