"""New content of a table's file is live without a restart; a version that cannot be used is not."""

import asyncio
import os
import time
from pathlib import Path

import pytest

from pymta.tables import TableFactory, watch
from pymta.testing.log import RecordingLog


@pytest.fixture
def log() -> RecordingLog:
    return RecordingLog()


@pytest.fixture
def tables(tmp_path: Path, log: RecordingLog, monkeypatch: pytest.MonkeyPatch) -> TableFactory:
    monkeypatch.setattr(watch, "CHECK_INTERVAL", 0.0)
    return TableFactory(tmp_path, log=log)


async def test_new_content_is_live(tables: TableFactory, tmp_path: Path) -> None:
    path = tmp_path / "map"
    path.write_text("a 1\n")
    table = tables.open("hash:map")
    assert await table.lookup("a") == "1"
    path.write_text("a 22\nb 3\n")
    assert [await table.lookup("a"), await table.lookup("b")] == ["22", "3"]
    path.write_text("")
    assert await table.lookup("a") is None


async def test_a_change_within_the_same_tick_of_the_clock_is_seen(
    tables: TableFactory, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stamp = (time.time_ns(), 1, 5, time.time_ns())
    monkeypatch.setattr(watch, "_stamp", lambda path: stamp)
    monkeypatch.setattr(watch, "_TICK", 60_000_000_000)
    path = tmp_path / "map"
    for number in range(3):
        path.write_text(f"a {number}\n")
        assert await tables.open("hash:map").lookup("a") == str(number)


async def test_a_file_that_is_replaced_with_the_same_time_and_size_is_read_again(
    tables: TableFactory, tmp_path: Path
) -> None:
    path = tmp_path / "map"
    path.write_text("a 1\n")
    os.utime(path, (1e9, 1e9))
    table = tables.open("hash:map")
    other = tmp_path / "new"
    other.write_text("a 2\n")
    os.utime(other, (1e9, 1e9))
    other.replace(path)
    assert await table.lookup("a") == "2"


async def test_a_file_that_goes_away_leaves_its_content_in_force_and_is_logged_once(
    tables: TableFactory, tmp_path: Path, log: RecordingLog
) -> None:
    path = tmp_path / "map"
    path.write_text("a 1\n")
    table = tables.open("hash:map")
    path.unlink()
    assert [await table.lookup("a") for _ in range(3)] == ["1"] * 3
    assert log.lines == [f"hash:map: {path}: No such file or directory; keeping the version before it"]
    path.write_text("a 2\n")
    assert await table.lookup("a") == "2"


async def test_patterns_that_cannot_be_used_leave_the_old_rules_in_force(
    tables: TableFactory, tmp_path: Path, log: RecordingLog
) -> None:
    path = tmp_path / "rules"
    path.write_text("/a/ old\n")
    table = tables.open("pcre:rules")
    path.write_text("/a/ new\n/(?R)/ x\n")
    assert await table.lookup("a") == "old"
    assert "(?R)" in log.lines[0]
    assert "keeping the version before it" in log.lines[0]
    path.write_text("/a/ newer\n")
    assert await table.lookup("a") == "newer"


async def test_networks_from_a_file_follow_it_and_survive_a_typing_error(
    tables: TableFactory, tmp_path: Path, log: RecordingLog
) -> None:
    path = tmp_path / "nets"
    path.write_text("10.0.0.0/8\n")
    networks = tables.network_list(str(path), title="mynetworks")
    assert await networks.matches("10.1.1.1")
    path.write_text("10.0.0.1/8\n")
    assert await networks.matches("10.1.1.1")
    assert 'perhaps you should use "10.0.0.0/8" instead' in log.lines[0]
    path.write_text("192.0.2.0/24\n")
    assert not await networks.matches("10.1.1.1")
    assert await networks.matches("192.0.2.1")


async def test_a_large_file_is_read_in_a_thread_while_the_old_content_answers(
    tables: TableFactory, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(watch, "LARGE", 10)
    path = tmp_path / "map"
    path.write_text("a old\n")
    os.utime(path, (1e9, 1e9))
    table = tables.open("hash:map")
    path.write_text("a new\n" + "b x\n" * 10)
    assert await table.lookup("a") == "old"
    deadline = time.monotonic() + 10
    while await table.lookup("a") != "new":
        assert time.monotonic() < deadline
        await asyncio.sleep(0.01)


async def test_the_file_is_looked_at_once_a_second(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "map").write_text("a 1\n")
    table = TableFactory(tmp_path).open("hash:map")
    looks = []
    stamp = watch._stamp
    monkeypatch.setattr(watch, "_stamp", lambda path: looks.append(path) or stamp(path))
    for _ in range(1000):
        await table.lookup("a")
    assert looks == []
    clock = time.monotonic() + 1.5
    monkeypatch.setattr(watch.time, "monotonic", lambda: clock)
    for _ in range(1000):
        await table.lookup("a")
    assert len(looks) == 1
