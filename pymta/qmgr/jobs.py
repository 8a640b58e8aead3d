"""Jobs and their order: the preemptive scheduler's bookkeeping (qmgr(8), postfix SCHEDULER_README).

A message has one job per transport, a job one peer per destination, a peer the entries that wait for it. Jobs are
served in the order in which their messages became active, but a small one may step in front of a large one: every
`slot_cost` deliveries of a job earn a slot, and a job that needs no more deliveries than there are slots takes them.
"""

from __future__ import annotations

import heapq
from collections import deque
from collections.abc import Sequence
from typing import TYPE_CHECKING, Protocol

from pymta.model.frozen import frozen
from pymta.model.queue import QueuedRecipient, QueueId

if TYPE_CHECKING:
    from pymta.qmgr.destinations import Destination

# Closes every key, above any serial number: what was put in front of a job sorts before it.
_LAST = 1 << 62

Key = tuple[int, ...]


class Message(Protocol):
    """What the scheduler knows of a message; `unread` counts its recipients that are still on disk only."""

    @property
    def queue_id(self) -> QueueId: ...

    @property
    def unread(self) -> int: ...


@frozen
class SlotRules:
    """One transport's price of stepping in front (postconf(5) default_delivery_slot_cost and those beside it).

    A job may step in front when `discount` percent of the slots that it needs, and `loan` more, are still to be
    earned. A job that can never earn `minimum` slots keeps its place. A `cost` below 2 turns all of this off.
    """

    cost: int = 5
    loan: int = 3
    discount: int = 50
    minimum: int = 3

    def suffices(self, earned: int, needed: int) -> bool:
        """Whether `earned` deliveries let a job that needs `needed` step in front now."""
        return earned // self.cost + self.loan >= needed * (100 - self.discount) / 100


class Entry:
    """One delivery: recipients of one message for one destination."""

    __slots__ = ("destination", "message", "recipients")

    def __init__(self, message: Message, destination: Destination, recipients: tuple[QueuedRecipient, ...]) -> None:
        self.message = message
        self.destination = destination
        self.recipients = recipients

    @property
    def queue_id(self) -> QueueId:
        return self.message.queue_id

    @property
    def transport(self) -> str:
        return self.destination.transport.name

    @property
    def nexthop(self) -> str:
        return self.destination.nexthop


class Peer:
    """A job's entries for one destination. `turn` counts its deliveries, so that peers of a job take turns."""

    __slots__ = ("destination", "entries", "item", "job", "turn")

    def __init__(self, job: Job, destination: Destination) -> None:
        self.job = job
        self.destination = destination
        self.entries: deque[Entry] = deque()
        self.turn = 0
        self.item: tuple[Key, int, Peer] | None = None

    def __lt__(self, other: Peer) -> bool:
        return False


class Job:
    """One message's entries for one transport.

    `key` is its place among the jobs, `read` and `selected` count entries, `earned` is what preempting jobs may
    spend, `used` what this one spent of its parent's beyond what it paid in advance.
    """

    __slots__ = (
        "children",
        "earned",
        "key",
        "lane",
        "level",
        "message",
        "number",
        "parent",
        "peers",
        "read",
        "selected",
        "since",
        "used",
        "waiting",
    )

    def __init__(self, message: Message, number: int, now: float) -> None:
        self.message = message
        self.number = number
        self.key: Key = (number, _LAST)
        self.since = now
        self.peers: dict[Destination, Peer] = {}
        self.lane = 0
        self.read = self.selected = self.waiting = 0
        self.earned = self.used = 0
        self.level = 0
        self.parent: Job | None = None
        self.children: list[Job] = []

    @property
    def total(self) -> int:
        """How many entries there can be at most: what is on disk may be grouped, or not."""
        return self.read + self.message.unread

    @property
    def needed(self) -> int:
        return self.total - self.selected

    def may_earn(self) -> int:
        """How many entries are sure to earn slots, with those that did."""
        return self.read - self.selected + self.earned

    def select(self, peer: Peer) -> Entry:
        entry = peer.entries.popleft()
        peer.turn += 1
        self.waiting -= 1
        self.selected += 1
        self.earned += 1
        self.used += 1
        return entry

    def step_in_front_of(self, parent: Job, number: int, cost: int) -> None:
        """Take `parent`'s place; it pays for all that is needed at once, what is not used comes back at the end."""
        self.leave_stack(cost)
        self.parent = parent
        parent.children.append(self)
        self.level = parent.level + 1
        self.key = (*parent.key[:-1], number, _LAST)
        needed = self.needed
        parent.earned -= needed * cost
        self.used = -needed

    def leave_stack(self, cost: int) -> None:
        """Settle with the parent, which takes over the jobs that stand in front of this one."""
        parent = self.parent
        if parent is not None:
            # A grandparent did not pay for this job, the parent that did is gone.
            if self.level == parent.level + 1:
                parent.earned -= self.used * cost
            parent.children.remove(self)
            parent.children.extend(self.children)
        for child in self.children:
            child.parent = parent
        self.children = []
        if self.level:
            self.parent = None
            self.level = 0
            self.key = (self.number, _LAST)


def lane_of(entries: int) -> int:
    """Jobs of like size share a lane: 1, 2 to 3, 4 to 7 entries ..."""
    return entries.bit_length()


class Shelf:
    """A destination's peers of one lane, oldest job first; `item` is its place in the transport's lane."""

    __slots__ = ("_peers", "destination", "item")

    def __init__(self, destination: Destination) -> None:
        self.destination = destination
        self._peers: list[tuple[Key, int, Peer]] = []
        self.item: tuple[Key, int, int, Shelf] | None = None

    def put(self, peer: Peer) -> None:
        """Sort `peer` in by its job's place, anew where that has changed."""
        if peer.item is None or peer.item[0] is not peer.job.key:
            peer.item = (peer.job.key, 0, peer)
            heapq.heappush(self._peers, peer.item)

    def head(self) -> Peer | None:
        """The peer that is served next."""
        peers = self._peers
        while peers:
            item = peers[0]
            peer = item[2]
            if peer.item is item:
                if peer.entries:
                    return peer
                peer.item = None
            heapq.heappop(peers)
        return None

    def peers(self) -> Sequence[Peer]:
        """Those that have entries."""
        return [peer for item in self._peers if (peer := item[2]).item is item and peer.entries]


class Lane:
    """The destinations that may be served and have jobs of one size, those of the oldest job first.

    Places are given up lazily: one that is not its shelf's `item` any more counts for nothing.
    """

    __slots__ = ("_number", "_places")

    def __init__(self) -> None:
        self._places: list[tuple[Key, int, int, Shelf]] = []
        self._number = 0

    def offer(self, shelf: Shelf) -> None:
        """Have a shelf take part with its first peer."""
        head = shelf.head()
        if head is None:
            shelf.item = None
            return
        place = shelf.item
        if place is not None and place[0] is head.job.key and place[1] == head.turn:
            return
        self._number += 1
        shelf.item = (head.job.key, head.turn, self._number, shelf)
        heapq.heappush(self._places, shelf.item)

    def first(self, now: float) -> Peer | None:
        """The peer that is served next, of the destinations that may be served now."""
        places = self._places
        while places:
            place = places[0]
            shelf = place[3]
            if shelf.item is place:
                if shelf.destination.may_start(now):
                    head = shelf.head()
                    if head is not None and head.job.key is place[0] and head.turn == place[1]:
                        return head
                    self.offer(shelf)
                else:
                    shelf.item = None
            if places[0] is place:
                heapq.heappop(places)
        return None
