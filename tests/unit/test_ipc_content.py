"""Content that another process wrote: stored whole, or not at all and nothing left behind."""

import asyncio
import errno
import os
from pathlib import Path

import pytest

from pymta.app.remote_queue import RemoteQueue
from pymta.errors import SpoolError
from pymta.model.address import Address
from pymta.model.queue import QueuedRecipient, QueueEntry, QueueName
from pymta.runtime.clock import SystemClock
from pymta.spool import SqliteSpool
from pymta.spool.content import file_path
from pymta.spool.handover import DraftContent, clear_drafts, drafts_folder
from pymta.spool.ids import QueueIds
from pymta.testing import ManualClock, RecordingLog

LARGE = b"0123456789abcdef" * 8192
WRITER = 3


@pytest.fixture
async def spool(tmp_path: Path):
    opened = SqliteSpool(tmp_path / "queue", RecordingLog(), SystemClock(), id_slots=16)
    await opened.open()
    clear_drafts(tmp_path / "queue", WRITER)
    yield opened
    await opened.close()


def entry(queue_id: str, size: int) -> QueueEntry:
    address = Address("r", "example.com")
    recipients = (QueuedRecipient(1, address, address),)
    return QueueEntry(queue_id, QueueName.INCOMING, address, recipients, 1.0, 1.0, size)


def draft(tmp_path: Path, queue_id: str, data: bytes = LARGE) -> DraftContent:
    content = DraftContent(drafts_folder(tmp_path / "queue", WRITER), queue_id)
    content.write(data)
    content.sync()
    return content


async def test_a_file_moves_from_its_writer_into_the_spool(spool: SqliteSpool, tmp_path: Path) -> None:
    queue_id = spool.new_queue_id()
    draft(tmp_path, queue_id)
    stored = entry(queue_id, len(LARGE))
    await spool.add(stored, spool.handed_content(queue_id, WRITER, len(LARGE)))
    assert b"".join([chunk async for chunk in spool.content(stored).chunks()]) == LARGE
    assert list(drafts_folder(tmp_path / "queue", WRITER).iterdir()) == []
    assert await spool.load(queue_id) == stored


@pytest.mark.parametrize("left", [None, LARGE[:-1]])
async def test_a_file_that_is_gone_or_too_short_is_no_message_and_no_failure_of_the_disk(
    spool: SqliteSpool, tmp_path: Path, left: bytes | None
) -> None:
    queue_id = spool.new_queue_id()
    if left:
        draft(tmp_path, queue_id, left)
    with pytest.raises(SpoolError):
        await spool.add(entry(queue_id, len(LARGE)), spool.handed_content(queue_id, WRITER, len(LARGE)))
    assert await spool.load(queue_id) is None
    assert not file_path(tmp_path / "queue" / "content", queue_id).exists()
    second = spool.new_queue_id()
    draft(tmp_path, second)
    await spool.add(entry(second, len(LARGE)), spool.handed_content(second, WRITER, len(LARGE)))


async def test_a_second_file_of_one_id_leaves_the_first_alone(spool: SqliteSpool, tmp_path: Path) -> None:
    queue_id = spool.new_queue_id()
    stored = entry(queue_id, len(LARGE))
    draft(tmp_path, queue_id)
    await spool.add(stored, spool.handed_content(queue_id, WRITER, len(LARGE)))
    draft(tmp_path, queue_id, LARGE[::-1])
    with pytest.raises(SpoolError, match="File exists"):
        await spool.add(stored, spool.handed_content(queue_id, WRITER, len(LARGE)))
    assert b"".join([chunk async for chunk in spool.content(stored).chunks()]) == LARGE
    assert spool.failure is None


async def test_an_aborted_draft_leaves_nothing(spool: SqliteSpool, tmp_path: Path) -> None:
    content = DraftContent(drafts_folder(tmp_path / "queue", WRITER), "ABCDEF0123456")
    content.write(LARGE)
    await content.discard()
    assert list(drafts_folder(tmp_path / "queue", WRITER).iterdir()) == []


