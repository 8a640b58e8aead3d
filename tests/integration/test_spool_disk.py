"""The spool on a real file system: who may read it, what breaks, and what is left."""

import asyncio
import os
import shutil
import sqlite3
import stat
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from pymta.errors import SpoolError, SpoolLockedError
from pymta.model.address import Address
from pymta.model.queue import (
    EntryUpdate,
    QueuedRecipient,
    QueueEntry,
    QueueFilter,
    QueueName,
    RecipientState,
    RecipientUpdate,
)
from pymta.spool import SqliteSpool, content
from pymta.spool.content import file_path
from pymta.testing import ManualClock, RecordingLog

SMALL = b"small\r\n"
LARGE = b"large\r\n" * 20_000


class Disk:
    """A spool in a temporary directory, its log, and faults that raise on demand."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory / "queue" / "spool"
        self.log = RecordingLog()
        self.fault: tuple[str, Exception] | None = None
        self.spool = SqliteSpool(self.directory, self.log, ManualClock(), faults=self._reach)

    def _reach(self, step: str) -> None:
        if self.fault is not None and self.fault[0] == step:
            raise self.fault[1]

    async def reopen(self) -> None:
        await self.spool.close()
        await self.spool.open()

    async def put(self, data: bytes = SMALL, **fields: object) -> QueueEntry:
        queue_id = self.spool.new_queue_id()
        writer = self.spool.new_content(queue_id)
        writer.write(data)
        bob = Address("bob", "example.com")
        entry = QueueEntry(
            queue_id,
            QueueName.INCOMING,
            bob,
            (QueuedRecipient(0, bob, bob),),
            1.0,
            1.0,
            len(data),
            **fields,  # type: ignore[arg-type]
        )
        await self.spool.add(entry, writer)
        return entry

    async def ids(self) -> list[str]:
        return [entry.queue_id async for entry in self.spool.entries(QueueFilter())]

    def files(self) -> list[str]:
        return sorted(path.name for path in (self.directory / "content").rglob("*") if path.is_file())

    def tamper(self, statement: str, *values: object) -> None:
        with sqlite3.connect(self.directory / "queue.db") as database:
            database.execute(statement, values)


@pytest.fixture
async def disk(tmp_path: Path) -> AsyncIterator[Disk]:
    disk = Disk(tmp_path)
    await disk.spool.open()
    yield disk
    disk.fault = None
    await disk.spool.close()


async def test_only_the_owner_may_read(disk: Disk) -> None:
    before = os.umask(0)
    try:
        await disk.put(LARGE)
        await disk.put()
    finally:
        os.umask(before)
    for path in [disk.directory, *disk.directory.rglob("*")]:
        expected = 0o700 if path.is_dir() else 0o600
        assert stat.S_IMODE(path.stat().st_mode) == expected, path


async def test_a_second_instance_is_told_who_has_the_spool(disk: Disk) -> None:
    with pytest.raises(SpoolLockedError, match=f"process {os.getpid()}$"):
        await SqliteSpool(disk.directory, RecordingLog(), ManualClock()).open()
    await disk.put()
    await disk.spool.close()
    other = SqliteSpool(disk.directory, RecordingLog(), ManualClock())
    await other.open()
    await other.close()


async def test_the_lock_ends_with_its_process(disk: Disk) -> None:
    await disk.spool.close()
    script = (
        "import asyncio, os, signal, sys\nfrom pathlib import Path\nfrom pymta.spool import SqliteSpool\n"
        "from pymta.testing import ManualClock, RecordingLog\n"
        "async def main():\n    await SqliteSpool(Path(sys.argv[1]), RecordingLog(), ManualClock()).open()\n"
        "    os.kill(os.getpid(), signal.SIGKILL)\nasyncio.run(main())\n"
    )
    killed = subprocess.run([sys.executable, "-c", script, str(disk.directory)], check=False)
    assert killed.returncode == -9
    await disk.spool.open()


async def test_another_schema_version_is_refused_by_number(disk: Disk) -> None:
    await disk.spool.close()
    disk.tamper("UPDATE meta SET value = '99' WHERE name = 'schema_version'")
    with pytest.raises(SpoolError, match=r"schema version 99 found, this program reads version 2"):
        await disk.spool.open()
    disk.tamper("UPDATE meta SET value = '2' WHERE name = 'schema_version'")
    await disk.spool.open()


async def test_a_spool_from_before_the_journal_is_taken_as_it_is(disk: Disk) -> None:
    entry = await disk.put()
    await disk.spool.close()
    shutil.rmtree(disk.directory / "journal")
    await disk.spool.open()
    assert await disk.ids() == [entry.queue_id]
    assert await disk.put() != entry


async def test_a_closed_spool_has_everything_in_its_database(disk: Disk) -> None:
    entries = [await disk.put(), await disk.put(LARGE)]
    await disk.spool.close()
    with sqlite3.connect(disk.directory / "queue.db") as database:
        assert database.execute("SELECT queue_id FROM messages ORDER BY queue_id").fetchall() == [
            (entry.queue_id,) for entry in entries
        ]
    await disk.spool.open()


async def test_a_file_that_is_no_database_is_refused(disk: Disk) -> None:
    await disk.spool.close()
    for name in ("queue.db-wal", "queue.db-shm"):
        (disk.directory / name).unlink(missing_ok=True)
    (disk.directory / "queue.db").write_bytes(b"garbage " * 1000)
    with pytest.raises(SpoolError, match=r"queue\.db"):
        await disk.spool.open()


async def test_a_place_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(SpoolError, match="file"):
        await SqliteSpool(tmp_path / "file" / "spool", RecordingLog(), ManualClock()).open()


BROKEN = [
    ("UPDATE messages SET data = 'nonsense' WHERE queue_id = ?", "unreadable row"),
    ("UPDATE messages SET data = '[]' WHERE queue_id = ?", "unreadable row"),
    ("UPDATE messages SET data = '{}' WHERE queue_id = ?", "unreadable row"),
    ("UPDATE messages SET size = 'big' WHERE queue_id = ?", "unreadable row"),
    ("UPDATE messages SET size = 3 WHERE queue_id = ?", "content has 7 bytes instead of 3"),
    ("UPDATE recipients SET data = '[1]' WHERE queue_id = ?", "unreadable row"),
    ("UPDATE recipients SET outcome = '{' WHERE queue_id = ?", "unreadable row"),
    ("DELETE FROM recipients WHERE queue_id = ?", "no recipients"),
    ("DELETE FROM content WHERE queue_id = ?", "content is missing"),
]


@pytest.mark.parametrize(("statement", "reason"), BROKEN)
async def test_a_broken_message_goes_to_corrupt_and_the_rest_flows(disk: Disk, statement: str, reason: str) -> None:
    entries = [await disk.put() for _ in range(5)]
    broken = entries[2].queue_id
    await disk.reopen()
    disk.tamper(statement, broken)
    assert await disk.spool.due(9.0, 4) == [*entries[:2], *entries[3:]]
    assert [line for line in disk.log.lines if broken in line and reason in line]
    assert await disk.spool.counts() == {"incoming": 4, "corrupt": 1}
    assert await disk.ids() == [entry.queue_id for entry in entries]
    shown = await disk.spool.load(broken)
    assert shown is not None and shown.queue is QueueName.CORRUPT
    assert await disk.spool.remove(broken) is True


@pytest.mark.parametrize("damage", ["unlink", "truncate"])
async def test_a_missing_or_short_content_file_goes_to_corrupt(disk: Disk, damage: str) -> None:
    broken, whole = await disk.put(LARGE), await disk.put(LARGE)
    path = file_path(disk.directory / "content", broken.queue_id)
    path.unlink() if damage == "unlink" else os.truncate(path, 100)
    stored = disk.spool.content(broken)
    with pytest.raises(SpoolError, match=broken.queue_id):
        [piece async for piece in stored.chunks()]
    assert await disk.spool.due(9.0, 10) == [whole]
    assert await disk.spool.counts() == {"incoming": 1, "corrupt": 1}


async def test_large_content_is_removed_with_its_message(disk: Disk) -> None:
    entry, done = await disk.put(LARGE), await disk.put(LARGE)
    assert disk.files() == sorted([entry.queue_id, done.queue_id])
    await disk.spool.remove(entry.queue_id)
    await disk.spool.remove(done.queue_id)
    await disk.spool.close()
    assert disk.files() == []
    await disk.spool.open()


async def test_left_over_content_is_removed_at_start_and_foreign_files_are_not(disk: Disk) -> None:
    kept = await disk.put(LARGE)
    stray = "0000000ABCDEF"
    await disk.spool.close()
    place = file_path(disk.directory / "content", stray)
    place.parent.mkdir(exist_ok=True)
    place.write_bytes(b"left by a crash")
    foreign = [place.parent / "README", place.parent / "0000000ABCDE0", disk.directory / "note.txt"]
    foreign.append(disk.directory / "journal" / "note.txt")
    for path in foreign:
        path.write_text("not ours")
    await disk.spool.open()
    await wait_for(lambda: stray not in disk.files())
    assert all(path.exists() for path in foreign)
    assert kept.queue_id in disk.files()
    assert any("removed 1 left-over content file" in line for line in disk.log.lines)


async def test_content_on_its_way_is_not_taken_for_left_over(disk: Disk) -> None:
    queue_id = disk.spool.new_queue_id()
    writer = disk.spool.new_content(queue_id)
    writer.write(LARGE)
    assert disk.spool._cleaning is not None
    await disk.spool._cleaning
    await disk.spool._remove_strays(disk.spool._opened())
    assert disk.files() == [queue_id]
    await writer.discard()
    assert disk.files() == []


async def wait_for(condition: object, seconds: float = 5.0) -> None:
    async with asyncio.timeout(seconds):
        while not condition():  # type: ignore[operator]
            await asyncio.sleep(0.01)


SYNC_FAILURES = [
    ("journal written", OSError(5, "Input/output error"), SMALL),
    ("content synced", OSError(5, "Input/output error"), LARGE),
]


@pytest.mark.parametrize(("step", "error", "data"), SYNC_FAILURES)
async def test_after_a_failed_sync_nothing_is_taken_until_the_spool_is_opened_again(
    disk: Disk, step: str, error: OSError, data: bytes
) -> None:
    safe = await disk.put()
    disk.fault = (step, error)
    with pytest.raises(SpoolError, match="Input/output error"):
        await disk.put(data)
    disk.fault = None
    for _ in range(2):
        with pytest.raises(SpoolError, match="Input/output error"):
            await disk.put()
        with pytest.raises(SpoolError):
            await disk.put(LARGE)
        with pytest.raises(SpoolError):
            await disk.spool.update(EntryUpdate(safe.queue_id, queue=QueueName.HOLD))
        with pytest.raises(SpoolError):
            await disk.spool.remove(safe.queue_id)
    # Reading goes on.
    assert await disk.ids() == [safe.queue_id]
    assert await disk.spool.due(9.0, 10) == [safe]
    await disk.reopen()
    assert await disk.ids() == [safe.queue_id]
    fresh = await disk.put(LARGE)
    assert await disk.ids() == [safe.queue_id, fresh.queue_id]


async def test_all_callers_of_a_failed_commit_are_told(disk: Disk) -> None:
    disk.fault = ("journal written", OSError(5, "Input/output error"))
    outcomes = await asyncio.gather(*(disk.put() for _ in range(50)), return_exceptions=True)
    assert all(isinstance(outcome, SpoolError) for outcome in outcomes)
    disk.fault = None
    await disk.reopen()
    assert await disk.ids() == []


async def test_a_full_disk_refuses_one_message_and_takes_the_next(disk: Disk, monkeypatch: pytest.MonkeyPatch) -> None:
    def no_space(descriptor: int, data: bytes) -> int:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(content.os, "write", no_space)  # type: ignore[attr-defined]
    with pytest.raises(SpoolError, match="No space left on device"):
        await disk.put(LARGE)
    monkeypatch.undo()
    assert disk.files() == []
    entry = await disk.put(LARGE)
    assert await disk.ids() == [entry.queue_id]


async def test_a_full_database_refuses_and_recovers(disk: Disk) -> None:
    stored = await disk.put()
    await disk.reopen()
    run = disk.spool._opened().database._database.execute
    (pages,) = run("PRAGMA page_count").fetchone()
    run(f"PRAGMA max_page_count = {pages}")
    reasons = tuple(RecipientUpdate(0, RecipientState.PENDING, "4.0.0", "x" * 100_000) for _ in range(2))
    with pytest.raises(SpoolError, match="full"):
        await disk.spool.update(EntryUpdate(stored.queue_id, recipients=reasons))
    # What goes to the journal goes on, and stays there for now: a spool that closes loses nothing of it.
    fresh = [await disk.put(b"x" * 60_000) for _ in range(20)]
    await disk.reopen()
    assert await disk.ids() == [entry.queue_id for entry in (stored, *fresh)]
    await disk.spool.update(EntryUpdate(stored.queue_id, recipients=reasons))
    assert await disk.spool.due(9.0, 99) == [await disk.spool.load(stored.queue_id), *fresh]


async def test_an_address_that_is_not_text_is_refused_alone(disk: Disk) -> None:
    queue_id = disk.spool.new_queue_id()
    writer = disk.spool.new_content(queue_id)
    writer.write(SMALL)
    bad = Address("b\udcffb", "example.com")
    entry = QueueEntry(queue_id, QueueName.INCOMING, bad, (QueuedRecipient(0, bad, bad),), 1.0, 1.0, len(SMALL))
    outcomes = await asyncio.gather(disk.put(), disk.spool.add(entry, writer), disk.put(), return_exceptions=True)
    assert [isinstance(outcome, SpoolError) for outcome in outcomes] == [False, True, False]


async def test_listing_a_long_queue_does_not_stop_intake_and_needs_little_memory(disk: Disk) -> None:
    await asyncio.gather(*(disk.put() for _ in range(3000)))
    seen = 0
    async for _ in disk.spool.entries(QueueFilter()):
        seen += 1
        if seen % 1000 == 0:
            await disk.put()
    assert seen >= 3000


async def test_every_commit_is_synced_and_leaves_a_write_ahead_log(disk: Disk) -> None:
    database = disk.spool._opened().database._database
    assert database.execute("PRAGMA synchronous").fetchone() == (2,)
    assert database.execute("PRAGMA journal_mode").fetchone() == ("wal",)


async def test_file_and_directory_are_synced_before_the_row(disk: Disk, monkeypatch: pytest.MonkeyPatch) -> None:
    await disk.put(LARGE)
    happened: list[str] = []
    fsync = os.fsync

    def recorded(descriptor: int) -> None:
        happened.append("directory" if stat.S_ISDIR(os.fstat(descriptor).st_mode) else "file")
        fsync(descriptor)

    monkeypatch.setattr(content.os, "fsync", recorded)  # type: ignore[attr-defined]
    monkeypatch.setattr(disk.spool._opened().journal, "_faults", happened.append)
    await disk.put(LARGE)
    assert happened[-4:] == ["file", "directory", "journal written", "journal synced"]


async def test_a_removed_message_leaves_no_row(disk: Disk) -> None:
    entries = [await disk.put(), await disk.put(LARGE)]
    for entry in entries:
        await disk.spool.remove(entry.queue_id)
    await disk.spool.close()
    with sqlite3.connect(disk.directory / "queue.db") as database:
        for table in ("messages", "recipients", "content"):
            assert database.execute(f"SELECT count(*) FROM {table}").fetchone() == (0,)
    await disk.spool.open()


@pytest.mark.parametrize("step", ["journal written", "journal synced", "transaction begun", "rows written"])
async def test_a_spool_that_failed_is_opened_again_with_its_lock_and_ids(disk: Disk, step: str) -> None:
    kept = await disk.put()
    await disk.reopen()
    disk.fault = (step, OSError(5, "Input/output error"))
    with pytest.raises(SpoolError):
        if step.startswith("journal"):
            await disk.put(LARGE)
        await disk.spool.update(EntryUpdate(kept.queue_id, queue=QueueName.HOLD))
    disk.fault = None
    with pytest.raises(SpoolError):
        await disk.put()
    assert disk.spool.failure is not None
    last = disk.spool.new_queue_id()
    other = SqliteSpool(disk.directory, RecordingLog(), ManualClock())
    reopening = asyncio.create_task(disk.spool.reopen())
    while not reopening.done():
        with pytest.raises(SpoolLockedError):
            await other.open()
        assert disk.spool.new_queue_id() > last
    await reopening
    assert disk.spool.failure is None
    stored = await disk.put(LARGE)
    assert stored.queue_id > last
    found = await disk.ids()
    assert [found[0], found[-1]] == [kept.queue_id, stored.queue_id]
    # A change that failed after it was written may count: then its content is there too.
    for queue_id in found:
        entry = await disk.spool.load(queue_id)
        assert entry is not None
        assert sum([len(piece) async for piece in disk.spool.content(entry).chunks()]) == entry.size
    await asyncio.sleep(0.3)
    assert set(disk.files()) == {name for name in found if name != kept.queue_id}


async def test_reopening_is_tried_until_it_works(disk: Disk) -> None:
    kept = await disk.put()
    disk.fault = ("journal written", OSError(5, "Input/output error"))
    with pytest.raises(SpoolError):
        await disk.put()
    disk.fault = None
    database = disk.directory / "queue.db"
    aside = database.rename(disk.directory / "aside")
    database.mkdir()
    for _ in range(2):
        with pytest.raises(SpoolError):
            await disk.spool.reopen()
        assert disk.spool.failure is not None and disk.spool.new_queue_id()
        with pytest.raises(SpoolError):
            await disk.put()
    database.rmdir()
    aside.rename(database)
    await disk.spool.reopen()
    assert await disk.ids() == [kept.queue_id]
