"""Hosts that could not be reached lately: others are tried before them (RFC 5321 4.5.4.1)."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Sequence

from pymta.delivery.hosts import Host

_MOST = 10_000

# A host's address and port, and until when it is tried last, in monotonic seconds; 0 where it answers again.
News = Callable[[str, int, float], None]


class HostFailures:
    """What one process knows. `tell` has others hear of what was found out here; `hear` is for what they found out.

    All processes of a machine have the same monotonic seconds. 10,000 hosts at most are remembered, the last ones.
    """

    def __init__(self) -> None:
        self._until: OrderedDict[tuple[str, int], float] = OrderedDict()
        self.tell: News = lambda address, port, until: None

    def __len__(self) -> int:
        return len(self._until)

    def failed(self, host: Host, until: float) -> None:
        """A host refused us, or said nothing."""
        self.hear(host.address, host.port, until)
        self.tell(host.address, host.port, until)

    def reached(self, host: Host) -> None:
        """A host talks to us."""
        if self._until.pop((host.address, host.port), None) is not None:
            self.tell(host.address, host.port, 0.0)

    def hear(self, address: str, port: int, until: float) -> None:
        self._until.pop((address, port), None)
        if until:
            self._until[address, port] = until
            if len(self._until) > _MOST:
                self._until.popitem(last=False)

    def failed_last(self, hosts: Sequence[Host], now: float) -> Sequence[Host]:
        """The same hosts, those that failed lately behind the others; an order among equals stays."""
        if not self._until or len(hosts) < 2:
            return hosts
        return sorted(hosts, key=lambda host: self._until.get((host.address, host.port), 0.0) > now)
