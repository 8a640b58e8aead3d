"""Which changes share a transaction, and that each hears what came of it."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from typing import Any

import pytest

from pymta.errors import SpoolError
from pymta.spool.commits import GroupCommit
from pymta.spool.failures import RefusedChange


class Writer:
    """Notes the ids of each transaction; `bad` ones are refused."""

    def __init__(self) -> None:
        self.batches: list[list[str]] = []

    failure = None

    def apply(self, changes: Sequence[Any], last: int) -> list[dict[str, int] | SpoolError]:
        if "broken" in changes:
            raise ZeroDivisionError
        self.batches.append(list(changes))
        return [RefusedChange(change) if change == "bad" else {change: 1} for change in changes]

    def tidy(self, last: int) -> None:
        """There is never anything to move."""


class Bed:
    def __init__(self) -> None:
        self.writer = Writer()
        loop = asyncio.get_running_loop()
        self.commits = GroupCommit(self.writer, loop, lambda: 0, lambda removed: None)  # type: ignore[arg-type]
        self.outcomes: dict[str, object] = {}

    def submit(self, queue_id: str, *, patient: bool = False) -> None:
        self.commits.submit(queue_id, lambda outcome: self.outcomes.update({queue_id: outcome}), patient=patient)

    async def until(self, count: int) -> None:
        async with asyncio.timeout(5):
            while len(self.outcomes) < count:
                await asyncio.sleep(0.001)


@pytest.fixture
async def bed() -> AsyncIterator[Bed]:
    bed = Bed()
    bed.commits.start()
    yield bed
    bed.commits.finish()
    await asyncio.to_thread(bed.commits.join)


async def test_changes_of_one_turn_share_a_transaction(bed: Bed) -> None:
    for name in "abc":
        bed.submit(name)
    await bed.until(3)
    assert bed.writer.batches == [["a", "b", "c"]]


async def test_what_nobody_waits_for_goes_along_with_what_somebody_does(bed: Bed) -> None:
    bed.submit("removed", patient=True)
    await asyncio.sleep(0.001)
    assert bed.writer.batches == []
    bed.submit("stored")
    await bed.until(2)
    assert bed.writer.batches == [["removed", "stored"]]
    bed.submit("alone", patient=True)
    await bed.until(3)
    assert bed.writer.batches[1:] == [["alone"]]


async def test_one_that_is_refused_harms_no_other(bed: Bed) -> None:
    for name in ("a", "bad", "b"):
        bed.submit(name)
    await bed.until(3)
    assert isinstance(bed.outcomes["bad"], SpoolError)
    assert bed.outcomes["a"] == {"a": 1} and bed.outcomes["b"] == {"b": 1}


async def test_an_error_nobody_thought_of_ends_writing_and_nobody_waits_for_ever(bed: Bed) -> None:
    for name in ("a", "broken"):
        bed.submit(name)
    await bed.until(2)
    bed.submit("later")
    await bed.until(3)
    assert all(isinstance(outcome, SpoolError) for outcome in bed.outcomes.values())
    assert bed.commits.failure is not None


async def test_after_the_end_a_change_fails_and_what_waited_is_written() -> None:
    bed = Bed()
    bed.commits.start()
    bed.submit("waited", patient=True)
    bed.commits.finish()
    bed.submit("late")
    await asyncio.to_thread(bed.commits.join)
    await bed.until(2)
    assert bed.writer.batches == [["waited"]] and isinstance(bed.outcomes["late"], SpoolError)
