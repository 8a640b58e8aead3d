"""Frames, questions and processes: what arrives is what was sent, and an end is noticed."""

import asyncio
import os
import struct
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from pymta.app.process_plan import is_shared, own_deliveries, role_counts
from pymta.config import Config
from pymta.config.maincf import Entry
from pymta.config.mastercf import parse_service
from pymta.errors import ConfigError
from pymta.runtime import ipc
from pymta.runtime.ipc import Link, LinkListener, connect
from pymta.runtime.ipc_calls import Calls, LinkLost
from pymta.runtime.processes import Channel, fork
from pymta.runtime.supervisor import Role, RoleFailed, Supervisor
from pymta.testing import RecordingLog

Frame = tuple[int, int, bytes, bytes]


class Ends:
    """A listener and one link to it; `frames` is what the listener got, `lost` which ends noticed the end."""

    def __init__(self, path: Path) -> None:
        self.frames: list[Frame] = []
        self.lost: list[str] = []
        self.listener = LinkListener(path, self._receive, lambda link: self.lost.append("far"))
        self.far: Link | None = None
        self.answers: list[Frame] = []

    def _receive(self, link: Link, *frame: object) -> None:
        self.far = link
        self.frames.append(frame)  # type: ignore[arg-type]

    async def open(self, path: Path) -> Link:
        await self.listener.start()
        return await connect(
            path, lambda link, *frame: self.answers.append(frame), lambda link: self.lost.append("near")
        )


@pytest.fixture
async def ends(tmp_path: Path) -> AsyncIterator[Ends]:
    both = Ends(tmp_path / "s")
    yield both
    both.listener.close()


async def until(condition: object) -> None:
    async with asyncio.timeout(5):
        while not condition():  # type: ignore[operator]
            await asyncio.sleep(0.005)


async def test_frames_of_every_size_arrive_whole_and_in_order(ends: Ends, tmp_path: Path) -> None:
    link = await ends.open(tmp_path / "s")
    sizes = [0, 1, 4096, 65535, 300_000, ipc.BODY_LIMIT, 0, 70_000]
    sent = [(number % 8, number, b"h" * number, os.urandom(size)) for number, size in enumerate(sizes * 3)]
    for frame in sent:
        link.send(*frame)
    await until(lambda: len(ends.frames) == len(sent))
    assert ends.frames == sent


async def test_a_frame_that_comes_byte_by_byte(ends: Ends) -> None:
    link = Link(lambda link, *frame: ends.frames.append(frame), lambda link: None)
    link._transport = object.__new__(asyncio.Transport)
    link._out = [b""]
    two = b"".join(_bytes(kind, b"head" * kind, b"body" * kind) for kind in (1, 2))
    for number in range(len(two)):
        link.data_received(two[number : number + 1])
    assert ends.frames == [(1, 7, b"head", b"body"), (2, 7, b"headhead", b"bodybody")]


def _bytes(kind: int, head: bytes, body: bytes) -> bytes:
    return struct.pack("!BQII", kind, 7, len(head), len(body)) + head + body


async def test_a_frame_beyond_the_limit_ends_the_link(ends: Ends, tmp_path: Path) -> None:
    await ends.open(tmp_path / "s")
    _, writer = await asyncio.open_unix_connection(str(tmp_path / "s"))
    writer.write(struct.pack("!BQII", 1, 1, ipc.HEAD_LIMIT + 1, 0))
    await until(lambda: ends.lost == ["far"])
    writer.close()


async def test_a_question_is_answered_by_number_and_fails_with_the_link(ends: Ends, tmp_path: Path) -> None:
    link = await ends.open(tmp_path / "s")
    calls = Calls(link)
    first, second = (asyncio.create_task(calls.ask(1, head)) for head in (b"a", b"b"))
    await until(lambda: len(ends.frames) == 2)
    calls.answered(2, b"B")
    calls.answered(99, b"nobody asked")
    assert await second == b"B"
    calls.lost()
    with pytest.raises(LinkLost):
        await first
    link.close()
    await until(lambda: not link.is_open)
    with pytest.raises(LinkLost):
        await calls.ask(1, b"late")


async def test_a_writer_waits_for_a_reader_that_is_behind(ends: Ends, tmp_path: Path) -> None:
    link = await ends.open(tmp_path / "s")
    link.send(1, 1, b"hello")
    await until(lambda: ends.far is not None)
    assert ends.far is not None
    ends.far.hold(True)
    for number in range(40):
        link.send(1, number, b"", bytes(ipc.BODY_LIMIT))
    await asyncio.sleep(0.05)
    waiting = asyncio.create_task(link.drained())
    await asyncio.sleep(0.05)
    assert not waiting.done() and len(ends.frames) < 41
    ends.far.hold(False)
    await asyncio.wait_for(waiting, 5)
    await until(lambda: len(ends.frames) == 41)


def config(*services: str, **values: str) -> Config:
    parsed = [
        parse_service(line, "test") for line in services or ("25 inet n - n - - smtpd", "smtp unix - - n - - smtp")
    ]
    entries = {name: Entry(name, text, "test") for name, text in {"process_model": "roles", **values}.items()}
    return Config(entries, tuple(parsed))


@pytest.mark.parametrize(
    ("cores", "counts"), [(1, (1, 0)), (2, (1, 1)), (3, (1, 1)), (4, (2, 1)), (8, (3, 2)), (64, (3, 2))]
)
def test_the_number_of_processes_follows_the_cores(cores: int, counts: tuple[int, int]) -> None:
    assert role_counts(config(), cores) == counts


