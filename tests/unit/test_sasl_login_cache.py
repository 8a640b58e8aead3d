"""Good logins are remembered for a while; nothing else is, and never longer than what they prove is so."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from pymta.auth.passdb import make_stored
from pymta.auth.verify_cache import LoginCache
from pymta.auth.verify_file import PasswordFile
from pymta.auth.verify_pool import HashPool
from pymta.config import Config, build
from pymta.smtpd.sasl_settings import SaslSettings
from pymta.testing import ManualClock, RecordingLog


class CountingPool(HashPool):
    """How many hashes were computed."""

    def __init__(self) -> None:
        super().__init__()
        self.count = 0

    async def run(self, function: Any, *arguments: Any, **keywords: Any) -> Any:
        self.count += 1
        return await super().run(function, *arguments, **keywords)


def _file(folder: Path, lifetime: float = 60.0) -> tuple[PasswordFile, CountingPool, ManualClock, Path]:
    path, pool, clock = folder / "passwords", CountingPool(), ManualClock()
    path.write_text(f"joe:{make_stored('good', 'SSHA512')}\n")
    cache = LoginCache(lifetime, clock.monotonic)
    return PasswordFile(path, pool, RecordingLog(), cache=cache), pool, clock, path


async def test_a_good_login_is_computed_once_in_its_time(tmp_path: Path) -> None:
    database, pool, clock, _ = _file(tmp_path)
    assert [await database.verify("joe", "good") for _ in range(3)] == [True] * 3
    assert pool.count == 1
    clock.advance(61)
    assert await database.verify("joe", "good")
    assert pool.count == 2


async def test_failures_are_computed_each_time(tmp_path: Path) -> None:
    database, pool, _, _ = _file(tmp_path)
    assert await database.verify("joe", "good")
    for name, password in [("joe", "bad"), ("joe", "goodx"), ("joe", ""), ("nobody", "good")]:
        assert not await database.verify(name, password)
        assert not await database.verify(name, password)
    assert pool.count == 9


async def test_a_changed_or_removed_password_is_another_one_at_once(tmp_path: Path) -> None:
    old, pool, _, path = _file(tmp_path)
    assert await old.verify("joe", "good")

    def reopened(text: str) -> PasswordFile:
        """The same cache before another content: a file is looked at again once a second only."""
        path.write_text(text)
        return PasswordFile(path, pool, RecordingLog(), cache=old._cache)

    changed = reopened(f"joe:{make_stored('new', 'SSHA512')}\n")
    assert not await changed.verify("joe", "good")
    assert await changed.verify("joe", "new")
    assert not await reopened("ann:{PLAIN}x\n").verify("joe", "new")


async def test_the_switch(tmp_path: Path) -> None:
    database, pool, _, _ = _file(tmp_path, 0.0)
    assert [await database.verify("joe", "good") for _ in range(3)] == [True] * 3
    assert pool.count == 3


@pytest.mark.parametrize(("text", "seconds"), [("", 60.0), ("0", 0.0), ("5m", 300.0)])
def test_its_parameter(text: str, seconds: float) -> None:
    values = {"smtpd_sasl_login_cache_time": text} if text else {}
    assert build(SaslSettings, Config.from_values(values)).smtpd_sasl_login_cache_time == seconds


def test_memory_is_bounded_and_holds_no_password() -> None:
    cache = LoginCache(60.0, ManualClock().monotonic, limit=3)
    for number in range(5):
        cache.keep("joe", f"password {number}")
    assert [cache.knows("joe", f"password {number}") for number in range(5)] == [False, False, True, True, True]
    assert b"password" not in b"".join(cache._good_until)
    # Where one part ends is part of it.
    cache.keep("ab", "c")
    assert not cache.knows("a", "bc")
