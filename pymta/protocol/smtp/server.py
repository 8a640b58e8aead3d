"""The server's side of an SMTP session, without I/O (RFC 5321; behaviour and wording of smtpd(8)).

Bytes in, events and bytes out. Whoever owns a session answers each event that asks something; until then
`next_event` gives PAUSED and nothing that the client sent behind is looked at.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from pymta.model.access import PERMIT, AccessContext, Stage, Verdict
from pymta.model.address import Address
from pymta.model.envelope import Client
from pymta.model.frozen import changed
from pymta.model.queue import QueueId
from pymta.model.reply import Reply
from pymta.model.tls import TlsSession
from pymta.protocol.smtp.commands import COMMANDS, Command, CommandTable, Given, command_table
from pymta.protocol.smtp.framing import CommandLines
from pymta.protocol.smtp.server_auth import AuthRules, auth_keywords
from pymta.protocol.smtp.server_blame import POLICY, PROTOCOL, kind_of_decision
from pymta.protocol.smtp.server_content import Transaction
from pymta.protocol.smtp.server_context import access_context, note_deferral
from pymta.protocol.smtp.server_events import (
    NEED_DATA,
    PAUSED,
    Classify,
    Close,
    CountCommand,
    Decide,
    Delay,
    Event,
    Note,
    ServerSignal,
)
from pymta.protocol.smtp.server_filter import filter_command
from pymta.protocol.smtp.server_log import Tally, note_end, reject_line, sasl_words
from pymta.protocol.smtp.server_message import MessageReceiver
from pymta.protocol.smtp.server_options import BareNewline, ServerOptions
from pymta.protocol.smtp.server_pipelining import is_improper_pipelining
from pymta.protocol.smtp.server_questions import Questions
from pymta.protocol.smtp.server_replies import (
    BAD_SYNTAX,
    BAD_UTF8,
    REWRITE_FAILED,
    TLS_FIRST,
    softened,
)
from pymta.protocol.smtp.server_starttls import begin_wrapped, offers_starttls
from pymta.protocol.smtp.server_verbs import run_classified

Footer = Callable[[Reply, "ServerSession"], Reply]

LONGEST_TRANSCRIPT = 400
"""Commands and replies of a session that are kept, where somebody may want to see them."""
_WIDEST_COMMAND = 256


class ServerSession(Questions):
    """One client from greeting to goodbye.

    `new_queue_id` names a message at its first accepted recipient. `complete` gives the standard form of an address,
    None where that cannot be known now; `asks` tells at which stages there is something to decide. `footer` completes
    refusals (`smtpd_reject_footer`). `label` is how log lines name the client. Never raises because of the client;
    raises ProtocolUseError where its owner breaks the contract.
    """

    def __init__(
        self,
        options: ServerOptions,
        client: Client,
        new_queue_id: Callable[[], QueueId],
        *,
        complete: Callable[[Address], Address | None] = lambda address: address,
        asks: Callable[[Stage], bool] = lambda stage: True,
        footer: Footer | None = None,
        label: str | None = None,
        commands: Sequence[Command] = COMMANDS,
        table: CommandTable | None = None,
    ) -> None:
        super().__init__()
        self.options = options
        self.client = client
        self.label = label or str(client)
        self.helo_name: str | None = None
        self.verb = "CONNECT"
        self.deferrals: dict[Stage, Reply] = {}
        self.transaction = Transaction()
        self.tls: TlsSession | None = None
        self.auth: AuthRules | None = None
        self.farewell: Reply | None = None
        self.error_count = 0
        self.blame = PROTOCOL
        self.said: list[bytes | Reply] | None = None
        self.unauthorized_pipelining = False
        self._table = table or command_table(commands)
        self._new_queue_id = new_queue_id
        self._complete = complete
        self._asks = asks
        self._footer = footer
        self._output: list[bytes] = []
        self.lines = CommandLines(options.line_length_limit)
        self._line_reader: Callable[[bytes | None], None] | None = None
        self._tally = Tally()
        self.where = "CONNECT"
        self.message = MessageReceiver(self)
        self.denial: Reply | None = None
        self._junk_count = 0
        self._eof = False
        self._closed = False

    # What the owner calls.

    def start(self) -> None:
        """The client is connected: ask about it, then greet."""
        self.emit(Note(f"connect from {self.label}"))
        if self.options.tls_wrapper:
            begin_wrapped(self)
        else:
            self.greet_client()

    def greet_client(self) -> None:
        self.ask_policy(Stage.CONNECT, None, self._admit)

    def receive_data(self, data: bytes) -> None:
        if not self._closed:
            self.lines.feed(data)

    def receive_eof(self) -> None:
        """The client sends no more; what it sent before is still worked off."""
        self._eof = True

    def data_to_send(self) -> bytes:
        output = self._output
        if not output:
            return b""
        self._output = []
        return output[0] if len(output) == 1 else b"".join(output)

    @property
    def waiting_bytes(self) -> int:
        """How much the client sent ahead of what is worked off."""
        return len(self.lines)

    @property
    def is_reading_content(self) -> bool:
        return self.message.is_reading

    def time_out(self) -> None:
        """The client was silent for too long."""
        if not self._closed:
            note_end(self, "timeout")
            self.give_up(Reply.of(421, f"{self.options.myhostname} Error: timeout exceeded", "4.4.2"))

    def shut_down(self, reply: Reply) -> None:
        """End the session for a reason of ours."""
        if not self._closed:
            self.give_up(reply)

    def give_up_on_client(self) -> None:
        """The client is gone, or at least sends no more; what it is owed goes out if it still reads."""
        if not self._closed:
            note_end(self, "lost connection")
            self.close()

    def release(self) -> None:
        """Nothing more will be asked: with this the session goes when its owner does, not when the collector comes."""
        del self.message

    # What commands call.

    @property
    def verbs(self) -> list[str]:
        return list(self._table.verbs)

    @property
    def takes_utf8(self) -> bool:
        return self.options.smtputf8_enable and self.options.offers("SMTPUTF8")

    def succeed(self, reply: Reply) -> None:
        """Answer a command that did what it should."""
        self.count_success()
        self.reply(reply)

    def count_success(self) -> None:
        good = self._tally.good
        good[self.verb] = good.get(self.verb, 0) + 1

    def security_offers(self) -> list[str]:
        """EHLO keywords that depend on what has been agreed so far."""
        return [*(("STARTTLS",) if offers_starttls(self) else ()), *auth_keywords(self)]

    def expect_line(self, reader: Callable[[bytes | None], None], limit: int) -> None:
        """The next line is no command but for `reader`, as None where it has `limit` bytes or more."""
        self._line_reader, self.lines.limit = reader, limit

    def fail(self, reply: Reply) -> None:
        """Answer a command that did not; errors add up to `smtpd_hard_error_limit`."""
        self.reply(reply)
        self.error_count += 1

    def reply(self, reply: Reply) -> None:
        if reply.code >= 400:
            reply = self.final(reply)
        if self.said is not None and len(self.said) < LONGEST_TRANSCRIPT:
            self.said.append(reply)
        output = reply.encode()
        if self.error_count >= self.options.soft_error_limit and self.options.error_sleep_time > 0:
            self.ask(Delay(self.options.error_sleep_time), lambda: self._output.append(output))
        else:
            self._output.append(output)

    def final(self, reply: Reply) -> Reply:
        """A refusal as the client is to see it."""
        if self.options.soft_bounce and reply.is_permanent:
            reply = softened(reply)
        return self._footer(reply, self) if self._footer else reply

    @property
    def is_closed(self) -> bool:
        return self._closed

    def close(self) -> None:
        if self._closed:
            return
        self._closed = True
        self.message.abort()
        self.emit(Note(self._tally.disconnect_line(self.label, self._table.verbs)))
        self.emit(Close())

    def give_up(self, reply: Reply) -> None:
        """Answer and hang up."""
        self.reply(reply)
        self.close()

    def greet(self, helo_name: str, protocol: str) -> None:
        """A HELO or EHLO that was accepted; who once said EHLO stays ESMTP, or pipelining would become improper."""
        self.reset_transaction()
        self.helo_name = helo_name
        if self.client.protocol != "ESMTP":
            self.client = changed(self.client, helo=helo_name, protocol=protocol)
        elif self.client.helo != helo_name:
            self.client = changed(self.client, helo=helo_name)

    def reset_transaction(self) -> None:
        self.message.abort()
        self.transaction = Transaction()

    def assign_queue_id(self) -> None:
        self.transaction.queue_id = self._new_queue_id()
        self.emit(Note(f"{self.transaction.queue_id}: client={self.label}{sasl_words(self.client)}"))

    def note_reject(self, where: str, text: str, sender: Address | None = None) -> None:
        line = reject_line(self, where, text, sender)
        self.emit(Note(f"{self.transaction.queue_id or 'NOQUEUE'}: {line}"))

    # Decisions.

    def context(self, stage: Stage, address: Address | None) -> AccessContext:
        return access_context(self, stage, address)

    def take_effects(self, verdict: Verdict, stage: Stage | None = None) -> None:
        if verdict is PERMIT and not self.deferrals:
            return
        if verdict.reply:
            self.blame = kind_of_decision(verdict.reply)
        note_deferral(self, stage, verdict)
        self.transaction.effects.extend(verdict.effects)
        for line in verdict.log:
            self.emit(Note(f"{self.transaction.queue_id or 'NOQUEUE'}: {line}"))

    # Commands.

    def _admit(self, verdict: Verdict) -> None:
        self.take_effects(verdict, Stage.CONNECT)
        if verdict.reply is None:
            self.reply(Reply.of(220, self.options.banner))
        elif verdict.disconnect:
            self.give_up(verdict.reply)
        else:
            self.denial = Reply.of(503, f"Error: access denied for {self.label}", "5.7.0")
            self.reply(verdict.reply)

    def next_event(self) -> Event | ServerSignal:
        while not self._answer:
            if self._events:
                event, self._answer = self._events.popleft()
                return event
            if self._closed or not self._advance():
                return NEED_DATA
        return PAUSED

    def _advance(self) -> bool:
        """Work off one command or what there is of content; False where more bytes are needed."""
        if self.error_count >= self.options.hard_error_limit and not self.message.is_reading:
            note_end(self, "too many errors")
            self.give_up(Reply.of(421, f"{self.options.myhostname} Error: too many errors", "4.7.0"))
            return True
        if self.lines.is_empty:
            return self._see_eof()
        if self.message.is_reading:
            return self.message.read() or self._see_eof()
        line = self.lines.next_line()
        if line is None:
            return self._see_eof()
        if self._line_reader:
            reader, self._line_reader = self._line_reader, None
            too_long, self.lines.limit = len(line) >= self.lines.limit, self.options.line_length_limit
            reader(None if too_long else line)
        else:
            self._read_command(line)
        return True

    def _see_eof(self) -> bool:
        if not self._eof:
            return False
        self.give_up_on_client()
        return True

    def _read_command(self, line: bytes) -> None:
        self.blame = PROTOCOL
        if self.said is not None and len(self.said) < LONGEST_TRANSCRIPT:
            self.said.append(line[:_WIDEST_COMMAND])
        if self.farewell:
            self.give_up(self.farewell)
            return
        if self.lines.got_bare_newline and self.refuses_bare_newline(self.where):
            return
        try:
            text = line.partition(b"\0")[0].decode()
        except UnicodeDecodeError:
            self.fail(BAD_UTF8)
            return
        if self.options.filters_commands:
            filter_command(self, text, self._read_words)
        else:
            self._read_words(text)

    def _read_words(self, text: str) -> None:
        words = text.split(None, 1)
        if not words:
            self.fail(BAD_SYNTAX)
            return
        argument = words[1] if len(words) > 1 else ""
        command = self._table.by_verb.get(words[0].upper())
        if self.options.classified_verbs or command is None:
            self.ask(Classify(words[0]), lambda kind: run_classified(self, kind, words[0], argument, command))
        else:
            self.run(command, argument)

    def refuses_bare_newline(self, where: str) -> bool:
        if self.options.forbid_bare_newline is not BareNewline.REJECT:
            self._tally.got_bare_newline = self.options.forbid_bare_newline is BareNewline.NOTE
            return False
        self.note_reject(where, "bare <LF> received")
        text = f"{self.options.myhostname} Error: bare <LF> received"
        self.give_up(Reply.of(self.options.forbid_bare_newline_reject_code, text, "5.5.2"))
        return True

    def count_junk(self) -> None:
        """One more command that mail needs not (`smtpd_junk_command_limit`)."""
        if self._junk_count > self.options.junk_command_limit:
            self.error_count += 1
        self._junk_count += 1

    def begin_command(self, verb: str) -> None:
        self.verb = verb
        seen = self._tally.seen
        seen[verb] = seen.get(verb, 0) + 1

    def run(self, command: Command, argument: str) -> None:
        """Check a command, have it decided, act and answer."""
        self.begin_command(command.verb)
        if self.denial and not command.works_when_denied:
            self.fail(self.denial)
            return
        if self.options.enforce_tls and self.tls is None and not command.works_without_tls:
            self.fail(TLS_FIRST)
            return
        self.where = command.verb
        if not self.lines.is_empty and is_improper_pipelining(self, command):
            return
        if command.is_junk:
            self.count_junk()
        if command.verb in self.options.counted_verbs and command.counts(self):
            self.ask(CountCommand(command.verb), lambda refusal: self._counted(command, argument, refusal))
        else:
            self._look_at(command, argument)

    def _counted(self, command: Command, argument: str, refusal: Reply | None) -> None:
        if refusal:
            self.blame = POLICY
            self.fail(refusal)
        else:
            self._look_at(command, argument)

    def _look_at(self, command: Command, argument: str) -> None:
        """Ask for a decision where the command's stage has one to make, then proceed or refuse."""
        found = command.check(self, argument)
        if found is None:
            return
        if isinstance(found, Reply):
            self.fail(found)
            return
        about = None
        if isinstance(found, Given):
            about = self._complete(found.said)
            if about is None:
                self.fail(REWRITE_FAILED)
                return
            found.address = about
        if command.stage is None or not self._asks(command.stage):
            command.proceed(self, found)
            return
        helo_name = str(found) if command.stage is Stage.HELO else None
        self.ask_policy(command.stage, about, lambda verdict: self.decided(command, found, verdict), helo_name)

    def ask_policy(
        self, stage: Stage, about: Address | None, answer: Callable[[Verdict], None], helo_name: str | None = None
    ) -> None:
        """Pause for a verdict, or go on at once where the policy has nothing to say at this stage."""
        if not self._asks(stage):
            answer(PERMIT)
            return
        context = self.context(stage, about)
        self.ask(Decide(context if helo_name is None else changed(context, helo_name=helo_name)), answer)

    def decided(self, command: Command, value: object, verdict: Verdict) -> None:
        if command.stage is Stage.HELO and verdict.reply is None:
            command.proceed(self, value)
            self.take_effects(verdict, command.stage)
            return
        self.take_effects(verdict, command.stage)
        if verdict.reply is None:
            command.proceed(self, value)
        elif verdict.disconnect:
            self.give_up(verdict.reply)
        else:
            self.fail(verdict.reply)
