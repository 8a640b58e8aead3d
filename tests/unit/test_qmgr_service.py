"""The queue manager from enqueue to removed, with agents that answer as told."""

import asyncio
import re
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import replace

import pytest

from pymta.errors import ResolveError, SpoolError
from pymta.model.address import NULL_SENDER, Address
from pymta.model.delivery import DeliveryPart, DeliveryRequest, DeliveryResult, Outcome
from pymta.model.envelope import Notify, Trace
from pymta.model.queue import EntryUpdate, QueuedRecipient, QueueEntry, QueueFilter, QueueName
from pymta.model.route import AddressClass, Route
from pymta.ports import Content, ContentWriter, Recorded
from pymta.qmgr import QueueAdmin, QueueManager, QueueManagerSettings, transport_limits
from pymta.runtime.clock import SystemClock
from pymta.testing import MemorySpool, RecordingLog

SETTINGS = QueueManagerSettings(
    minimal_backoff_time=300.0,
    maximal_backoff_time=4000.0,
    maximal_queue_lifetime=432000.0,
    bounce_queue_lifetime=432000.0,
    delay_warning_time=0.0,
    queue_run_delay=300.0,
    transport_retry_time=0.05,
    qmgr_message_active_limit=20000,
    qmgr_message_recipient_limit=20000,
    qmgr_message_recipient_minimum=10,
    qmgr_clog_warn_time=300.0,
    default_process_limit=100,
    confirm_delay_cleared=False,
    in_flow_delay=0.0,
    delay_logging_resolution_limit=2,
    defer_transports=(),
    soft_bounce=False,
    default_filter_nexthop="",
    recipient_delimiter="+",
)
TRANSPORT = {
    "initial_destination_concurrency": "5",
    "destination_concurrency_limit": "20",
    "destination_concurrency_positive_feedback": "1",
    "destination_concurrency_negative_feedback": "1",
    "destination_concurrency_failed_cohort_limit": "1",
    "destination_recipient_limit": "50",
    "destination_rate_delay": "0s",
    "transport_rate_delay": "0s",
    "delivery_slot_cost": "5",
    "delivery_slot_loan": "3",
    "delivery_slot_discount": "50",
    "minimum_delivery_slots": "3",
    "recipient_limit": "20000",
    "extra_recipient_limit": "1000",
    "recipient_refill_limit": "100",
    "recipient_refill_delay": "5s",
}
LOCAL = {"destination_recipient_limit": "1", "destination_concurrency_limit": "2"}
ANSWERS = {
    "good": (Outcome.SENT, "2.0.0", "250 ok", False),
    "later": (Outcome.DEFERRED, "4.2.2", "mailbox full", False),
    "never": (Outcome.BOUNCED, "5.1.1", "User unknown", False),
    "dead": (Outcome.DEFERRED, "4.4.1", "connect to dead[192.0.2.9]:25: Connection refused", True),
}


def result(recipient: QueuedRecipient) -> DeliveryResult:
    """What the recipient's domain says: `x@later.example` is deferred."""
    outcome, status, reason, unreachable = ANSWERS.get(recipient.address.domain.partition(".")[0], ANSWERS["good"])
    relay = "none" if unreachable else "mx.example[192.0.2.1]:25"
    return DeliveryResult(recipient.number, outcome, status, reason, relay=relay, host_unreachable=unreachable)


Behaviour = Callable[[DeliveryRequest], Awaitable[Sequence[DeliveryResult]]]


class Agent:
    """Records requests; `behave` replaces the answer; `gate` holds deliveries until it is set."""

    def __init__(self) -> None:
        self.requests: list[DeliveryRequest] = []
        self.contents: list[bytes] = []
        self.behave: Behaviour | None = None
        self.gate: asyncio.Event | None = None
        self.busy = 0
        self.peak = 0

    async def deliver(self, request: DeliveryRequest, content: Content) -> Sequence[DeliveryResult]:
        self.requests.append(request)
        self.contents.append(b"".join([piece async for piece in content.chunks()]))
        self.busy += 1
        self.peak = max(self.peak, self.busy)
        try:
            await (self.gate.wait() if self.gate else asyncio.sleep(0))
            return await self.behave(request) if self.behave else [result(each) for each in request.recipients]
        finally:
            self.busy -= 1

    @property
    def recipients(self) -> list[str]:
        return sorted(str(each.address) for request in self.requests for each in request.recipients)


class Notices:
    """Records notices, with what the spool held of the message when they were made."""

    def __init__(self, spool: MemorySpool) -> None:
        self._spool = spool
        self.failure: Exception | None = None
        self.made: list[tuple[str, list[tuple[int, str]], int]] = []

    async def _note(self, kind: str, entry: QueueEntry, what: list[tuple[int, str]]) -> None:
        if self.failure is not None:
            raise self.failure
        stored = await self._spool.load(entry.queue_id)
        self.made.append((kind, what, len(stored.recipients) if stored else 0))

    async def failed(self, entry: QueueEntry, results: Sequence[DeliveryResult], content: Content) -> None:
        await self._note("failed", entry, [(each.number, each.outcome.value) for each in results])

    async def delayed(self, entry: QueueEntry, content: Content) -> None:
        await self._note("delayed", entry, [(each.number, each.reason) for each in entry.recipients])

    async def succeeded(self, entry: QueueEntry, results: Sequence[DeliveryResult], content: Content) -> None:
        await self._note("succeeded", entry, [(each.number, each.outcome.value) for each in results])

    async def traced(self, entry: QueueEntry, results: Sequence[DeliveryResult], content: Content) -> None:
        await self._note("traced", entry, [(each.number, each.outcome.value) for each in results])


class Routes:
    """`local.example` is local, `unknown.example` has no transport, `broken.example` cannot be resolved."""

    def rewrite(self, address: Address) -> Address:
        return address

    async def resolve(self, recipient: Address, sender: Address) -> Route:
        domain = recipient.domain
        if domain == "broken.example":
            raise ResolveError("map is down")
        if domain == "bug.example":
            raise KeyError(domain)
        transport = {"local.example": "local", "unknown.example": "nosuch"}.get(domain, "smtp")
        return Route(transport, domain, recipient, AddressClass.DEFAULT)

    def known(self, recipient: Address) -> Route | None:
        if recipient.domain != "known.example":
            return None
        return Route("smtp", recipient.domain, recipient, AddressClass.DEFAULT)


