"""Content in a file: from the system's cache where it is there, else read in a thread; never short."""

import errno
import os
from pathlib import Path
from typing import Any

import pytest

from pymta.errors import SpoolError
from pymta.spool.content import FileContent

DATA = bytes(range(256)) * 4000


async def read(content: FileContent, limit: int = 65536) -> list[bytes]:
    return [piece async for piece in content.chunks(limit)]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "ABC"
    path.write_bytes(DATA)
    return path


@pytest.mark.parametrize("limit", [1000, 65536, 262144, 10_000_000])
async def test_it_comes_whole_in_pieces_that_are_not_too_large(path: Path, limit: int) -> None:
    pieces = await read(FileContent(path, len(DATA)), limit)
    assert b"".join(pieces) == DATA
    assert max(map(len, pieces)) <= limit


@pytest.mark.parametrize("code", [errno.EAGAIN, errno.EOPNOTSUPP])
async def test_what_is_not_cached_is_read_in_a_thread(path: Path, code: int, monkeypatch: pytest.MonkeyPatch) -> None:
    def nothing(*_: Any) -> int:
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(os, "preadv", nothing)
    assert b"".join(await read(FileContent(path, len(DATA)))) == DATA


async def test_what_is_cached_in_part_comes_in_part(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = os.preadv

    def half(descriptor: int, buffers: Any, position: int, flags: int) -> int:
        assert flags == os.RWF_NOWAIT
        return real(descriptor, [buffers[0][: len(buffers[0]) // 2 + 1]], position, flags)

    monkeypatch.setattr(os, "preadv", half)
    assert b"".join(await read(FileContent(path, len(DATA)))) == DATA


async def test_pieces_stay_as_they_were(path: Path) -> None:
    first, second, *_ = await read(FileContent(path, len(DATA)), 1000)
    assert (first, second) == (DATA[:1000], DATA[1000:2000])


async def test_a_file_that_ends_early_or_is_gone_is_an_error(path: Path) -> None:
    with pytest.raises(SpoolError, match="content ends 5 bytes early"):
        await read(FileContent(path, len(DATA) + 5))
    path.unlink()
    with pytest.raises(SpoolError, match="No such file"):
        await read(FileContent(path, len(DATA)))


async def test_who_stops_reading_leaves_no_file_open(path: Path) -> None:
    before = len(os.listdir("/proc/self/fd"))
    chunks = FileContent(path, len(DATA)).chunks(10)
    assert await anext(chunks) == DATA[:10]
    await chunks.aclose()  # type: ignore[attr-defined]
    assert len(os.listdir("/proc/self/fd")) == before
