"""Short pieces of work without a task for each."""

import asyncio

from pymta.runtime.turns import Turns


async def test_pieces_that_do_not_wait_share_a_task() -> None:
    turns = Turns()
    tasks = []

    async def piece() -> None:
        tasks.append(asyncio.current_task())

    for _ in range(5):
        turns.add(piece())
    assert tasks == []
    await asyncio.sleep(0.01)
    assert len(tasks) == 5 and len(set(tasks)) == 1
    turns.add(piece())
    await asyncio.sleep(0.01)
    assert len(tasks) == 6


async def test_a_piece_that_waits_holds_up_no_other() -> None:
    turns = Turns()
    gate = asyncio.Event()
    ended = []

    async def piece(number: int) -> None:
        if number % 2:
            await gate.wait()
        ended.append(number)

    for number in range(5):
        turns.add(piece(number))
    await asyncio.sleep(0.01)
    assert ended == [0, 2, 4]
    turns.add(piece(6))
    await asyncio.sleep(0.01)
    assert ended == [0, 2, 4, 6]
    gate.set()
    await asyncio.sleep(0.01)
    assert sorted(ended) == [0, 1, 2, 3, 4, 6]
