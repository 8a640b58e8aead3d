"""How much one client, or one network, may ask of us (anvil(8), TUNING_README)."""

from __future__ import annotations

from collections import Counter
from ipaddress import IPv4Address, ip_address, ip_network


class ConnectionLimits:
    """Open connections and connections per time unit, by network prefix. A limit of 0 is none.

    `now` is monotonic seconds; rates are counted in windows of `time_unit` seconds that begin with the first event.
    """

    def __init__(
        self, count_limit: int, rate_limit: int, time_unit: float, ipv4_prefix: int = 32, ipv6_prefix: int = 84
    ) -> None:
        self._count_limit = count_limit
        self._rate_limit = rate_limit
        self._time_unit = time_unit
        self._prefixes = (ipv4_prefix, ipv6_prefix)
        self._open: Counter[str] = Counter()
        self._recent: dict[str, tuple[float, int]] = {}
        self._next_sweep = 0.0

    def network(self, address: str) -> str:
        """What is counted together with `address`."""
        parsed = ip_address(address)
        prefix = self._prefixes[0] if isinstance(parsed, IPv4Address) else self._prefixes[1]
        return address if prefix == parsed.max_prefixlen else str(ip_network((parsed, prefix), strict=False))

    def opened(self, address: str, now: float) -> tuple[int, int]:
        """Count a connection; gives how many are open and how many began in this window, it included."""
        network = self.network(address)
        self._open[network] += 1
        if not self._rate_limit:
            return self._open[network], 1
        self._sweep(now)
        start, count = self._recent.get(network, (now, 0))
        if now - start >= self._time_unit:
            start, count = now, 0
        self._recent[network] = (start, count + 1)
        return self._open[network], count + 1

    def closed(self, address: str) -> None:
        network = self.network(address)
        self._open[network] -= 1
        if self._open[network] <= 0:
            del self._open[network]

    def exceeds_count(self, count: int) -> bool:
        return 0 < self._count_limit < count

    def exceeds_rate(self, count: int) -> bool:
        return 0 < self._rate_limit < count

    def _sweep(self, now: float) -> None:
        """Forget windows that are over, now and then all of them: memory is that of the active clients."""
        if now < self._next_sweep:
            return
        self._next_sweep = now + self._time_unit / 4
        self._recent = {key: seen for key, seen in self._recent.items() if now - seen[0] < self._time_unit}
