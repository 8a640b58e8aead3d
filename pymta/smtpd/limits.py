"""How much one client, or one network, may ask of us (anvil(8), TUNING_README)."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from ipaddress import IPv4Address, ip_address, ip_network
from typing import Protocol

CONNECTION = "connection"
TLS_SESSION = "TLS session"


class Window:
    """What a network did since `start`: events by kind, all in one window as anvil(8) has it."""

    __slots__ = ("events", "start")

    def __init__(self, start: float, events: Mapping[str, int] | None = None) -> None:
        self.start = start
        self.events = Counter(events)


class Counts:
    """Connections and events by network. `now` is monotonic; a window of `time_unit` seconds begins with an event.

    Memory is that of the networks that are active.
    """

    def __init__(self) -> None:
        self._open: Counter[str] = Counter()
        self._recent: dict[str, Window] = {}
        self._next_sweep = 0.0

    def opened(self, network: str, now: float, time_unit: float) -> tuple[int, int]:
        """Count a connection; gives how many are open and how many began in this window, it included.

        Without a time unit, 0, there are no windows.
        """
        self._open[network] += 1
        rate = self.add(network, CONNECTION, now, time_unit)[0] if time_unit else 1
        return self._open[network], rate

    def open_count(self, network: str) -> int:
        return self._open[network]

    def add(self, network: str, event: str, now: float, time_unit: float, amount: int = 1) -> tuple[int, float]:
        """Count an event; gives how many of its kind there were in this window, it included, and the window's start.

        `amount` 0 only looks.
        """
        self._sweep(now, time_unit)
        window = self._recent.get(network)
        if window is None or now - window.start >= time_unit:
            window = self._recent[network] = Window(now)
        window.events[event] += amount
        return window.events[event], window.start

    def note(self, network: str, event: str, start: float, now: float, time_unit: float) -> None:
        """Count an event in the window that began at `start`, as whoever counts for all has said."""
        self._sweep(now, time_unit)
        self.merge(network, start, {event: 1}, time_unit)

    def merge(self, network: str, start: float, events: Mapping[str, int], time_unit: float) -> None:
        """Add what somebody else counted. Windows that overlap are one; of others the later one is in force."""
        window = self._recent.get(network)
        if window is None or start - window.start >= time_unit:
            self._recent[network] = Window(start, events)
        elif window.start - start < time_unit:
            window.start = min(start, window.start)
            window.events.update(events)

    def windows(self, oldest: float) -> Iterator[tuple[str, Window]]:
        """What was counted in windows that began after `oldest`, by network."""
        return ((network, window) for network, window in self._recent.items() if window.start > oldest)

    def held(self, network: str, count: int) -> None:
        """Count connections that are open already and begin nothing."""
        self._open[network] += count

    def closed(self, network: str) -> None:
        self._open[network] -= 1
        if self._open[network] <= 0:
            del self._open[network]

    def _sweep(self, now: float, time_unit: float) -> None:
        """Forget windows that are over, now and then all of them."""
        if now < self._next_sweep:
            return
        self._recent = dict(self.windows(now - time_unit))
        self._next_sweep = now + time_unit / 4


class SharedCounts(Protocol):
    """The same for several processes together, by service; raises where the numbers cannot be known."""

    async def opened(self, service: str, network: str, time_unit: float) -> tuple[int, int]: ...
    async def counted(self, service: str, network: str, event: str, time_unit: float, amount: int) -> int: ...
    def closed(self, service: str, network: str) -> None: ...


class ConnectionLimits:
    """Open connections, and connections and other events per time unit, by network prefix. A limit of 0 is none."""

    def __init__(
        self, count_limit: int, rate_limit: int, time_unit: float, ipv4_prefix: int = 32, ipv6_prefix: int = 84
    ) -> None:
        self._count_limit = count_limit
        self._rate_limit = rate_limit
        self.time_unit = time_unit
        self._prefixes = (ipv4_prefix, ipv6_prefix)
        self._counts = Counts()

    def network(self, address: str) -> str:
        """What is counted together with `address`; what is no address (`unknown`) stands for itself."""
        try:
            parsed = ip_address(address)
        except ValueError:
            return address
        prefix = self._prefixes[0] if isinstance(parsed, IPv4Address) else self._prefixes[1]
        return address if prefix == parsed.max_prefixlen else str(ip_network((parsed, prefix), strict=False))

    @property
    def window(self) -> float:
        """The time unit, 0 where the rate of connections is not limited."""
        return self.time_unit if self._rate_limit else 0.0

    def opened(self, address: str, now: float) -> tuple[int, int]:
        """Count a connection; gives how many are open and how many began in this window, it included."""
        return self._counts.opened(self.network(address), now, self.window)

    def counted(self, address: str, event: str, now: float, amount: int = 1) -> int:
        """Count an event; gives how many of its kind there were in this window, it included. 0 only looks."""
        return self._counts.add(self.network(address), event, now, self.time_unit, amount)[0]

    def closed(self, address: str) -> None:
        self._counts.closed(self.network(address))

    def exceeds_count(self, count: int) -> bool:
        return 0 < self._count_limit < count

    def exceeds_rate(self, count: int) -> bool:
        return 0 < self._rate_limit < count
