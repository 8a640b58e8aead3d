"""One recipient on its way through local(8): where each address came from, and what became of it."""

from __future__ import annotations

from dataclasses import dataclass, field

from pymta.delivery.local_settings import LocalSettings, LocalTables
from pymta.delivery.local_users import User, Users
from pymta.delivery.mailbox_jobs import UserActions
from pymta.model.address import Address
from pymta.model.delivery import DeliveryPart, DeliveryRequest, DeliveryResult, Outcome
from pymta.model.envelope import Notify, Recipient
from pymta.model.frozen import frozen
from pymta.model.queue import QueuedRecipient
from pymta.ports import AddressResolver, Clock, Content, Log
from pymta.rewrite.aliases import Destination

MAX_LEVEL = 100


@frozen
class Context:
    """What holds for an address, command or file, by the aliases and files that led to it.

    `address` is the recipient that outcomes are told about; `local` its local part in lower case, `user` that
    without the extension. `source` is `alias`, `forward`, `include` or empty for the queue's own recipient;
    `expanded_from` the name whose expansion this is. `rights` are those for commands and files, None for
    default_privs. `owner` is who is told of trouble, None for the sender. `unmatched` is the extension that an
    expansion passes on. `delivered` is the Delivered-To of a message that is forwarded from here. `is_list` tells
    that the sender was replaced by an owner: then DSN parameters are not handed on (RFC 3461 5.2.7.1).
    """

    address: Address
    sender: Address
    notify: Notify
    level: int = 0
    local: str = ""
    user: str = ""
    extension: str = ""
    unmatched: str = ""
    source: str = ""
    expanded_from: str = ""
    owner: str | None = None
    rights: User | None = None
    delivered: Address | None = None
    is_list: bool = False

    @property
    def domain(self) -> str:
        return self.address.domain.lower()


@frozen
class Step:
    """A destination that waits for its turn. `is_resolved` marks an address that is known to be ours."""

    destination: Destination
    context: Context
    is_resolved: bool = False


Steps = list[Step]


@dataclass(slots=True)
class Attempt:
    """One delivery attempt for one recipient of the queue."""

    request: DeliveryRequest
    recipient: QueuedRecipient
    content: Content
    loops: frozenset[str]
    parts: list[DeliveryPart] = field(default_factory=list)
    forwards: dict[tuple[Address, Address, bool], list[Recipient]] = field(default_factory=dict)
    is_expanded: bool = False
    last_passed: DeliveryResult | None = None
    _seen: set[tuple[object, ...]] = field(default_factory=set)

    def first_time(self, *what: object) -> bool:
        """Whether this expansion or delivery has not been done for this message yet."""
        if what in self._seen:
            return False
        self._seen.add(what)
        return True

    def sent(self, context: Context, reason: str) -> Steps:
        return self._end(context, Outcome.SENT, "2.0.0", reason)

    def failed(self, context: Context, status: str, reason: str) -> Steps:
        """Defer or bounce, by the class of `status`."""
        outcome = Outcome.DEFERRED if status.startswith("4") else Outcome.BOUNCED
        return self._end(context, outcome, status, reason)

    def passed(self, context: Context, result: DeliveryResult) -> None:
        """Take over what another transport's agent says."""
        self.last_passed = result
        self.parts.append(DeliveryPart(context.address, result.outcome, result.status, result.reason, result.action))

    def misconfigured(self, context: Context) -> Steps:
        """What an administrator wrote cannot be used; the log says what, the sender only this."""
        return self.failed(context, "5.3.5", "mail system configuration error")

    def _end(self, context: Context, outcome: Outcome, status: str, reason: str) -> Steps:
        self.parts.append(DeliveryPart(context.address, outcome, status, reason))
        return []


def after_expansion(notify: Notify) -> Notify:
    """NOTIFY for the members of an alias: success is reported for the alias itself (RFC 3461 5.2.7.3)."""
    if notify == Notify.SUCCESS:
        return Notify.NEVER
    return notify & ~Notify.SUCCESS


def steps(destinations: tuple[Destination, ...], context: Context) -> Steps:
    return [Step(destination, context) for destination in destinations]


@frozen
class LocalServices:
    """What the stages of local(8) work with. `default_user` is default_privs."""

    settings: LocalSettings
    tables: LocalTables
    users: Users
    actions: UserActions
    addresses: AddressResolver
    log: Log
    clock: Clock
    default_user: User