class Bed:
    """A queue manager on a spool in memory."""

    def __init__(self, **changes: object) -> None:
        self.clock = SystemClock()
        self.spool = MemorySpool(self.clock)
        self.log = RecordingLog()
        self.agent = Agent()
        self.notices = Notices(self.spool)
        self.transport: dict[str, str] = {}
        self.configure(**changes)

    def configure(self, **changes: object) -> None:
        settings = replace(SETTINGS, **changes)  # type: ignore[arg-type]
        agents = {"smtp": self.agent, "local": self.agent, "odd": self.agent}
        self.queue = QueueManager(
            settings,
            self.spool,
            Routes(),
            agents.get,
            lambda name: transport_limits(name, self._value),
            self.notices,
            self.clock,
            self.log,
        )
        self.admin = QueueAdmin(self.queue, self.spool, self.clock, self.log)

    def _value(self, transport: str, parameter: str) -> str:
        if transport == "local" and parameter in LOCAL:
            return LOCAL[parameter]
        return self.transport.get(parameter, TRANSPORT[parameter])

    async def send(self, *recipients: str | QueuedRecipient, content: bytes = b"x\r\n", **fields: object) -> QueueEntry:
        queue_id = self.queue.new_queue_id()
        writer = self.queue.new_content(queue_id)
        writer.write(content)
        entry = self.entry(queue_id, recipients or ("bob@good.example",), len(content), **fields)
        await self.queue.enqueue(entry, writer)
        return entry

    def entry(
        self, queue_id: str, recipients: Sequence[str | QueuedRecipient], size: int, **fields: object
    ) -> QueueEntry:
        now = self.clock.now()
        values: dict[str, object] = {
            "queue": QueueName.INCOMING,
            "sender": Address("alice", "example.org"),
            "recipients": tuple(
                each if isinstance(each, QueuedRecipient) else recipient(number, each)
                for number, each in enumerate(recipients)
            ),
            "arrival_time": now,
            "queued_time": now,
            "size": size,
            **fields,
        }
        return QueueEntry(queue_id, **values)  # type: ignore[arg-type]

    async def until(self, condition: Callable[[], object], seconds: float = 5.0) -> None:
        async with asyncio.timeout(seconds):
            while not condition():
                await asyncio.sleep(0.002)

    async def quiet(self) -> None:
        """Every message has come to rest."""
        await asyncio.sleep(0)
        await self.until(lambda: not self.queue.active_ids())

    def lines(self, pattern: str) -> list[str]:
        return [line for line in self.log.lines if re.search(pattern, line)]


def recipient(
    number: int, address: str, original: str | None = None, notify: Notify = Notify.DEFAULT
) -> QueuedRecipient:
    return QueuedRecipient(number, Address.from_internal(address), Address.from_internal(original or address), notify)


@pytest.fixture
async def bed() -> AsyncIterator[Bed]:
    bed = Bed()
    await bed.spool.open()
    await bed.queue.start()
    yield bed
    await bed.queue.stop()


async def restart(bed: Bed, **changes: object) -> None:
    await bed.queue.stop()
    bed.configure(**changes)
    await bed.queue.start()


async def test_a_message_is_delivered_removed_and_logged(bed: Bed) -> None:
    entry = await bed.send(recipient(0, "bob@good.example", "Bob@alias.example"), content=b"hello\r\n")
    await bed.quiet()
    assert bed.agent.contents == [b"hello\r\n"]
    assert await bed.spool.load(entry.queue_id) is None
    masked = [re.sub(r"(delays?)=[0-9./]+", r"\1=*", line) for line in bed.log.lines]
    assert masked == [
        f"{entry.queue_id}: from=<alice@example.org>, size=7, nrcpt=1 (queue active)",
        f"{entry.queue_id}: to=<bob@good.example>, orig_to=<Bob@alias.example>, relay=mx.example[192.0.2.1]:25,"
        " delay=*, delays=*, dsn=2.0.0, status=sent (250 ok)",
        f"{entry.queue_id}: removed",
    ]


async def test_the_request_carries_what_the_envelope_said(bed: Bed) -> None:
    entry = await bed.send(smtputf8=True, envid="E", verp="+=", is_notice=True)
    await bed.quiet()
    (request,) = bed.agent.requests
    assert (request.queue_id, request.transport, request.nexthop) == (entry.queue_id, "smtp", "good.example")
    assert (request.smtputf8, request.envid, request.verp, request.is_notice) == (True, "E", "+=", True)
    assert (request.sender, request.size, request.arrival_time) == (entry.sender, 3, entry.arrival_time)


async def test_each_recipient_gets_its_own_fate(bed: Bed) -> None:
    entry = await bed.send("a@good.example", "b@later.example", "c@never.example", "d@good.example")
    await bed.quiet()
    stored = await bed.spool.load(entry.queue_id)
    assert stored is not None
    assert [(each.number, each.status, each.reason) for each in stored.recipients] == [(1, "4.2.2", "mailbox full")]
    assert (stored.queue, stored.attempts) == (QueueName.DEFERRED, 1)
    assert stored.next_attempt == pytest.approx(bed.clock.now() + 300, abs=5)
    # The notice came while its recipient was still on disk.
    (notice,) = bed.notices.made
    assert notice[:2] == ("failed", [(2, "bounced")])
    assert notice[2] >= 2
    assert bed.agent.recipients == ["a@good.example", "b@later.example", "c@never.example", "d@good.example"]


async def test_a_deferred_message_is_tried_again_when_it_is_due(bed: Bed) -> None:
    await restart(bed, minimal_backoff_time=0.1, maximal_backoff_time=0.1)
    await bed.send("b@later.example")
    await bed.until(lambda: len(bed.agent.requests) == 3)
    bed.agent.behave = succeed
    await bed.until(lambda: bed.lines("removed"))
    assert len(bed.lines("status=sent")) == 1


async def succeed(request: DeliveryRequest) -> list[DeliveryResult]:
    return [DeliveryResult(each.number, Outcome.SENT, "2.0.0", "ok") for each in request.recipients]


async def test_an_agent_that_raises_defers_and_is_named(bed: Bed) -> None:
    async def raises(request: DeliveryRequest) -> list[DeliveryResult]:
        raise RuntimeError("boom")

    bed.agent.behave = raises
    entry = await bed.send("a@good.example", "b@good.example")
    await bed.quiet()
    stored = await bed.spool.load(entry.queue_id)
    assert stored is not None
    assert [(each.status, each.reason) for each in stored.recipients] == [("4.3.0", "delivery agent failure")] * 2
    assert bed.lines("transport smtp failed: RuntimeError")


async def test_an_agent_that_raises_at_the_beginning_defers_too(bed: Bed) -> None:
    def begin(*arguments: object) -> bool:
        raise RuntimeError("boom")

    bed.agent.begin = begin  # type: ignore[attr-defined]
    entry = await bed.send("a@good.example", "b@good.example")
    await bed.quiet()
    stored = await bed.spool.load(entry.queue_id)
    assert stored is not None
    assert [(each.status, each.reason) for each in stored.recipients] == [("4.3.0", "delivery agent failure")] * 2
    assert bed.lines("transport smtp failed: RuntimeError")


@pytest.mark.parametrize("numbers", [[], [0], [0, 0], [1, 7], [0, 2, 9]])
async def test_a_recipient_without_a_result_is_deferred(bed: Bed, numbers: list[int]) -> None:
    async def answers(request: DeliveryRequest) -> list[DeliveryResult]:
        return [DeliveryResult(number, Outcome.SENT, "2.0.0", "ok") for number in numbers]

    bed.agent.behave = answers
    entry = await bed.send("a@x.example", "b@x.example", "c@x.example")
    await bed.quiet()
    stored = await bed.spool.load(entry.queue_id)
    assert stored is not None
    assert {each.number for each in stored.recipients} == {0, 1, 2} - set(numbers)
    assert bed.lines(f"transport smtp gave {len(numbers)} results for 3 recipients")


