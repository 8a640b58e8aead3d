"""Which idle sessions are kept for the next message, and for how long (smtp_connection_cache_*)."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Hashable
from typing import Generic, TypeVar

from pymta.model.frozen import frozen

S = TypeVar("S", bound=Hashable)


@frozen
class PoolLimits:
    """`idle` and `age` in seconds, `uses` messages over one session (0: any number), `sessions` kept in all."""

    idle: float = 2.0
    age: float = 300.0
    uses: int = 0
    sessions: int = 1000


class SessionPool(Generic[S]):
    """Idle sessions by destination, last used first. Time is the caller's, monotonic seconds.

    A session that cannot be kept is handed back to the caller, who ends it.
    """

    def __init__(self, limits: PoolLimits, on_demand: bool = True) -> None:
        self._limits = limits
        self._on_demand = on_demand
        self._idle: dict[Hashable, dict[S, None]] = {}
        self._expiry: OrderedDict[S, tuple[Hashable, float]] = OrderedDict()
        self._last_request: OrderedDict[Hashable, float] = OrderedDict()

    def __len__(self) -> int:
        return len(self._expiry)

    def note_request(self, key: Hashable, now: float) -> bool:
        """Register a delivery for `key`; True where mail for it is dense enough to keep sessions on demand."""
        previous = self._last_request.pop(key, None)
        self._last_request[key] = now
        if len(self._last_request) > 10 * self._limits.sessions:
            self._last_request.popitem(last=False)
        return self._on_demand and previous is not None and now - previous <= self._limits.idle

    def is_dense(self, key: Hashable, now: float, since: float) -> bool:
        """Whether another delivery for `key` came after `since`, so that a session will soon be wanted."""
        last = self._last_request.get(key)
        return self._on_demand and last is not None and last > since and now - last <= self._limits.idle

    def take(self, key: Hashable, now: float) -> S | None:
        """An idle session for `key`, the one used last."""
        sessions = self._idle.get(key)
        if not sessions:
            return None
        session = next(reversed(sessions))
        if self._expiry[session][1] <= now:
            return None
        self.remove(session)
        return session

    def put(self, key: Hashable, session: S, now: float, opened: float, uses: int) -> list[S]:
        """Keep `session`; returns those to end instead: itself where it is worn out, or the oldest of too many."""
        limits = self._limits
        if now - opened >= limits.age or (limits.uses and uses >= limits.uses) or limits.sessions <= 0:
            return [session]
        self._put_last(key, session, min(now + limits.idle, opened + limits.age))
        ended = []
        while len(self._expiry) > limits.sessions:
            oldest = next(iter(self._expiry))
            self.remove(oldest)
            ended.append(oldest)
        return ended

    def remove(self, session: S) -> None:
        """Forget a session that is gone; one that is not here is no matter."""
        entry = self._expiry.pop(session, None)
        if entry is None:
            return
        sessions = self._idle[entry[0]]
        del sessions[session]
        if not sessions:
            del self._idle[entry[0]]

    def expired(self, now: float) -> list[S]:
        """Take out the sessions whose time has come, for the caller to end."""
        ended = []
        for session, (_, expiry) in list(self._expiry.items()):
            if expiry <= now:
                self.remove(session)
                ended.append(session)
        return ended

    def clear(self) -> list[S]:
        """Take out every session."""
        ended = list(self._expiry)
        self._expiry.clear()
        self._idle.clear()
        return ended

    def _put_last(self, key: Hashable, session: S, expiry: float) -> None:
        self._idle.setdefault(key, {})[session] = None
        self._expiry[session] = (key, expiry)
