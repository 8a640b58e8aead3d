"""Logins that were good a moment ago: who logs in for each message must not cost a slow hash each time."""

from __future__ import annotations

import hmac
import os
from collections.abc import Callable

_REMEMBERED = 10_000


class LoginCache:
    """Remembers proofs for `lifetime` seconds; 0 remembers nothing. Failures are never kept. Bounded memory.

    A proof is known by a keyed hash of all that it depends on, so that a changed password is another one. The key
    is made when the program starts and leaves it with it.
    """

    def __init__(self, lifetime: float, monotonic: Callable[[], float], limit: int = _REMEMBERED) -> None:
        self._lifetime = lifetime
        self._monotonic = monotonic
        self._limit = limit
        self._key = os.urandom(32)
        self._good_until: dict[bytes, float] = {}

    def knows(self, *proof: str) -> bool:
        """Whether this was good, and not too long ago."""
        return bool(self._good_until) and self._good_until.get(self._digest(proof), 0.0) > self._monotonic()

    def keep(self, *proof: str) -> None:
        """It is good now."""
        if self._lifetime <= 0:
            return
        digest = self._digest(proof)
        self._good_until.pop(digest, None)
        self._good_until[digest] = self._monotonic() + self._lifetime
        if len(self._good_until) > self._limit:
            # The oldest comes first.
            del self._good_until[next(iter(self._good_until))]

    def _digest(self, proof: tuple[str, ...]) -> bytes:
        text = b"".join(b"%d:%b" % (len(part), part) for part in (word.encode() for word in proof))
        return hmac.digest(self._key, text, "sha256")


def no_cache() -> LoginCache:
    """For a database whose answers are as cheap as ours."""
    return LoginCache(0.0, float)
