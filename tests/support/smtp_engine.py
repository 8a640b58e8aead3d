"""Drives a bare server session as an owner would, without sockets."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from pymta.model.access import PERMIT, AccessContext, Effect, Verdict
from pymta.model.address import Address
from pymta.model.envelope import Client, Envelope
from pymta.model.reply import Reply
from pymta.model.tls import TlsSession
from pymta.protocol.smtp.commands import COMMANDS, Command
from pymta.protocol.smtp.server import ServerSession
from pymta.protocol.smtp.server_events import (
    NEED_DATA,
    PAUSED,
    Abort,
    Classify,
    Close,
    CommandKind,
    Commit,
    Content,
    Decide,
    Delay,
    Note,
    OpenDraft,
    PrepareTls,
    StartTls,
)
from pymta.protocol.smtp.server_options import ServerOptions

CLIENT = Client(address="192.0.2.9", name="client.example.net", reverse_name="client.example.net", port="4711")


@dataclass
class Delivered:
    envelope: Envelope
    queue_id: str
    content: bytes
    effects: tuple[Effect, ...]
    prepended: tuple[str, ...]


@dataclass
class Drive:
    """A session and its owner: `send` bytes, get the output back. Everything is permitted unless `policy` says no.

    A handshake is done at once, and gives `tls` (None: it fails).
    """

    options: ServerOptions = field(default_factory=ServerOptions)
    policy: Callable[[AccessContext], Verdict] = lambda context: PERMIT
    complete: Callable[[Address], Address | None] = lambda address: address
    kind: Callable[[str], CommandKind] = lambda verb: CommandKind.OTHER
    result: Callable[[str], Reply] = lambda queue_id: Reply.of(250, f"Ok: queued as {queue_id}", "2.0.0")
    client: Client = CLIENT
    greeted: bool = True
    commands: Sequence[Command] = COMMANDS
    table: Mapping[str, Command] | None = None
    tls: TlsSession | None = None

    def __post_init__(self) -> None:
        numbers = itertools.count(1)
        self.session = ServerSession(
            self.options,
            self.client,
            lambda: f"Q{next(numbers)}",
            complete=self.complete,
            commands=self.commands,
            table=self.table,
        )
        self.log: list[str] = []
        self.contexts: list[AccessContext] = []
        self.delivered: list[Delivered] = []
        self.delays: list[float] = []
        self.aborted = 0
        self.closed = False
        self._draft: tuple[OpenDraft, list[bytes]] | None = None
        self.session.start()
        self.greeting = self.pump() if self.greeted else b""

    def send(self, data: bytes, by: int = 0) -> bytes:
        """Feed `data` whole, or in pieces of `by` bytes, working off what can be after each."""
        step = by or max(len(data), 1)
        output = b""
        for start in range(0, max(len(data), 1), step):
            self.session.receive_data(data[start : start + step])
            output += self.pump()
        return output

    def eof(self) -> bytes:
        self.session.receive_eof()
        return self.pump()

    def pump(self) -> bytes:
        output = b""
        while (event := self.session.next_event()) is not NEED_DATA:
            assert event is not PAUSED
            self._handle(event)
            output += self.session.data_to_send()
        return output + self.session.data_to_send()

    def _handle(self, event: object) -> None:
        session = self.session
        match event:
            case Decide(context):
                self.contexts.append(context)
                session.decide(self.policy(context))
            case Classify(verb):
                session.classified(self.kind(verb))
            case OpenDraft():
                self._draft = (event, [])
                session.draft_opened()
            case Content(data):
                assert self._draft is not None
                self._draft[1].append(data)
            case Commit(effects):
                assert self._draft is not None
                opened, pieces = self._draft
                message = Delivered(opened.envelope, opened.queue_id, b"".join(pieces), effects, opened.prepended)
                self.delivered.append(message)
                self._draft = None
                session.message_result(self.result(opened.queue_id))
            case Abort():
                self._draft = None
                self.aborted += 1
            case Delay(seconds):
                self.delays.append(seconds)
                session.resume()
            case PrepareTls():
                session.tls_prepared(None)
            case StartTls():
                session.tls_started(self.tls)
            case Note(line):
                self.log.append(line)
            case Close():
                self.closed = True
