"""`sendmail -bv` at local(8), virtual(8), pipe(8), error(8) and an app's agent: nothing is done, all is told."""

import pytest

from pymta.app.agents import AppAgent
from pymta.config import Config, build
from pymta.delivery.discard import DiscardAgent
from pymta.delivery.error import ErrorAgent
from pymta.delivery.local_settings import VirtualSettings, VirtualTables
from pymta.delivery.pipe import PipeAgent
from pymta.delivery.pipe_service import PipeService
from pymta.delivery.virtual import VirtualAgent
from pymta.model.address import Address
from pymta.model.delivery import DeliveryRequest, DeliveryResult, Outcome
from pymta.model.envelope import Trace
from pymta.model.queue import QueuedRecipient
from pymta.tables import Maps
from pymta.testing import ManualClock, RecordingLog
from tests.support.local_delivery import Bytes, FakeActions, FakeAgent, FakeTable, LocalSystem

SENT, BOUNCED, DEFERRED = Outcome.SENT, Outcome.BOUNCED, Outcome.DEFERRED
CONTENT = Bytes(b"Subject: probe\r\n\r\n")


async def probe(system: LocalSystem, local_part: str) -> DeliveryResult:
    result = await system.deliver(local_part, request={"trace": Trace.VERIFY})
    assert system.actions.stored == [] and system.actions.commands == [] and system.intake.messages == []
    return result


ONE = [
    ("alice", {}, SENT, "2.0.0", "delivers to mailbox"),
    ("alice", {"home_mailbox": "Maildir/"}, SENT, "2.0.0", "delivers to maildir"),
    ("alice", {"mailbox_command": "/bin/filter -x"}, SENT, "2.0.0", "delivers to command: /bin/filter -x"),
    ("nobody", {}, BOUNCED, "5.1.1", 'unknown user: "nobody"'),
    ("nobody", {"luser_relay": "help@outside.example"}, SENT, "2.0.0", "forwards to help@outside.example"),
    ("postmaster", {}, SENT, "2.0.0", "discarded"),
]


@pytest.mark.parametrize(("local_part", "settings", "outcome", "status", "reason"), ONE)
async def test_a_recipient(
    local_part: str, settings: dict[str, str], outcome: Outcome, status: str, reason: str
) -> None:
    result = await probe(LocalSystem(settings), local_part)
    assert (result.outcome, result.status, result.reason, result.relay) == (outcome, status, reason, "local")


ALIASES = {
    "team": "alice, nobody, x@outside.example",
    "cmd": '"|/bin/cat"',
    "file": "/var/file",
    "dir": "/var/dir/",
    "out": "x@outside.example, x@outside.example",
    "list": ":include:/lists/list",
}
EXPANDED = [
    (
        "team",
        [
            ("alice@mx.example.com", SENT, "delivers to mailbox"),
            ("nobody@mx.example.com", BOUNCED, 'unknown user: "nobody"'),
            ("x@outside.example", SENT, "forwards to x@outside.example"),
        ],
    ),
    ("cmd", [("cmd@example.com", SENT, "delivers to command: /bin/cat")]),
    ("file", [("file@example.com", SENT, "delivers to file: /var/file")]),
    ("dir", [("dir@example.com", SENT, "delivers to maildir")]),
    ("out", [("x@outside.example", SENT, "forwards to x@outside.example")]),
    ("list", [("bob@mx.example.com", SENT, "forwards to bob@mx.example.com")]),
    ("carol", [("carol@outside.example", SENT, "forwards to carol@outside.example")]),
]


@pytest.mark.parametrize(("local_part", "parts"), EXPANDED)
async def test_an_alias_or_forward_tells_of_its_members(local_part: str, parts: list[tuple[str, Outcome, str]]) -> None:
    system = LocalSystem(aliases=ALIASES)
    system.actions.put("/lists/list", "bob\n")
    system.actions.put("/home/carol/.forward", "carol@outside.example\n", uid=1003)
    result = await probe(system, local_part)
    assert [(str(part.address), part.outcome, part.reason) for part in result.parts] == parts


