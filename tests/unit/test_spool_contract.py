"""What every spool promises, on the one in memory and the one on disk."""

import asyncio
from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from pathlib import Path

import pytest

from pymta.errors import SpoolError
from pymta.model.address import NULL_SENDER, Address
from pymta.model.envelope import Body, Client, Notify, Origin, Ret, Trace
from pymta.model.queue import (
    EntryUpdate,
    Found,
    QueuedRecipient,
    QueueEntry,
    QueueFilter,
    QueueName,
    RecipientState,
    RecipientUpdate,
)
from pymta.ports import Content, Spool
from pymta.spool import SqliteSpool
from pymta.testing import ManualClock, MemorySpool, RecordingLog

SMALL = b"Subject: x\r\n\r\nbody\r\n"
LARGE = bytes(range(256)) * 1000


def make_spool(kind: str, directory: Path, clock: ManualClock) -> Spool:
    return MemorySpool(clock) if kind == "memory" else SqliteSpool(directory / "spool", RecordingLog(), clock)


@pytest.fixture(params=["memory", "sqlite"])
async def spool(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Spool]:
    spool = make_spool(request.param, tmp_path, ManualClock())
    await spool.open()
    yield spool
    await spool.close()


def recipient(number: int, address: str = "bob@example.com", **more: object) -> QueuedRecipient:
    parsed = Address.from_internal(address)
    return QueuedRecipient(number, parsed, parsed, **more)  # type: ignore[arg-type]


async def put(spool: Spool, content: bytes = SMALL, **fields: object) -> QueueEntry:
    queue_id = spool.new_queue_id()
    writer = spool.new_content(queue_id)
    for start in range(0, len(content), 50_000):
        writer.write(content[start : start + 50_000])
    values: dict[str, object] = {
        "queue": QueueName.INCOMING,
        "sender": Address("alice", "example.org"),
        "recipients": (recipient(0),),
        "arrival_time": 1000.0,
        "queued_time": 1001.0,
        "size": writer.size,
        **fields,
    }
    entry = QueueEntry(queue_id, **values)  # type: ignore[arg-type]
    await spool.add(entry, writer)
    return entry


async def read(content: Content, limit: int = 65536) -> bytes:
    return b"".join([piece async for piece in content.chunks(limit)])


async def listed(spool: Spool, query: QueueFilter | None = None) -> list[QueueEntry]:
    return [entry async for entry in spool.entries(query or QueueFilter())]


FULL_CLIENT = Client("2001:db8::1", "1", "a.example", "b.example", 2, 4, "h", "ESMTPSA", "::1", "25", "PLAIN", "u", "s")

ENTRIES = [
    {},
    {"sender": NULL_SENDER, "is_notice": True, "origin": Origin.NOTICE},
    {"client": FULL_CLIENT, "body": Body.EIGHT_BIT_MIME, "smtputf8": True, "envid": "QQ+3D", "ret": Ret.HDRS},
    {"verp": "+=", "filter": "smtp:[::1]:10025", "message_id": "<x@y>", "next_attempt": 5.5, "attempts": 3},
    {"warned_time": 7.0, "queue": QueueName.HOLD, "forced_expire": True},
    {"trace": Trace.REPORT},
    {"expanded": (QueuedRecipient(-1, Address("many", "x"), Address("Said", "x"), Notify.SUCCESS, "rfc822;a@b"),)},
    {"trace": Trace.REPORT, "expanded": (QueuedRecipient(-1, Address("many", "x"), Address("many", "x")),)},
    {"trace": Trace.VERIFY, "is_notice": True},
    {"sender": Address('a"b @c', "exämple.org"), "client": Client(uid=0)},
    {"sender": Address("no-domain"), "recipients": (recipient(0, "x@y@z"), recipient(7, "root"))},
    {"recipients": (QueuedRecipient(3, Address("a@b"), Address("a", "b"), Notify.NEVER, "rfc822;a+40b"),)},
    {"recipients": (recipient(0, notify=Notify.SUCCESS | Notify.DELAY, status="4.4.1", reason="r", relay="x"),)},
]


@pytest.mark.parametrize("fields", ENTRIES)
async def test_an_entry_comes_back_as_it_was_stored(spool: Spool, fields: dict[str, object]) -> None:
    entry = await put(spool, **fields)
    assert await spool.load(entry.queue_id) == entry
    assert await listed(spool) == [entry]


