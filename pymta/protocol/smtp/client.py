"""The client's side of SMTP and LMTP without I/O (RFC 5321, RFC 2033, RFC 2920)."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence

from pymta.errors import ProtocolUseError
from pymta.model.delivery import DeliveryRequest
from pymta.model.queue import QueuedRecipient
from pymta.protocol.sasl.client import ClientRun
from pymta.protocol.smtp.client_auth import ClientAuth
from pymta.protocol.smtp.client_capabilities import Capabilities, parse_capabilities, server_name
from pymta.protocol.smtp.client_commands import transaction_commands
from pymta.protocol.smtp.client_content import ContentEncoder
from pymta.protocol.smtp.client_events import (
    NEED_DATA,
    PAUSED,
    BeginTls,
    ClientSignal,
    Closed,
    Event,
    Finished,
    Lost,
    Phase,
    Ready,
    Refused,
    SendContent,
)
from pymta.protocol.smtp.client_options import ClientOptions
from pymta.protocol.smtp.client_replies import ReplyReader, ServerReply
from pymta.protocol.smtp.client_transaction import Transaction


class ClientSession:
    """One session as the client.

    The owner feeds `receive_data`, sends `data_to_send` and obeys `next_event`. After `Ready` it calls `begin`
    for each message; on `SendContent` it answers with `send_content` (any number of times) and `end_content`;
    `Finished` tells the replies. With PIPELINING the next message may begin as soon as the content of the last
    one is written (`can_begin`); its events follow those of the last. `quit` ends the session.

    With `wants_tls` STARTTLS is said where it is offered; `BeginTls` follows, or `Ready` with `tls_refusal` set.
    `is_reusable` is False once the server said 421, talked out of turn or said what is no reply; one that floods
    us with replies counts as gone. Where `can_quit` is False the connection must be cut without another word.
    """

    def __init__(self, options: ClientOptions, *, wants_tls: bool = False) -> None:
        self.options = options
        self.offered_tls = False
        self.tls_refusal: ServerReply | None = None
        self._wants_tls = wants_tls
        self.capabilities = Capabilities()
        self.greeting_name = ""
        self.is_reusable = True
        self.can_quit = True
        self._greeting = ServerReply(0, "4.5.0", "")
        self._reader = ReplyReader(self.options.reply_filter)
        self._output: list[bytes] = []
        self._events: deque[Event] = deque()
        self._expected: deque[tuple[Phase, int]] = deque([(Phase.GREETING, 0)])
        self._transactions: deque[Transaction] = deque()
        self._sending: Transaction | None = None
        self._auth: ClientAuth | None = None
        self._needs_reset = False
        self._is_over = False
        self._handlers: dict[Phase, Callable[[ServerReply, int], None]] = {
            Phase.GREETING: self._on_greeting,
            Phase.EHLO: self._on_ehlo,
            Phase.LHLO: self._on_ehlo,
            Phase.HELO: self._on_helo,
            Phase.AUTH: self._on_auth,
            Phase.STARTTLS: self._on_starttls,
            Phase.XFORWARD: self._on_xforward,
            Phase.XFORWARD_PROTO: self._on_xforward,
            Phase.MAIL: self._on_mail,
            Phase.RCPT: self._on_rcpt,
            Phase.DATA: self._on_data,
            Phase.CHUNK: self._on_chunk,
            Phase.END_OF_DATA: self._on_end_of_data,
            Phase.RSET: self._on_rset,
            Phase.QUIT: self._on_quit,
        }

    # What the owner asks.

    @property
    def phase(self) -> Phase:
        """What the session waits for now; BODY while the owner has content to send."""
        if self._expected:
            return self._expected[0][0]
        return Phase.BODY if self._sending else Phase.IDLE

    @property
    def can_begin(self) -> bool:
        """Whether `begin` is allowed: nothing is under way, or only the answer to the last content is missing."""
        if self._is_over or not self.is_reusable or self._sending:
            return False
        if not self._transactions:
            return not self._expected
        return self.capabilities.pipelining and all(phase is Phase.END_OF_DATA for phase, _ in self._expected)

    @property
    def is_sending(self) -> bool:
        """Whether content may be sent; no longer, where the server refused a piece of it."""
        return self._sending is not None

    @property
    def has_event(self) -> bool:
        return bool(self._events)

    def next_event(self) -> Event | ClientSignal:
        if self._events:
            return self._events.popleft()
        return NEED_DATA if self._expected else PAUSED

    @property
    def has_output(self) -> bool:
        return bool(self._output)

    def data_to_send(self) -> bytes:
        return b"".join(self.pieces_to_send())

    def pieces_to_send(self) -> list[bytes]:
        """The same, for who can write several pieces at once without copying them together."""
        output, self._output = self._output, []
        return output

    # What the owner tells.

    def receive_data(self, data: bytes) -> None:
        reader, expected = self._reader, self._expected
        reader.feed(data)
        replies = reader.replies
        while replies and expected:
            reply = replies.popleft()
            phase, number = expected.popleft()
            if reply.code in (0, 421):
                self.is_reusable = False
            self._handlers[phase](reply, number)
        if reader.is_broken:
            self.receive_eof()
        elif replies and not self._sending:
            self.is_reusable = False

    def receive_eof(self) -> None:
        """The connection is gone: every transaction under way ends in `Lost`."""
        if self._is_over:
            return
        self._is_over, self.is_reusable = True, False
        phase = self.phase
        if phase in (Phase.QUIT, Phase.IDLE):
            self._events.append(Closed())
        elif not self._transactions:
            self._events.append(Lost(phase))
        for transaction in self._transactions:
            self._events.append(Lost(phase, tuple(transaction.replies)))
            # To those behind the first the server has not said a word yet.
            phase = Phase.MAIL
        self._expected.clear()
        self._transactions.clear()
        self._sending = None

    def authenticate(self, run: ClientRun) -> None:
        """Log in, before the first message; `LoggedIn` or `LoginFailed` follows."""
        if not self.can_begin:
            raise ProtocolUseError(f"authenticate() in phase {self.phase.name}")
        self._auth = ClientAuth(run, lambda line: self._command(Phase.AUTH, line + b"\r\n"))
        self._auth.start()

    def begin(
        self,
        request: DeliveryRequest,
        recipients: Sequence[QueuedRecipient],
        smtputf8: bool = False,
        is_small: bool = False,
    ) -> None:
        """Send a message's envelope; `smtputf8` where the message needs that extension. Addresses must be sendable.

        The content of a message that `is_small` goes by BDAT with its envelope where the server lets us.
        """
        if not self.can_begin:
            raise ProtocolUseError(f"begin() in phase {self.phase.name}")
        options, offered = self.options, self.capabilities
        probe = options.probe if request.is_probe else None
        chunked = probe is None and "CHUNKING" in offered.keywords
        commands = transaction_commands(
            request,
            recipients,
            offered,
            smtputf8=smtputf8,
            reset=self._needs_reset,
            xforward=options.send_xforward,
            data=probe is not Phase.RCPT and not chunked,
        )
        self._needs_reset = False
        encoder = ContentEncoder(options.line_limit, for_data=not chunked)
        is_plain = offered.pipelining and probe is None and not chunked
        transaction = Transaction(deque(commands), [None] * len(recipients), encoder, probe, chunked, is_plain)
        self._transactions.append(transaction)
        self._send_commands(transaction)
        # Behind another message this would be an event out of turn.
        if chunked and is_small and offered.pipelining and not options.lmtp and len(self._transactions) == 1:
            self._invite_content(transaction)

    def send_content(self, data: bytes) -> None:
        """A piece of content, every line ended by CRLF; dots are doubled here."""
        transaction = self._content_of()
        encoded = transaction.encoder.encode(data)
        if not transaction.chunked:
            self._output.append(encoded)
            return
        if transaction.chunk:
            self._output += (b"BDAT %d\r\n" % len(transaction.chunk), transaction.chunk)
            self._expected.append((Phase.CHUNK, 0))
        transaction.chunk = encoded

    def end_content(self) -> None:
        """The final dot. From now on a lost connection leaves open whether the message was taken."""
        transaction = self._content_of()
        last = transaction.chunk + transaction.encoder.finish()
        if transaction.chunked:
            self._output.append(b"BDAT %d LAST\r\n" % len(last))
            transaction.chunk = b""
        self._output.append(last)
        self._sending = None
        if not transaction.chunked:
            self._drop_early_success()
        # RFC 2033 4.2: an LMTP server answers once for each recipient that it accepted.
        for number in transaction.accepted if self.options.lmtp else (0,):
            self._expected.append((Phase.END_OF_DATA, number))
        self.receive_data(b"")

    def quit(self) -> None:
        """Say QUIT; `Closed` follows. Nothing else may be under way."""
        self._expected.append((Phase.QUIT, 0))
        self._output.append(b"QUIT\r\n")

    def _drop_early_success(self) -> None:
        """A server may refuse before it saw the end, but cannot have taken the message yet."""
        replies = self._reader.replies
        while replies:
            self.is_reusable = False
            if not replies[0].is_positive:
                return
            replies.popleft()

    def _content_of(self) -> Transaction:
        if self._sending is None:
            raise ProtocolUseError(f"content in phase {self.phase.name}")
        return self._sending

    def _command(self, phase: Phase, line: bytes, number: int = 0) -> None:
        self._output.append(line)
        self._expected.append((phase, number))

    def _send_commands(self, transaction: Transaction) -> None:
        """Everything up to DATA at once, or the next command alone where the server does not pipeline."""
        commands = transaction.commands
        if self.capabilities.pipelining:
            self._output.append(b"".join([line for _, line in commands]))
            self._expected.extend([step for step, _ in commands])
            commands.clear()
        elif commands:
            step, line = commands.popleft()
            self._output.append(line)
            self._expected.append(step)

    # The handshake.

    def _on_greeting(self, reply: ServerReply, _: int) -> None:
        if not reply.is_positive:
            self._refuse(Phase.GREETING, reply)
            return
        self._greeting = reply
        self.greeting_name = server_name(reply.text.rpartition("\n")[2])
        self._introduce()

    def _introduce(self) -> None:
        options = self.options
        name = options.helo_name.encode("ascii", "replace")
        if options.lmtp:
            self._command(Phase.LHLO, b"LHLO %b\r\n" % name)
        elif not options.never_ehlo and (options.always_ehlo or "ESMTP" in self._greeting.text.upper().split()):
            self._command(Phase.EHLO, b"EHLO %b\r\n" % name)
        else:
            self._command(Phase.HELO, b"HELO %b\r\n" % name)

    def _on_ehlo(self, reply: ServerReply, _: int) -> None:
        if reply.is_positive:
            self._greeted(parse_capabilities(reply, self.options.discarded_keywords))
        elif self.options.lmtp or reply.code in (0, 421):
            self._refuse(Phase.LHLO if self.options.lmtp else Phase.EHLO, reply)
        else:
            self._command(Phase.HELO, b"HELO %b\r\n" % self.options.helo_name.encode("ascii", "replace"))

    def _on_helo(self, reply: ServerReply, _: int) -> None:
        if reply.is_positive:
            self._ready(Capabilities(name=server_name(reply.text)))
        else:
            self._refuse(Phase.HELO, reply)

    def _on_auth(self, reply: ServerReply, _: int) -> None:
        assert self._auth is not None
        event = self._auth.take(reply)
        if event:
            self._auth = None
            self._events.append(event)

    def _greeted(self, capabilities: Capabilities) -> None:
        """Say STARTTLS where we want to and may; once only, as a server that offers it under TLS is confused."""
        self.offered_tls = self.offered_tls or "STARTTLS" in capabilities.keywords
        self.capabilities = capabilities
        if self._wants_tls and "STARTTLS" in capabilities.keywords:
            self._wants_tls = False
            self._command(Phase.STARTTLS, b"STARTTLS\r\n")
        else:
            self._ready(capabilities)

    def _on_starttls(self, reply: ServerReply, _: int) -> None:
        if reply.is_positive:
            self._events.append(BeginTls())
            return
        self.tls_refusal = reply
        if reply.code in (0, 421):
            self._refuse(Phase.STARTTLS, reply)
        else:
            self._ready(self.capabilities)

    def tls_started(self) -> None:
        """RFC 3207 4.2: forget what the server said in clear, and what it slipped in behind its 220."""
        self._reader = ReplyReader(self.options.reply_filter)
        self.is_reusable = True
        self.capabilities = Capabilities()
        self._introduce()

    def _ready(self, capabilities: Capabilities) -> None:
        self.capabilities = capabilities
        self._events.append(Ready(self._greeting))

    def _refuse(self, phase: Phase, reply: ServerReply) -> None:
        self.is_reusable = False
        self._events.append(Refused(phase, reply))

    # A transaction; the replies are those of the oldest.

    def _on_rset(self, reply: ServerReply, _: int) -> None:
        """A server that refuses RSET refuses what follows as well."""
        self._send_commands(self._transactions[0])

    def _on_xforward(self, reply: ServerReply, _: int) -> None:
        """What it makes of this is its own affair; the mail goes on."""
        self._go_on(self._transactions[0])

    def _on_mail(self, reply: ServerReply, _: int) -> None:
        transaction = self._transactions[0]
        if not reply.is_positive:
            self._needs_reset = True
            transaction.decide_open(Phase.MAIL, reply)
        if not transaction.is_plain:
            self._go_on(transaction)

    def _on_rcpt(self, reply: ServerReply, number: int) -> None:
        transaction = self._transactions[0]
        if not reply.is_positive:
            self._needs_reset = True
            transaction.decide(number, Phase.RCPT, reply)
        elif transaction.replies[number] is None:
            transaction.accepted.append(number)
            if transaction.probe is Phase.RCPT:
                transaction.decide(number, Phase.RCPT, reply)
        else:
            transaction.took_stray = True
        if not transaction.is_plain:
            self._go_on(transaction)

    def _go_on(self, transaction: Transaction) -> None:
        """Without pipelining the next command, unless there is nothing left to send the message for."""
        if transaction.commands:
            if transaction.is_decided:
                self._finish(transaction)
            else:
                self._send_commands(transaction)
        elif transaction.probe is Phase.RCPT and not self._expected:
            self._needs_reset = True
            self._finish(transaction)
        elif transaction.chunked and not self._expected and not self._sending:
            if transaction.accepted:
                self._invite_content(transaction)
            else:
                self._needs_reset = True
                self._finish(transaction)

    def _invite_content(self, transaction: Transaction) -> None:
        self._sending = transaction
        self._events.append(SendContent())

    def _on_data(self, reply: ServerReply, _: int) -> None:
        transaction = self._transactions[0]
        if reply.code != 354:
            self._needs_reset = True
            transaction.decide_open(Phase.DATA, reply)
            self._finish(transaction)
        elif transaction.accepted and transaction.probe:
            # Whatever is said now would be content: the connection is cut, and the server has no message.
            self.can_quit = self.is_reusable = False
            transaction.decide_open(Phase.DATA, reply)
            self._finish(transaction)
        elif transaction.accepted:
            self._invite_content(transaction)
        elif transaction.took_stray:
            # The server refused the sender and took a recipient: a lone dot would deliver an empty message.
            self.can_quit = self.is_reusable = False
            self._finish(transaction)
        else:
            # RFC 2920 3.1: every recipient was refused and the server wants the content all the same.
            self._command(Phase.END_OF_DATA, b".\r\n", -1)

    def _on_chunk(self, reply: ServerReply, _: int) -> None:
        """RFC 3030 2: a refused chunk is the end of the message; what was sent behind it is refused as well."""
        transaction = self._transactions[0]
        if not reply.is_positive:
            self._needs_reset = True
            self._sending = None
            transaction.decide_open(Phase.END_OF_DATA, reply)
            if not self._expected:
                self._finish(transaction)

    def _on_end_of_data(self, reply: ServerReply, number: int) -> None:
        transaction = self._transactions[0]
        self._needs_reset = transaction.chunked and not reply.is_positive
        if number < 0:
            self._finish(transaction)
        elif self.options.lmtp:
            transaction.decide(number, Phase.END_OF_DATA, reply)
            if transaction.is_decided:
                self._finish(transaction)
        else:
            transaction.decide_open(Phase.END_OF_DATA, reply)
            self._finish(transaction)

    def _finish(self, transaction: Transaction) -> None:
        self._transactions.popleft()
        replies = [reply for reply in transaction.replies if reply is not None]
        self._events.append(Finished(tuple(replies), transaction.encoder.broke_line))

    def _on_quit(self, reply: ServerReply, _: int) -> None:
        self._is_over, self.is_reusable = True, False
        self._events.append(Closed())
