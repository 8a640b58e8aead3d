"""Jobs that could be served now, by size and by place: what every choice looks at, whatever waits behind.

A destination has a shelf for each size of job that waits for it, a transport a lane for each size with the shelves of
the destinations that have room.
"""

from __future__ import annotations

import heapq
from collections.abc import Sequence
from typing import TYPE_CHECKING

from pymta.qmgr.jobs import Key, Peer

if TYPE_CHECKING:
    from pymta.qmgr.destinations import Destination


def lane_of(entries: int) -> int:
    """Jobs share a lane that have the same size, up to 15 entries; of larger ones those of like size, to an eighth."""
    shift = max(0, entries.bit_length() - 4)
    return 8 * shift + (entries >> shift)


class Shelf:
    """A destination's peers of one lane, oldest job first; `item` is its place in the transport's lane."""

    __slots__ = ("_peers", "destination", "item")

    def __init__(self, destination: Destination) -> None:
        self.destination = destination
        self._peers: list[tuple[Key, int, Peer]] = []
        self.item: tuple[Key, int, int, Shelf] | None = None

    def put(self, peer: Peer) -> None:
        """Sort `peer` in by its job's place, anew where that has changed."""
        if peer.item is None or peer.item[0] is not peer.job.key or peer.shelf is not self:
            peer.shelf = self
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

    def offer(self, shelf: Shelf) -> bool:
        """Have a shelf take part with its first peer, where it has one."""
        head = shelf.head()
        if head is None:
            shelf.item = None
            return False
        place = shelf.item
        if place is None or place[0] is not head.job.key or place[1] != head.turn:
            self._number += 1
            shelf.item = (head.job.key, head.turn, self._number, shelf)
            heapq.heappush(self._places, shelf.item)
        return True

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
