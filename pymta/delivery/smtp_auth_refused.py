"""Logins that a server refused: the same password is not tried there again at once (smtp_sasl_auth_cache_name)."""

from __future__ import annotations

import hashlib

from pymta.delivery.hosts import Failure
from pymta.model.frozen import frozen
from pymta.ports import Clock, Log
from pymta.runtime.verify_cache import Finding, VerifyCache

_ROUNDS = 1000


@frozen
class RefusedLogins:
    """What servers said to accounts, in a file that our processes share. `lifetime` in seconds.

    An account with another password is another one. A file that cannot be used is a warning, and nothing is known.
    """

    cache: VerifyCache
    lifetime: float
    clock: Clock
    log: Log

    def find(self, host: str, username: str, secret: str) -> Failure | None:
        """What the server said last time, where that still counts."""
        try:
            found = self.cache.get(_key(host, username, secret))
        except OSError as error:
            self.log.warning(f"refused logins cannot be read: {error}")
            return None
        if found is None or found.updated + self.lifetime < self.clock.now():
            return None
        return Failure(found.status, found.text)

    def keep(self, host: str, username: str, secret: str, said: Failure) -> None:
        try:
            self.cache.put(_key(host, username, secret), Finding(said.status, 0.0, self.clock.now(), said.reason))
        except OSError as error:
            self.log.warning(f"refused logins cannot be kept: {error}")


def _key(host: str, username: str, secret: str) -> str:
    """The password is in it as a hash alone."""
    place = f"{host};{username}"
    digest = hashlib.pbkdf2_hmac("sha256", secret.encode(), place.encode(), _ROUNDS)
    return f"{place};{digest.hex()}"
