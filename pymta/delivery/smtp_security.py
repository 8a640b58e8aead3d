"""How a destination wants to be talked to, decided before the first connection to it; who may share a session."""

from __future__ import annotations

from dataclasses import replace
from enum import IntEnum

from pymta.delivery.hosts import Destination, Host
from pymta.model.frozen import frozen


class TlsLevel(IntEnum):
    """The words of smtp_tls_security_level, each stricter than those before."""

    NONE = 0
    MAY = 1
    ENCRYPT = 2
    FINGERPRINT = 3
    VERIFY = 4
    SECURE = 5

    @property
    def is_required(self) -> bool:
        return self >= TlsLevel.ENCRYPT

    @property
    def must_match(self) -> bool:
        """Whether the server's certificate has to be the right one."""
        return self >= TlsLevel.FINGERPRINT

    @property
    def must_trust(self) -> bool:
        """Whether an authority has to vouch for it."""
        return self >= TlsLevel.VERIFY


@frozen
class SecurityPolicy:
    """Part of a kept session's identity: mail never goes over a session made under another policy.

    `match` are the names (`nexthop`, `hostname`, `dot-nexthop`, host names, `.domain`s) or fingerprints that the
    certificate has to have one of. `ciphers` is a grade, `excluded` are ciphers not to use, `protocols` is text of
    smtp_tls_protocols, `anchors` are files of trust anchors to use instead of the authorities. `server_name` is
    what to ask for by SNI. With `wrapper` TLS comes before the greeting.
    """

    level: TlsLevel = TlsLevel.NONE
    ciphers: str = ""
    excluded: tuple[str, ...] = ()
    protocols: str = ""
    match: tuple[str, ...] = ()
    anchors: tuple[str, ...] = ()
    server_name: str = ""
    wrapper: bool = False

    def in_clear(self) -> SecurityPolicy:
        """The same destination without TLS, after an opportunistic attempt failed."""
        return replace(CLEARTEXT, wrapper=False)


CLEARTEXT = SecurityPolicy()


@frozen(eq=False)
class PoolKey:
    """What two messages must have in common to share a session. Compared by identity: one object for each.

    `login` is the account's name where accounts depend on the sender.
    """

    destination: Destination | Host
    security: SecurityPolicy
    login: str = ""
