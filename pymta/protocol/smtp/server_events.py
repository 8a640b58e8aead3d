"""What a server session tells its owner; each event that asks something names the answer that it waits for."""

from __future__ import annotations

from dataclasses import field
from enum import Enum

from pymta.model.access import AccessContext, Effect
from pymta.model.address import Address
from pymta.model.envelope import Envelope
from pymta.model.frozen import frozen
from pymta.model.queue import QueueId


class ServerSignal(Enum):
    """`next_event` without an event: more bytes are needed, or an answer of the owner is."""

    NEED_DATA = "need data"
    PAUSED = "paused"


NEED_DATA = ServerSignal.NEED_DATA
PAUSED = ServerSignal.PAUSED


class CommandKind(Enum):
    """What `smtpd_noop_commands` and `smtpd_forbidden_commands` make of a verb."""

    OTHER = "other"
    NOOP = "noop"
    FORBIDDEN = "forbidden"


@frozen
class Decide:
    """May the session go on? Answer: `decide(verdict)`."""

    context: AccessContext


@frozen
class FilterCommand:
    """A command that may be replaced (`smtpd_command_filter`). Answer: `filtered(better)`, None for as it is."""

    text: str


@frozen
class Classify:
    """A verb that some list may name. Answer: `classified(kind)`."""

    verb: str


@frozen
class OpenDraft:
    """Content follows. Answer: `draft_opened()`, or with the refusal.

    `prepended` are header lines for its top; `only_recipient` is as the client wrote it, None where there are more.
    """

    envelope: Envelope
    queue_id: QueueId
    prepended: tuple[str, ...] = ()
    only_recipient: Address | None = None


@frozen
class Content:
    """A piece of the message: lines end in CRLF, no dot-stuffing, no bare LF; where it `is_tidy`, no bare CR either."""

    data: bytes
    is_tidy: bool = False


@frozen
class Commit:
    """The message is whole. Answer: `message_result(reply)`."""

    effects: tuple[Effect, ...]


@frozen
class Abort:
    """Forget the open draft."""


@frozen
class CountCommand:
    """The client wants to do something that is limited per time unit. Answer: `counted()`, or with the refusal."""

    verb: str


@frozen
class PrepareTls:
    """The client wants to begin TLS. Answer: `tls_prepared()`, or with the refusal."""


@frozen
class StartTls:
    """Send what there is to send, then shake hands; what the client sent before that is void (RFC 3207 4.2).

    Answer: `tls_started(tls)`, None where the handshake failed: that is the end of the session.
    """


@frozen
class Delay:
    """Wait before the reply goes out (`smtpd_error_sleep_time`). Answer: `resume()`."""

    seconds: float


@frozen
class Authenticate:
    """A client's next word in AUTH. Answer: `authenticated(step, exchange)`.

    `exchange` is None at first, then what the answer before gave; `response` is None without an initial response.
    """

    mechanism: str
    response: bytes | None = field(repr=False)
    exchange: object = None


@frozen
class CancelAuthentication:
    """Nobody goes on with this exchange."""

    exchange: object


@frozen
class FlushSite:
    """The client wants the mail for a domain. Answer: `resume(started)`, None where that failed."""

    site: str


@frozen
class Note:
    """A line for the log; `warning` or info."""

    line: str
    is_warning: bool = False


@frozen
class Errors:
    """A session with errors of these `kinds` is about to end. Answer: `resume()`."""

    kinds: frozenset[str]
    about: str
    text: str


@frozen
class Close:
    """Send what there is to send, then end the connection."""


Event = (
    Decide
    | Errors
    | Classify
    | FilterCommand
    | OpenDraft
    | Content
    | Commit
    | Abort
    | Authenticate
    | CancelAuthentication
    | CountCommand
    | PrepareTls
    | StartTls
    | Delay
    | FlushSite
    | Note
    | Close
)
