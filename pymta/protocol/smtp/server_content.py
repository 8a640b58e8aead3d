"""A transaction on the server's side and the content on its way in (RFC 5321 4.1.1.4, RFC 3030)."""

from __future__ import annotations

from itertools import count

from pymta.model.access import Effect, EffectKind
from pymta.model.address import NULL_SENDER, Address
from pymta.model.envelope import Envelope, Recipient
from pymta.model.reply import Reply
from pymta.protocol.content import Opening
from pymta.protocol.smtp.framing import ChunkDecoder, DataDecoder
from pymta.protocol.smtp.grammar import MailParameters

_NO_PARAMETERS = MailParameters()
_NUMBERS = count(1)


class Transaction:
    """What MAIL, RCPT and the decisions about them left; `sender` is None between transactions.

    `number` is its own within this process. `said` is the last recipient as the client wrote it, before it was
    completed.
    """

    __slots__ = (
        "chunks_failed",
        "effects",
        "has_chunks",
        "number",
        "overshoot",
        "parameters",
        "queue_id",
        "recipients",
        "said",
        "sender",
    )

    def __init__(self) -> None:
        self.number = next(_NUMBERS)
        self.sender: Address | None = None
        self.parameters = _NO_PARAMETERS
        self.recipients: list[Recipient] = []
        self.said: Address | None = None
        self.overshoot = 0
        self.queue_id = ""
        self.effects: list[Effect] = []
        self.has_chunks = False
        self.chunks_failed = False

    def begin(self, sender: Address, parameters: MailParameters) -> None:
        self.sender = sender
        self.parameters = parameters

    def envelope(self) -> Envelope:
        given = self.parameters
        return Envelope(
            self.sender or NULL_SENDER,
            tuple(self.recipients),
            given.body,
            given.smtputf8,
            given.envid,
            given.ret,
            given.size,
        )

    def prepended(self) -> tuple[str, ...]:
        """Header lines that PREPEND asked for, first asked first."""
        if not self.effects:
            return ()
        return tuple(effect.value for effect in self.effects if effect.kind is EffectKind.PREPEND)

    def effects_at_commit(self) -> tuple[Effect, ...]:
        """All but PREPEND, which is content by then."""
        if not self.effects:
            return ()
        return tuple(effect for effect in self.effects if effect.kind is not EffectKind.PREPEND)


class Chunk:
    """One BDAT: `remaining` bytes are still to come. With a `failure` they are swallowed, then that is said."""

    __slots__ = ("failure", "is_last", "remaining", "size")

    def __init__(self, size: int, is_last: bool) -> None:
        self.size = size
        self.is_last = is_last
        self.remaining = size
        self.failure: Reply | None = None


class IncomingContent:
    """One message's content while it comes: decoded, counted, and dropped once it is over the limit.

    `limit` is in bytes, 0 for none. `failure` is what the client hears at the end.
    """

    __slots__ = ("_data", "_opening", "chunks", "failure", "limit", "size")

    def __init__(self, limit: int, standard_end: bool = True) -> None:
        self._data = DataDecoder(standard_end)
        self._opening = Opening(b"X-Mailbox-Line: ")
        self.chunks = ChunkDecoder()
        self.limit = limit
        self.size = 0
        self.failure: Reply | None = None

    @property
    def is_tidy(self) -> bool:
        """Whether the latest piece of DATA has no CR outside of its line ends."""
        return self._data.is_tidy

    @property
    def got_bare_newline(self) -> bool:
        return self._data.got_bare_newline or self.chunks.got_bare_newline

    def feed_data(self, data: bytes) -> tuple[bytes, bytes | None]:
        """Content to keep, and what follows the end of data (None while it has not come)."""
        content, rest = self._data.feed(data)
        return self._counted(content, rest is not None), rest

    def feed_chunk(self, data: bytes, ends_message: bool) -> bytes:
        content = self.chunks.feed(data)
        return self._counted(content + self.chunks.finish() if ends_message else content, ends_message)

    def _counted(self, content: bytes, is_last: bool) -> bytes:
        self.size += len(content)
        if self.failure:
            return b""
        if self.limit and self.size > self.limit:
            self.failure = Reply.of(552, "Error: message file too big", "5.3.4")
            return b""
        if self._opening.is_over:
            return content
        return self._opening.take(content) + (self._opening.finish() if is_last else b"")
