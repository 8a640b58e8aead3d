"""SIGKILL under load: what was acknowledged is there, whole, and nothing else stays behind."""

import asyncio
import os
import random
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import pytest

from pymta.model.queue import QueueFilter, QueueName
from pymta.spool import SqliteSpool
from pymta.spool.content import IN_DATABASE_BELOW
from pymta.spool.faults import STEPS
from pymta.testing import ManualClock, RecordingLog

SPOOL_STEPS = [
    "content created",
    "content synced",
    "journal written",
    "journal synced",
    "transaction begun",
    "rows written",
    "committed",
    "moved to database",
    "content removed",
]

# Adds messages from many tasks, defers some and removes every third; each acknowledgement is one unbuffered line:
# `+ID` after add, `~ID` after the deferral, `?ID` before and `-ID` after remove. The journal is so small that messages
# move to the database all the time.
CHILD = """
import asyncio, os, sys, time
from pathlib import Path
from pymta.model.address import Address
from pymta.model.queue import EntryUpdate, QueuedRecipient, QueueEntry, QueueName
from pymta.runtime.clock import SystemClock
from pymta.spool import SqliteSpool, segments, writing
from pymta.spool.faults import from_environment
from pymta.testing import RecordingLog

segments.SEGMENT_BYTES = 1 << 19
writing.FRESH_MESSAGES = 60

def say(text):
    os.write(1, (text + "\\n").encode())

async def main():
    spool = SqliteSpool(Path(sys.argv[1]), RecordingLog(), SystemClock(), faults=from_environment(os.environ))
    await spool.open()
    bob = Address("bob", "example.com")

    async def work(number):
        while True:
            queue_id = spool.new_queue_id()
            writer = spool.new_content(queue_id)
            data = queue_id.encode() * (10 if number % 4 else 16_000)
            for start in range(0, len(data), 30000):
                writer.write(data[start:start + 30000])
                await asyncio.sleep(0)
            entry = QueueEntry(queue_id, QueueName.INCOMING, bob, (QueuedRecipient(0, bob, bob),),
                               time.time(), time.time(), len(data))
            await spool.add(entry, writer)
            say("+" + queue_id)
            if number % 5 == 0:
                await spool.update(EntryUpdate(queue_id, QueueName.DEFERRED, 99.0))
                say("~" + queue_id)
            if number % 3 == 0:
                say("?" + queue_id)
                await spool.remove(queue_id)
                say("-" + queue_id)

    await asyncio.gather(*(work(number) for number in range(24)))

asyncio.run(main())
"""


def crash(directory: Path, fault: str, seconds: float) -> list[str]:
    """Run the child until its fault point, or until it has run for `seconds`; what it acknowledged."""
    environment = dict(os.environ, PYMTA_FAULT=fault)
    child = subprocess.Popen(
        [sys.executable, "-c", CHILD, str(directory)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=environment
    )
    try:
        output, errors = child.communicate(timeout=seconds)
    except subprocess.TimeoutExpired:
        child.send_signal(signal.SIGKILL)
        output, errors = child.communicate()
    assert child.returncode == -signal.SIGKILL, errors.decode()
    return output.decode().split()


async def account(directory: Path, said: list[str]) -> tuple[int, int]:
    """Check the spool after a crash; how many messages were acknowledged and are there."""
    log = RecordingLog()
    spool = SqliteSpool(directory, log, ManualClock())
    await spool.open()
    try:
        added = {line[1:] for line in said if line[0] == "+"}
        maybe_gone = {line[1:] for line in said if line[0] == "?"}
        gone = {line[1:] for line in said if line[0] == "-"}
        entries = {entry.queue_id: entry async for entry in spool.entries(QueueFilter())}
        assert added - maybe_gone <= set(entries), "acknowledged and lost"
        assert not gone & set(entries), "removed and back"
        deferred = {line[1:] for line in said if line[0] == "~"} & set(entries)
        assert {entries[queue_id].queue for queue_id in deferred} <= {QueueName.DEFERRED}
        for entry in entries.values():
            data = b"".join([piece async for piece in spool.content(entry).chunks()])
            assert data == entry.queue_id.encode() * (len(data) // len(entry.queue_id)) and len(data) == entry.size
        due = await spool.due(time.time() + 1e6, 100_000)
        assert {entry.queue_id for entry in due} == set(entries)
        assert await spool.counts() == Counter(entry.queue.value for entry in entries.values())
        assert not [line for line in log.lines if "corrupt" in line]
        assert spool._cleaning is not None
        await spool._cleaning
        files = {path.name for path in (directory / "content").rglob("*") if path.is_file()}
        assert files == {entry.queue_id for entry in entries.values() if entry.size >= IN_DATABASE_BELOW}
        await asyncio.gather(*map(spool.remove, entries))
        return len(added), len(entries)
    finally:
        await spool.close()


@pytest.mark.parametrize("step", SPOOL_STEPS)
@pytest.mark.parametrize("occurrence", [1, 5])
def test_a_crash_at_every_named_step(tmp_path: Path, step: str, occurrence: int) -> None:
    said = crash(tmp_path / "spool", f"{step}:{occurrence}", 20.0)
    asyncio.run(account(tmp_path / "spool", said))


def test_crashes_at_random_moments_on_one_spool_lose_nothing(tmp_path: Path) -> None:
    chance = random.Random(1)
    acknowledged = 0
    for _ in range(3):
        said = crash(tmp_path / "spool", "", 0.6 + chance.random() * 0.5)
        added, _found = asyncio.run(account(tmp_path / "spool", said))
        acknowledged += added
    assert acknowledged > 250


def test_every_step_of_the_spool_is_named() -> None:
    assert set(SPOOL_STEPS) <= set(STEPS)