@pytest.mark.parametrize(
    ("cores", "values", "own"), [(1, {}, 0), (2, {}, 8), (3, {}, 0), (2, {"delivery_processes": "1"}, 0)]
)
def test_with_two_cores_few_deliveries_are_passed_on(cores: int, values: dict[str, str], own: int) -> None:
    assert own_deliveries(config(**values), cores) == own


@pytest.mark.parametrize(
    ("services", "values", "counts"),
    [
        ((), {"smtpd_processes": "5", "delivery_processes": "4"}, (5, 4)),
        ((), {"smtpd_processes": "500", "delivery_processes": "500"}, (63, 63)),
        ((), {"smtpd_processes": "5", "delivery_processes": "1", "default_process_limit": "2"}, (2, 1)),
        (
            ("25 inet n - n - 3 smtpd", "smtp unix - - n - 2 smtp"),
            {"smtpd_processes": "9", "delivery_processes": "9"},
            (3, 2),
        ),
        (("25 inet n - n - 0 smtpd", "smtp unix - - n - 2 smtp"), {"smtpd_processes": "9"}, (9, 1)),
        (("25 inet n - n - 1 smtpd", "26 inet n - n - 4 smtpd"), {"smtpd_processes": "9"}, (4, 1)),
    ],
)
def test_what_is_set_counts_within_the_limits_of_master_cf(
    services: tuple[str, ...], values: dict[str, str], counts: tuple[int, int]
) -> None:
    assert role_counts(config(*services, **values), 2) == counts


def test_the_process_model_is_one_of_two_words() -> None:
    assert is_shared(config()) and not is_shared(config(process_model="single"))
    with pytest.raises(ConfigError, match="process_model"):
        is_shared(config(process_model="many"))


def _serve(channel: Channel, restarted: bool) -> int:
    channel.send({"op": "ready"})
    os.set_blocking(channel.fileno(), True)
    while (received := channel.receive()) is not None and received[0]["op"] != "stop":
        channel.send({"op": "answer", "pid": os.getpid(), "restarted": restarted})
    return 0


def _refuse(channel: Channel, restarted: bool) -> int:
    channel.send({"op": "failed", "text": "no disk"})
    return 1


class Running:
    """A supervisor of `roles` whose requests come back as calls."""

    def __init__(self, *roles: Role) -> None:
        self.log = RecordingLog()
        self.supervisor = Supervisor(roles, self.log, handle=lambda name, message: None, drain_seconds=5)

    def ask(self) -> dict[str, object]:
        answers = self.supervisor.ask_all(lambda role: ({"op": "ask"}, ()), seconds=5)
        return {role.name: answer and answer["pid"] for role, answer in answers}


@pytest.fixture(autouse=True)
def _signals() -> object:
    import signal

    kept = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)}
    yield None
    signal.set_wakeup_fd(-1)
    for number, handler in kept.items():
        signal.signal(number, handler)


def test_a_supervisor_asks_and_stops_its_processes() -> None:
    running = Running(Role("one", _serve, 0, 1), Role("two", _serve, 1, 0))
    running.supervisor.start()
    pids = running.supervisor.pids()
    assert running.ask() == pids and len(set(pids.values())) == 2
    running.supervisor.stop()
    assert running.supervisor.pids() == {}


def test_a_process_that_cannot_start_stops_all_with_its_reason() -> None:
    running = Running(Role("one", _serve, 0, 0), Role("two", _refuse, 1, 0))
    with pytest.raises(RoleFailed, match="no disk"):
        running.supervisor.start()
    assert running.supervisor.pids() == {}


def test_a_process_whose_main_raises_is_a_failure_with_a_name() -> None:
    def broken(channel: Channel, restarted: bool) -> int:
        raise ValueError("a bug")

    running = Running(Role("one", broken, 0, 0))
    with pytest.raises(RoleFailed, match="a bug"):
        running.supervisor.start()


def test_a_child_notices_the_end_of_its_channel() -> None:
    child = fork("child", lambda channel: _serve(channel, False), lambda: ())
    child.channel.close()
    assert child.reap() == "exit status 0"


async def test_frames_wait_for_company_unless_one_is_urgent(ends: Ends, tmp_path: Path) -> None:
    await ends.listener.start()
    link = await connect(tmp_path / "s", lambda link, *frame: None, lambda link: None, apart=60.0)
    link.send(1, 1, b"at once")
    await until(lambda: len(ends.frames) == 1)
    link.send(1, 2, b"later")
    await asyncio.sleep(0.02)
    assert len(ends.frames) == 1
    link.send(1, 3, b"now", urgent=True)
    await until(lambda: [frame[2] for frame in ends.frames] == [b"at once", b"later", b"now"])
    link.close()


async def test_frames_that_need_not_hurry_leave_together_and_do_not_wait_once_there_are_enough(ends: Ends) -> None:
    written: list[int] = []
    link = Link(lambda *frame: None, lambda link: None, apart=60.0)

    class Written(asyncio.Transport):
        def writelines(self, frames: Any) -> None:
            written.append(len(list(frames)))

    link._transport = Written()
    link.send(1, 1, b"first")
    await asyncio.sleep(0.01)
    for number in range(3):
        link.send(1, number, b"later")
    await asyncio.sleep(0.01)
    assert written == [1]
    for number in range(10):
        link.send(1, number, b"more")
    await asyncio.sleep(0.01)
    assert written == [1, 13]