NOT_TRIED = [
    ("x@unknown.example", "4.3.0", "mail transport unavailable"),
    ("x@broken.example", "4.3.0", "address resolver failure"),
    ("x@bug.example", "4.3.0", "address resolver failure"),
]


@pytest.mark.parametrize(("address", "status", "reason"), NOT_TRIED)
async def test_what_cannot_be_routed_waits_and_holds_up_nobody(
    bed: Bed, address: str, status: str, reason: str
) -> None:
    entry = await bed.send(address, "bob@good.example")
    await bed.quiet()
    stored = await bed.spool.load(entry.queue_id)
    assert stored is not None
    assert [(str(each.address), each.status, each.reason) for each in stored.recipients] == [(address, status, reason)]
    assert bed.lines(f"to=<{address}>, relay=none, .*dsn={status}, status=deferred \\({reason}\\)")


async def test_limits_that_cannot_be_read_make_the_transport_unavailable(bed: Bed) -> None:
    bed.transport["destination_recipient_limit"] = "many"
    entry = await bed.send()
    await bed.quiet()
    stored = await bed.spool.load(entry.queue_id)
    assert stored is not None and stored.recipients[0].reason == "mail transport unavailable"


async def test_deferred_transports_wait_for_a_flush(bed: Bed) -> None:
    await restart(bed, defer_transports=("smtp",))
    entry = await bed.send()
    await bed.quiet()
    stored = await bed.spool.load(entry.queue_id)
    assert stored is not None
    assert (stored.recipients[0].status, stored.recipients[0].reason) == ("4.3.2", "deferred transport")
    assert await bed.admin.flush(QueueFilter()) == 1
    await bed.until(lambda: bed.lines("removed"))


async def test_soft_bounce_keeps_what_would_bounce(bed: Bed) -> None:
    await restart(bed, soft_bounce=True)
    entry = await bed.send("x@never.example")
    await bed.quiet()
    stored = await bed.spool.load(entry.queue_id)
    assert stored is not None and stored.recipients[0].status == "4.1.1"
    assert bed.lines(r"dsn=4\.1\.1, status=SOFTBOUNCE \(User unknown\)")
    assert bed.notices.made == []


@pytest.mark.parametrize(
    ("sender", "changes"),
    [
        (Address("alice", "example.org"), {"maximal_queue_lifetime": 0.0}),
        (NULL_SENDER, {"bounce_queue_lifetime": 0.0}),
    ],
)
async def test_a_lifetime_of_zero_is_one_attempt(bed: Bed, sender: Address, changes: dict[str, float]) -> None:
    await restart(bed, **changes)
    entry = await bed.send("x@later.example", sender=sender)
    await bed.quiet()
    assert bed.notices.made == [("failed", [(0, "expired")], 1)]
    assert await bed.spool.load(entry.queue_id) is None
    assert f"{entry.queue_id}: from=<{sender}>, status=expired, returned to sender" in bed.log.lines


async def test_a_message_within_its_lifetime_is_not_returned(bed: Bed) -> None:
    await restart(bed, bounce_queue_lifetime=0.0)
    entry = await bed.send("x@later.example")
    await bed.quiet()
    assert bed.notices.made == []
    assert await bed.spool.load(entry.queue_id) is not None


async def test_the_sender_is_warned_once(bed: Bed) -> None:
    await restart(bed, delay_warning_time=60.0, minimal_backoff_time=0.05, maximal_backoff_time=0.05)
    entry = await bed.send("x@later.example", arrival_time=bed.clock.now() - 61)
    await bed.until(lambda: len(bed.agent.requests) >= 3)
    assert [notice[:2] for notice in bed.notices.made] == [("delayed", [(0, "mailbox full")])]
    stored = await bed.spool.load(entry.queue_id)
    assert stored is not None and stored.warned_time is not None


async def test_success_is_reported_where_it_was_asked_for(bed: Bed) -> None:
    await bed.send(recipient(0, "a@good.example", notify=Notify.SUCCESS), recipient(1, "b@good.example"))
    await bed.quiet()
    assert [notice[:2] for notice in bed.notices.made] == [("succeeded", [(0, "sent")])]


async def test_no_success_report_where_the_remote_took_over(bed: Bed) -> None:
    async def relays(request: DeliveryRequest) -> list[DeliveryResult]:
        return [
            DeliveryResult(each.number, Outcome.SENT, "2.0.0", "ok", dsn_relayed=True) for each in request.recipients
        ]

    bed.agent.behave = relays
    await bed.send(recipient(0, "a@good.example", notify=Notify.SUCCESS))
    await bed.quiet()
    assert bed.notices.made == []
    assert bed.lines("removed")


async def test_without_its_notice_a_bounce_is_not_done(bed: Bed) -> None:
    bed.notices.failure = SpoolError("disk full")
    entry = await bed.send("x@never.example")
    await bed.until(lambda: bed.lines("cannot record the delivery attempt: disk full"))
    assert await bed.spool.load(entry.queue_id) == entry
    bed.notices.failure = None
    await bed.quiet()
    assert len(bed.agent.requests) == 1
    assert bed.notices.made == [("failed", [(0, "bounced")], 1)]
    assert await bed.spool.load(entry.queue_id) is None


async def test_a_notice_that_cannot_be_composed_defers_its_recipient(bed: Bed) -> None:
    bed.notices.failure = ValueError("bug")
    entry = await bed.send("x@never.example")
    await bed.quiet()
    stored = await bed.spool.load(entry.queue_id)
    assert stored is not None and stored.queue is QueueName.DEFERRED
    assert bed.lines("cannot send a non-delivery notice: ValueError")


async def test_what_cannot_be_recorded_is_not_delivered_twice(bed: Bed) -> None:
    bed.agent.gate = asyncio.Event()
    await bed.send()
    await bed.until(lambda: bed.agent.requests)
    bed.spool.failure = SpoolError("no space left on device")
    bed.agent.gate.set()
    await bed.until(lambda: bed.lines("cannot record the delivery attempt"))
    bed.spool.failure = None
    await bed.until(lambda: bed.lines("removed"))
    assert len(bed.agent.requests) == 1


async def test_a_message_that_cannot_be_stored_is_refused_and_not_delivered(bed: Bed) -> None:
    bed.spool.failure = SpoolError("read-only")
    with pytest.raises(SpoolError):
        await bed.send()
    await asyncio.sleep(0.02)
    assert bed.agent.requests == []
    assert bed.log.lines == ["the queue cannot be written, mail is refused until it can: read-only"]


async def test_a_message_whose_client_gave_up_during_the_commit_is_delivered(bed: Bed) -> None:
    store = bed.spool.store

    def slow_store(entry: QueueEntry, content: ContentWriter, done: Recorded) -> None:
        store(entry, content, lambda error: asyncio.get_running_loop().call_later(0.02, done, error))

    bed.spool.store = slow_store  # type: ignore[method-assign]
    task = asyncio.create_task(bed.send())
    await asyncio.sleep(0.005)
    task.cancel()
    await bed.until(lambda: bed.lines("removed"))
    assert len(bed.agent.requests) == 1


