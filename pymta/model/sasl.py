"""What login mechanisms need to know of an account, and what is known of a mechanism (RFC 4422, RFC 5802)."""

from __future__ import annotations

from dataclasses import field
from enum import Flag, auto

from pymta.model.frozen import frozen


@frozen
class ScramKeys:
    """What a server keeps for SCRAM (RFC 5802 3); enough to check a password, not enough to log in elsewhere."""

    salt: bytes
    iterations: int
    stored_key: bytes = field(repr=False)
    server_key: bytes = field(repr=False)


@frozen
class Secret:
    """What is kept of one account's password: itself, or its SCRAM keys, or nothing that a mechanism could use."""

    password: str | None = field(default=None, repr=False)
    scram: ScramKeys | None = None


class SecretKind(Flag):
    """What every account of a database has, so that a mechanism that needs it can be offered."""

    NONE = 0
    SCRAM = auto()
    PASSWORD = auto()


class MechanismFlag(Flag):
    """What postconf(5) smtpd_sasl_security_options speaks about."""

    NONE = 0
    PLAINTEXT = auto()
    ACTIVE = auto()
    DICTIONARY = auto()
    ANONYMOUS = auto()
    FORWARD_SECRECY = auto()
    MUTUAL_AUTH = auto()


@frozen
class Mechanism:
    """A mechanism by its upper-case name, and what it is open to."""

    name: str
    flags: MechanismFlag


@frozen
class SaslChallenge:
    """The client has to say more; `data` goes to it in base64 after 334."""

    data: bytes


@frozen
class SaslSuccess:
    """The client is `username`."""

    username: str


@frozen
class SaslFailure:
    """The client did not prove who it is, or (`is_temporary`) that cannot be known now.

    `reason` may be told to the client; empty where there is none. `username` is whom it claimed to be. `delay` are
    seconds to wait before the reply.
    """

    reason: str = ""
    username: str = ""
    is_temporary: bool = False
    delay: float = 0.0


SaslStep = SaslChallenge | SaslSuccess | SaslFailure
