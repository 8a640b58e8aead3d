"""Syncs that fail and clocks that jump, in the whole program: nothing acknowledged is lost, nothing is done twice."""

import asyncio
import errno
import os
import smtplib
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import pytest

from pymta import MTA, Settings
from pymta.model.delivery import DeliveryRequest, DeliveryResult, Outcome
from pymta.model.queue import QueueFilter, QueueName
from pymta.ports import Content
from tests.support.system import eventually

DAY = 86400.0


class JumpingClock:
    """The system's clock with a wall time that may be set."""

    def __init__(self) -> None:
        self.offset = 0.0

    def now(self) -> float:
        return time.time() + self.offset

    def monotonic(self) -> float:
        return time.monotonic()


class FarHost:
    """The delivery agent of everything: takes mail while it is up."""

    def __init__(self) -> None:
        self.is_up = True
        self.taken: list[str] = []

    async def deliver(self, request: DeliveryRequest, content: Content) -> Sequence[DeliveryResult]:
        if not self.is_up:
            return [
                DeliveryResult(each.number, Outcome.DEFERRED, "4.4.1", "far is down") for each in request.recipients
            ]
        data = b"".join([piece async for piece in content.chunks()])
        self.taken.append(data.partition(b"Subject: ")[2].partition(b"\r\n")[0].decode())
        return [DeliveryResult(each.number, Outcome.SENT, "2.0.0", "taken") for each in request.recipients]


def settings(folder: Path, **more: str) -> Settings:
    return Settings(
        listen=["127.0.0.1:0"],
        myhostname="mx.example.com",
        queue_directory=str(folder),
        mydestination="",
        default_transport="far",
        relay_domains="",
        queue_run_delay="1s",
        minimal_backoff_time="1s",
        maximal_backoff_time="1s",
        transport_retry_time="1s",
        # The account is of the test's own messages.
        notify_classes="",
        **more,
    )


async def send(mta: MTA, subject: str, size: int = 10) -> str:
    """By SMTP; empty where it was taken, else the refusal."""

    def talk() -> str:
        with smtplib.SMTP("127.0.0.1", mta.ports[0], timeout=10) as session:
            try:
                session.sendmail(
                    "s@a.example", ["r@far.example"], f"Subject: {subject}\r\n\r\n" + "x\r\n" * (size // 3)
                )
            except smtplib.SMTPResponseException as error:
                return f"{error.smtp_code} {error.smtp_error.decode()}"
            return ""

    return await asyncio.to_thread(talk)


async def wait_for(check: object) -> None:
    await asyncio.to_thread(eventually, check)


async def waiting(mta: MTA, count: int) -> list[str]:
    """The ids of deferred messages, once there are `count`."""
    query = QueueFilter(queues=(QueueName.DEFERRED,))
    async with asyncio.timeout(10):
        while len(ids := [entry.queue_id async for entry in mta.queue.entries(query)]) < count:
            await asyncio.sleep(0.02)
    return ids


async def empty(mta: MTA) -> None:
    """Once nothing waits any more."""
    async with asyncio.timeout(20):
        while [entry async for entry in mta.queue.entries(QueueFilter())]:
            await asyncio.sleep(0.02)


@pytest.mark.parametrize("kind", ["journal", "content file"])
async def test_after_a_failed_sync_nothing_is_taken_and_nothing_is_lost(
    tmp_path: Path, kind: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    far, broken = FarHost(), [False]
    large = 200_000 if kind == "content file" else 10

    def fail(step: str) -> None:
        if broken[0] and step == "journal written" and kind == "journal":
            raise OSError(errno.EIO, "Input/output error")

    def sync(descriptor: int) -> None:
        if broken[0] and kind == "content file":
            raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr(os, "fsync", sync)
    caplog.set_level("INFO")
    async with MTA(settings(tmp_path / "q"), agents={"far": far}, faults=fail) as mta:
        far.is_up = False
        assert await send(mta, "before", large) == ""
        await waiting(mta, 1)
        broken[0] = True
        answers = [await send(mta, f"lost-{number}", large) for number in range(3)]
        assert set(answers) == {"451 4.3.0 Error: queue file write error"}
        await wait_for(lambda: f"{kind}: Input/output error" in caplog.text)
        # Deliveries go on, though nothing of it can be recorded.
        far.is_up = True
        await wait_for(lambda: far.taken == ["before"])
        # Once the disk is sound the spool is opened again, what was delivered is recorded, and mail is taken.
        broken[0] = False
        async with asyncio.timeout(20):
            while await send(mta, "again", large) != "":
                await asyncio.sleep(0.1)
        await wait_for(lambda: "again" in far.taken)
        await empty(mta)
    async with MTA(settings(tmp_path / "q"), agents={"far": far}):
        await asyncio.sleep(0.1)
    assert Counter(far.taken) == {"before": 1, "again": 1}


async def test_the_clock_jumps_both_ways(tmp_path: Path) -> None:
    far, clock = FarHost(), JumpingClock()
    async with MTA(settings(tmp_path / "q"), agents={"far": far}, clock=clock) as mta:
        far.is_up = False
        await send(mta, "now")
        await waiting(mta, 1)
        clock.offset = -DAY
        await send(mta, "past")
        clock.offset = DAY
        await send(mta, "future")
        ids = await waiting(mta, 3)
        assert len(set(ids)) == 3 and ids == sorted(ids), "ids go on upwards whatever the clock does"
        # Back in the past: what was put off until a day to come is due on request, and new mail flows at once.
        clock.offset = -DAY
        far.is_up = True
        await send(mta, "fresh")
        await wait_for(lambda: "fresh" in far.taken)
        await mta.queue.flush(QueueFilter())
        await wait_for(lambda: Counter(far.taken) == dict.fromkeys(["now", "past", "future", "fresh"], 1))