async def test_an_entry_holds_its_first_recipients_and_the_others_are_read_on_demand(spool: Spool) -> None:
    everyone = tuple(recipient(2 * number, f"u{number}@d{number % 7}.example") for number in range(2500))
    entry = await put(spool, recipients=everyone)
    short = await put(spool)
    expected = replace(entry, recipients=everyone[:1000], unread=1500)
    assert await spool.load(entry.queue_id) == expected
    assert await listed(spool) == [expected, short]
    assert await spool.due(10.0, 5) == [expected, short]
    assert await spool.recipients(entry.queue_id, everyone[999].number, 1000) == list(everyone[1000:2000])
    assert await spool.recipients(entry.queue_id, everyone[1999].number, 1000) == list(everyone[2000:])
    assert await spool.recipients(entry.queue_id, everyone[-1].number, 10) == []
    assert await spool.recipients("NOSUCH", -1, 10) == []
    # A recipient that no entry holds is still found.
    assert [one.queue_id for one in await listed(spool, QueueFilter(recipient="U2400@d6.example"))] == [entry.queue_id]
    gone = tuple(RecipientUpdate(one.number, RecipientState.DONE) for one in everyone[:1400])
    await spool.update(EntryUpdate(entry.queue_id, recipients=gone))
    assert await spool.load(entry.queue_id) == replace(entry, recipients=everyone[1400:2400], unread=100)


FOUND = [
    (QueueFilter(), [0, 1, 2]),
    (QueueFilter(site="B.example"), [0, 2]),
    (QueueFilter(site="b.example", sender="@x.example"), [2]),
    (QueueFilter(recipient="u@a.example"), [0]),
    (QueueFilter(recipient="@b.example", queues=(QueueName.HOLD,)), [2]),
    (QueueFilter(recipient="@c.example", site="b.example"), []),
    (QueueFilter(recipient="u@a.example", site="b.example"), [0]),
    (QueueFilter(recipient="ü@ü.example"), [1]),
    (QueueFilter(recipient="root"), [1]),
    (QueueFilter(older_than=50.0, now=1100.0), [0, 1]),
]


@pytest.mark.parametrize(("query", "expected"), FOUND)
async def test_finding_is_listing_without_the_details(spool: Spool, query: QueueFilter, expected: list[int]) -> None:
    entries = [
        await put(spool, recipients=(recipient(0, "u@a.example"), recipient(1, "u@b.example"))),
        await put(spool, recipients=(recipient(0, "Ü@ü.example"), recipient(1, "Root"))),
        await put(
            spool,
            recipients=(recipient(0, "v@b.example"), recipient(1, "w@b.example")),
            queue=QueueName.HOLD,
            sender=Address("s", "x.example"),
            forced_expire=True,
            arrival_time=1090.0,
        ),
    ]
    assert await listed(spool, query) == [entries[number] for number in expected]
    found = [one async for page in spool.find(query) for one in page]
    assert found == [
        Found(entry.queue_id, entry.queue, entry.forced_expire) for entry in (entries[number] for number in expected)
    ]


async def test_every_page_is_found(spool: Spool) -> None:
    entries = await asyncio.gather(*(put(spool, recipients=(recipient(0, "a@one.example"),)) for _ in range(1100)))
    ids = sorted(entry.queue_id for entry in entries)
    for query in (QueueFilter(), QueueFilter(site="one.example"), QueueFilter(queue_ids=tuple(ids))):
        assert [one.queue_id async for page in spool.find(query) for one in page] == ids
        assert [entry.queue_id for entry in await listed(spool, query)] == ids


@pytest.mark.parametrize("content", [b"", SMALL, b"y" * 131_071, b"y" * 131_072, LARGE])
async def test_content_comes_back_byte_by_byte(spool: Spool, content: bytes) -> None:
    entry = await put(spool, content)
    stored = spool.content(entry)
    assert stored.size == len(content)
    assert await read(stored) == content
    assert await read(stored, 1000) == content


@pytest.mark.parametrize("content", [SMALL, LARGE])
async def test_what_was_written_is_at_hand_after_add(spool: Spool, content: bytes) -> None:
    queue_id = spool.new_queue_id()
    writer = spool.new_content(queue_id)
    writer.write(content)
    entry = QueueEntry(queue_id, QueueName.INCOMING, NULL_SENDER, (recipient(0),), 1.0, 1.0, len(content))
    await spool.add(entry, writer)
    assert await read(writer.content()) == content


async def test_a_message_is_stored_once(spool: Spool) -> None:
    entry = await put(spool)
    again = spool.new_content(entry.queue_id)
    again.write(SMALL)
    with pytest.raises(SpoolError):
        await spool.add(entry, again)
    assert await listed(spool) == [entry]
    assert await read(spool.content(entry)) == SMALL


async def test_one_impossible_change_does_not_touch_the_others(spool: Spool) -> None:
    entry = await put(spool)
    again = spool.new_content(entry.queue_id)
    again.write(SMALL)
    others = [put(spool) for _ in range(20)]
    outcomes = await asyncio.gather(*others[:10], spool.add(entry, again), *others[10:], return_exceptions=True)
    assert sum(isinstance(outcome, SpoolError) for outcome in outcomes) == 1
    assert len(await listed(spool)) == 21


