"""Which delivery goes next: round robin over transports, then jobs in order of age, then the peers of a job.

A destination that is slow, full or dead holds up nothing but itself, and a small message steps in front of a list of
thousands (`pymta.qmgr.jobs`). Every operation takes about the same time whatever waits. Time is an argument.
"""

from __future__ import annotations

import heapq
from collections import deque
from collections.abc import Callable, Sequence

from pymta.model.queue import QueuedRecipient
from pymta.qmgr.destinations import Destination, Problem, RecipientPool, Transport, TransportLimits
from pymta.qmgr.jobs import Entry, Message, SlotRules

__all__ = ["Entry", "Message", "Problem", "RecipientPool", "Scheduler", "SlotRules", "TransportLimits"]


class Scheduler:
    """Everything that waits for a delivery or is in one.

    `limits` gives a transport's rules when it is first used. A dead destination rests for `dead_seconds`, a
    transport whose agent failed for `retry_seconds`.
    """

    def __init__(
        self, limits: Callable[[str], TransportLimits], dead_seconds: float, retry_seconds: float = 60.0
    ) -> None:
        self._limits = limits
        self._dead_seconds = dead_seconds
        self._retry_seconds = retry_seconds
        self._transports: dict[str, Transport] = {}
        self._ready: deque[Transport] = deque()
        self._timers: list[tuple[float, int, Transport | Destination]] = []
        self._timer_number = 0

    def configure(self, dead_seconds: float, retry_seconds: float, now: float) -> None:
        """Read the rules of all transports anew; destinations keep their windows, within the new limits."""
        self._dead_seconds = dead_seconds
        self._retry_seconds = retry_seconds
        for name, transport in self._transports.items():
            transport.limits = self._limits(name)
            for destination in transport.destinations.values():
                destination.window.configure(transport.limits.concurrency)
                self._offer(destination, now)

    def recipient_limit(self, transport: str) -> int:
        return self._transport(transport).limits.recipients

    def room(self, transport: str, message: Message) -> tuple[RecipientPool, int]:
        """A transport's rules for recipients in memory, and how many more there may be of `message`."""
        known = self._transport(transport)
        pool = known.limits.pool
        job = known.jobs.get(message.queue_id)
        # A job in front of another may use half of what is kept for those, the next one half of the rest.
        extra = pool.extra - (pool.extra >> job.level) if job is not None else 0
        return pool, pool.limit + extra - known.recipients

    def load(self, transport: str, destination: str) -> tuple[int, int, int]:
        """Entries that wait for a destination, those in delivery, and its window."""
        known = self._transport(transport).destinations.get(destination)
        return (known.waiting, known.busy, known.window.size) if known else (0, 0, 0)

    def _transport(self, name: str) -> Transport:
        transport = self._transports.get(name)
        if transport is None:
            transport = self._transports[name] = Transport(name, self._limits(name))
        return transport

    def submit(
        self,
        message: Message,
        transport_name: str,
        destination_name: str,
        nexthop: str,
        recipients: Sequence[QueuedRecipient],
        now: float,
    ) -> int | Problem:
        """Have `recipients` wait for their delivery, in how many entries more; the problem where nothing is tried now.

        They share entries that wait already, as far as the transport's limit goes.
        """
        self._wake(now)
        transport = self._transport(transport_name)
        if transport.problem is not None:
            return transport.problem
        destination = transport.destinations.get(destination_name)
        if destination is None:
            destination = Destination(destination_name, nexthop, transport)
            transport.destinations[destination_name] = destination
        elif destination.problem is not None:
            return destination.problem
        entries = transport.add(recipients, message, destination)
        if destination.may_start(now):
            self._offer_transport(transport, now)
        return entries

    def all_read(self, message: Message) -> None:
        """No more of `message` is on disk, nor will be submitted."""
        for transport in self._transports.values():
            transport.forget(message.queue_id)

    def next(self, now: float) -> Entry | None:
        """Start the next delivery; `finished` ends it. None where nothing may start before `next_wakeup`."""
        self._wake(now)
        while self._ready:
            transport = self._ready.popleft()
            transport.is_queued = False
            if not transport.may_start(now):
                continue
            entry = transport.take(now)
            if entry is None:
                continue
            destination = entry.destination
            destination.busy += 1
            transport.busy += 1
            self._offer(destination, now)
            self._offer_transport(transport, now)
            return entry
        return None

    def finished(self, entry: Entry, now: float, outcome: Problem | bool) -> list[Entry]:
        """End a delivery: True where the destination worked, False where that is unknown, its problem where not.

        Gives the entries that are not tried because the destination, or the transport, is out of order now.
        """
        destination = entry.destination
        transport = destination.transport
        transport.recipients -= len(entry.recipients)
        withdrawn: list[Entry] = []
        if outcome is True:
            destination.window.succeeded(destination.busy)
            destination.problem = transport.problem = None
        elif outcome is not False and outcome.of_transport:
            withdrawn = self._throttle(transport, outcome, now)
        elif outcome and destination.window.failed():
            destination.problem = outcome
            withdrawn = transport.withdraw(destination, now)
            destination.dead_until = now + self._dead_seconds
            self._set_timer(destination.dead_until, destination)
        destination.busy -= 1
        transport.busy -= 1
        self._suspend(destination, now)
        self._offer(destination, now)
        self._offer_transport(transport, now)
        self._forget_idle(destination, now)
        return withdrawn

    def _throttle(self, transport: Transport, problem: Problem, now: float) -> list[Entry]:
        """Give a transport whose agent failed a rest (postconf(5) transport_retry_time), unless it has one already."""
        if transport.problem is not None:
            return []
        transport.problem = problem
        transport.dead_until = now + self._retry_seconds
        self._set_timer(transport.dead_until, transport)
        withdrawn: list[Entry] = []
        for destination in list(transport.destinations.values()):
            withdrawn += transport.withdraw(destination, now)
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
        """Give every transport and destination that is out of order another chance at once (`postqueue -f`)."""
        for transport in self._transports.values():
            transport.problem = None
            for destination in list(transport.destinations.values()):
                self.revive_destination(destination, now)

    def revive_site(self, site: str, now: float) -> None:
        """The same for the destinations of one site, whatever their transports."""
        for transport in self._transports.values():
            transport.problem = None
            for name in (site, f"[{site}]"):
                if (destination := transport.destinations.get(name)) is not None:
                    self.revive_destination(destination, now)

    def revive_destination(self, destination: Destination, now: float) -> None:
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
                if subject.problem is not None and subject.dead_until <= now:
                    subject.problem = None
                self._offer_transport(subject, now)
                continue
            if subject.problem is not None and subject.dead_until <= now:
                self._revive(subject)
            self._offer(subject, now)
            self._forget_idle(subject, now)

    def _offer(self, destination: Destination, now: float) -> None:
        if destination.may_start(now):
            destination.transport.offer(destination)
            self._offer_transport(destination.transport, now)

    def _offer_transport(self, transport: Transport, now: float) -> None:
        if not transport.is_queued and transport.may_start(now):
            transport.is_queued = True
            self._ready.append(transport)

    def _forget_idle(self, destination: Destination, now: float) -> None:
        idle = not destination.waiting and not destination.busy and destination.problem is None
        if not idle or destination.suspended_until > now:
            return
        known = destination.transport.destinations
        # A timer may end for one that was forgotten already, when another of its name has come.
        if known.get(destination.name) is destination:
            del known[destination.name]
