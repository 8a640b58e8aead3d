"""Transports and their destinations: who may start a delivery now, and which job goes first."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import field

from pymta.model.frozen import frozen
from pymta.model.queue import QueuedRecipient, QueueId
from pymta.qmgr.feedback import ConcurrencyLimits, Window
from pymta.qmgr.jobs import Entry, Job, Message, Peer, SlotRules
from pymta.qmgr.lanes import Lane, Shelf, lane_of

# Shelves and lanes that stay for the next job of their size; each one is looked at in every choice.
_KEPT_EMPTY = 3


@frozen
class RecipientPool:
    """How many recipients of one transport are in memory (postconf(5) default_recipient_limit).

    `extra` is for jobs that step in front when `limit` is used up. More of a message is read when there is room for
    `refill_limit` recipients, after `refill_delay` seconds for fewer.
    """

    limit: int = 20000
    extra: int = 1000
    refill_limit: int = 100
    refill_delay: float = 5.0


@frozen
class TransportLimits:
    """One transport's rules. A limit of 0 is none; delays are seconds between one delivery's end and the next.

    `recipients` is how many share one delivery; `processes` how many deliveries the transport runs at once. With a
    `transport_delay` that is one, with a `destination_delay` the concurrency limit is 1.
    """

    concurrency: ConcurrencyLimits
    recipients: int
    processes: int = 0
    destination_delay: float = 0.0
    transport_delay: float = 0.0
    slots: SlotRules = field(default_factory=SlotRules)
    pool: RecipientPool = field(default_factory=RecipientPool)


@frozen
class Problem:
    """Why a destination, or all of a transport, is out of order, for the recipients that do not get their attempt."""

    status: str
    reason: str
    of_transport: bool = False


class Destination:
    """What waits for one next hop of one transport; forgotten when nothing waits, nothing runs and it is alive."""

    __slots__ = (
        "busy",
        "dead_until",
        "name",
        "nexthop",
        "problem",
        "shelves",
        "suspended_until",
        "transport",
        "waiting",
        "window",
    )

    def __init__(self, name: str, nexthop: str, transport: Transport) -> None:
        self.name = name
        self.nexthop = nexthop
        self.transport = transport
        self.window = Window(transport.limits.concurrency)
        self.busy = 0
        self.waiting = 0
        self.suspended_until = 0.0
        self.problem: Problem | None = None
        self.dead_until = 0.0
        self.shelves: dict[int, Shelf] = {}

    def may_start(self, now: float) -> bool:
        if not self.waiting or now < self.suspended_until:
            return False
        return self.busy < self.window.size

    def peers(self) -> Iterator[Peer]:
        for shelf in self.shelves.values():
            yield from shelf.peers()


class Transport:
    """`recipients` counts those in memory; `problem` is set while all of the transport is out of order."""

    __slots__ = (
        "_number",
        "_unplaced",
        "busy",
        "dead_until",
        "destinations",
        "is_queued",
        "jobs",
        "lanes",
        "limits",
        "name",
        "problem",
        "recipients",
        "suspended_until",
    )

    def __init__(self, name: str, limits: TransportLimits) -> None:
        self.name = name
        self.limits = limits
        self.busy = 0
        self.recipients = 0
        self.suspended_until = 0.0
        self.dead_until = 0.0
        self.problem: Problem | None = None
        self.destinations: dict[str, Destination] = {}
        self.jobs: dict[QueueId, Job] = {}
        self.lanes: dict[int, Lane] = {}
        self.is_queued = False
        self._unplaced: list[Job] = []
        self._number = 0

    def may_start(self, now: float) -> bool:
        if now < self.suspended_until:
            return False
        limits = self.limits
        if limits.transport_delay:
            return self.busy == 0
        return not limits.processes or self.busy < limits.processes

    def add(self, recipients: Sequence[QueuedRecipient], message: Message, destination: Destination) -> int:
        """Have recipients of one message wait for one destination, in how many entries more."""
        job = self.jobs.get(message.queue_id)
        if job is None:
            self._number += 1
            job = self.jobs[message.queue_id] = Job(message, self._number)
        peer = job.peers.get(destination)
        if peer is None:
            peer = job.peers[destination] = Peer(job, destination)
        added = peer.add(recipients, self.limits.recipients)
        job.read += added
        job.waiting += added
        destination.waiting += added
        self.recipients += len(recipients)
        self._displace(job)
        return added

    def _displace(self, job: Job) -> None:
        """The size of `job` has changed. Its place is found before the next choice, once for all that comes first."""
        if job.is_placed:
            job.is_placed = False
            self._unplaced.append(job)

    def _place(self, now: float) -> None:
        for job in self._unplaced:
            job.is_placed = True
            self._place_job(job, now)
        self._unplaced.clear()

    def _place_job(self, job: Job, now: float) -> None:
        number = lane_of(job.total)
        for peer in job.peers.values():
            destination = peer.destination
            shelf = destination.shelves.get(number)
            if shelf is None:
                shelf = destination.shelves[number] = Shelf(destination)
            shelf.put(peer)
            if destination.may_start(now):
                self._lane(number).offer(shelf)

    def _lane(self, number: int) -> Lane:
        lane = self.lanes.get(number)
        if lane is None:
            lane = self.lanes[number] = Lane()
        return lane

    def offer(self, destination: Destination) -> None:
        """A destination may be served from now on, or with another job first."""
        shelves = destination.shelves
        spent = 0
        for number, shelf in shelves.items():
            if not self._lane(number).offer(shelf):
                spent = number
        if spent and len(shelves) > _KEPT_EMPTY:
            del shelves[spent]

    def take(self, now: float) -> Entry | None:
        """The next entry: of the oldest job that can be served, or of a small one that has earned its turn."""
        if self._unplaced:
            self._place(now)
        current = self._current(now)
        if current is None:
            return None
        rules = self.limits.slots
        job = current.job
        if rules.cost >= 2 and job.earned > 0 and job.total >= rules.minimum * rules.cost:
            current = self._preempt(current, now)
            job = current.job
        entry = job.select(current)
        current.destination.waiting -= 1
        if not current.entries:
            del job.peers[current.destination]
        if not job.waiting:
            self._retire(job)
        return entry

    def _current(self, now: float) -> Peer | None:
        best: Peer | None = None
        spent = 0
        for number, lane in self.lanes.items():
            peer = lane.first(now)
            if peer is None:
                spent = number
            elif best is None or peer.job.key < best.job.key:
                best = peer
        if spent and len(self.lanes) > _KEPT_EMPTY:
            del self.lanes[spent]
        return best

    def _preempt(self, current: Peer, now: float) -> Peer:
        """The peer whose job steps in front of `current`'s, or `current`."""
        rules = self.limits.slots
        candidate = self._candidate(current.job, now)
        if candidate is None or not rules.suffices(current.job.earned, candidate.job.needed):
            return current
        self._number += 1
        candidate.job.step_in_front_of(current.job, self._number, rules.cost)
        self._place_job(candidate.job, now)
        return candidate

    def _candidate(self, current: Job, now: float) -> Peer | None:
        """The job that waits longest for its size, of those that `current` can still earn the slots for.

        One job of each lane is looked at, the first, which is the oldest.
        """
        slots = current.may_earn() // self.limits.slots.cost
        if slots < 1:
            return None
        best: Peer | None = None
        best_score = 0.0
        for lane in self.lanes.values():
            peer = lane.first(now)
            if peer is None or peer.job is current or peer.job.children or peer.job.needed > slots:
                continue
            score = peer.job.score(now)
            if best is None or score > best_score or (score == best_score and peer.job.key < best.job.key):
                best, best_score = peer, score
        return best

    def _retire(self, job: Job) -> None:
        """A job that has nothing to deliver leaves the stack; it is kept where more of its message is on disk."""
        job.leave_stack(self.limits.slots.cost)
        if not job.message.unread and self.jobs.get(job.message.queue_id) is job:
            del self.jobs[job.message.queue_id]

    def forget(self, queue_id: QueueId) -> None:
        """A message whose last page is read has no use for a job that waited for more."""
        job = self.jobs.get(queue_id)
        if job is not None and not job.waiting:
            del self.jobs[queue_id]

    def withdraw(self, destination: Destination, now: float) -> list[Entry]:
        """Take back all that waits for a destination."""
        self._place(now)
        withdrawn: list[Entry] = []
        for peer in destination.peers():
            job = peer.job
            withdrawn.extend(peer.entries)
            job.read -= len(peer.entries)
            job.waiting -= len(peer.entries)
            peer.entries.clear()
            job.peers.pop(destination, None)
            if job.waiting:
                self._displace(job)
            else:
                self._retire(job)
        destination.waiting = 0
        destination.shelves.clear()
        self.recipients -= sum(len(entry.recipients) for entry in withdrawn)
        return withdrawn
