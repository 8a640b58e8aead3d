"""Content of messages from disk is read before their turn, many at a time and within bounds."""

from collections.abc import Callable

from pymta.errors import SpoolError
from pymta.model.address import NULL_SENDER, Address
from pymta.model.queue import QueuedRecipient, QueueEntry, QueueName
from pymta.qmgr.active import ActiveMessage
from pymta.qmgr.ahead import ReadAhead
from pymta.spool.content import MemoryContent, StoredContent

DATA = b"x" * 4096


class Disk:
    """What was asked of it, by name; everything is read at once unless `error` says why it cannot be."""

    def __init__(self, error: SpoolError | None = None) -> None:
        self.reads: list[str] = []
        self.error = error

    def message(self, name: str, size: int = len(DATA)) -> ActiveMessage:
        def read(done: Callable[[bytes | SpoolError], None]) -> None:
            self.reads.append(name)
            done(self.error or DATA)

        one = QueuedRecipient(0, Address("a", "x.example"), Address("a", "x.example"))
        entry = QueueEntry(name, QueueName.DEFERRED, NULL_SENDER, (one,), 0.0, 0.0, size)
        return ActiveMessage(entry, StoredContent(read, size), 0.0, 0)


def test_two_hundred_are_read_ahead_and_more_when_half_of_them_have_gone() -> None:
    disk, ahead = Disk(), ReadAhead()
    messages = [disk.message(str(number)) for number in range(400)]
    for message in messages:
        ahead.add(message)
    assert disk.reads == [str(number) for number in range(200)]
    assert messages[0].content.data == DATA
    for message in messages[:99]:
        ahead.begun(message)
    assert len(disk.reads) == 200
    ahead.begun(messages[99])
    assert disk.reads == [str(number) for number in range(300)]


def test_what_waits_ahead_is_bounded_in_bytes() -> None:
    disk, ahead = Disk(), ReadAhead()
    for number in range(200):
        ahead.add(disk.message(str(number), 100_000))
    assert 80 <= len(disk.reads) <= 84


def test_a_message_that_went_before_its_turn_is_not_read_nor_remembered() -> None:
    disk, ahead = Disk(), ReadAhead()
    messages = [disk.message(str(number)) for number in range(300)]
    for message in messages:
        ahead.add(message)
    for message in reversed(messages):
        ahead.begun(message)
    assert len(disk.reads) == 200
    ahead.add(disk.message("late"))
    assert disk.reads[-1] == "late"


def test_content_in_memory_is_not_read() -> None:
    disk, ahead = Disk(), ReadAhead()
    message = disk.message("memory")
    message.content = MemoryContent(DATA)
    ahead.add(message)
    assert disk.reads == []


def test_a_failure_is_for_the_delivery_to_find() -> None:
    disk, ahead = Disk(SpoolError("gone")), ReadAhead()
    message = disk.message("broken")
    ahead.add(message)
    assert message.content.data is None
