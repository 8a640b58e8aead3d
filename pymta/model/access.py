"""What restrictions see and what they answer (SMTPD_ACCESS_README, access(5))."""

from __future__ import annotations

from dataclasses import field
from enum import Enum

from pymta.model.address import Address
from pymta.model.authentication import AuthenticationResults
from pymta.model.envelope import Client, Recipient
from pymta.model.frozen import frozen
from pymta.model.reply import Reply
from pymta.model.tls import TlsSession


class Stage(Enum):
    """The protocol state at which a decision is asked; the value is the word that reject log lines use."""

    CONNECT = "CONNECT"
    HELO = "HELO"
    MAIL = "MAIL"
    RCPT = "RCPT"
    VRFY = "VRFY"
    ETRN = "ETRN"
    DATA = "DATA"
    END_OF_DATA = "END-OF-MESSAGE"

    # Members are one of a kind: no need for Enum's own, which hashes the name and is written in Python.
    __hash__ = object.__hash__


@frozen
class AccessContext:
    """Everything known about a session and its transaction when a decision is asked.

    `recipient` is the one under decision (RCPT, VRFY); `recipients` are those accepted before. `size` is the
    client's SIZE= until end of data, then the content's. `unauthorized_pipelining` tells that the client sent
    commands ahead of a reply where the protocol forbids it. `command` is the verb as received (EHLO or HELO).
    `deferrals` are the `Verdict.deferral`s, None left out, of this session's CONNECT, its last HELO and last MAIL.
    `tls` is None without TLS.
    `authentication` is what was found out about the message at its end, None where nobody asked.
    `transaction` numbers the transaction, or the session before the first, among those of this process.
    """

    stage: Stage
    client: Client
    command: str = ""
    helo_name: str | None = None
    sender: Address | None = None
    recipient: Address | None = None
    recipients: tuple[Recipient, ...] = ()
    queue_id: str | None = None
    size: int = 0
    smtputf8: bool = False
    unauthorized_pipelining: bool = False
    etrn_domain: str = ""
    deferrals: tuple[Reply, ...] = ()
    tls: TlsSession | None = None
    authentication: AuthenticationResults | None = None
    transaction: int = 0


class EffectKind(Enum):
    """What an access(5) action does to the message without refusing it."""

    DISCARD = "discard"
    HOLD = "hold"
    FILTER = "filter"
    REDIRECT = "redirect"
    BCC = "bcc"
    PREPEND = "prepend"


@frozen
class Effect:
    kind: EffectKind
    value: str = ""


@frozen
class Verdict:
    """The answer to one decision.

    `reply` is None where the client may go on. `disconnect` closes the session after the reply (421, 521,
    HANGUP). `effects` apply to the message. `log` are complete lines without queue id, in Postfix's form.
    `deferral` is what RCPT has to answer where it would permit: a defer_if_permit of CONNECT, HELO or MAIL, in
    a service that does not delay rejects.
    """

    reply: Reply | None = None
    effects: tuple[Effect, ...] = ()
    disconnect: bool = False
    log: tuple[str, ...] = field(default=())
    deferral: Reply | None = None

    @property
    def permits(self) -> bool:
        return self.reply is None


PERMIT = Verdict()
