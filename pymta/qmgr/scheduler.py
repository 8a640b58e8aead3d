"""Which delivery goes next: round robin over transports, their destinations, and each destination's messages.

A message with few recipients so takes its turn beside a list of thousands, and a destination that is slow, full or
dead holds up nothing but itself. Every operation takes the same time whatever waits. Time is an argument.
"""

from __future__ import annotations

import heapq
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from pymta.model.queue import QueuedRecipient, QueueId
from pymta.qmgr.feedback import ConcurrencyLimits, Window


@dataclass(frozen=True, slots=True)
class TransportLimits:
    """One transport's rules. A limit of 0 is none; delays are seconds between one delivery's end and the next.

    `recipients` is how many share one delivery; `processes` how many deliveries the transport runs at once.
    A delay allows one delivery at a time (postconf(5) default_destination_rate_delay).
    """

    concurrency: ConcurrencyLimits
    recipients: int
    processes: int = 0
    destination_delay: float = 0.0
    transport_delay: float = 0.0


@dataclass(frozen=True, slots=True)
class Problem:
    """Why a destination is out of order, for the recipients that do not get their attempt."""

    status: str
    reason: str


class Transport:
    __slots__ = ("busy", "destinations", "is_queued", "limits", "name", "ready", "suspended_until")

    def __init__(self, name: str, limits: TransportLimits) -> None:
        self.name = name
        self.limits = limits
        self.busy = 0
        self.suspended_until = 0.0
        self.destinations: dict[str, Destination] = {}
        self.ready: deque[Destination] = deque()
        self.is_queued = False

    def may_start(self, now: float) -> bool:
        if not self.ready or now < self.suspended_until:
            return False
        limits = self.limits
        if limits.transport_delay:
            return self.busy == 0
        return not limits.processes or self.busy < limits.processes


class Destination:
    """What waits for one next hop of one transport; forgotten when nothing waits, nothing runs and it is alive."""

    __slots__ = (
        "busy",
        "dead_until",
        "is_queued",
        "jobs",
        "name",
        "nexthop",
        "problem",
        "suspended_until",
        "transport",
        "turns",
        "window",
    )

    def __init__(self, name: str, nexthop: str, transport: Transport) -> None:
        self.name = name
        self.nexthop = nexthop
        self.transport = transport
        self.window = Window(transport.limits.concurrency)
        self.busy = 0
        self.suspended_until = 0.0
        self.problem: Problem | None = None
        self.dead_until = 0.0
        self.jobs: dict[QueueId, deque[Entry]] = {}
        self.turns: deque[QueueId] = deque()
        self.is_queued = False

    def may_start(self, now: float) -> bool:
        if not self.turns or now < self.suspended_until:
            return False
        return self.busy < (1 if self.transport.limits.destination_delay else self.window.size)

    def add(self, entry: Entry) -> None:
        job = self.jobs.get(entry.queue_id)
        if job is None:
            self.jobs[entry.queue_id] = deque((entry,))
            self.turns.append(entry.queue_id)
        else:
            job.append(entry)

    def take(self) -> Entry:
        queue_id = self.turns.popleft()
        job = self.jobs[queue_id]
        entry = job.popleft()
        if job:
            self.turns.append(queue_id)
        else:
            del self.jobs[queue_id]
        return entry

    def withdraw_all(self) -> list[Entry]:
        entries = [entry for job in self.jobs.values() for entry in job]
        self.jobs.clear()
        self.turns.clear()
        return entries


class Entry:
    """One delivery: recipients of one message for one destination."""

    __slots__ = ("destination", "queue_id", "recipients")

    def __init__(self, queue_id: QueueId, destination: Destination, recipients: tuple[QueuedRecipient, ...]) -> None:
        self.queue_id = queue_id
        self.destination = destination
        self.recipients = recipients

    @property
    def transport(self) -> str:
        return self.destination.transport.name

    @property
    def nexthop(self) -> str:
        return self.destination.nexthop


