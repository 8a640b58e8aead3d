"""A message in the active queue: what is known about this attempt so far."""

from __future__ import annotations

from dataclasses import replace

from pymta.model.delivery import DeliveryResult, Outcome
from pymta.model.envelope import Notify
from pymta.model.queue import QueuedRecipient, QueueEntry, QueueId, RecipientState, RecipientUpdate
from pymta.ports import Content


class ActiveMessage:
    """Grows from admission until every recipient has an outcome, then is settled.

    `routed` counts recipients that were given to the scheduler or have their outcome, `waiting` the entries and
    `in_core` the recipients that the scheduler holds or an agent works on, `in_flight` the entries an agent has,
    `in_memory` the bytes of content. `done` are recipients that need nothing more and are not recorded yet.
    """

    __slots__ = (
        "content",
        "deferred",
        "done",
        "entry",
        "failures",
        "flushed",
        "in_core",
        "in_flight",
        "in_memory",
        "is_deleted",
        "is_held",
        "is_routing",
        "is_settling",
        "routed",
        "seen",
        "start",
        "successes",
        "unread",
        "waiting",
    )

    def __init__(
        self, entry: QueueEntry, content: Content, start: float, in_memory: int, *, flushed: bool = False
    ) -> None:
        self.entry = entry
        self.content = content
        self.start = start
        self.in_memory = in_memory
        self.flushed = flushed
        self.unread = 0
        self.routed = 0
        self.waiting = 0
        self.in_core = 0
        self.in_flight = 0
        self.is_routing = False
        self.is_settling = False
        self.is_deleted = False
        self.is_held = False
        self.seen: set[object] = set()
        self.done: list[int] = []
        self.successes: list[DeliveryResult] = []
        self.failures: list[DeliveryResult] = []
        self.deferred: list[DeliveryResult] = []

    @property
    def queue_id(self) -> QueueId:
        return self.entry.queue_id

    @property
    def is_tried(self) -> bool:
        """Whether every recipient has its outcome."""
        return self.waiting == 0 and self.routed == len(self.entry.recipients) and not self.is_routing

    @property
    def is_withdrawn(self) -> bool:
        """Whether an administrator wants no further attempt."""
        return self.is_deleted or self.is_held

    @property
    def is_busy(self) -> bool:
        """Whether something is under way that ends the message when it ends itself."""
        return self.in_flight > 0 or self.is_routing or self.is_settling

    def note(self, recipient: QueuedRecipient, result: DeliveryResult) -> None:
        if result.outcome is Outcome.SENT:
            if Notify.SUCCESS in recipient.notify and not result.dsn_relayed:
                self.successes.append(result)
            else:
                self.done.append(recipient.number)
        elif result.outcome is Outcome.DEFERRED:
            self.deferred.append(result)
        else:
            self.failures.append(result)

    def expire(self) -> None:
        """Turn what is deferred into failures."""
        self.failures.extend(replace(result, outcome=Outcome.EXPIRED) for result in self.deferred)
        self.deferred.clear()

    def postpone_failures(self) -> None:
        """Have the recipients whose notice could not be made wait for another attempt."""
        self.deferred.extend(replace(result, outcome=Outcome.DEFERRED) for result in self.failures)
        self.failures.clear()

    def changes(self) -> tuple[RecipientUpdate, ...]:
        """The outcome of the attempt for every recipient that is not recorded yet."""
        pending = [
            RecipientUpdate(
                result.number,
                RecipientState.PENDING,
                result.status,
                result.reason,
                result.relay,
                result.remote_mta,
                result.diagnostic,
            )
            for result in self.deferred
        ]
        return (*[RecipientUpdate(number, RecipientState.DONE) for number in self.done], *pending)
