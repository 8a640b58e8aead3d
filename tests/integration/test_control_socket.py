"""The control dialogue over a real socket, with callers that lie, stall and leave."""

import asyncio
import os
import socket
from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from pymta.cli.client import CommandFailed, DaemonDown, run
from pymta.protocol.control import REQUEST_LIMIT, Request
from pymta.runtime.control import Body, Caller, ControlRefused, ControlServer
from pymta.testing import RecordingLog


async def _echo(request: Request, caller: Caller, body: Body) -> AsyncIterator[Mapping[str, Any]]:
    if request.command == "refuse":
        raise ControlRefused("not you", temporary=True)
    if request.command == "nonsense":
        raise ValueError("queue_ids is not a list")
    size = 0
    async for chunk in body.chunks():
        size += len(chunk)
    yield {"command": request.command, "uid": caller.uid, "pid": caller.pid, "size": size}


@pytest.fixture
async def path(tmp_path: Path) -> AsyncIterator[Path]:
    server = ControlServer(tmp_path / "control", _echo, RecordingLog())
    await server.start()
    yield tmp_path / "control"
    await server.close()


async def test_the_caller_is_known_from_the_kernel(path: Path) -> None:
    (row,) = await asyncio.to_thread(run, path, "list", {"uid": 4711})
    assert (row["uid"], row["pid"]) == (os.getuid(), os.getpid())


async def test_content_follows_the_request(path: Path) -> None:
    (row,) = await asyncio.to_thread(run, path, "submit", {}, [b"x" * 100_000] * 10)
    assert row["size"] == 1_000_000


@pytest.mark.parametrize(
    ("command", "text", "temporary"), [("refuse", "not you", True), ("nonsense", "queue_ids", False)]
)
async def test_a_refusal_comes_with_its_reason(path: Path, command: str, text: str, temporary: bool) -> None:
    with pytest.raises(CommandFailed, match=text) as caught:
        await asyncio.to_thread(run, path, command, {})
    assert caught.value.temporary is temporary


async def test_a_refusal_is_heard_even_when_content_is_still_on_its_way(path: Path) -> None:
    with pytest.raises((CommandFailed, DaemonDown)):
        await asyncio.to_thread(run, path, "refuse", {}, [b"x" * 1_000_000] * 20)


@pytest.mark.parametrize(
    "line",
    [
        b"\n",
        b"not json\n",
        b"[]\n",
        b'{"command": 5}\n',
        b'{"command": "x", "arguments": []}\n',
        b"[" * 100_000 + b"\n",
        b"\xff\n",
    ],
)
async def test_a_line_that_is_no_request_is_refused(path: Path, line: bytes) -> None:
    assert b'"ok":false' in await asyncio.to_thread(_talk, path, line)


async def test_an_endless_line_is_cut_off(path: Path) -> None:
    answer = await asyncio.to_thread(_talk, path, b"x" * (3 * REQUEST_LIMIT))
    assert b'"ok":true' not in answer


def _talk(path: Path, data: bytes) -> bytes:
    with socket.socket(socket.AF_UNIX) as connection:
        connection.settimeout(10)
        connection.connect(str(path))
        try:
            connection.sendall(data)
            connection.shutdown(socket.SHUT_WR)
            return connection.recv(10_000)
        except OSError:
            return b""


async def test_nobody_there_is_told_apart_from_a_refusal(tmp_path: Path) -> None:
    with pytest.raises(DaemonDown):
        run(tmp_path / "nothing", "list", {})


async def test_the_socket_of_a_killed_predecessor_is_replaced(tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(tmp_path / "control"))
    server = ControlServer(tmp_path / "control", _echo, RecordingLog())
    await server.start()
    assert await asyncio.to_thread(run, tmp_path / "control", "list", {})
    await server.close()
    assert not (tmp_path / "control").exists()
