"""Answers kept for their time to live, least recently used ones dropped first."""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import replace

from pymta.model.dns import Answer, Lookup

Key = tuple[str, str]

MINIMUM_TTL = 5.0
MAXIMUM_TTL = 86_400.0
# RFC 2308 5: negative answers longer than three hours have caused trouble.
MAXIMUM_NEGATIVE_TTL = 10_800.0
_ENTRY_COST = 500


class AnswerCache:
    """Maps (name, type) to an answer; about `limit` bytes at most. Time is the caller's, monotonic seconds.

    Answers that say TRY_AGAIN are never kept.
    """

    def __init__(self, limit: int = 16 * 1024 * 1024) -> None:
        self._limit = limit
        self._size = 0
        self._entries: OrderedDict[Key, tuple[Answer, float]] = OrderedDict()

    def __len__(self) -> int:
        return len(self._entries)

    def get(self, key: Key, now: float) -> Answer | None:
        entry = self._entries.get(key)
        if entry is None:
            return None
        answer, expiry = entry
        if expiry <= now:
            self._drop(key)
            return None
        self._entries.move_to_end(key)
        return answer

    def put(self, key: Key, answer: Answer, now: float) -> Answer:
        """Keep `answer`; returns it with its time to live clamped."""
        if answer.status is Lookup.TRY_AGAIN:
            return answer
        ceiling = MAXIMUM_TTL if answer.status is Lookup.FOUND else MAXIMUM_NEGATIVE_TTL
        ttl = min(max(answer.ttl, MINIMUM_TTL), ceiling)
        answer = replace(answer, ttl=ttl)
        self._drop(key)
        self._entries[key] = (answer, now + ttl)
        self._size += _cost(answer)
        while self._size > self._limit:
            self._drop(next(iter(self._entries)))
        return answer

    def clear(self) -> None:
        self._entries.clear()
        self._size = 0

    def _drop(self, key: Key) -> None:
        entry = self._entries.pop(key, None)
        if entry is not None:
            self._size -= _cost(entry[0])


def _cost(answer: Answer) -> int:
    return _ENTRY_COST + sum(map(len, answer.values)) + sum(len(mx.host) + 80 for mx in answer.mx)