async def test_a_dead_destination_defers_what_waits_for_it_and_no_other(bed: Bed) -> None:
    bed.transport["initial_destination_concurrency"] = "1"
    bed.transport["destination_concurrency_limit"] = "1"
    bed.agent.gate = asyncio.Event()
    for number in range(10):
        await bed.send(f"x{number}@dead.example")
    await bed.until(lambda: bed.agent.requests)
    bed.agent.gate.set()
    await bed.quiet()
    assert len(bed.agent.requests) == 1
    suspended = (
        r"status=deferred \(delivery temporarily suspended: connect to dead\[192\.0\.2\.9\]:25: Connection refused\)"
    )
    assert len(bed.lines(suspended)) == 9
    # Later mail for it is not tried either, other mail is.
    await bed.send("y@dead.example", "z@good.example")
    await bed.quiet()
    assert len(bed.lines(suspended)) == 10
    assert bed.agent.recipients[-1] == "z@good.example"
    # A flush gives it another chance.
    bed.agent.behave = succeed
    assert await bed.admin.flush(QueueFilter()) == 11
    await bed.until(lambda: len(bed.lines("removed")) == 11)


async def test_the_active_limit_holds_and_nothing_is_forgotten(bed: Bed) -> None:
    await restart(bed, qmgr_message_active_limit=7)
    peak = 0

    async def watches(request: DeliveryRequest) -> list[DeliveryResult]:
        nonlocal peak
        peak = max(peak, len(bed.queue.active_ids()))
        await asyncio.sleep(0.001)
        return await succeed(request)

    bed.agent.behave = watches
    await asyncio.gather(*(bed.send(f"x{number}@d{number % 5}.example") for number in range(200)))
    await bed.until(lambda: len(bed.lines("removed")) == 200)
    assert peak <= 7
    assert len(bed.agent.requests) == 200


async def test_intake_slows_down_while_mail_comes_faster_than_it_becomes_active(bed: Bed) -> None:
    await restart(bed, qmgr_message_active_limit=1, in_flow_delay=0.1, default_process_limit=2)
    bed.agent.gate = asyncio.Event()

    async def sends() -> bool:
        """Whether the next message has to wait."""
        start = bed.clock.monotonic()
        await bed.send()
        return bed.clock.monotonic() - start >= 0.09

    # One is active, two wait on disk and take the tokens.
    assert [await sends() for _ in range(5)] == [False, False, False, True, True]
    bed.agent.gate.set()
    await bed.until(lambda: len(bed.lines("removed")) == 5)
    assert not await sends()


async def test_what_a_crash_left_is_delivered_at_start(bed: Bed) -> None:
    await bed.queue.stop()
    entries = [await bed.send(f"x{number}@good.example") for number in range(450)]
    later = await bed.send(queue=QueueName.DEFERRED, next_attempt=bed.clock.now() + 1000)
    held = await bed.send(queue=QueueName.HOLD)
    assert bed.agent.requests == []
    bed.configure()
    await bed.queue.start()
    await bed.until(lambda: len(bed.lines("removed")) == len(entries))
    assert [entry.queue_id async for entry in bed.spool.entries(QueueFilter())] == [later.queue_id, held.queue_id]


async def test_mail_that_comes_while_the_queue_is_read_is_delivered_once(bed: Bed) -> None:
    await bed.queue.stop()
    for number in range(300):
        await bed.send(f"old{number}@good.example")
    bed.configure()
    due = bed.spool.due

    async def slow_due(*args: object) -> list[QueueEntry]:
        found = await due(*args)  # type: ignore[arg-type]
        await asyncio.sleep(0.01)
        return found

    bed.spool.due = slow_due  # type: ignore[method-assign]
    await bed.queue.start()
    for number in range(100):
        await bed.send(f"new{number}@good.example")
        await asyncio.sleep(0.0005)
    await bed.until(lambda: len(bed.lines("removed")) == 400)
    assert len(bed.agent.requests) == len(set(bed.agent.recipients)) == 400


def crowd(count: int, domain: str = "good.example") -> list[str]:
    return [f"u{number}@{domain}" for number in range(count)]


async def test_a_large_list_goes_in_groups_and_is_not_in_core_at_once(bed: Bed) -> None:
    bed.transport["recipient_limit"] = "1500"
    bed.agent.gate = asyncio.Event()
    entry = await bed.send(*crowd(5000))
    await bed.until(lambda: bed.agent.requests)
    await asyncio.sleep(0.02)
    message = bed.queue.active(entry.queue_id)
    assert message is not None and message.in_core == 1500 and message.unread == 3500
    await bed.send("single@good.example")
    bed.agent.gate.set()
    await bed.quiet()
    sizes = [len(request.recipients) for request in bed.agent.requests]
    assert max(sizes) == 50 and len(sizes) <= 105
    assert len(bed.agent.recipients) == len(set(bed.agent.recipients)) == 5001
    assert bed.agent.peak <= 20
    singles = [number for number, request in enumerate(bed.agent.requests) if len(request.recipients) == 1]
    assert singles[0] <= 7, "one recipient does not wait for a list"
    assert bed.lines("removed") and bed.lines("nrcpt=5000")
    assert bed.queue._parts.supply.in_core == 0


async def test_every_message_gets_some_recipients_whatever_the_others_take(bed: Bed) -> None:
    await restart(bed, qmgr_message_recipient_limit=1000, qmgr_message_recipient_minimum=3)
    bed.agent.gate = asyncio.Event()
    first = await bed.send(*crowd(1200))
    await bed.until(lambda: bed.agent.requests)
    bed.agent.gate.set()
    await bed.quiet()
    assert len(bed.agent.recipients) == 1200 and await bed.spool.load(first.queue_id) is None


async def test_a_message_longer_than_an_entry_keeps_each_recipients_fate(bed: Bed) -> None:
    everyone = [f"u{number}@{('good', 'later', 'never')[number % 3]}.example" for number in range(3300)]
    entry = await bed.send(*everyone)
    await bed.quiet()
    left = await bed.spool.recipients(entry.queue_id, -1, 9999)
    assert [str(one.address) for one in left] == everyone[1::3]
    assert {one.reason for one in left} == {"mailbox full"}
    assert sorted(number for _, what, _ in bed.notices.made for number, _ in what) == list(range(2, 3300, 3))
    bed.agent.behave = succeed
    await bed.admin.flush(QueueFilter())
    await bed.until(lambda: bed.lines("removed"))
    assert sorted(set(bed.agent.recipients)) == sorted(everyone)
    assert bed.queue._parts.supply.in_core == 0


