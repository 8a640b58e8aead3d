"""How a destination wants to be talked to, decided before the first connection to it; who may share a session."""

from __future__ import annotations

from dataclasses import dataclass

from pymta.delivery.hosts import Destination, Host


@dataclass(frozen=True, slots=True)
class SecurityPolicy:
    """Part of a kept session's identity: mail never goes over a session made under another policy.

    `tls_level` is a word of smtp_tls_security_level.
    """

    tls_level: str = "none"


CLEARTEXT = SecurityPolicy()


@dataclass(frozen=True, slots=True, eq=False)
class PoolKey:
    """What two messages must have in common to share a session. Compared by identity: one object for each.

    `login` is the account's name where accounts depend on the sender.
    """

    destination: Destination | Host
    security: SecurityPolicy
    login: str = ""
