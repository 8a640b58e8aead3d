"""A message in the active queue: what is known about this attempt so far."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace

from pymta.model.delivery import DeliveryResult, Outcome
from pymta.model.envelope import Notify, Trace
from pymta.model.queue import (
    ENTRY_RECIPIENTS,
    QueuedRecipient,
    QueueEntry,
    RecipientState,
    RecipientUpdate,
)
from pymta.ports import Content
from pymta.qmgr.routing import duplicate_key

# Keys that tell duplicates; Postfix too looks at what is in memory together.
_KEYS_AT_ONCE = 20_000

_UNTRACED = Trace.NONE
_UNSAID = Notify.DEFAULT

Result = tuple[QueuedRecipient, DeliveryResult]


class ActiveMessage:
    """Grows from admission until every recipient has an outcome, then is settled.

    `page` are recipients that wait to be routed, `unread` counts those that are on disk only, behind number
    `last_number`. `in_core` counts the recipients in memory that have no outcome, `waiting` the entries that the
    scheduler holds or an agent works on, `in_flight` those that an agent has, `in_memory` the bytes of content.
    `done` are recipients that need nothing more and are not recorded yet; `stored` counts those that are recorded
    as deferred by this attempt. `transports` are those that have entries of it. `since` is when it became active,
    `read_at` when recipients were read last, in seconds of the monotonic clock.
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
        "is_damaged",
        "is_deleted",
        "is_held",
        "is_long",
        "is_recording",
        "is_routing",
        "is_settling",
        "last_number",
        "page",
        "queue_id",
        "read_at",
        "seen",
        "since",
        "start",
        "stored",
        "successes",
        "trace",
        "traced",
        "transports",
        "unread",
        "waiting",
    )

    def __init__(
        self,
        entry: QueueEntry,
        content: Content,
        start: float,
        in_memory: int,
        *,
        since: float = 0.0,
        flushed: bool = False,
    ) -> None:
        recipients = entry.recipients
        unread = entry.unread
        if len(recipients) > ENTRY_RECIPIENTS:
            unread += len(recipients) - ENTRY_RECIPIENTS
            recipients = recipients[:ENTRY_RECIPIENTS]
        self.queue_id = entry.queue_id
        self.entry = replace(entry, recipients=(), unread=0) if unread else entry
        self.content = content
        self.trace = entry.due_trace
        self.start = start
        self.in_memory = in_memory
        self.flushed = flushed
        self.unread = unread
        self.is_long = unread > 0
        self.last_number = recipients[-1].number if recipients else -1
        self.waiting = 0
        self.in_flight = 0
        self.stored = 0
        self.since = self.read_at = since
        self.is_recording = False
        self.is_routing = False
        self.is_settling = False
        self.is_deleted = False
        self.is_held = False
        self.is_damaged = False
        self.seen: set[object] = set()
        self.transports: set[str] = set()
        self.done: list[int] = []
        self.successes: list[Result] = []
        self.failures: list[Result] = []
        self.deferred: list[Result] = []
        self.traced: list[Result] = []
        self.page = self._without_duplicates(recipients)
        self.in_core = len(self.page)
        if entry.expanded and not entry.attempts:
            reported = self.successes if self.trace is Trace.NONE else self.traced
            reported.extend((alias, _expanded(alias)) for alias in entry.expanded)

    @property
    def is_tried(self) -> bool:
        """Whether every recipient has its outcome."""
        return not (self.waiting or self.page or self.unread or self.is_routing)

    @property
    def is_withdrawn(self) -> bool:
        """Whether an administrator wants no further attempt."""
        return self.is_deleted or self.is_held

    @property
    def is_busy(self) -> bool:
        """Whether something is under way that ends the message when it ends itself."""
        return self.in_flight > 0 or self.is_routing or self.is_settling or self.is_recording

    @property
    def results_in_core(self) -> int:
        return len(self.deferred) + len(self.failures) + len(self.successes) + len(self.traced)

    def turn_page(self, recipients: Sequence[QueuedRecipient]) -> None:
        """More recipients were read; none means that the rest of them cannot be."""
        self.page = self._without_duplicates(recipients)
        self.in_core += len(self.page)
        self.unread = max(0, self.unread - len(recipients))
        if recipients:
            self.last_number = recipients[-1].number
        else:
            self.unread = 0
            self.is_damaged = True

    def _without_duplicates(self, recipients: Sequence[QueuedRecipient]) -> Sequence[QueuedRecipient]:
        """Recipients that this attempt did not see; those that it did are done."""
        if len(recipients) <= 1 and not self.is_long:
            return recipients
        kept = []
        for recipient in recipients:
            key = duplicate_key(recipient)
            if key in self.seen:
                self.done.append(recipient.number)
            else:
                self.seen.add(key)
                kept.append(recipient)
        if len(self.seen) > _KEYS_AT_ONCE:
            self.seen.clear()
        return kept

    def note(self, recipient: QueuedRecipient, result: DeliveryResult, *, confirm_delay_cleared: bool = False) -> None:
        self.in_core -= 1
        if self.trace is not _UNTRACED:
            self.traced.append((recipient, result))
            if self.ends_with_report(result):
                return
        if result.outcome is Outcome.SENT:
            notify = recipient.notify
            is_plain = notify is _UNSAID and not confirm_delay_cleared
            if not is_plain and self._is_reported(notify, confirm_delay_cleared) and not result.dsn_relayed:
                self.successes.append((recipient, result))
            else:
                self.done.append(recipient.number)
        elif result.outcome is Outcome.DEFERRED:
            self.deferred.append((recipient, result))
        else:
            self.failures.append((recipient, result))

    @property
    def is_probe(self) -> bool:
        """Whether nothing is delivered, but only found out what could be."""
        return self.trace is Trace.VERIFY

    def ends_with_report(self, result: DeliveryResult) -> bool:
        """Whether a traced recipient needs nothing more once the sender has the report."""
        return self.is_probe or result.outcome is Outcome.SENT

    def _is_reported(self, notify: Notify, confirm_delay_cleared: bool) -> bool:
        """Whether the sender hears of a delivery: on demand, and after a delay warning where that is set."""
        if notify is not _UNSAID and Notify.SUCCESS in notify:
            return True
        if not confirm_delay_cleared or self.entry.warned_time is None:
            return False
        return notify is _UNSAID or Notify.DELAY in notify

    def expire(self) -> None:
        """Turn what is deferred into failures."""
        self.failures.extend((one, replace(result, outcome=Outcome.EXPIRED)) for one, result in self.deferred)
        self.deferred.clear()

    def postpone(self, failures: Iterable[Result]) -> None:
        """Have recipients whose notice could not be made wait for another attempt."""
        self.deferred.extend((one, replace(result, outcome=Outcome.DEFERRED)) for one, result in failures)

    def take_changes(self) -> tuple[list[int], list[Result]]:
        """What is not recorded yet, to be recorded, or given back with `untake`."""
        changes = self.done, self.deferred
        self.done, self.deferred = [], []
        return changes

    def untake(self, changes: tuple[list[int], list[Result]]) -> None:
        done, deferred = changes
        self.done[:0] = done
        self.deferred[:0] = deferred

    def entry_of(self, results: Iterable[Result]) -> QueueEntry:
        """The message as if it had the recipients of `results` only."""
        return replace(self.entry, recipients=tuple([recipient for recipient, _ in results]))


def _expanded(alias: QueuedRecipient) -> DeliveryResult:
    return DeliveryResult(alias.number, Outcome.SENT, "2.0.0", "alias expanded", action="expanded")


def done_update(numbers: Sequence[int]) -> tuple[RecipientUpdate, ...]:
    return tuple([RecipientUpdate(number, RecipientState.DONE) for number in numbers])


def updates(changes: tuple[list[int], list[Result]]) -> tuple[RecipientUpdate, ...]:
    """What an attempt says of recipients, as the spool records it."""
    done, deferred = changes
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
        for _, result in deferred
    ]
    return (*done_update(done), *pending)
