"""A disk that is nearly full refuses senders before it must refuse content."""

import os
from pathlib import Path

import pytest

from pymta.model.access import PERMIT, AccessContext, Stage, Verdict
from pymta.model.address import Address
from pymta.model.envelope import Client
from pymta.smtpd.space import QueueSpace, QueueSpaceSettings
from pymta.testing import RecordingLog

CLIENT = Client("192.0.2.1", name="client.example", protocol="ESMTP")
MEGABYTE = 1_000_000


class Policy:
    def asks(self, stage: Stage) -> bool:
        return stage is Stage.RCPT

    async def decide(self, context: AccessContext) -> Verdict:
        return PERMIT


class System:
    def __init__(self, free: int) -> None:
        self.f_bavail = free // 4096
        self.f_frsize = 4096


@pytest.mark.parametrize(
    ("free", "limit", "minfree", "warning"),
    [
        (16 * MEGABYTE, 10 * MEGABYTE, 0, ""),
        (15 * MEGABYTE, 10 * MEGABYTE, 0, "bytes < 1.5*message size limit"),
        (16 * MEGABYTE, 10 * MEGABYTE, 20 * MEGABYTE, "bytes < queue_minfree"),
        (8192, 0, 0, ""),
        (0, 0, 0, "bytes < queue_minfree"),
    ],
)
async def test_senders_are_refused_for_lack_of_space(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, free: int, limit: int, minfree: int, warning: str
) -> None:
    monkeypatch.setattr(os, "statvfs", lambda path: System(free))
    log = RecordingLog()
    policy = QueueSpace(QueueSpaceSettings(limit, minfree), tmp_path, Policy(), log)
    sender = Address("s", "a.example")
    verdict = await policy.decide(AccessContext(Stage.MAIL, CLIENT, "MAIL", "client.example", sender))
    if not warning:
        assert verdict is PERMIT and log.lines == []
        return
    assert str(verdict.reply) == "452 4.3.1 Insufficient system storage"
    assert verdict.log == (
        "reject: MAIL from client.example[192.0.2.1]: 452 4.3.1 Insufficient system storage; "
        "from=<s@a.example> proto=ESMTP helo=<client.example>",
    )
    assert log.lines[0].startswith("not enough free space in mail queue: ") and warning in log.lines[0]
    assert await policy.decide(AccessContext(Stage.RCPT, CLIENT, "RCPT", sender=sender)) is PERMIT


async def test_a_directory_that_cannot_be_asked_refuses_nobody(tmp_path: Path) -> None:
    log = RecordingLog()
    policy = QueueSpace(QueueSpaceSettings(1000, 0), tmp_path / "missing", Policy(), log)
    assert await policy.decide(AccessContext(Stage.MAIL, CLIENT, "MAIL")) is PERMIT
    assert log.lines == [f"cannot tell the free space of {tmp_path}/missing: No such file or directory"]


async def test_a_sender_is_asked_about_only_where_room_is_in_doubt(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    free = 2000 * MEGABYTE
    monkeypatch.setattr(os, "statvfs", lambda path: System(free))
    policy = QueueSpace(QueueSpaceSettings(10 * MEGABYTE, 0), tmp_path, Policy(), RecordingLog())
    context = AccessContext(Stage.MAIL, CLIENT, "MAIL", sender=Address("s", "a.example"))
    assert policy.asks(Stage.MAIL) and policy.asks(Stage.RCPT) and not policy.asks(Stage.DATA)
    assert await policy.decide(context) is PERMIT
    assert not policy.asks(Stage.MAIL)
    free = 0
    monkeypatch.setattr("pymta.smtpd.space.time.monotonic", lambda: policy._plenty_until)
    assert policy.asks(Stage.MAIL)
    assert (await policy.decide(context)).reply is not None