class Scheduler:
    """Everything that waits for a delivery or is in one.

    `limits` gives a transport's rules when it is first used; a dead destination rests for `dead_seconds`.
    """

    def __init__(self, limits: Callable[[str], TransportLimits], dead_seconds: float) -> None:
        self._limits = limits
        self._dead_seconds = dead_seconds
        self._transports: dict[str, Transport] = {}
        self._ready: deque[Transport] = deque()
        self._timers: list[tuple[float, int, Transport | Destination]] = []
        self._timer_number = 0

    def configure(self, dead_seconds: float) -> None:
        """Read the rules of all transports anew; a destination that has mail waiting keeps its window."""
        self._dead_seconds = dead_seconds
        for name, transport in self._transports.items():
            transport.limits = self._limits(name)

    def recipient_limit(self, transport: str) -> int:
        return self._transport(transport).limits.recipients

    def _transport(self, name: str) -> Transport:
        transport = self._transports.get(name)
        if transport is None:
            transport = self._transports[name] = Transport(name, self._limits(name))
        return transport

    def submit(
        self,
        queue_id: QueueId,
        transport_name: str,
        destination_name: str,
        nexthop: str,
        recipients: Sequence[QueuedRecipient],
        now: float,
    ) -> int | Problem:
        """Have `recipients` wait for their delivery, in how many entries; the problem where the destination is dead."""
        self._wake(now)
        transport = self._transport(transport_name)
        destination = transport.destinations.get(destination_name)
        if destination is None:
            destination = Destination(destination_name, nexthop, transport)
            transport.destinations[destination_name] = destination
        elif destination.problem is not None:
            return destination.problem
        limit = transport.limits.recipients or len(recipients)
        for start in range(0, len(recipients), limit):
            destination.add(Entry(queue_id, destination, tuple(recipients[start : start + limit])))
        self._offer(destination, now)
        return -(-len(recipients) // limit)

    def next(self, now: float) -> Entry | None:
        """Start the next delivery; `finished` ends it. None where nothing may start before `next_wakeup`."""
        self._wake(now)
        while self._ready:
            transport = self._ready.popleft()
            transport.is_queued = False
            if not transport.may_start(now):
                continue
            destination = transport.ready.popleft()
            destination.is_queued = False
            entry = None
            if destination.may_start(now):
                entry = destination.take()
                destination.busy += 1
                transport.busy += 1
                self._offer(destination, now)
            self._offer_transport(transport, now)
            if entry is not None:
                return entry
        return None

    def finished(self, entry: Entry, now: float, outcome: Problem | bool) -> list[Entry]:
        """End a delivery: True where the destination worked, False where that is unknown, its problem where not.

        Gives the entries that are not tried because the destination is dead now.
        """
        destination = entry.destination
        transport = destination.transport
        withdrawn: list[Entry] = []
        if outcome is True:
            destination.window.succeeded(destination.busy)
            destination.problem = None
        elif outcome and destination.window.failed():
            destination.problem = outcome
            withdrawn = destination.withdraw_all()
            destination.dead_until = now + self._dead_seconds
            self._set_timer(destination.dead_until, destination)
        destination.busy -= 1
        transport.busy -= 1
        self._suspend(destination, now)
        self._offer(destination, now)
        self._offer_transport(transport, now)
        self._forget_idle(destination, now)
        return withdrawn

    def _suspend(self, destination: Destination, now: float) -> None:
        transport = destination.transport
        limits = transport.limits
        if limits.destination_delay:
            destination.suspended_until = now + limits.destination_delay
            self._set_timer(destination.suspended_until, destination)
        if limits.transport_delay:
            transport.suspended_until = now + limits.transport_delay
            self._set_timer(transport.suspended_until, transport)

    def revive(self, now: float) -> None:
        """Give every dead destination another chance at once (`postqueue -f`)."""
        for transport in self._transports.values():
            for destination in list(transport.destinations.values()):
                if destination.problem is not None:
                    self._revive(destination)
                    self._forget_idle(destination, now)

    def _revive(self, destination: Destination) -> None:
        destination.problem = None
        destination.window.revive(destination.busy)

    def next_wakeup(self) -> float | None:
        """When something that rests may start again."""
        return self._timers[0][0] if self._timers else None

    def _set_timer(self, when: float, subject: Transport | Destination) -> None:
        self._timer_number += 1
        heapq.heappush(self._timers, (when, self._timer_number, subject))

    def _wake(self, now: float) -> None:
        while self._timers and self._timers[0][0] <= now:
            _, _, subject = heapq.heappop(self._timers)
            if isinstance(subject, Transport):
                self._offer_transport(subject, now)
                continue
            if subject.problem is not None and subject.dead_until <= now:
                self._revive(subject)
            self._offer(subject, now)
            self._forget_idle(subject, now)

    def _offer(self, destination: Destination, now: float) -> None:
        if not destination.is_queued and destination.may_start(now):
            destination.is_queued = True
            destination.transport.ready.append(destination)
            self._offer_transport(destination.transport, now)

    def _offer_transport(self, transport: Transport, now: float) -> None:
        if not transport.is_queued and transport.may_start(now):
            transport.is_queued = True
            self._ready.append(transport)

    def _forget_idle(self, destination: Destination, now: float) -> None:
        idle = not destination.turns and not destination.busy and destination.problem is None
        if not idle or destination.suspended_until > now:
            return
        known = destination.transport.destinations
        # A timer may end for one that was forgotten already, when another of its name has come.
        if known.get(destination.name) is destination:
            del known[destination.name]
