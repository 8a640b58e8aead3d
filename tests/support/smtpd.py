"""An SMTP service on loopback with stand-ins for everything behind it."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import socket
import ssl
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from pymta.config import Config, build
from pymta.model.access import PERMIT, AccessContext, Effect, Stage, Verdict
from pymta.model.address import Address
from pymta.model.envelope import Client, Envelope, Origin
from pymta.model.reply import Reply
from pymta.model.route import Route
from pymta.runtime.clock import SystemClock
from pymta.runtime.tls_files import PemFiles
from pymta.smtpd import SmtpdSettings, SmtpServer
from pymta.smtpd.tls import ServerTls
from pymta.smtpd.tls_settings import SmtpdTlsSettings
from pymta.tables import Maps, TableFactory
from pymta.testing import FakeResolver, RecordingLog
from tests.support.tls import server_pair


def config(**values: object) -> Config:
    raw = {"myhostname": "mx.example.com", "mynetworks": "198.51.100.0/24", "smtpd_error_sleep_time": "0"}
    raw |= {name: str(value) for name, value in values.items()}
    return Config.from_values(raw)


def settings(**values: object) -> SmtpdSettings:
    """A float is a time shorter than main.cf can say."""
    short = {name: value for name, value in values.items() if isinstance(value, float)}
    built = build(SmtpdSettings, config(**{name: value for name, value in values.items() if name not in short}))
    return replace(built, **short)  # type: ignore[arg-type]


def server_tls(log: RecordingLog, names: Maps | None = None, **values: object) -> ServerTls:
    """TLS as the parameters ask for it; without a certificate one of the tests' authority."""

    def own_key() -> tuple[str, str]:
        pair = server_pair()
        return str(pair.certificate), str(pair.key)

    tls = build(SmtpdTlsSettings, config(**values))
    return ServerTls(tls, PemFiles(), SystemClock(), log, make_own_key=own_key, names=names)


@dataclass
class MemoryDraft:
    """A message that stays in memory; `commit` waits for `gate` where one is set."""

    queue_id: str
    envelope: Envelope
    client: Client
    intake: MemoryIntake
    pieces: list[bytes] = field(default_factory=list)
    size: int = 0
    effects: tuple[Effect, ...] = ()

    def write(self, data: bytes, *, is_tidy: bool = False) -> None:
        self.size += len(data)
        if self.intake.keeps_content:
            self.pieces.append(data)

    @property
    def content(self) -> bytes:
        return b"".join(self.pieces)

    async def commit(self, effects: Sequence[Effect] = ()) -> Reply:
        if self.intake.gate:
            await self.intake.gate.wait()
        if self.intake.failure:
            raise self.intake.failure
        self.effects = tuple(effects)
        self.intake.committed.append(self)
        return Reply.of(250, f"Ok: queued as {self.queue_id}", "2.0.0")

    async def abort(self) -> None:
        self.intake.aborted.append(self.queue_id)


@dataclass
class MemoryIntake:
    committed: list[MemoryDraft] = field(default_factory=list)
    aborted: list[str] = field(default_factory=list)
    gate: asyncio.Event | None = None
    failure: Exception | None = None
    keeps_content: bool = True

    def __post_init__(self) -> None:
        self._numbers = itertools.count(1)

    def new_queue_id(self) -> str:
        return f"Q{next(self._numbers)}"

    async def begin(
        self, envelope: Envelope, client: Client, origin: Origin, queue_id: str | None = None
    ) -> MemoryDraft:
        assert origin is Origin.SMTP
        return MemoryDraft(queue_id or self.new_queue_id(), envelope, client, self)


@dataclass
class Rules:
    """Policy, rewriter and directory in one; each is a function that a test may replace."""

    verdict: Callable[[AccessContext], Any] = lambda context: PERMIT
    complete: Callable[[Address], Address] = lambda address: address
    unknown: frozenset[str] = frozenset()

    def asks(self, stage: Stage) -> bool:
        return True

    async def decide(self, context: AccessContext) -> Verdict:
        answer = self.verdict(context)
        return await answer if asyncio.iscoroutine(answer) else answer

    def rewrite(self, address: Address) -> Address:
        return self.complete(address)

    async def resolve(self, recipient: Address, sender: Address) -> Route:
        raise NotImplementedError

    async def check_recipient(self, recipient: Address) -> Reply | None:
        if str(recipient) in self.unknown:
            return Reply.of(550, f"<{recipient}>: Recipient address rejected: User unknown", "5.1.1")
        return None

    async def check_sender(self, sender: Address) -> Reply | None:
        return None


@dataclass
class Running:
    server: SmtpServer
    port: int
    intake: MemoryIntake
    rules: Rules
    log: RecordingLog

    async def talk(self) -> Dialogue:
        return Dialogue(*await asyncio.open_connection("127.0.0.1", self.port))

    async def until(self, condition: Callable[[], object], seconds: float = 5.0) -> None:
        async with asyncio.timeout(seconds):
            while not condition():
                await asyncio.sleep(0.005)


@dataclass
class Dialogue:
    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter

    async def reply(self) -> str:
        """One reply, its lines joined by newlines; empty at the end of the connection."""
        lines = []
        while line := (await asyncio.wait_for(self.reader.readline(), 10)).decode().rstrip("\r\n"):
            lines.append(line)
            if line[3:4] != "-":
                break
        return "\n".join(lines)

    def send(self, data: bytes) -> None:
        self.writer.write(data)

    async def ask(self, line: str) -> str:
        self.send(line.encode() + b"\r\n")
        return await self.reply()

    async def begin(self, recipient: str = "user@example.com") -> None:
        """Greeting to 354."""
        await self.reply()
        await self.ask("EHLO client.example.net")
        await self.ask("MAIL FROM:<sender@example.net>")
        await self.ask(f"RCPT TO:<{recipient}>")
        assert (await self.ask("DATA")).startswith("354")

    async def start_tls(self, context: ssl.SSLContext, server_name: str | None = None) -> ssl.SSLObject:
        """The client's side of a handshake; the server is to be ready for it."""
        await self.writer.start_tls(context, server_hostname=server_name)
        connection: ssl.SSLObject = self.writer.get_extra_info("ssl_object")
        return connection

    def close(self) -> None:
        self.writer.close()


@contextlib.asynccontextmanager
async def running(
    rules: Rules | None = None,
    intake: MemoryIntake | None = None,
    resolver: FakeResolver | None = None,
    listener: socket.socket | None = None,
    names: Maps | None = None,
    **values: object,
) -> AsyncIterator[Running]:
    rules, intake, log = rules or Rules(), intake or MemoryIntake(), RecordingLog()
    server = SmtpServer(
        settings(**values),
        policy=rules,
        intake=intake,
        rewriter=rules,
        directory=rules,
        resolver=resolver or FakeResolver({"127.0.0.1": {"PTR": ["localhost"]}, "localhost": {"A": ["127.0.0.1"]}}),
        clock=SystemClock(),
        log=log,
        tables=TableFactory(base=Path("/")),
        tls=server_tls(log, names, **values),
    )
    listener = listener or socket.create_server(("127.0.0.1", 0))
    name = listener.getsockname()
    await server.serve([listener])
    try:
        yield Running(server, name[1] if isinstance(name, tuple) else 0, intake, rules, log)
    finally:
        await server.close(0.5)
