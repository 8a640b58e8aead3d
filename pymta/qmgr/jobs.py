"""Jobs and their order: the preemptive scheduler's bookkeeping (qmgr(8), postfix SCHEDULER_README).

A message has one job per transport, a job one peer per destination, a peer the entries that wait for it. Jobs are
served in the order in which their messages became active, but a small one may step in front of a large one: every
`slot_cost` deliveries of a job earn a slot, and a job that needs no more deliveries than there are slots takes them.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from typing import TYPE_CHECKING, Protocol

from pymta.model.frozen import frozen
from pymta.model.queue import QueuedRecipient, QueueId

if TYPE_CHECKING:
    from pymta.qmgr.destinations import Destination
    from pymta.qmgr.lanes import Shelf

# Closes every key, above any serial number: what was put in front of a job sorts before it.
_LAST = 1 << 62
_NO_LIMIT = 1 << 62

# When the message became active, then numbers in the order of the scheduler's decisions.
Key = tuple[float, ...]


class Message(Protocol):
    """What the scheduler knows of a message.

    `since` is when it became active, in seconds of the scheduler's time; `unread` counts its recipients that are
    still on disk only.
    """

    @property
    def queue_id(self) -> QueueId: ...

    @property
    def since(self) -> float: ...

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
    """A job's entries for one destination. The one with the lowest `turn` is served next."""

    __slots__ = ("destination", "entries", "item", "job", "shelf", "turn")

    def __init__(self, job: Job, destination: Destination) -> None:
        self.job = job
        self.destination = destination
        self.entries: deque[Entry] = deque()
        self.shelf: Shelf | None = None
        self.item: tuple[Key, int, Peer] | None = None
        self.turn = job.next_turn()

    def add(self, recipients: Sequence[QueuedRecipient], limit: int) -> int:
        """Have `recipients` wait, at most `limit` in an entry (0 for no limit); how many entries more that takes.

        They fill the last one that waits there already, so that pages of a long message share their deliveries.
        """
        entries = self.entries
        before = len(entries)
        limit = limit or _NO_LIMIT
        start = 0
        if entries:
            last = entries[-1]
            start = max(0, limit - len(last.recipients))
            last.recipients += tuple(recipients[:start])
        for place in range(start, len(recipients), limit):
            entries.append(Entry(self.job.message, self.destination, tuple(recipients[place : place + limit])))
        return len(entries) - before

    def __lt__(self, other: Peer) -> bool:
        return False


class Job:
    """One message's entries for one transport.

    `key` is its place among the jobs, `read` and `selected` count entries, `earned` is what preempting jobs may
    spend, `used` what this one spent of its parent's beyond what it paid in advance. `is_placed` where all its peers
    stand on a shelf of the lane that its size has now.
    """

    __slots__ = (
        "_turns",
        "children",
        "earned",
        "is_placed",
        "key",
        "level",
        "message",
        "number",
        "parent",
        "peers",
        "read",
        "selected",
        "used",
        "waiting",
    )

    def __init__(self, message: Message, number: int) -> None:
        self.message = message
        self.number = number
        self.key = self._own_key()
        self.peers: dict[Destination, Peer] = {}
        self.is_placed = True
        self._turns = 0
        self.read = self.selected = self.waiting = 0
        self.earned = self.used = 0
        self.level = 0
        self.parent: Job | None = None
        self.children: list[Job] = []

    def _own_key(self) -> Key:
        return (self.message.since, self.number, _LAST)

    def next_turn(self) -> int:
        """The end of the line of this job's peers."""
        self._turns += 1
        return self._turns

    def score(self, now: float) -> float:
        """How long it waits for its size: of those that may step in front, the one with most of it does."""
        return (now - self.message.since + 1) / self.total

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
        peer.turn = self.next_turn()
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
            self.key = self._own_key()
