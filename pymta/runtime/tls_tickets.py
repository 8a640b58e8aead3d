"""What seals the tickets by which a client resumes its TLS session (RFC 5077, RFC 8446 4.6.1)."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable
from dataclasses import field

from pymta.model.frozen import frozen

PERIOD = 3600.0
"""Seconds for which a secret seals new tickets."""
NAME_SIZE = 16
_KEY_SIZE = 32


class TicketSecrets:
    """A secret for every hour of the monotonic clock, the same in all processes forked from the one that made this.

    Each is the hash of the one before: nobody has to tell the others of a new one, and who finds today's cannot read
    the tickets of an hour that is forgotten, nor what was said in sessions that they resumed.
    """

    def __init__(self, now: float) -> None:
        self._hour = int(now // PERIOD)
        self._lifetime = 0.0
        # The latest is last.
        self._secrets: dict[bytes, bytes] = {}
        self._add(os.urandom(_KEY_SIZE))

    def last_for(self, seconds: float) -> None:
        """Tickets are good for so long; those of the hours before are forgotten."""
        self._lifetime = max(self._lifetime, seconds)

    def current(self, now: float) -> tuple[bytes, bytes]:
        """Name and value of the secret for new tickets."""
        self._advance(now)
        return next(reversed(self._secrets.items()))

    def named(self, name: bytes, now: float) -> bytes | None:
        """The secret that is not forgotten yet."""
        self._advance(now)
        return self._secrets.get(name)

    def _advance(self, now: float) -> None:
        while self._hour < int(now // PERIOD):
            self._hour += 1
            self._add(_derived(next(reversed(self._secrets.values())), b"next", _KEY_SIZE))
            # A ticket from the end of an hour is good for its whole time.
            while (len(self._secrets) - 1) * PERIOD >= self._lifetime + PERIOD:
                del self._secrets[next(iter(self._secrets))]

    def _add(self, secret: bytes) -> None:
        self._secrets[_derived(secret, b"name", NAME_SIZE)] = secret


@frozen
class TicketKey:
    """`name` goes in clear with the ticket; one that is not `fresh` seals no new ones."""

    name: bytes
    authentication: bytes = field(repr=False)
    encryption: bytes = field(repr=False)
    fresh: bool = True


@frozen(eq=False)
class TicketKeys:
    """The keys of one context: tickets are of use only where `seal`, its certificates and settings, is the same."""

    secrets: TicketSecrets
    seal: bytes
    now: Callable[[], float]

    def current(self) -> TicketKey:
        return self._key(*self.secrets.current(self.now()))

    def named(self, name: bytes) -> TicketKey | None:
        now = self.now()
        secret = self.secrets.named(name, now)
        return self._key(name, secret, fresh=name == self.secrets.current(now)[0]) if secret else None

    def _key(self, name: bytes, secret: bytes, *, fresh: bool = True) -> TicketKey:
        both = _derived(secret, self.seal, 2 * _KEY_SIZE)
        return TicketKey(name, both[:_KEY_SIZE], both[_KEY_SIZE:], fresh)


def _derived(secret: bytes, purpose: bytes, size: int) -> bytes:
    return hashlib.shake_256(secret + purpose).digest(size)
