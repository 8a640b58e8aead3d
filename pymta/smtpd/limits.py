"""How much one client, or one network, may ask of us (anvil(8), TUNING_README)."""

from __future__ import annotations

from collections import Counter
from ipaddress import IPv4Address, ip_address, ip_network
from typing import Protocol


class Counts:
    """Connections by network. `now` is monotonic; a window of `time_unit` seconds begins with its first event."""

    def __init__(self) -> None:
        self._open: Counter[str] = Counter()
        self._recent: dict[str, tuple[float, int]] = {}
        self._next_sweep = 0.0

    def opened(self, network: str, now: float, time_unit: float) -> tuple[int, int]:
        """Count a connection; gives how many are open and how many began in this window, it included.

        Without a time unit, 0, there are no windows.
        """
        self._open[network] += 1
        if not time_unit:
            return self._open[network], 1
        self._sweep(now, time_unit)
        start, count = self._recent.get(network, (now, 0))
        if now - start >= time_unit:
            start, count = now, 0
        self._recent[network] = (start, count + 1)
        return self._open[network], count + 1

    def held(self, network: str, count: int) -> None:
        """Count connections that are open already and begin nothing."""
        self._open[network] += count

    def closed(self, network: str) -> None:
        self._open[network] -= 1
        if self._open[network] <= 0:
            del self._open[network]

    def _sweep(self, now: float, time_unit: float) -> None:
        """Forget windows that are over, now and then all of them: memory is that of the active clients."""
        if now < self._next_sweep:
            return
        self._next_sweep = now + time_unit / 4
        self._recent = {key: seen for key, seen in self._recent.items() if now - seen[0] < time_unit}


class SharedCounts(Protocol):
    """The same for several processes together, by service; `opened` raises where the numbers cannot be known."""

    async def opened(self, service: str, network: str, time_unit: float) -> tuple[int, int]: ...
    def closed(self, service: str, network: str) -> None: ...


class ConnectionLimits:
    """Open connections and connections per time unit, by network prefix. A limit of 0 is none."""

    def __init__(
        self, count_limit: int, rate_limit: int, time_unit: float, ipv4_prefix: int = 32, ipv6_prefix: int = 84
    ) -> None:
        self._count_limit = count_limit
        self._rate_limit = rate_limit
        self._time_unit = time_unit
        self._prefixes = (ipv4_prefix, ipv6_prefix)
        self._counts = Counts()

    def network(self, address: str) -> str:
        """What is counted together with `address`."""
        parsed = ip_address(address)
        prefix = self._prefixes[0] if isinstance(parsed, IPv4Address) else self._prefixes[1]
        return address if prefix == parsed.max_prefixlen else str(ip_network((parsed, prefix), strict=False))

    @property
    def window(self) -> float:
        """The time unit, 0 where no rate is limited."""
        return self._time_unit if self._rate_limit else 0.0

    def opened(self, address: str, now: float) -> tuple[int, int]:
        """Count a connection; gives how many are open and how many began in this window, it included."""
        return self._counts.opened(self.network(address), now, self.window)

    def closed(self, address: str) -> None:
        self._counts.closed(self.network(address))

    def exceeds_count(self, count: int) -> bool:
        return 0 < self._count_limit < count

    def exceeds_rate(self, count: int) -> bool:
        return 0 < self._rate_limit < count