async def test_what_is_not_allowed_is_undeliverable() -> None:
    system = LocalSystem({"allow_mail_to_commands": "", "allow_mail_to_files": ""}, ALIASES)
    for name in ("cmd", "file"):
        result = await probe(system, name)
        assert (result.outcome, result.status) == (BOUNCED, "5.7.1")


async def test_another_transport_is_asked_in_turn() -> None:
    agent = FakeAgent(DeliveryResult(7, SENT, "2.1.5", "250 2.1.5 Ok", "imap"))
    result = await probe(LocalSystem({"mailbox_transport": "lmtp:unix:x"}, agents={"lmtp": agent}), "alice")
    assert (result.status, result.reason) == ("2.1.5", "250 2.1.5 Ok")
    assert [request.is_probe for request in agent.requests] == [True]


def request(*recipients: str, nexthop: str = "") -> DeliveryRequest:
    queued = tuple(
        QueuedRecipient(number, Address.from_internal(text), Address("o", "x"))
        for number, text in enumerate(recipients)
    )
    return DeliveryRequest("4ABC", "t", nexthop, Address("s", "x.org"), queued, 1, 0.0, trace=Trace.VERIFY)


async def test_virtual_mailboxes() -> None:
    actions = FakeActions()
    agent = VirtualAgent(
        build(VirtualSettings, Config.from_values({"virtual_mailbox_base": "/srv"})),
        VirtualTables(
            Maps([FakeTable({"d@v.org": "d/", "f@v.org": "f", "bad@v.org": "bad"})]),
            Maps([FakeTable({"d@v.org": "5000", "f@v.org": "5000", "bad@v.org": "0"})]),
            Maps([FakeTable({"@v.org": "5000"})]),
        ),
        actions,
        ManualClock(),
        RecordingLog(),
    )
    results = await agent.deliver(request("d@v.org", "f@v.org", "no@v.org", "bad@v.org"), CONTENT)
    assert [(one.outcome, one.reason) for one in results] == [
        (SENT, "delivers to maildir"),
        (SENT, "delivers to mailbox"),
        (BOUNCED, 'unknown user: "no@v.org"'),
        (DEFERRED, "mail system configuration error"),
    ]
    assert actions.stored == []


async def test_a_command() -> None:
    actions = FakeActions()
    service = PipeService.parse("maildrop", ["user=nobody", "argv=/bin/x", "${recipient}"])
    agent = PipeAgent(
        service, actions, ManualClock(), RecordingLog(), time_limit=1.0, recipient_delimiter="", environment=()
    )
    results = await agent.deliver(request("a@x.org", "b@x.org"), CONTENT)
    assert [(one.outcome, one.reason, one.relay) for one in results] == [
        (SENT, "delivers to command: /bin/x", "maildrop")
    ] * 2
    assert actions.commands == []


async def test_error_retry_and_discard_answer_as_always() -> None:
    (bounced,) = await ErrorAgent().deliver(request("a@x.org", nexthop="5.1.9 no such"), CONTENT)
    (deferred,) = await ErrorAgent(temporary=True).deliver(request("a@x.org", nexthop="4.2.9 later"), CONTENT)
    (sent,) = await DiscardAgent().deliver(request("a@x.org", nexthop="silently"), CONTENT)
    assert [(one.outcome, one.reason) for one in (bounced, deferred, sent)] == [
        (BOUNCED, "no such"),
        (DEFERRED, "later"),
        (SENT, "silently"),
    ]


async def test_an_agent_of_the_app_never_sees_a_probe() -> None:
    inner = FakeAgent(DeliveryResult(0, SENT, "2.0.0", "stored"))
    agent = AppAgent(inner)
    results = await agent.deliver(request("a@x.org", "b@x.org"), CONTENT)
    assert [(one.number, one.outcome, one.reason) for one in results] == [
        (0, SENT, "delivers to transport: t"),
        (1, SENT, "delivers to transport: t"),
    ]
    assert inner.requests == []
