"""Messages in the spool (qmgr(8), docs/queue.md)."""

from __future__ import annotations

from enum import Enum

from pymta.model.address import Address
from pymta.model.envelope import LOCAL_CLIENT, Body, Client, Notify, Origin, Ret, Trace
from pymta.model.frozen import frozen

QueueId = str

ENTRY_RECIPIENTS = 1000
"""How many recipients a `QueueEntry` holds at most; the others are read from the spool as they are needed."""


class QueueName(Enum):
    """The queue that a message is in, as queue listings name it."""

    INCOMING = "incoming"
    ACTIVE = "active"
    DEFERRED = "deferred"
    HOLD = "hold"
    CORRUPT = "corrupt"


class RecipientState(Enum):
    """PENDING waits for its first or next attempt; DONE needs nothing more (delivered, or its notice is durable)."""

    PENDING = "pending"
    DONE = "done"


@frozen
class QueuedRecipient:
    """One recipient of a queued message. `number` identifies it within the message and never changes.

    `reason`, `status`, `relay` and `remote_mta` tell the last attempt's outcome, empty before the first.
    `diagnostic` is the remote's own reply for Diagnostic-Code (RFC 3464 2.3.6).
    """

    number: int
    address: Address
    original: Address
    notify: Notify = Notify.DEFAULT
    orcpt: str = ""
    state: RecipientState = RecipientState.PENDING
    status: str = ""
    reason: str = ""
    relay: str = ""
    remote_mta: str = ""
    diagnostic: str = ""


@frozen
class QueueEntry:
    """A message and its recipients that are not done. Times are seconds since the epoch, sizes bytes.

    `size` is the content's. `next_attempt` is when a deferred message is due. `arrival_time` is when intake
    began, `queued_time` when it was committed. `warned_time` is when a delay warning was made durable, or None.
    `filter` is a `transport:nexthop` from FILTER or content_filter that overrides every route. `is_notice`
    marks our own notices, which are never answered with another notice. `forced_expire` returns the message to
    its sender after the next attempt, whatever its age (postsuper(1) -e). An entry from the spool has the first
    `ENTRY_RECIPIENTS` recipients; `unread` counts those behind them. `trace` is what the sender asked for.
    `expanded` are aliases that intake replaced and of which the sender wants to hear, their numbers below zero; the
    first attempt reports them (RFC 3461 5.2.7.3).
    """

    queue_id: QueueId
    queue: QueueName
    sender: Address
    recipients: tuple[QueuedRecipient, ...]
    arrival_time: float
    queued_time: float
    size: int
    client: Client = LOCAL_CLIENT
    origin: Origin = Origin.SMTP
    body: Body | None = None
    smtputf8: bool = False
    envid: str = ""
    ret: Ret | None = None
    verp: str = ""
    filter: str = ""
    message_id: str = ""
    next_attempt: float = 0.0
    attempts: int = 0
    warned_time: float | None = None
    is_notice: bool = False
    forced_expire: bool = False
    unread: int = 0
    trace: Trace = Trace.NONE
    expanded: tuple[QueuedRecipient, ...] = ()

    @property
    def due_trace(self) -> Trace:
        """What the next attempt is to report: only the first one of a message is."""
        return Trace.NONE if self.attempts and self.trace is Trace.REPORT else self.trace


@frozen
class Found:
    """As much of a message as a change of its state asks for."""

    queue_id: QueueId
    queue: QueueName
    forced_expire: bool


@frozen
class RecipientUpdate:
    """What an attempt changed about one recipient."""

    number: int
    state: RecipientState
    status: str = ""
    reason: str = ""
    relay: str = ""
    remote_mta: str = ""
    diagnostic: str = ""


@frozen
class EntryUpdate:
    """One message's new state, written in one transaction. Fields that are None stay as they are.

    A message whose recipients are all DONE is removed with its content.
    """

    queue_id: QueueId
    queue: QueueName | None = None
    next_attempt: float | None = None
    attempts: int | None = None
    warned_time: float | None = None
    recipients: tuple[RecipientUpdate, ...] = ()
    forced_expire: bool | None = None


@frozen
class QueueFilter:
    """Which entries an administrator means; every field that is set must match. Empty: all of them.

    `queues` empty means every queue. `sender` and `recipient` compare without case; a value that begins with
    `@` matches a domain. `older_than` and `younger_than` are ages in seconds at `now`. `site` is a recipient domain.
    """

    queue_ids: tuple[QueueId, ...] = ()
    queues: tuple[QueueName, ...] = ()
    sender: str | None = None
    recipient: str | None = None
    older_than: float | None = None
    younger_than: float | None = None
    site: str | None = None
    now: float = 0.0
