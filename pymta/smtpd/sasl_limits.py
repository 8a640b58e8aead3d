"""How often one network may try to log in, and how long it waits after it failed."""

from __future__ import annotations

from ipaddress import IPv4Address, ip_address, ip_network

_REMEMBERED = 100_000
_FAILURE_WINDOW = 600.0
_MAX_DELAY = 16.0
_FREE_FAILURES = 1


def network_of(address: str, ipv4_prefix: int, ipv6_prefix: int) -> str:
    """What is counted together with `address`."""
    parsed = ip_address(address)
    prefix = ipv4_prefix if isinstance(parsed, IPv4Address) else ipv6_prefix
    return address if prefix >= parsed.max_prefixlen else str(ip_network((parsed, prefix), strict=False))


class WindowCount:
    """Events per key in windows of `window` seconds that begin with the first one. Bounded memory."""

    def __init__(self, window: float, limit: int = _REMEMBERED) -> None:
        self._window = window
        self._limit = limit
        self._seen: dict[str, tuple[float, int]] = {}

    def add(self, key: str, now: float) -> int:
        """Count an event at `now` (monotonic seconds); gives how many there were in its window."""
        start, count = self._seen.pop(key, (now, 0))
        if now - start >= self._window:
            start, count = now, 0
        self._seen[key] = (start, count + 1)
        if len(self._seen) > self._limit:
            self._forget(now)
        return count + 1

    def _forget(self, now: float) -> None:
        """Windows that are over; where that is not enough, those that were not touched for longest."""
        self._seen = {key: seen for key, seen in self._seen.items() if now - seen[0] < self._window}
        for key in list(self._seen)[: max(0, len(self._seen) - self._limit)]:
            del self._seen[key]


class FailureDelays:
    """Twice as long for every further failure of a network within ten minutes; the first one is free.

    `unit` is `smtpd_error_sleep_time` in seconds; 0 for no delays.
    """

    def __init__(self, unit: float) -> None:
        self._unit = unit
        self._failures = WindowCount(_FAILURE_WINDOW)

    def failed(self, network: str, now: float) -> float:
        """Count a failure; gives the seconds to wait before the client is told."""
        count = self._failures.add(network, now) - _FREE_FAILURES
        if count <= 0 or self._unit <= 0:
            return 0.0
        return min(self._unit * 2.0 ** min(count - 1, 10), max(_MAX_DELAY, self._unit))
