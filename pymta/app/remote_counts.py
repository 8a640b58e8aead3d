"""Clients' connections counted over all smtpd processes, so that limits are exact (anvil(8))."""

from __future__ import annotations

from collections import Counter, defaultdict
from typing import Any

from pymta.app.remote_kinds import Kind
from pymta.app.remote_upstream import Upstream
from pymta.ports import Clock
from pymta.runtime.ipc import Link
from pymta.smtpd.limits import Counts


class ClientCounts:
    """The one place that counts. What a role has open is forgotten with its link: its connections ended with it."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._counts: dict[str, Counts] = defaultdict(Counts)
        self._open: dict[Link, Counter[tuple[str, str]]] = defaultdict(Counter)

    def opened(self, link: Link, service: str, network: str, time_unit: float) -> tuple[int, int]:
        self._open[link][service, network] += 1
        return self._counts[service].opened(network, self._clock.monotonic(), time_unit)

    def held(self, link: Link, service: str, network: str, count: int) -> None:
        """What a role has open since before we began."""
        self._open[link][service, network] += count
        self._counts[service].held(network, count)

    def closed(self, link: Link, service: str, network: str) -> None:
        self._open[link][service, network] -= 1
        self._counts[service].closed(network)

    def forget(self, link: Link) -> None:
        for (service, network), count in self._open.pop(link, Counter()).items():
            for _ in range(count):
                self._counts[service].closed(network)


class RemoteCounts:
    """A role's side. Raises LinkLost where the number cannot be known now."""

    def __init__(self, upstream: Upstream) -> None:
        self._upstream = upstream
        self._open: Counter[tuple[str, str]] = Counter()

    async def opened(self, service: str, network: str, time_unit: float) -> tuple[int, int]:
        counts: Any = await self._upstream.ask(Kind.OPENED, (service, network, time_unit))
        self._open[service, network] += 1
        return int(counts[0]), int(counts[1])

    def closed(self, service: str, network: str) -> None:
        self._open[service, network] -= 1
        if not self._open[service, network]:
            del self._open[service, network]
        self._upstream.tell(Kind.CLOSED, (service, network))

    def announce(self) -> None:
        """Tell a queue manager that has just begun what is open here."""
        for (service, network), count in self._open.items():
            self._upstream.tell(Kind.HELD, (service, network, count))
