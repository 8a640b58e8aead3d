"""Full garbage collections: seldom, and none because a queue grows."""

import asyncio
import gc

import pytest

from pymta.runtime import garbage


async def test_objects_that_stay_do_not_call_for_full_collections() -> None:
    before, full = gc.get_threshold(), []

    def note(phase: str, info: dict[str, int]) -> None:
        if phase == "start" and info["generation"] == 2:
            full.append(phase)

    gc.collect()
    gc.callbacks.append(note)
    try:
        with garbage.seldom_collections():
            kept = [[number] for number in range(300_000)]
            assert full == [] and gc.get_threshold()[:2] == before[:2]
    finally:
        gc.callbacks.remove(note)
    assert gc.get_threshold() == before and len(kept) == 300_000


async def test_garbage_that_grew_old_goes_in_time(monkeypatch: pytest.MonkeyPatch) -> None:
    class Old:
        pass

    monkeypatch.setattr(garbage, "_EVERY_SECONDS", 0.02)
    monkeypatch.setattr(garbage, "_SHARE", 0)
    with garbage.seldom_collections():
        old = Old()
        old.itself = old  # type: ignore[attr-defined]
        gc.collect()
        del old
        await asyncio.sleep(0.3)
        assert not any(isinstance(one, Old) for one in gc.get_objects())