@pytest.mark.parametrize("fields", [{"size": 1}, {"recipients": ()}])
async def test_an_entry_that_lies_about_itself_is_refused(spool: Spool, fields: dict[str, object]) -> None:
    with pytest.raises(SpoolError):
        await put(spool, **fields)
    assert await listed(spool) == []


async def test_remove_forgets_and_tells_whether_there_was_one(spool: Spool) -> None:
    entry, other = await put(spool, LARGE), await put(spool)
    assert await spool.remove(entry.queue_id) is True
    assert await spool.remove(entry.queue_id) is False
    assert await spool.remove("0NEVER0SEEN0") is False
    assert await spool.load(entry.queue_id) is None
    assert await listed(spool) == [other]


async def test_update_changes_what_it_names_and_leaves_the_rest(spool: Spool) -> None:
    entry = await put(spool, recipients=(recipient(0), recipient(1, "eve@example.net")))
    change = RecipientUpdate(1, RecipientState.PENDING, "4.4.1", "timed out", "mx[192.0.2.1]:25", "mx", "smtp; 450")
    await spool.update(EntryUpdate(entry.queue_id, QueueName.DEFERRED, 99.5, 2, recipients=(change,)))
    await spool.update(EntryUpdate(entry.queue_id, warned_time=50.0, forced_expire=True))
    changed = replace(
        entry.recipients[1],
        status="4.4.1",
        reason="timed out",
        relay="mx[192.0.2.1]:25",
        remote_mta="mx",
        diagnostic="smtp; 450",
    )
    assert await spool.load(entry.queue_id) == replace(
        entry,
        queue=QueueName.DEFERRED,
        next_attempt=99.5,
        attempts=2,
        warned_time=50.0,
        forced_expire=True,
        recipients=(entry.recipients[0], changed),
    )


async def test_done_recipients_leave_and_the_last_one_takes_the_message_along(spool: Spool) -> None:
    entry = await put(spool, recipients=(recipient(0), recipient(5)))
    done = [RecipientUpdate(number, RecipientState.DONE) for number in (0, 5)]
    await spool.update(EntryUpdate(entry.queue_id, QueueName.DEFERRED, recipients=(done[0],)))
    loaded = await spool.load(entry.queue_id)
    assert loaded is not None and [item.number for item in loaded.recipients] == [5]
    await spool.update(EntryUpdate(entry.queue_id, recipients=(done[1],)))
    assert await spool.load(entry.queue_id) is None
    assert await spool.remove(entry.queue_id) is False


async def test_update_of_a_message_that_is_gone_does_nothing(spool: Spool) -> None:
    await spool.update(
        EntryUpdate("0NEVER0SEEN0", QueueName.HOLD, recipients=(RecipientUpdate(0, RecipientState.DONE),))
    )
    assert await listed(spool) == []


async def test_due_gives_what_waits_in_order_of_time(spool: Spool) -> None:
    late = await put(spool, queue=QueueName.DEFERRED, next_attempt=30.0)
    early = await put(spool, queue=QueueName.DEFERRED, next_attempt=10.0)
    fresh = await put(spool)
    await put(spool, queue=QueueName.HOLD)
    future = await put(spool, queue=QueueName.DEFERRED, next_attempt=31.0)
    assert await spool.due(30.0, 10) == [fresh, early, late]
    assert await spool.due(30.0, 2) == [fresh, early]
    assert await spool.due(30.0, 10, (10.0, early.queue_id)) == [late]
    assert await spool.next_due() == 0.0
    assert await spool.next_due(10.0) == 30.0
    assert await spool.next_due(31.0) is None
    assert await spool.due(31.0, 10, (30.0, late.queue_id)) == [future]


FILTERS: list[tuple[QueueFilter, list[int]]] = [
    (QueueFilter(), [0, 1, 2, 3]),
    (QueueFilter(queues=(QueueName.HOLD,)), [2]),
    (QueueFilter(queues=(QueueName.HOLD, QueueName.DEFERRED)), [1, 2]),
    (QueueFilter(sender="Alice@Example.ORG"), [0]),
    (QueueFilter(sender="@EXAMPLE.org"), [0, 1]),
    (QueueFilter(sender=""), [2]),
    (QueueFilter(sender="ÄRGER@exämple.org"), [3]),
    (QueueFilter(recipient="bob@example.com"), [0, 3]),
    (QueueFilter(recipient="@example.net"), [1]),
    (QueueFilter(recipient="root"), [2]),
    (QueueFilter(site="EXAMPLE.net"), [1]),
    (QueueFilter(site="net"), []),
    (QueueFilter(older_than=150.0, now=1000.0), [0, 1]),
    (QueueFilter(younger_than=150.0, now=1000.0), [2, 3]),
    (QueueFilter(sender="@example.org", site="example.com"), [0]),
    (QueueFilter(queue_ids=("0NEVER0SEEN0",)), []),
]


