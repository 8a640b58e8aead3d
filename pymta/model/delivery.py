"""Delivery requests and their results (bounce(8), trace(8), RFC 3463, RFC 3464)."""

from __future__ import annotations

from dataclasses import fields
from enum import Enum
from operator import attrgetter

from pymta.model.address import Address
from pymta.model.envelope import LOCAL_CLIENT, Body, Client, Ret, Trace
from pymta.model.frozen import frozen
from pymta.model.queue import QueuedRecipient, QueueId


class Outcome(Enum):
    """The words of `status=` in the log. Agents answer SENT, DEFERRED or BOUNCED; EXPIRED is qmgr's."""

    SENT = "sent"
    DEFERRED = "deferred"
    BOUNCED = "bounced"
    EXPIRED = "expired"


@frozen
class DeliveryRequest:
    """Some recipients of one message for one transport and next hop.

    Nothing of a probe (`is_probe`) may be delivered: SENT says that it could be.
    """

    queue_id: QueueId
    transport: str
    nexthop: str
    sender: Address
    recipients: tuple[QueuedRecipient, ...]
    size: int
    arrival_time: float
    client: Client = LOCAL_CLIENT
    body: Body | None = None
    smtputf8: bool = False
    envid: str = ""
    ret: Ret | None = None
    verp: str = ""
    is_notice: bool = False
    trace: Trace = Trace.NONE

    @property
    def is_probe(self) -> bool:
        return self.trace is Trace.VERIFY


@frozen
class DeliveryPart:
    """What became of one address that a recipient was expanded to (an alias's member, a `.forward` entry).

    `action` as in `DeliveryResult`.
    """

    address: Address
    outcome: Outcome
    status: str
    reason: str
    action: str = ""


@frozen
class DeliveryResult:
    """The outcome for one recipient; a request yields exactly one for each.

    `relay` is what the log shows (`host[address]:port`, `local`, `none`); `reason` the text in the parentheses.
    `remote_mta` and `diagnostic` feed a notice (RFC 3464 2.3.5, 2.3.6): the host's name, and its reply
    (`smtp; 550 5.1.1 ...`). `action` overrides the Action field of a success report: `relayed`, `expanded`,
    `delivered`; empty means what fits the outcome. `dsn_relayed` tells that the remote took over the duty to
    report success. `connection_use` counts the messages over one connection, this one included.
    `connect_seconds` and `transfer_seconds` are the last two of `delays=`. `host_unreachable` tells qmgr that
    the next hop as a whole failed, not this message. `parts` are the addresses that the recipient was expanded to:
    where there are any, the log has one line for each of them instead of one for the recipient.
    """

    number: int
    outcome: Outcome
    status: str
    reason: str
    relay: str = "none"
    remote_mta: str = ""
    diagnostic: str = ""
    action: str = ""
    dsn_relayed: bool = False
    connection_use: int = 1
    connect_seconds: float = 0.0
    transfer_seconds: float = 0.0
    host_unreachable: bool = False
    parts: tuple[DeliveryPart, ...] = ()

    def for_recipient(self, number: int) -> DeliveryResult:
        """The same outcome for another recipient."""
        return DeliveryResult(number, *_all_but_number(self))


_all_but_number = attrgetter(*(field.name for field in fields(DeliveryResult)[1:]))