async def test_results_of_a_long_message_do_not_gather_in_memory(bed: Bed, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pymta.qmgr.endings._RESULTS_AT_ONCE", 100)
    await restart(bed, maximal_queue_lifetime=0.0)
    entry = await bed.send(*crowd(2500, "later.example"))
    await bed.quiet()
    # All expire in the end: those that were recorded on the way, and those that were not.
    assert sorted(number for _, what, _ in bed.notices.made for number, _ in what) == list(range(2500))
    assert all(kind == "failed" and len(what) <= 1000 for kind, what, _ in bed.notices.made)
    assert await bed.spool.load(entry.queue_id) is None
    assert len(bed.lines("removed")) == 1


async def test_a_long_message_warns_of_all_that_wait(bed: Bed, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pymta.qmgr.endings._RESULTS_AT_ONCE", 100)
    await restart(bed, delay_warning_time=1.0)
    await bed.send(*crowd(2500, "later.example"), arrival_time=bed.clock.now() - 100)
    await bed.quiet()
    assert sorted(number for _, what, _ in bed.notices.made for number, _ in what) == list(range(2500))


async def test_a_long_message_that_is_held_on_the_way_leaves_nothing_behind(bed: Bed) -> None:
    bed.transport["recipient_limit"] = "1000"
    bed.agent.gate = asyncio.Event()
    entry = await bed.send(*crowd(3000))
    await bed.until(lambda: bed.agent.busy)
    await bed.admin.hold(QueueFilter())
    bed.agent.gate.set()
    await bed.quiet()
    stored = await bed.spool.load(entry.queue_id)
    assert stored is not None and stored.queue is QueueName.HOLD
    done = set(bed.agent.recipients)
    assert len(stored.recipients) + stored.unread + len(done) == 3000
    await asyncio.sleep(0.01)
    bed.queue._deliveries.start_soon()
    await asyncio.sleep(0)
    assert not any(transport.jobs for transport in bed.queue._parts.scheduler._transports.values())
    assert bed.queue._parts.supply.in_core == 0
    await bed.admin.release(QueueFilter())
    await bed.until(lambda: bed.lines("removed"))
    assert len(bed.agent.recipients) == len(set(bed.agent.recipients)) == 3000


async def test_recipients_that_cannot_be_read_wait_for_the_disk(bed: Bed) -> None:
    recipients, failures = bed.spool.recipients, [SpoolError("EIO")] * 2

    async def read(*args: object) -> list[QueuedRecipient]:
        if failures:
            raise failures.pop()
        return await recipients(*args)  # type: ignore[arg-type]

    bed.spool.recipients = read  # type: ignore[method-assign]
    await bed.send(*crowd(1001))
    await bed.quiet()
    assert len(bed.agent.recipients) == 1001 and len(bed.lines("cannot read recipients: EIO")) == 2


async def test_a_message_whose_recipients_are_damaged_is_set_aside_with_what_was_done(bed: Bed) -> None:
    async def read(*args: object) -> list[QueuedRecipient]:
        return []

    bed.spool.recipients = read  # type: ignore[method-assign]
    entry = await bed.send(*crowd(1500))
    await bed.quiet()
    stored = await bed.spool.load(entry.queue_id)
    assert stored is not None and stored.queue is QueueName.CORRUPT
    assert len(stored.recipients) == 500 and len(bed.agent.recipients) == 1000


async def test_an_agent_that_raises_has_its_transport_rest(bed: Bed) -> None:
    failing = True

    async def raises(request: DeliveryRequest) -> list[DeliveryResult]:
        if failing:
            raise RuntimeError("boom")
        return await succeed(request)

    bed.agent.behave = raises
    await restart(bed, transport_retry_time=0.2)
    await bed.send("a@good.example")
    await bed.quiet()
    entry = await bed.send("b@other.example")
    await bed.quiet()
    stored = await bed.spool.load(entry.queue_id)
    assert stored is not None and stored.recipients[0].reason == "unknown mail transport error"
    assert len(bed.agent.requests) == 1
    failing = False
    await asyncio.sleep(0.25)
    await bed.send("c@good.example")
    await bed.until(lambda: bed.lines("to=<c@good.example>.*status=sent"))


PARTS = [
    DeliveryPart(Address("ann", "x.example"), Outcome.SENT, "2.0.0", "delivered to mailbox"),
    DeliveryPart(Address("list", "good.example"), Outcome.SENT, "2.0.0", "forwarded as QID"),
]


async def test_an_expanded_recipient_has_a_line_for_each_part(bed: Bed) -> None:
    async def expands(request: DeliveryRequest) -> list[DeliveryResult]:
        (one,) = request.recipients
        return [DeliveryResult(one.number, Outcome.SENT, "2.0.0", "ok", "local", parts=tuple(PARTS))]

    bed.agent.behave = expands
    await bed.send("list@good.example")
    await bed.quiet()
    found = [re.sub(r"delay.*dsn", "dsn", line.partition(": ")[2]) for line in bed.lines("to=<")]
    assert found == [
        "to=<ann@x.example>, orig_to=<list@good.example>, relay=local, dsn=2.0.0, status=sent (delivered to mailbox)",
        "to=<list@good.example>, relay=local, dsn=2.0.0, status=sent (forwarded as QID)",
    ]


CLEARED = [
    (True, Notify.DEFAULT, True),
    (True, Notify.DELAY, True),
    (True, Notify.FAILURE, False),
    (True, Notify.NEVER, False),
    (False, Notify.DEFAULT, False),
]


@pytest.mark.parametrize(("confirms", "notify", "told"), CLEARED)
async def test_the_sender_hears_that_a_delay_is_over(bed: Bed, confirms: bool, notify: Notify, told: bool) -> None:
    await restart(bed, confirm_delay_cleared=confirms)
    await bed.send(recipient(0, "a@good.example", notify=notify), warned_time=5.0)
    await bed.send(recipient(0, "b@good.example", notify=notify))
    await bed.quiet()
    assert [notice[:2] for notice in bed.notices.made] == ([("succeeded", [(0, "sent")])] if told else [])


async def test_a_destination_that_clogs_the_queue_is_warned_about_once(bed: Bed) -> None:
    await restart(bed, qmgr_message_active_limit=50)
    bed.agent.gate = asyncio.Event()
    for number in range(40):
        await bed.send(f"x@{'good' if number % 2 else 'other'}.example")
    await bed.until(lambda: bed.lines("mail for"))
    assert len(bed.lines("mail for (good|other).example is using up 1[12] of [0-9]+ active queue entries")) == 2
    bed.agent.gate.set()
    await bed.quiet()


async def test_reload_puts_new_limits_in_force_for_what_waits(bed: Bed) -> None:
    bed.agent.gate = asyncio.Event()
    for _ in range(30):
        await bed.send()
    await bed.until(lambda: bed.agent.busy == 5)
    bed.transport |= {"initial_destination_concurrency": "9", "destination_concurrency_limit": "3"}
    changed = replace(
        SETTINGS, minimal_backoff_time=7.0, maximal_backoff_time=7.0, qmgr_message_active_limit=3, soft_bounce=True
    )
    bed.queue.configure(changed)
    bed.agent.gate.set()
    bed.agent.gate = None
    await bed.until(lambda: len(bed.lines("removed")) == 30)
    bed.agent.peak = 0
    await bed.send(*(f"x@d{number}.example" for number in range(3)), *["y@good.example"])
    entry = await bed.send("x@never.example")
    await bed.quiet()
    stored = await bed.spool.load(entry.queue_id)
    assert stored is not None and stored.recipients[0].status == "4.1.1"
    assert stored.next_attempt == pytest.approx(bed.clock.now() + 7, abs=2)


async def test_deliveries_of_a_long_message_are_recorded_on_the_way(bed: Bed) -> None:
    gate = asyncio.Event()

    async def second_half_waits(request: DeliveryRequest) -> list[DeliveryResult]:
        if request.nexthop == "slow.example":
            await gate.wait()
        return await succeed(request)

    bed.agent.behave = second_half_waits
    entry = await bed.send("a@good.example", "b@slow.example")
    await bed.until(lambda: bed.lines("to=<a@good.example>"))
    await asyncio.sleep(0.01)
    stored = await bed.spool.load(entry.queue_id)
    assert stored is not None and [each.number for each in stored.recipients] == [1]
    gate.set()
    await bed.quiet()


async def test_equal_recipients_are_delivered_once(bed: Bed) -> None:
    entry = await bed.send("a@good.example", "A@GOOD.example", recipient(2, "a@good.example", "list@x.example"))
    await bed.quiet()
    assert [each.number for request in bed.agent.requests for each in request.recipients] == [0, 2]
    assert await bed.spool.load(entry.queue_id) is None


FILTERS = [
    ("odd:[127.0.0.1]:10025", "", ("odd", "[127.0.0.1]:10025")),
    ("odd:", "", ("odd", "good.example")),
    ("odd", "next.example", ("odd", "next.example")),
]


@pytest.mark.parametrize(("text", "default", "expected"), FILTERS)
async def test_a_filter_takes_the_place_of_every_route(
    bed: Bed, text: str, default: str, expected: tuple[str, str]
) -> None:
    await restart(bed, default_filter_nexthop=default)
    await bed.send(filter=text)
    await bed.quiet()
    assert [(request.transport, request.nexthop) for request in bed.agent.requests] == [expected]


async def test_a_mailbox_with_one_recipient_per_delivery_delays_itself_only(bed: Bed) -> None:
    bed.agent.gate = asyncio.Event()
    for _ in range(5):
        await bed.send("bob+list@local.example", "carol@local.example")
    await bed.until(lambda: bed.agent.busy == 4)
    await asyncio.sleep(0.02)
    assert bed.agent.recipients == ["bob+list@local.example"] * 2 + ["carol@local.example"] * 2
    bed.agent.gate.set()
    await bed.quiet()
    assert len(bed.agent.requests) == 10


async def test_stop_waits_for_what_is_under_way_and_starts_nothing(bed: Bed) -> None:
    bed.transport["destination_concurrency_limit"] = "1"
    bed.agent.gate = asyncio.Event()
    entries = [await bed.send(), await bed.send()]
    await bed.until(lambda: bed.agent.requests)
    asyncio.get_running_loop().call_later(0.05, bed.agent.gate.set)
    await bed.queue.stop(drain_seconds=5.0)
    assert await bed.spool.load(entries[0].queue_id) is None
    assert await bed.spool.load(entries[1].queue_id) == entries[1]


async def test_stop_does_not_wait_longer_than_it_may(bed: Bed) -> None:
    bed.agent.gate = asyncio.Event()
    entry = await bed.send()
    await bed.until(lambda: bed.agent.requests)
    async with asyncio.timeout(2):
        await bed.queue.stop(drain_seconds=0.05)
    assert await bed.spool.load(entry.queue_id) == entry


# -- administration


async def ids(bed: Bed, query: QueueFilter) -> list[tuple[str, QueueName]]:
    return [(entry.queue_id, entry.queue) async for entry in bed.admin.entries(query)]


async def test_listing_shows_what_is_being_delivered_as_active(bed: Bed) -> None:
    deferred = await bed.send("x@later.example")
    await bed.quiet()
    bed.agent.gate = asyncio.Event()
    active = await bed.send()
    await bed.until(lambda: bed.agent.busy)
    held = await bed.send(queue=QueueName.HOLD)
    assert await ids(bed, QueueFilter()) == [
        (deferred.queue_id, QueueName.DEFERRED),
        (active.queue_id, QueueName.ACTIVE),
        (held.queue_id, QueueName.HOLD),
    ]
    assert await ids(bed, QueueFilter(queues=(QueueName.ACTIVE,))) == [(active.queue_id, QueueName.ACTIVE)]
    assert await ids(bed, QueueFilter(queues=(QueueName.INCOMING, QueueName.DEFERRED))) == [
        (deferred.queue_id, QueueName.DEFERRED)
    ]
    assert await bed.admin.counts() == {
        QueueName.INCOMING: 0,
        QueueName.ACTIVE: 1,
        QueueName.DEFERRED: 1,
        QueueName.HOLD: 1,
        QueueName.CORRUPT: 0,
    }
    bed.agent.gate.set()


async def test_delete_removes_what_waits(bed: Bed) -> None:
    entry = await bed.send("x@later.example")
    other = await bed.send("x@later.example")
    await bed.quiet()
    assert await bed.admin.delete(QueueFilter(queue_ids=(entry.queue_id,))) == 1
    assert await ids(bed, QueueFilter()) == [(other.queue_id, QueueName.DEFERRED)]
    assert bed.lines(f"{entry.queue_id}: removed")


async def test_delete_of_a_message_in_delivery_waits_for_the_attempt_and_sends_no_notice(bed: Bed) -> None:
    bed.agent.gate = asyncio.Event()
    entry = await bed.send("x@never.example", "y@later.example")
    await bed.until(lambda: bed.agent.busy == 2)
    assert await bed.admin.delete(QueueFilter()) == 1
    assert await bed.spool.load(entry.queue_id) is not None
    bed.agent.gate.set()
    await bed.quiet()
    assert await bed.spool.load(entry.queue_id) is None
    assert bed.notices.made == []
    assert len(bed.lines("removed")) == 1


async def test_delete_of_a_message_that_waits_for_its_turn_is_at_once(bed: Bed) -> None:
    bed.transport["destination_concurrency_limit"] = "1"
    bed.agent.gate = asyncio.Event()
    await bed.send("first@good.example")
    waiting = await bed.send("second@good.example")
    await bed.until(lambda: bed.agent.busy)
    await bed.admin.delete(QueueFilter(queue_ids=(waiting.queue_id,)))
    await bed.until(lambda: bed.lines(f"{waiting.queue_id}: removed"))
    bed.agent.gate.set()
    await bed.quiet()
    assert bed.agent.recipients == ["first@good.example"]


async def test_hold_and_release(bed: Bed) -> None:
    entry = await bed.send("x@later.example")
    await bed.quiet()
    assert await bed.admin.hold(QueueFilter()) == 1
    assert await bed.admin.hold(QueueFilter()) == 0
    assert await bed.admin.flush(QueueFilter()) == 0
    assert await ids(bed, QueueFilter()) == [(entry.queue_id, QueueName.HOLD)]
    bed.agent.behave = succeed
    assert await bed.admin.release(QueueFilter()) == 1
    await bed.until(lambda: bed.lines("removed"))
    assert bed.lines(f"{entry.queue_id}: placed on hold") and bed.lines(f"{entry.queue_id}: released from hold")


async def test_hold_of_a_message_in_delivery_keeps_what_was_not_delivered(bed: Bed) -> None:
    bed.transport["destination_concurrency_limit"] = "1"
    bed.transport["destination_recipient_limit"] = "2"
    bed.agent.gate = asyncio.Event()
    entry = await bed.send("a@good.example", "b@good.example", "c@good.example")
    await bed.until(lambda: bed.agent.busy)
    await bed.admin.hold(QueueFilter())
    bed.agent.gate.set()
    await bed.quiet()
    stored = await bed.spool.load(entry.queue_id)
    assert stored is not None and stored.queue is QueueName.HOLD
    assert [each.number for each in stored.recipients] == [2]
    assert bed.agent.recipients == ["a@good.example", "b@good.example"]
    await bed.admin.release(QueueFilter())
    await bed.until(lambda: bed.lines("removed"))
    assert bed.agent.recipients == ["a@good.example", "b@good.example", "c@good.example"]


async def test_expire_returns_a_message_with_its_next_attempt(bed: Bed) -> None:
    entry = await bed.send("x@later.example")
    await bed.quiet()
    assert await bed.admin.expire(QueueFilter()) == 1
    assert await bed.spool.load(entry.queue_id) is not None
    await bed.admin.flush(QueueFilter())
    await bed.until(lambda: bed.notices.made)
    await bed.quiet()
    assert bed.lines("status=force-expired, returned to sender")
    assert bed.notices.made[0][:2] == ("failed", [(0, "expired")])


async def test_expire_and_flush_in_one(bed: Bed) -> None:
    await bed.send("x@later.example")
    await bed.quiet()
    assert await bed.admin.expire(QueueFilter(), flush=True) == 1
    await bed.until(lambda: bed.notices.made)


async def test_flush_of_a_site_touches_no_other(bed: Bed) -> None:
    await bed.send("x@later.example")
    await bed.send("y@later.test")
    await bed.quiet()
    before = len(bed.agent.requests)
    assert await bed.admin.flush(QueueFilter(site="later.test")) == 1
    await bed.until(lambda: len(bed.agent.requests) == before + 1)
    await bed.quiet()
    assert str(bed.agent.requests[-1].recipients[0].address) == "y@later.test"
    assert len(bed.agent.requests) == before + 1


async def test_requeue_starts_anew(bed: Bed) -> None:
    entry = await bed.send("x@later.example")
    await bed.quiet()
    bed.agent.behave = succeed
    assert await bed.admin.requeue(QueueFilter()) == 1
    await bed.until(lambda: bed.lines("removed"))
    assert bed.lines(f"{entry.queue_id}: requeued")


async def test_requeue_through_intake_replaces_the_message(bed: Bed) -> None:
    entry = await bed.send("x@later.example")
    await bed.quiet()
    taken: list[QueueEntry] = []

    async def resubmit(old: QueueEntry, content: Content) -> str:
        stored = await bed.spool.load(old.queue_id)
        assert stored is not None and stored.queue is QueueName.HOLD
        taken.append(old)
        return "NEW"

    admin = QueueAdmin(bed.queue, bed.spool, bed.clock, bed.log, resubmit)
    assert await admin.requeue(QueueFilter()) == 1
    assert [old.queue_id for old in taken] == [entry.queue_id]
    assert await bed.spool.load(entry.queue_id) is None


async def test_requeue_that_fails_leaves_the_message_where_it_was(bed: Bed) -> None:
    entry = await bed.send("x@later.example")
    await bed.quiet()

    async def resubmit(old: QueueEntry, content: Content) -> str:
        raise SpoolError("full")

    admin = QueueAdmin(bed.queue, bed.spool, bed.clock, bed.log, resubmit)
    with pytest.raises(SpoolError):
        await admin.requeue(QueueFilter())
    stored = await bed.spool.load(entry.queue_id)
    assert stored is not None and stored.queue is QueueName.DEFERRED


async def test_a_message_without_content_goes_to_corrupt_and_the_rest_flows(bed: Bed) -> None:
    await bed.queue.stop()
    entries = [await bed.send(f"x{number}@good.example") for number in range(3)]
    bed.spool.lose_content(entries[1].queue_id)
    bed.configure()
    await bed.queue.start()
    await bed.until(lambda: len(bed.lines("removed")) == 2)
    assert await ids(bed, QueueFilter()) == [(entries[1].queue_id, QueueName.CORRUPT)]


async def test_entries_of_one_id_that_is_gone(bed: Bed) -> None:
    assert await ids(bed, QueueFilter(queue_ids=("NOSUCH",))) == []
    assert await bed.admin.delete(QueueFilter(queue_ids=("NOSUCH",))) == 0
    await bed.spool.update(EntryUpdate("NOSUCH"))


async def test_a_message_that_ends_while_the_queue_is_read_is_not_delivered_again(bed: Bed) -> None:
    bed.agent.gate = asyncio.Event()
    entry = await bed.send()
    await bed.until(lambda: bed.agent.busy)
    due, read = bed.spool.due, asyncio.Event()
    found: list[QueueEntry] = []

    async def slow_due(*args: object) -> list[QueueEntry]:
        found.extend(await due(*args))  # type: ignore[arg-type]
        read.set()
        await bed.until(lambda: bed.lines("removed"))
        return list(found)

    bed.spool.due = slow_due  # type: ignore[method-assign]
    bed.queue.feed.waits("SOMETHING", 0.0)
    await read.wait()
    assert found == [entry]
    bed.agent.gate.set()
    await bed.quiet()
    await asyncio.sleep(0.02)
    assert len(bed.agent.requests) == 1
    assert len(bed.lines("queue active")) == 1 and not bed.lines("cannot read the queue")


async def test_the_first_attempt_does_not_read_the_spool(bed: Bed) -> None:
    def unread(entry: QueueEntry) -> Content:
        raise AssertionError("content was read back")

    bed.spool.content = unread  # type: ignore[method-assign]
    await bed.send(content=b"at hand\r\n")
    await bed.until(lambda: bed.agent.contents == [b"at hand\r\n"])


@pytest.mark.parametrize("reader", ["feed", "flush"])
async def test_a_message_that_is_read_before_its_sender_hears_of_it_is_active_once(bed: Bed, reader: str) -> None:
    store = bed.spool.store
    told = asyncio.Event()
    tellers: list[asyncio.Task[None]] = []

    def slow_store(entry: QueueEntry, content: ContentWriter, done: Recorded) -> None:
        async def tell(error: SpoolError | None) -> None:
            if reader == "feed":
                bed.queue.feed.waits("SOMETHING", 0.0)
            else:
                await bed.admin.flush(QueueFilter())
            await bed.until(lambda: bed.agent.busy == 2)
            told.set()
            done(error)

        store(entry, content, lambda error: tellers.append(asyncio.ensure_future(tell(error))))

    bed.spool.store = slow_store  # type: ignore[method-assign]
    bed.agent.gate = asyncio.Event()
    await bed.send("one@good.example", "two@other.example")
    assert told.is_set()
    bed.agent.gate.set()
    await bed.quiet()
    await bed.until(lambda: bed.lines("removed"))
    assert len(bed.lines("queue active")) == 1
    assert bed.agent.recipients == ["one@good.example", "two@other.example"]


# --- sendmail -bv and -v ---


async def test_a_probe_is_answered_once_reported_and_forgotten(bed: Bed) -> None:
    await restart(bed, soft_bounce=True)
    entry = await bed.send(
        recipient(0, "a@good.example", notify=Notify.SUCCESS),
        "b@later.example",
        recipient(2, "c@never.example"),
        recipient(3, "d@unknown.example"),
        trace=Trace.VERIFY,
        filter="odd:nowhere",
    )
    await bed.quiet()
    assert all(request.is_probe and request.transport == "smtp" for request in bed.agent.requests)
    assert await bed.spool.load(entry.queue_id) is None
    # One report about everybody, made while all of it was on disk, and no other notice.
    (notice,) = bed.notices.made
    assert (notice[0], sorted(notice[1])) == ("traced", [(0, "sent"), (1, "deferred"), (2, "bounced"), (3, "deferred")])
    assert notice[2] == 4
    found = {re.sub(r".*to=<(.).*status=", r"\1 ", line) for line in bed.lines("status=")}
    assert found == {
        "a deliverable (250 ok)",
        "b undeliverable (mailbox full)",
        "c undeliverable (User unknown)",
        "d undeliverable (mail transport unavailable)",
    }


async def test_the_members_of_a_probed_alias_are_logged_as_such(bed: Bed) -> None:
    async def expands(request: DeliveryRequest) -> list[DeliveryResult]:
        part = DeliveryPart(Address("ann", "x.example"), Outcome.BOUNCED, "5.1.1", "unknown")
        return [DeliveryResult(0, Outcome.BOUNCED, "5.1.1", "unknown", "local", parts=(part,))]

    bed.agent.behave = expands
    await bed.send("list@good.example", trace=Trace.VERIFY)
    await bed.quiet()
    assert bed.lines("to=<ann@x.example>.*status=undeliverable")


async def test_the_first_attempt_is_reported_besides_what_else_there_is_to_tell(bed: Bed) -> None:
    await restart(bed, minimal_backoff_time=0.05, maximal_backoff_time=0.05)
    await bed.send(
        recipient(0, "a@good.example", notify=Notify.SUCCESS),
        "b@later.example",
        "c@never.example",
        trace=Trace.REPORT,
    )
    await bed.until(lambda: len(bed.lines("b@later.example")) >= 3)
    bed.agent.behave = succeed
    await bed.until(lambda: bed.lines("removed"))
    kinds = [(kind, sorted(what)) for kind, what, _ in bed.notices.made]
    assert kinds == [("failed", [(2, "bounced")]), ("traced", [(0, "sent"), (1, "deferred"), (2, "bounced")])]
    assert bed.agent.recipients.count("a@good.example") == 1


async def test_a_report_that_cannot_be_stored_is_tried_until_it_is(bed: Bed) -> None:
    await restart(bed, transport_retry_time=0.02)
    bed.notices.failure = SpoolError("disk full")
    entry = await bed.send("a@good.example", trace=Trace.VERIFY)
    await bed.until(lambda: len(bed.lines("cannot record the delivery attempt: disk full")) >= 2)
    assert await bed.spool.load(entry.queue_id) is not None
    bed.notices.failure = None
    await bed.quiet()
    assert [notice[:2] for notice in bed.notices.made] == [("traced", [(0, "sent")])]


async def test_a_report_that_fails_otherwise_is_not_worth_another_delivery(bed: Bed) -> None:
    bed.notices.failure = RuntimeError("boom")
    entry = await bed.send("a@good.example", trace=Trace.REPORT)
    await bed.quiet()
    assert len(bed.agent.requests) == 1
    assert await bed.spool.load(entry.queue_id) is None
    assert bed.lines("cannot send a delivery report: RuntimeError")


async def test_after_a_failed_sync_the_spool_is_opened_again(bed: Bed) -> None:
    bed.queue._keeper._first_seconds = 0.02
    bed.agent.gate = asyncio.Event()
    active = await bed.send()
    await bed.until(lambda: bed.agent.busy)
    bed.spool.failure, bed.spool.stays_broken = SpoolError("sync: Input/output error"), True
    with pytest.raises(SpoolError):
        await bed.send()
    bed.agent.gate.set()
    await bed.until(lambda: bed.lines("cannot be opened again yet") and bed.lines("cannot record the delivery"))
    assert bed.queue.is_active(active.queue_id)
    # A transaction that failed and reached the disk all the same.
    recovered = bed.entry(bed.spool.new_queue_id(), ("late@good.example",), 0)
    writer = bed.spool.new_content(recovered.queue_id)
    bed.spool.failure, failure = None, bed.spool.failure
    await bed.spool.add(recovered, writer)
    bed.spool.failure = failure
    bed.spool.stays_broken = False
    await bed.until(lambda: bed.lines("the queue is open again"))
    await bed.send()
    await bed.until(lambda: len(bed.lines("removed")) == 3)
    assert len(bed.agent.requests) == 3, "what was delivered meanwhile is not delivered again"
    assert len(bed.lines("cannot be written, mail is refused")) == 1


@pytest.mark.parametrize("trace", [Trace.VERIFY, Trace.REPORT])
async def test_a_long_list_is_reported_as_it_goes(bed: Bed, trace: Trace, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pymta.qmgr.endings._RESULTS_AT_ONCE", 100)
    domain = "later.example" if trace is Trace.VERIFY else "good.example"
    entry = await bed.send(*crowd(2500, domain), trace=trace)
    await bed.quiet()
    assert {kind for kind, _, _ in bed.notices.made} == {"traced"}
    assert len(bed.notices.made) > 1
    assert sorted(number for _, what, _ in bed.notices.made for number, _ in what) == list(range(2500))
    assert await bed.spool.load(entry.queue_id) is None
    assert len(bed.agent.recipients) == 2500


async def test_a_flush_that_is_asked_for_again_and_again_reads_the_queue_once(bed: Bed) -> None:
    await bed.send("x@later.example")
    await bed.quiet()
    entries, readings = bed.spool.entries, 0

    async def counted(query: QueueFilter) -> AsyncIterator[QueueEntry]:
        nonlocal readings
        readings += 1
        await asyncio.sleep(0.01)
        async for entry in entries(query):
            yield entry

    bed.spool.entries = counted  # type: ignore[method-assign]
    for _ in range(50):
        await bed.queue.flush_site("LATER.example")
    await bed.until(lambda: len(bed.agent.requests) == 2)
    assert readings == 1


@pytest.mark.parametrize("last", ["c@known.example", "c@good.example"])
async def test_recipients_whose_route_is_at_hand_go_like_those_that_are_asked_for(bed: Bed, last: str) -> None:
    entry = await bed.send("a@known.example", "a@known.example", "b@known.example", last)
    await bed.quiet()
    assert bed.agent.recipients == sorted(["a@known.example", "b@known.example", last])
    assert await bed.spool.load(entry.queue_id) is None
    assert bed.queue._parts.supply.in_core == 0
