"""virtual(8): which mailbox, whose ids, and what a mistake in a table does."""

import asyncio
from collections.abc import Sequence
from pathlib import Path

import pytest

from pymta.config import Config, build
from pymta.delivery.local_settings import VirtualSettings, VirtualTables
from pymta.delivery.mailbox_jobs import Identity, MaildirJob, MboxJob, Stored
from pymta.delivery.virtual import VirtualAgent
from pymta.errors import ConfigError, DeliveryError
from pymta.model.address import Address
from pymta.model.delivery import DeliveryRequest, DeliveryResult, Outcome
from pymta.model.envelope import Trace
from pymta.model.queue import QueuedRecipient
from pymta.ports import Content
from pymta.tables import Maps, TableFactory
from pymta.testing import ManualClock, RecordingLog
from tests.support.local_delivery import Bytes, Chunked, FakeActions, FakeTable

MAILBOXES = {"joe@v.example": "v.example/joe/", "ann@v.example": "v.example/ann", "@v.example": "catchall/"}


class Virtual:
    def __init__(
        self,
        mailboxes: dict[str, str],
        uids: dict[str, str] | None = None,
        gids: dict[str, str] | None = None,
        **settings: str,
    ) -> None:
        self.actions = FakeActions()
        self.log = RecordingLog()
        self.mailboxes = FakeTable(mailboxes, "hash:vmailbox")
        values = {"virtual_mailbox_base": "/srv/mail", "recipient_delimiter": "+", **settings}
        self.agent = VirtualAgent(
            build(VirtualSettings, Config.from_values(values)),
            VirtualTables(
                Maps([self.mailboxes]),
                Maps([FakeTable(uids or {"@v.example": "5000"}, "hash:uids")]),
                Maps([FakeTable(gids or {"@v.example": "5001"}, "hash:gids")]),
            ),
            self.actions,
            ManualClock(),
            self.log,
        )

    async def deliver(self, *recipients: str) -> list[DeliveryResult]:
        """The results of waiting for it, which are those of not waiting where that can be."""
        request = to(*recipients)
        results = list(await self.agent.deliver(request, CONTENT))
        answers: list[Sequence[DeliveryResult] | Exception] = []
        before = len(self.actions.stored)
        if self.agent.begin(request, CONTENT, answers.append):
            async with asyncio.timeout(5):
                while not answers:
                    await asyncio.sleep(0)
            answer = answers[0]
            assert not isinstance(answer, Exception) and list(answer) == results
            del self.actions.stored[before:]
        return results


CONTENT = Bytes(b"A: b\r\n\r\n")


def to(*recipients: str, trace: Trace = Trace.NONE) -> DeliveryRequest:
    queued = tuple(
        QueuedRecipient(number, Address.from_internal(text), Address("o", "x"))
        for number, text in enumerate(recipients)
    )
    return DeliveryRequest("4ABC", "virtual", "v.example", Address("s", "x.example"), queued, 1, 0.0, trace=trace)


async def test_maildir_and_mbox_below_the_base() -> None:
    virtual = Virtual(MAILBOXES)
    results = await virtual.deliver("Joe+x@V.example", "ann@v.example", "other@v.example")
    assert [(result.outcome, result.reason, result.relay) for result in results] == [
        (Outcome.SENT, "delivered to maildir", "virtual"),
        (Outcome.SENT, "delivered to mailbox", "virtual"),
        (Outcome.SENT, "delivered to maildir", "virtual"),
    ]
    assert [(identity, job.path, job.size_limit) for identity, job in virtual.actions.stored] == [
        (Identity(5000, 5001), "/srv/mail/v.example/joe/", 51200000),
        (Identity(5000, 5001), "/srv/mail/v.example/ann", 51200000),
        (Identity(5000, 5001), "/srv/mail/catchall/", 51200000),
    ]
    maildir, mbox = virtual.actions.stored[0][1], virtual.actions.stored[1][1]
    assert isinstance(maildir, MaildirJob) and isinstance(mbox, MboxJob)
    assert maildir.header == b"Return-Path: <s@x.example>\nX-Original-To: o@x\nDelivered-To: Joe+x@V.example\n"
    assert mbox.header.startswith(b"From s@x.example  ") and mbox.owner_uid == 5000


async def test_the_same_mailbox_once_per_message() -> None:
    virtual = Virtual(MAILBOXES)
    results = await virtual.deliver("joe@v.example", "JOE@v.example")
    assert ([result.number for result in results], len(virtual.actions.stored)) == ([0, 1], 1)


async def test_an_unknown_user_bounces() -> None:
    [result] = await Virtual({"a@b": "x/"}).deliver("Nobody@v.example")
    assert (result.status, result.reason) == ("5.1.1", 'unknown user: "nobody@v.example"')


