"""The mechanisms by name: what each is open to, who runs it on either side, what settings leave of them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from types import MappingProxyType

from pymta.model.sasl import Mechanism, MechanismFlag, SecretKind
from pymta.protocol.sasl.cram import cram_md5_server
from pymta.protocol.sasl.exchange import ServerContext, ServerExchange
from pymta.protocol.sasl.oauth import oauthbearer_server, xoauth2_server
from pymta.protocol.sasl.plain import login_server, plain_server
from pymta.protocol.sasl.scram import scram_server

Server = Callable[[ServerContext, bytes | None], ServerExchange]

_F = MechanismFlag
FLAGS = MappingProxyType(
    {
        "ANONYMOUS": _F.ANONYMOUS,
        "CRAM-MD5": _F.DICTIONARY | _F.ACTIVE,
        "DIGEST-MD5": _F.DICTIONARY | _F.ACTIVE | _F.MUTUAL_AUTH,
        "EXTERNAL": _F.NONE,
        "GSSAPI": _F.FORWARD_SECRECY | _F.MUTUAL_AUTH,
        "LOGIN": _F.PLAINTEXT | _F.DICTIONARY | _F.ACTIVE,
        "NTLM": _F.DICTIONARY | _F.ACTIVE,
        "OAUTHBEARER": _F.ACTIVE,
        "PLAIN": _F.PLAINTEXT | _F.DICTIONARY | _F.ACTIVE,
        "SCRAM-SHA-1": _F.MUTUAL_AUTH,
        "SCRAM-SHA-256": _F.MUTUAL_AUTH,
        "SCRAM-SHA-256-PLUS": _F.MUTUAL_AUTH,
        "XOAUTH2": _F.ACTIVE,
    }
)
"""As the Cyrus library classes them; a token in XOAUTH2 is no password, but can be stolen on the way."""

SERVERS: MappingProxyType[str, Server] = MappingProxyType(
    {
        "SCRAM-SHA-256-PLUS": scram_server,
        "SCRAM-SHA-256": scram_server,
        "CRAM-MD5": cram_md5_server,
        "OAUTHBEARER": oauthbearer_server,
        "XOAUTH2": xoauth2_server,
        "PLAIN": plain_server,
        "LOGIN": login_server,
    }
)

_FORBIDDEN = {
    "noplaintext": _F.PLAINTEXT,
    "noactive": _F.ACTIVE,
    "nodictionary": _F.DICTIONARY,
    "noanonymous": _F.ANONYMOUS,
}
_REQUIRED = {"forward_secrecy": _F.FORWARD_SECRECY, "mutual_auth": _F.MUTUAL_AUTH}
SECURITY_OPTIONS = (*_FORBIDDEN, *_REQUIRED)


def check_options(options: Iterable[str]) -> None:
    """Raises ValueError for a word that no `*_sasl_security_options` knows."""
    for option in options:
        if option.lower() not in SECURITY_OPTIONS:
            raise ValueError(f'unknown SASL security option "{option}"; known are {", ".join(SECURITY_OPTIONS)}')


def permitted(mechanisms: Iterable[Mechanism], options: Iterable[str]) -> list[Mechanism]:
    """What `smtpd_sasl_security_options` leaves of `mechanisms`."""
    words = {option.lower() for option in options}
    forbidden = required = _F.NONE
    for word in words:
        forbidden |= _FORBIDDEN.get(word, _F.NONE)
        required |= _REQUIRED.get(word, _F.NONE)
    return [one for one in mechanisms if not one.flags & forbidden and one.flags & required == required]


def without_bindings(mechanisms: Iterable[Mechanism]) -> list[Mechanism]:
    """What can be run in a session that has no channel to bind to."""
    return [one for one in mechanisms if not one.name.endswith("-PLUS")]


def known(name: str) -> Mechanism:
    """The mechanism of this name; one that we never heard of counts as open to everything but plaintext."""
    folded = name.upper()
    return Mechanism(folded, FLAGS.get(folded, _F.DICTIONARY | _F.ACTIVE))


def offered(kinds: SecretKind, *, passwords: bool, tokens: bool, bindings: bool = False) -> Sequence[Mechanism]:
    """What a server can run whose accounts all have `kinds`, that can check passwords, that can check tokens.

    `bindings` tells that sessions with TLS have a channel that can be bound to.
    """
    names = []
    if kinds & SecretKind.SCRAM:
        names += ["SCRAM-SHA-256-PLUS", "SCRAM-SHA-256"] if bindings else ["SCRAM-SHA-256"]
    if kinds & SecretKind.PASSWORD:
        names.append("CRAM-MD5")
    if tokens:
        names += ["OAUTHBEARER", "XOAUTH2"]
    if passwords:
        names += ["PLAIN", "LOGIN"]
    return [known(name) for name in names]
