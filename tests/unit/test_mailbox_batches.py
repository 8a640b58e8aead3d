"""Messages for maildirs, gathered in groups."""

import asyncio
from collections.abc import Sequence

import pytest

from pymta.delivery.mailbox_batches import Batches
from pymta.delivery.mailbox_jobs import Identity, MaildirJob, Stored
from pymta.errors import DeliveryError

BOB, EVE = Identity(1, 1), Identity(2, 2)


class Worker:
    """Answers when told to; `groups` are what it was asked."""

    def __init__(self) -> None:
        self.groups: list[tuple[Identity, list[str]]] = []
        self.gate = asyncio.Event()
        self.error: Exception | None = None

    async def send(self, identity: Identity, jobs: Sequence[MaildirJob], contents: Sequence[bytes]) -> Sequence[Stored]:
        assert [job.path.encode() for job in jobs] == list(contents)
        self.groups.append((identity, [job.path for job in jobs]))
        await self.gate.wait()
        if self.error:
            raise self.error
        return [Stored("2.0.0", job.path) for job in jobs]


def store(batches: Batches, identity: Identity, number: int) -> asyncio.Task[Stored]:
    path = f"/{number}"
    return asyncio.create_task(batches.store(identity, MaildirJob(path, b""), path.encode()))


async def settle() -> None:
    for _ in range(5):
        await asyncio.sleep(0)


async def test_what_comes_meanwhile_is_the_next_group() -> None:
    worker = Worker()
    batches = Batches(worker.send)
    tasks = []
    for number in range(6):
        tasks.append(store(batches, BOB, number))
        await settle()
    assert worker.groups == [(BOB, ["/0"])]
    worker.gate.set()
    answers = await asyncio.gather(*tasks)
    assert [answer.reason for answer in answers] == [f"/{number}" for number in range(6)]
    assert worker.groups[1:] == [(BOB, ["/1", "/2", "/3", "/4", "/5"])]


async def test_a_slow_mailbox_holds_up_no_other_for_long() -> None:
    worker = Worker()
    batches = Batches(worker.send, patience=0.02)
    tasks = [store(batches, BOB, number) for number in range(70)]
    async with asyncio.timeout(5):
        while len(worker.groups) < 2:
            await asyncio.sleep(0.01)
    assert [len(paths) for _, paths in worker.groups] == [64, 6]
    tasks += [store(batches, BOB, 70 + number) for number in range(300)]
    await asyncio.sleep(0.2)
    assert [len(paths) for _, paths in worker.groups] == [64, 6, 64, 64]
    worker.gate.set()
    await asyncio.gather(*tasks)


async def test_a_mailbox_that_is_quick_has_one_group_at_a_time() -> None:
    under_way = most = 0

    async def send(identity: Identity, jobs: Sequence[MaildirJob], contents: Sequence[bytes]) -> Sequence[Stored]:
        nonlocal under_way, most
        under_way += 1
        most = max(most, under_way)
        await asyncio.sleep(0.005)
        under_way -= 1
        return [Stored()] * len(jobs)

    batches = Batches(send, patience=0.05)
    await asyncio.gather(*[store(batches, BOB, number) for number in range(2000)])
    assert most == 1


async def test_who_does_not_wait_is_answered_once() -> None:
    worker = Worker()
    batches = Batches(worker.send)
    answers: list[Stored | DeliveryError] = []
    batches.put(BOB, MaildirJob("/1", b""), b"/1", answers.append)
    await settle()
    batches.put(BOB, MaildirJob("/2", b""), b"/2", answers.append)
    assert answers == []
    worker.gate.set()
    await settle()
    assert answers == [Stored("2.0.0", "/1"), Stored("2.0.0", "/2")]
    worker.error = DeliveryError("gone")
    batches.put(BOB, MaildirJob("/3", b""), b"/3", answers.append)
    await settle()
    assert [str(answer) for answer in answers[2:]] == ["gone"]


async def test_what_comes_at_once_goes_at_once_but_not_without_limit() -> None:
    worker = Worker()
    worker.gate.set()
    batches = Batches(worker.send)
    await asyncio.gather(*[store(batches, BOB, number) for number in range(150)])
    assert [len(paths) for _, paths in worker.groups] == [64, 64, 22]


async def test_one_user_waits_for_no_other() -> None:
    worker = Worker()
    batches = Batches(worker.send)
    tasks = [store(batches, BOB, 1), store(batches, EVE, 2)]
    await settle()
    assert worker.groups == [(BOB, ["/1"]), (EVE, ["/2"])]
    worker.gate.set()
    await asyncio.gather(*tasks)


@pytest.mark.parametrize("error", [DeliveryError("gone"), ValueError("odd")])
async def test_a_group_that_fails_fails_for_each_and_the_next_goes_on(error: Exception) -> None:
    worker = Worker()
    worker.error = error
    worker.gate.set()
    batches = Batches(worker.send)
    answers = await asyncio.gather(*[store(batches, BOB, number) for number in range(3)], return_exceptions=True)
    assert all(isinstance(answer, DeliveryError) and str(error) in str(answer) for answer in answers)
    worker.error = None
    assert (await store(batches, BOB, 9)).status == "2.0.0"


async def test_nobody_stores_what_nobody_waits_for() -> None:
    worker = Worker()
    batches = Batches(worker.send)
    tasks = []
    for number in range(5):
        tasks.append(store(batches, BOB, number))
        await settle()
    tasks[0].cancel()
    tasks[3].cancel()
    await settle()
    worker.gate.set()
    answers = await asyncio.gather(*tasks, return_exceptions=True)
    assert [isinstance(answer, Stored) for answer in answers] == [False, True, True, False, True]
    assert worker.groups[1:] == [(BOB, ["/1", "/2", "/4"])]


async def test_who_comes_as_both_groups_end_is_stored() -> None:
    """The answers wake their senders before the loop has told of the end of the tasks that gave them."""
    worker = Worker()
    batches = Batches(worker.send)

    async def sender(*paths: str) -> list[str]:
        return [(await batches.store(BOB, MaildirJob(path, b""), path.encode())).reason for path in paths]

    senders = []
    for paths in (["/0", "/1", "/2"], ["/3"]):
        senders.append(asyncio.create_task(sender(*paths)))
        await settle()
    worker.gate.set()
    async with asyncio.timeout(5):
        assert await asyncio.gather(*senders) == [["/0", "/1", "/2"], ["/3"]]