@pytest.mark.parametrize(
    ("uids", "gids", "warning"),
    [
        ({"a@b": "1"}, None, "recipient joe@v.example: not found in virtual_uid_maps"),
        ({"@v.example": "99"}, None, "recipient joe@v.example: bad uid 99 in virtual_uid_maps"),
        ({"@v.example": "0"}, None, "recipient joe@v.example: bad uid 0 in virtual_uid_maps"),
        ({"@v.example": "joe"}, None, "recipient joe@v.example: bad uid joe in virtual_uid_maps"),
        ({"@v.example": "-5"}, None, "recipient joe@v.example: bad uid -5 in virtual_uid_maps"),
        (None, {"@v.example": "0"}, "recipient joe@v.example: bad gid 0 in virtual_gid_maps"),
        (None, {"@v.example": "99999999999"}, "recipient joe@v.example: bad gid 99999999999 in virtual_gid_maps"),
    ],
)
async def test_ids_that_cannot_be_used_defer(
    uids: dict[str, str] | None, gids: dict[str, str] | None, warning: str
) -> None:
    virtual = Virtual(MAILBOXES, uids, gids)
    [result] = await virtual.deliver("joe@v.example")
    assert (result.outcome, result.status, result.reason) == (
        Outcome.DEFERRED,
        "4.3.5",
        "mail system configuration error",
    )
    assert (virtual.log.lines, virtual.actions.stored) == ([warning] * 2, [])


async def test_a_root_below_the_minimum_uid_stays_refused() -> None:
    virtual = Virtual(MAILBOXES, {"@v.example": "0"}, virtual_minimum_uid="1")
    assert (await virtual.deliver("joe@v.example"))[0].outcome is Outcome.DEFERRED


@pytest.mark.parametrize("name", ["../../etc/cron.d/x", "a/../../b/"])
async def test_a_mailbox_never_leads_out_of_the_base(name: str) -> None:
    virtual = Virtual({"joe@v.example": name})
    assert (await virtual.deliver("joe@v.example"))[0].outcome is Outcome.DEFERRED
    assert virtual.actions.stored == []


async def test_tables_and_mailboxes_that_fail_defer() -> None:
    virtual = Virtual(MAILBOXES)
    virtual.mailboxes.fails = True
    assert (await virtual.deliver("joe@v.example"))[0].status == "4.3.5"
    virtual.mailboxes.fails = False
    virtual.actions.answer = Stored("4.2.0", "maildir delivery failed: create maildir file /x: Permission denied")
    [result] = await virtual.deliver("joe@v.example")
    assert result.reason == "maildir delivery failed: create maildir file /x: Permission denied"
    assert "maildir access problem for UID/GID=5000/5001" in virtual.log.lines[-2]
    [result] = await virtual.deliver("ann@v.example")
    assert result.reason.startswith("delivery failed to mailbox /srv/mail/v.example/ann: ")


@pytest.mark.parametrize(("uids", "status"), [("5000", "2.0.0"), ("0", "4.3.5"), ("joe", "4.3.5"), ("", "4.3.5")])
async def test_ids_that_are_the_same_for_all_are_checked_too(uids: str, status: str) -> None:
    tables = TableFactory(Path("/"))
    actions = FakeActions()
    agent = VirtualAgent(
        build(VirtualSettings, Config.from_values({"virtual_mailbox_base": "/srv/mail"})),
        VirtualTables(
            tables.maps("inline:{joe@v.example=joe/}", "virtual_mailbox_maps"),
            tables.maps(f"static:{uids}, inline:{{joe@v.example=6000}}", "virtual_uid_maps"),
            tables.maps("static:{ 5001 }", "virtual_gid_maps"),
        ),
        actions,
        ManualClock(),
        RecordingLog(),
    )
    [result] = await agent.deliver(to("joe@v.example"), CONTENT)
    assert result.status == status
    assert [identity for identity, _ in actions.stored] == ([Identity(5000, 5001)] if status == "2.0.0" else [])


async def test_a_worker_that_fails_defers() -> None:
    virtual = Virtual(MAILBOXES)
    virtual.actions.failure = DeliveryError("a delivery worker for uid 5000 failed: it has ended")
    for recipient in ("joe@v.example", "ann@v.example"):
        [result] = await virtual.deliver(recipient)
        assert (result.status, result.reason) == ("4.3.0", "mailbox delivery is not possible now")
    assert virtual.log.lines == ["4ABC: a delivery worker for uid 5000 failed: it has ended"] * 4


async def test_many_messages_that_nobody_waits_for_are_stored_in_their_order() -> None:
    virtual = Virtual(MAILBOXES)
    answers: list[object] = []
    for _ in range(3):
        assert virtual.agent.begin(to("joe@v.example"), CONTENT, answers.append)
        assert virtual.agent.begin(to("ann@v.example"), CONTENT, answers.append)
    async with asyncio.timeout(5):
        while len(answers) < 6:
            await asyncio.sleep(0)
    assert [type(job) for _, job in virtual.actions.stored] == [MaildirJob, MboxJob] * 3


@pytest.mark.parametrize(
    ("request_", "content"),
    [
        (to("joe@v.example", "ann@v.example"), CONTENT),
        (to("joe@v.example", trace=Trace.VERIFY), CONTENT),
        (to("joe@v.example"), Bytes(b"x" * 70_000)),
        (to("joe@v.example"), Chunked([b"x"])),
    ],
)
async def test_what_must_be_waited_for(request_: DeliveryRequest, content: Content) -> None:
    assert not Virtual(MAILBOXES).agent.begin(request_, content, print)


def test_an_unknown_lock_stops_start_up() -> None:
    with pytest.raises(ConfigError, match="virtual_mailbox_lock"):
        Virtual(MAILBOXES, virtual_mailbox_lock="magic")