async def test_a_writer_that_starts_anew_finds_nothing_of_its_past_and_keeps_what_others_write(
    spool: SqliteSpool, tmp_path: Path
) -> None:
    clear_drafts(tmp_path / "queue", 4)
    draft(tmp_path, "ABCDEF0123456")
    clear_drafts(tmp_path / "queue", 4)
    assert len(list(drafts_folder(tmp_path / "queue", WRITER).iterdir())) == 1
    clear_drafts(tmp_path / "queue", WRITER)
    assert list(drafts_folder(tmp_path / "queue", WRITER).iterdir()) == []
    clear_drafts(tmp_path / "queue")
    assert not (tmp_path / "queue" / "drafts").exists()


async def test_header_fields_go_before_a_large_draft(spool: SqliteSpool, tmp_path: Path) -> None:
    queue_id = spool.new_queue_id()
    content = DraftContent(drafts_folder(tmp_path / "queue", WRITER), queue_id)
    content.write(LARGE)
    content.prepend(b"A: b\r\n")
    content.sync()
    stored = entry(queue_id, content.size)
    await spool.add(stored, spool.handed_content(queue_id, WRITER, content.size))
    assert b"".join([chunk async for chunk in spool.content(stored).chunks()]) == b"A: b\r\n" + LARGE


@pytest.mark.parametrize("long", [False, True])
def test_processes_never_give_the_same_id_even_in_the_same_microsecond(long: bool) -> None:
    makers = [QueueIds(lambda: 1e9, long=long, slot=slot, slots=16, floor=7) for slot in range(16)]
    given = [maker.new() for _ in range(50) for maker in makers]
    assert len(set(given)) == len(given)
    for maker_number in range(16):
        own = given[maker_number::16]
        assert own == sorted(own)


async def test_a_writer_goes_on_above_what_the_spool_has_seen(spool: SqliteSpool, tmp_path: Path) -> None:
    """A clock that went back while the writer was restarted."""
    ahead = int(SystemClock().now() * 1e6) + 10**9
    spool.note_id_time(ahead)
    restarted = QueueIds(SystemClock().now, slot=WRITER, slots=16, floor=spool.last_id_time)
    assert int(restarted.new(), 16) > ahead
    await spool.close()
    await spool.open()
    assert spool.last_id_time >= ahead
    assert await asyncio.wait_for(spool.counts(), 5) == {}


async def test_after_a_failed_sync_a_writer_takes_nothing_for_a_while_and_then_tries_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock, broken = ManualClock(), True
    queue = RemoteQueue(tmp_path, tmp_path / "roles", "token", WRITER, clock, long_ids=False)
    clear_drafts(tmp_path, WRITER)

    async def store(kind: object, values: object, body: bytes = b"") -> str:
        return ""

    def sync(descriptor: int) -> None:
        if broken:
            raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr(type(queue.upstream), "is_up", True)
    monkeypatch.setattr(queue.upstream, "ask", store)
    monkeypatch.setattr(os, "fsync", sync)
    queue._welcomed((0, 0))

    async def send() -> None:
        queue_id = queue.new_queue_id()
        content = queue.new_content(queue_id)
        content.write(LARGE)
        await queue.enqueue(entry(queue_id, len(LARGE)), content)

    for pause in (1.0, 2.0):
        results = await asyncio.gather(send(), send(), return_exceptions=True)
        assert [str(one) for one in results] == ["content file: Input/output error"] * 2
        clock.advance(pause - 0.1)
        with pytest.raises(SpoolError, match="content file: Input/output error"):
            queue.new_content(queue.new_queue_id())
        clock.advance(0.2)
    broken = False
    await send()
    await send()
    assert len(list(drafts_folder(tmp_path, WRITER).iterdir())) == 2
