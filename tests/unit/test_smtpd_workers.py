"""Tasks that are used again, and replies that go out together."""

import asyncio

import pytest

from pymta.smtpd.outbox import Outbox
from pymta.smtpd.workers import Workers


class Wire(asyncio.Transport):
    def __init__(self, sent: list[object]) -> None:
        super().__init__()
        self._sent = sent
        self._closed = False

    def write(self, data: bytes | bytearray | memoryview) -> None:
        self._sent.append(bytes(data))

    def close(self) -> None:
        self._closed = True
        self._sent.append("closed")

    def is_closing(self) -> bool:
        return self._closed


async def test_work_of_one_after_the_other_is_done_by_one_task() -> None:
    workers, done = Workers(), []

    async def work() -> None:
        done.append(asyncio.current_task())

    for _ in range(3):
        workers.run(work)
        await asyncio.sleep(0)
        await asyncio.sleep(0)
    assert len(done) == 3 and len(set(done)) == 1
    workers.close()
    await asyncio.sleep(0)
    assert done[0] is not None and done[0].done()


async def test_work_that_waits_keeps_no_other_waiting() -> None:
    workers, gate, done = Workers(), asyncio.Event(), []

    async def waits() -> None:
        await gate.wait()
        done.append("first")

    async def works() -> None:
        done.append("second")

    workers.run(waits)
    workers.run(works)
    await asyncio.sleep(0)
    assert done == ["second"]
    gate.set()
    await asyncio.sleep(0.01)
    assert done == ["second", "first"]
    workers.close()


@pytest.mark.parametrize("steps", [0, 1, 2])
async def test_whoever_is_cancelled_takes_no_other_work_along(steps: int) -> None:
    """Before it begins, at its beginning and while it waits."""
    workers, done = Workers(), []

    async def quick() -> None:
        return

    async def waits() -> None:
        try:
            await asyncio.sleep(60)
        finally:
            done.append("ended")

    async def works() -> None:
        done.append("works")

    workers.run(quick)
    await asyncio.sleep(0.01)
    task = workers.run(waits)
    for _ in range(steps):
        await asyncio.sleep(0)
    task.cancel()
    workers.run(works)
    await asyncio.sleep(0.01)
    assert task.cancelled() and "works" in done
    workers.close()


async def test_a_burst_leaves_no_more_tasks_than_are_kept() -> None:
    workers, before = Workers(), len(asyncio.all_tasks())

    async def waits() -> None:
        await asyncio.sleep(0.01)

    for _ in range(400):
        workers.run(waits)
    assert len(asyncio.all_tasks()) == before + 400
    await asyncio.sleep(0.05)
    assert len(asyncio.all_tasks()) == before + 256
    workers.close()
    await asyncio.sleep(0)
    assert len(asyncio.all_tasks()) == before


async def test_replies_of_one_turn_go_out_at_its_end_and_in_order() -> None:
    outbox, sent = Outbox(), []
    one, two = Wire(sent), Wire(sent)
    outbox.post(one, b"1")
    outbox.post(two, b"2")
    outbox.post(one, b"3", is_last=True)
    outbox.post(one, b"never: it is closed")
    assert sent == []
    await asyncio.sleep(0)
    assert sent == [b"1", b"2", b"3", "closed"]


async def test_what_cannot_wait_takes_along_what_was_before_it() -> None:
    outbox, sent = Outbox(), []
    outbox.post(Wire(sent), b"1")
    outbox.flush()
    assert sent == [b"1"]
    outbox.post(Wire(sent), b"2")
    await asyncio.sleep(0)
    assert sent == [b"1", b"2"]