@pytest.mark.parametrize(("query", "expected"), FILTERS)
async def test_entries_selects(spool: Spool, query: QueueFilter, expected: list[int]) -> None:
    entries = [
        await put(spool, sender=Address("alice", "example.org"), arrival_time=800.0),
        await put(
            spool,
            sender=Address("carol", "Example.org"),
            recipients=(recipient(0, "x@Example.NET"), recipient(1, "y@example.edu")),
            queue=QueueName.DEFERRED,
            arrival_time=800.0,
        ),
        await put(
            spool, sender=NULL_SENDER, recipients=(recipient(0, "root"),), queue=QueueName.HOLD, arrival_time=900.0
        ),
        await put(spool, sender=Address("ärger", "exämple.org"), arrival_time=900.0),
    ]
    assert await listed(spool, query) == [entries[number] for number in expected]


async def test_entries_by_id_and_counts(spool: Spool) -> None:
    entries = [await put(spool) for _ in range(5)]
    await put(spool, queue=QueueName.HOLD)
    wanted = (entries[3].queue_id, entries[1].queue_id)
    assert await listed(spool, QueueFilter(queue_ids=wanted)) == [entries[1], entries[3]]
    assert await spool.counts() == {"incoming": 5, "hold": 1}


async def test_listing_goes_on_while_messages_come_and_go(spool: Spool) -> None:
    entries = await asyncio.gather(*(put(spool) for _ in range(1200)))
    ids = []
    async for entry in spool.entries(QueueFilter()):
        if not ids:
            await spool.remove(entries[700].queue_id)
        ids.append(entry.queue_id)
    assert ids == sorted(ids)
    assert {entry.queue_id for entry in entries} - {entries[700].queue_id} <= set(ids)


async def test_discarded_content_leaves_nothing(spool: Spool, tmp_path: Path) -> None:
    for content in (SMALL, LARGE):
        writer = spool.new_content(spool.new_queue_id())
        writer.write(content)
        await writer.discard()
        await writer.discard()
    assert [path for path in (tmp_path / "spool" / "content").rglob("*") if path.is_file()] == []


@pytest.mark.parametrize("kind", ["memory", "sqlite"])
async def test_what_is_stored_survives_close_and_open(kind: str, tmp_path: Path) -> None:
    clock = ManualClock()
    spool = make_spool(kind, tmp_path, clock)
    await spool.open()
    entries = [await put(spool, LARGE), await put(spool)]
    await spool.close()
    with pytest.raises(SpoolError):
        await spool.load(entries[0].queue_id)
    clock.jump(-1000.0)
    await spool.open()
    assert await listed(spool) == entries
    assert await read(spool.content(entries[0])) == LARGE
    assert spool.new_queue_id() > entries[1].queue_id
    await spool.close()
    await spool.close()


@pytest.mark.parametrize("make", [lambda d: MemorySpool(), lambda d: SqliteSpool(d, RecordingLog(), ManualClock())])
async def test_a_spool_that_is_not_open_says_so(make: Callable[[Path], Spool], tmp_path: Path) -> None:
    spool = make(tmp_path)
    with pytest.raises(SpoolError, match="not open"):
        spool.new_queue_id()
    with pytest.raises(SpoolError, match="not open"):
        await spool.remove("0NEVER0SEEN0")
    await spool.open()
    with pytest.raises(SpoolError, match="open already"):
        await spool.open()
    await spool.close()


@pytest.mark.parametrize("size", [0, 10, 131_000, 131_072, 200_000, 1_000_000])
async def test_what_is_prepended_last_stands_first_whatever_the_size(spool: Spool, size: int) -> None:
    queue_id = spool.new_queue_id()
    writer = spool.new_content(queue_id)
    body = (LARGE * 4)[:size]
    for start in range(0, size, 50_000):
        writer.write(body[start : start + 50_000])
    writer.prepend(b"Second: 2\r\n" * 5)
    writer.prepend(b"First: 1\r\n")
    expected = b"First: 1\r\n" + b"Second: 2\r\n" * 5 + body
    assert writer.size == len(expected)
    entry = QueueEntry(queue_id, QueueName.INCOMING, NULL_SENDER, (recipient(0),), 1.0, 1.0, writer.size)
    await spool.add(entry, writer)
    assert await read(writer.content()) == expected
    assert await read(spool.content(entry)) == expected


async def test_content_with_a_head_can_be_discarded(spool: Spool) -> None:
    writer = spool.new_content(spool.new_queue_id())
    writer.write(LARGE)
    writer.prepend(b"First: 1\r\n")
    await writer.discard()
    assert await listed(spool) == []
