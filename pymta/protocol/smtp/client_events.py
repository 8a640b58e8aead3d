"""What a client session tells its owner."""

from __future__ import annotations

from enum import Enum

from pymta.model.frozen import frozen
from pymta.protocol.smtp.client_replies import ServerReply


class Phase(Enum):
    """What the session waits for. `doing` is Postfix's phrase for log lines, `command` for "in reply to"."""

    GREETING = ("receiving the initial server greeting", "initial server greeting")
    EHLO = ("performing the EHLO handshake", "EHLO command")
    HELO = ("performing the HELO handshake", "HELO command")
    LHLO = ("performing the LHLO handshake", "LHLO command")
    STARTTLS = ("receiving the STARTTLS response", "STARTTLS command")
    XFORWARD = ("sending XFORWARD name/address", "XFORWARD name/address command")
    XFORWARD_PROTO = ("sending XFORWARD protocol/helo_name", "XFORWARD helo/protocol command")
    AUTH = ("performing SASL authentication", "AUTH command")
    MAIL = ("sending MAIL FROM", "MAIL FROM command")
    RCPT = ("sending RCPT TO", "RCPT TO command")
    DATA = ("sending DATA command", "DATA command")
    BODY = ("sending message body", "message body")
    CHUNK = ("sending message body", "BDAT command")
    END_OF_DATA = ("sending end of data -- message may be sent more than once", "end of DATA command")
    RSET = ("sending final RSET", "RSET command")
    QUIT = ("sending QUIT", "QUIT command")
    IDLE = ("idle", "")

    def __init__(self, doing: str, command: str) -> None:
        self.doing = doing
        self.command = command

    # Enum's own hash runs Python code; phases are keys on the path of every reply.
    __hash__ = object.__hash__


class ClientSignal(Enum):
    """`next_event` without an event: more bytes are needed, or an answer of the owner is."""

    NEED_DATA = "need data"
    PAUSED = "paused"


NEED_DATA = ClientSignal.NEED_DATA
PAUSED = ClientSignal.PAUSED


@frozen
class Ready:
    """The handshake is done: `begin` may be called. `greeting` is the 220 reply."""

    greeting: ServerReply


@frozen
class Refused:
    """The server does not want to talk to us: `reply` came in `phase` of the handshake."""

    phase: Phase
    reply: ServerReply


@frozen
class LoggedIn:
    """AUTH succeeded."""


@frozen
class LoginFailed:
    """AUTH did not: `reply` is the server's, None where `reason` is ours. Nothing may be sent in this session."""

    reply: ServerReply | None
    reason: str = ""


@frozen
class BeginTls:
    """The server is ready for TLS: shake hands, then call `tls_started`."""


@frozen
class SendContent:
    """The server waits for the content: answer with `send_content` and `end_content`."""


@frozen
class RecipientReply:
    """The reply that decided about one recipient, and to what it was one.

    END_OF_DATA with 2xx: delivered. RCPT with 2xx, or DATA with 354: a probe that could be.
    """

    phase: Phase
    reply: ServerReply

    @property
    def is_delivered(self) -> bool:
        if self.phase is Phase.DATA:
            return self.reply.code == 354
        return self.phase in (Phase.END_OF_DATA, Phase.RCPT) and self.reply.is_positive


@frozen
class Finished:
    """A transaction is over; one reply per recipient, in the order of `begin`.

    `broke_line` tells that a line of the content was too long and was broken.
    """

    replies: tuple[RecipientReply, ...]
    broke_line: bool = False


@frozen
class Lost:
    """The connection ended in `phase`; recipients that were not decided by then have None."""

    phase: Phase
    replies: tuple[RecipientReply | None, ...] = ()


@frozen
class Closed:
    """The server answered QUIT, or ended an idle session."""


Event = Ready | Refused | BeginTls | LoggedIn | LoginFailed | SendContent | Finished | Lost | Closed
