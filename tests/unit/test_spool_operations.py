"""Random sequences of operations look the same on the spool in memory and the one on disk."""

import asyncio
import tempfile
from pathlib import Path
from typing import Any

from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from pymta.errors import SpoolError
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
from pymta.ports import Spool
from pymta.spool import SqliteSpool
from pymta.testing import ManualClock, MemorySpool, RecordingLog

IDS = st.sampled_from([f"{number:013X}" for number in range(6)])
QUEUES = st.sampled_from([QueueName.INCOMING, QueueName.DEFERRED, QueueName.HOLD])
TIMES = st.integers(0, 5).map(float)
NAMES = st.sampled_from(["bob", "Bob", "b%b", "ü", 'q"', ""])
DOMAINS = st.sampled_from(["example.com", "EXAMPLE.com", "b_d.example", "ü.example", ""])
ADDRESSES = st.builds(Address, NAMES, DOMAINS)
WANTED = st.one_of(
    st.none(), st.sampled_from(["bob@example.com", "@example.com", "BOB", "ü@Ü.example", "b%b@b_d.example"])
)
RECIPIENTS = st.lists(ADDRESSES, max_size=3).map(
    lambda addresses: tuple(QueuedRecipient(number, each, each) for number, each in enumerate(addresses))
)
CHANGES = st.lists(
    st.builds(RecipientUpdate, st.integers(0, 3), st.sampled_from(RecipientState), st.just("4.0.0"), st.just("why")),
    max_size=3,
    unique_by=lambda change: change.number,
).map(tuple)
OPERATIONS = st.one_of(
    st.tuples(st.just("add"), IDS, QUEUES, TIMES, ADDRESSES, RECIPIENTS, st.sampled_from([0, 10, 140_000])),
    st.tuples(st.just("remove"), IDS),
    st.builds(
        lambda *fields: ("update", EntryUpdate(*fields)),
        IDS,
        st.none() | QUEUES,
        st.none() | TIMES,
        st.none() | st.integers(0, 9),
        st.none() | TIMES,
        CHANGES,
        st.none() | st.booleans(),
    ),
    st.tuples(st.just("load"), IDS),
    st.tuples(st.just("due"), TIMES, st.integers(1, 4), st.tuples(TIMES, IDS)),
    st.tuples(st.just("next_due"), TIMES),
    st.tuples(
        st.just("entries"),
        st.builds(
            QueueFilter,
            st.lists(IDS, max_size=2).map(tuple),
            st.lists(QUEUES, max_size=2).map(tuple),
            WANTED,
            WANTED,
            st.none() | TIMES,
            st.none() | TIMES,
            st.none() | st.sampled_from(["example.COM", "ü.example", ""]),
            st.just(7.0),
        ),
    ),
    st.tuples(st.just("counts")),
    st.tuples(st.just("reopen")),
)


async def observe(spool: Spool, operation: tuple[Any, ...]) -> object:
    """What a caller sees of one operation."""
    kind, *arguments = operation
    try:
        if kind == "add":
            return await add(spool, *arguments)
        if kind == "entries":
            return [entry async for entry in spool.entries(*arguments)]
        if kind == "reopen":
            await spool.close()
            return await spool.open()
        return await getattr(spool, kind)(*arguments)
    except SpoolError:
        return "SpoolError"


async def add(
    spool: Spool, queue_id: str, queue: QueueName, when: float, sender: Address, recipients: Any, size: int
) -> bytes:
    writer = spool.new_content(queue_id)
    writer.write(b"x" * size)
    entry = QueueEntry(queue_id, queue, sender, recipients, when, when, size, next_attempt=when)
    await spool.add(entry, writer)
    return b"".join([piece async for piece in spool.content(entry).chunks()])


def twice(queue_id: str, first: int, second: int) -> list[tuple[Any, ...]]:
    """A message, and another one of the same id."""
    bob = Address("bob", "example.com")
    common = ("add", queue_id, QueueName.INCOMING, 1.0, bob, (QueuedRecipient(0, bob, bob),))
    return [(*common, first), (*common, second), ("load", queue_id), ("remove", queue_id), ("counts",)]


@example(twice("0000000000001", 140_000, 140_000))
@example(twice("0000000000001", 140_000, 10))
@example(twice("0000000000001", 10, 140_000))
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(OPERATIONS, min_size=3, max_size=25))
def test_both_spools_look_the_same(operations: list[tuple[Any, ...]]) -> None:
    async def compare() -> None:
        with tempfile.TemporaryDirectory() as directory:
            clock = ManualClock()
            spools: list[Spool] = [MemorySpool(clock), SqliteSpool(Path(directory) / "s", RecordingLog(), clock)]
            for spool in spools:
                await spool.open()
            try:
                for operation in operations:
                    seen = [await observe(spool, operation) for spool in spools]
                    assert seen[0] == seen[1], operation
            finally:
                for spool in spools:
                    await spool.close()

    asyncio.run(compare())
