"""Clients' connections and events counted over all smtpd processes, so that limits are exact (anvil(8)).

The queue manager's process counts; an smtpd process remembers what it asked to be counted, and tells a new queue
manager. Windows are told apart by the time at which they began: the monotonic clock is the same in all processes.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping

from pymta.app.remote_kinds import Kind
from pymta.app.remote_upstream import Upstream
from pymta.ports import Clock
from pymta.runtime.ipc import Link
from pymta.smtpd.limits import CONNECTION, Counts


class ClientCounts:
    """The one place that counts. What a role has open is forgotten with its link: its connections ended with it.

    What clients did of late is not: who comes back to another process, or to a successor, goes on from there.
    """

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._counts: dict[str, Counts] = defaultdict(Counts)
        self._open: dict[Link, Counter[tuple[str, str]]] = defaultdict(Counter)

    def opened(self, link: Link, service: str, network: str, time_unit: float) -> tuple[int, int, float]:
        """How many are open, how many began in this window, and when it began."""
        counts = self._counts[service]
        self.held(link, service, network, 1)
        count = counts.open_count(network)
        if not time_unit:
            return count, 1, 0.0
        return count, *counts.add(network, CONNECTION, self._clock.monotonic(), time_unit)

    def counted(self, service: str, network: str, event: str, time_unit: float, amount: int) -> tuple[int, float]:
        """How many of these events there were in this window, and when it began."""
        return self._counts[service].add(network, event, self._clock.monotonic(), time_unit, amount)

    def held(self, link: Link, service: str, network: str, count: int) -> None:
        """What a role has open, perhaps since before we began."""
        self._open[link][service, network] += count
        self._counts[service].held(network, count)

    def happened(self, service: str, network: str, start: float, events: Mapping[str, int], time_unit: float) -> None:
        """What a role had counted before we began."""
        self._counts[service].merge(network, start, events, time_unit)

    def closed(self, link: Link, service: str, network: str) -> None:
        self._open[link][service, network] -= 1
        self._counts[service].closed(network)

    def forget(self, link: Link) -> None:
        for (service, network), count in self._open.pop(link, Counter()).items():
            for _ in range(count):
                self._counts[service].closed(network)


class RemoteCounts:
    """A role's side. Raises LinkLost where the number cannot be known now.

    `is_alone`: no other role has clients, so only what must outlive this one is counted over there.
    """

    def __init__(self, upstream: Upstream, clock: Clock, *, is_alone: bool) -> None:
        self._upstream = upstream
        self._clock = clock
        self._is_alone = is_alone
        self._open: Counter[tuple[str, str]] = Counter()
        self._counts: dict[str, Counts] = defaultdict(Counts)
        self._time_units: dict[str, float] = {}

    async def opened(self, service: str, network: str, time_unit: float) -> tuple[int, int]:
        if self._is_alone:
            rate = await self.counted(service, network, CONNECTION, time_unit, 1) if time_unit else 1
            self._open[service, network] += 1
            return self._open[service, network], rate
        count, rate, start = await self._upstream.ask(Kind.OPENED, (service, network, time_unit))
        self._open[service, network] += 1
        if time_unit:
            self._note(service, network, CONNECTION, start, time_unit)
        return int(count), int(rate)

    async def counted(self, service: str, network: str, event: str, time_unit: float, amount: int) -> int:
        count, start = await self._upstream.ask(Kind.COUNTED, (service, network, event, time_unit, amount))
        if amount:
            self._note(service, network, event, start, time_unit)
        return int(count)

    def _note(self, service: str, network: str, event: str, start: float, time_unit: float) -> None:
        self._time_units[service] = time_unit
        self._counts[service].note(network, event, start, self._clock.monotonic(), time_unit)

    def closed(self, service: str, network: str) -> None:
        self._open[service, network] -= 1
        if not self._open[service, network]:
            del self._open[service, network]
        if not self._is_alone:
            self._upstream.tell(Kind.CLOSED, (service, network))

    def announce(self) -> None:
        """Tell a queue manager that has just begun what is open here, and what clients did of late."""
        if not self._is_alone:
            for (service, network), count in self._open.items():
                self._upstream.tell(Kind.HELD, (service, network, count))
        now = self._clock.monotonic()
        for service, counts in self._counts.items():
            unit = self._time_units[service]
            for network, window in counts.windows(now - unit):
                self._upstream.tell(Kind.HAPPENED, (service, network, window.start, dict(window.events), unit))
