"""What delivery processes tell each other, through the queue manager, about hosts that are down."""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Callable

from pymta.app.remote_kinds import Kind
from pymta.app.remote_upstream import Upstream
from pymta.app.remote_values import dumps, loads
from pymta.delivery.host_failures import HostFailures
from pymta.runtime.ipc import Link

# What a process that comes later is told; older news are soon out of date anyhow.
_MOST = 1000


class HostNews:
    """The queue manager's side: passes on what one process found out, and tells a new one what is still true.

    `own` is what the queue manager's process itself knows.
    """

    def __init__(self, own: HostFailures, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._monotonic = monotonic
        self._links: set[Link] = set()
        self._own = own
        own.tell = self._found
        self._until: OrderedDict[tuple[str, int], float] = OrderedDict()

    def add(self, link: Link) -> None:
        """A delivery process is there."""
        self._links.add(link)
        now = self._monotonic()
        for (address, port), until in self._until.items():
            if until > now:
                link.send(Kind.HOST, 0, dumps((address, port, until)))

    def remove(self, link: Link) -> None:
        self._links.discard(link)

    def told(self, link: Link, number: int, head: bytes, body: bytes) -> None:
        """A delivery process has news; the others shall know."""
        news = loads(head)
        self._own.hear(*news)
        self._pass_on(link, *news)

    def _found(self, address: str, port: int, until: float) -> None:
        self._pass_on(None, address, port, until)

    def _pass_on(self, source: Link | None, address: str, port: int, until: float) -> None:
        self._until.pop((address, port), None)
        if until:
            self._until[address, port] = until
            if len(self._until) > _MOST:
                self._until.popitem(last=False)
        for link in self._links:
            if link is not source:
                link.send(Kind.HOST, 0, dumps((address, port, until)))


def share(failures: HostFailures, upstream: Upstream) -> None:
    """In a delivery process: have the others hear of our failures. Theirs come as frames, for `hear`."""
    failures.tell = lambda address, port, until: upstream.tell(Kind.HOST, (address, port, until))


def hear(failures: HostFailures, head: bytes) -> None:
    failures.hear(*loads(head))
