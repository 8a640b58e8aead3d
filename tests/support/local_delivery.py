"""A LocalAgent among fakes: users, files, commands and the queue are values that a test reads and writes."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field

from pymta.config import Config, build
from pymta.delivery.local import LocalAgent
from pymta.delivery.local_pass import Transports
from pymta.delivery.local_settings import LocalSettings, LocalTables
from pymta.delivery.local_users import User
from pymta.delivery.mailbox_jobs import (
    NOT_STORED,
    Answered,
    CommandExit,
    CommandJob,
    FileText,
    Identity,
    MaildirJob,
    MboxJob,
    ReadJob,
    Stored,
)
from pymta.errors import DeliveryError, ResolveError, TableError
from pymta.model.access import Effect
from pymta.model.address import Address
from pymta.model.delivery import DeliveryRequest, DeliveryResult
from pymta.model.envelope import Client, Envelope, Origin
from pymta.model.queue import QueuedRecipient
from pymta.model.reply import Reply
from pymta.model.route import AddressClass, Route
from pymta.ports import Content, DeliveryAgent
from pymta.tables import Maps
from pymta.testing import ManualClock, RecordingLog

HERE = "mx.example.com"
ALICE = User("alice", 1001, 1001, "/home/alice", "/bin/sh")
BOB = User("bob", 1002, 1002, "/home/bob", "/bin/sh")
CAROL = User("carol", 1003, 1003, "/home/carol")
ROOT = User("root", 0, 0, "/root", "/bin/bash")
NOBODY = User("nobody", 65534, 65534, "")


@dataclass
class Bytes:
    """Content in memory."""

    data: bytes | None

    @property
    def size(self) -> int:
        return len(self.data or b"")

    async def chunks(self, limit: int = 65536) -> AsyncIterator[bytes]:
        yield self.data or b""


@dataclass
class Chunked:
    """Content that is too large for `data`."""

    pieces: list[bytes]
    data: None = None

    @property
    def size(self) -> int:
        return sum(map(len, self.pieces))

    async def chunks(self, limit: int = 65536) -> AsyncIterator[bytes]:
        for piece in self.pieces:
            yield piece


@dataclass
class FakeTable:
    entries: dict[str, str]
    name: str = "hash:fake"
    fails: bool = False

    async def lookup(self, key: str) -> str | None:
        if self.fails:
            raise TableError(self.name, "cannot be read")
        return self.entries.get(key)


class FakeUsers:
    def __init__(self, *users: User) -> None:
        self.users = users

    async def by_name(self, name: str) -> User | None:
        return next((user for user in self.users if user.name == name), None)

    async def by_uid(self, uid: int) -> User | None:
        return next((user for user in self.users if user.uid == uid), None)


class FakeAddresses:
    """`example.com`, HERE and `here.example` are local; `broken.example` cannot be resolved."""

    def rewrite(self, address: Address) -> Address:
        return address if address.domain else address.with_domain(HERE)

    async def resolve(self, recipient: Address, sender: Address) -> Route:
        if recipient.domain == "broken.example":
            raise ResolveError("no answer")
        if recipient.domain in (HERE, "example.com", "here.example"):
            return Route("local", HERE, recipient, AddressClass.LOCAL)
        return Route("smtp", recipient.domain, recipient, AddressClass.DEFAULT)


@dataclass
class FakeActions:
    """`files` are what can be read; `store` and `run` answer what they are told and note their jobs."""

    files: dict[str, FileText] = field(default_factory=dict)
    stored: list[tuple[Identity, MboxJob | MaildirJob]] = field(default_factory=list)
    commands: list[tuple[Identity, CommandJob]] = field(default_factory=list)
    reads: list[tuple[Identity, ReadJob]] = field(default_factory=list)
    answer: Stored = field(default_factory=Stored)
    failure: DeliveryError | None = None
    exit: CommandExit = field(default_factory=CommandExit)

    def put(self, path: str, text: str, uid: int = 0, mode: int = 0o100644, **more: object) -> None:
        self.files[path] = FileText(text=text, uid=uid, mode=mode, path=path, **more)  # type: ignore[arg-type]

    async def store(self, identity: Identity, job: MboxJob | MaildirJob, content: Content) -> Stored:
        if isinstance(job, MaildirJob) and any(path in self.files for path in job.unless):
            return NOT_STORED
        self.stored.append((identity, job))
        if self.failure:
            raise self.failure
        return self.answer

    def begin_store(self, identity: Identity, job: MaildirJob, data: bytes, answered: Answered) -> None:
        self.stored.append((identity, job))
        asyncio.get_running_loop().call_soon(answered, self.failure or self.answer)

    async def run(self, identity: Identity, job: CommandJob, content: Content) -> CommandExit:
        self.commands.append((identity, job))
        return self.exit

    async def read(self, identity: Identity, job: ReadJob) -> FileText:
        self.reads.append((identity, job))
        missing = FileText(found=False, error="No such file or directory")
        return next((self.files[path] for path in job.paths if path in self.files), missing)


@dataclass
class FakeDraft:
    intake: FakeIntake
    queue_id: str
    envelope: Envelope
    content: bytes = b""

    def write(self, data: bytes, *, is_tidy: bool = False) -> None:
        self.content += data

    async def commit(self, effects: Sequence[Effect] = ()) -> Reply:
        if self.intake.reply.is_positive:
            self.intake.messages.append(self)
        return self.intake.reply

    async def abort(self) -> None:
        pass


class FakeIntake:
    def __init__(self) -> None:
        self.messages: list[FakeDraft] = []
        self.reply = Reply.of(250, "Ok", "2.0.0")
        self.origins: list[Origin] = []

    def new_queue_id(self) -> str:
        return f"NEW{len(self.messages) + 1}"

    async def begin(self, envelope: Envelope, client: Client, origin: Origin, queue_id: str | None = None) -> FakeDraft:
        self.origins.append(origin)
        return FakeDraft(self, queue_id or self.new_queue_id(), envelope)


class FakeAgent:
    """A transport that answers with `outcome` and remembers its requests."""

    def __init__(self, result: DeliveryResult) -> None:
        self.result = result
        self.requests: list[DeliveryRequest] = []

    async def deliver(self, request: DeliveryRequest, content: Content) -> Sequence[DeliveryResult]:
        self.requests.append(request)
        return [self.result]


class LocalSystem:
    """One LocalAgent and all that it works on. `settings` are main.cf parameters."""

    def __init__(
        self,
        settings: dict[str, str] | None = None,
        aliases: dict[str, str] | None = None,
        *,
        tables: dict[str, dict[str, str]] | None = None,
        agents: dict[str, DeliveryAgent] | None = None,
    ) -> None:
        self.alias_table = FakeTable(aliases or {})
        self.actions = FakeActions()
        self.intake = FakeIntake()
        self.log = RecordingLog()
        self.users = FakeUsers(ALICE, BOB, CAROL, ROOT)
        config = Config.from_values(
            {"myhostname": HERE, "mail_spool_directory": "/nonexistent/mail", **(settings or {})}
        )
        found: Transports = (agents or {}).get
        self.agent = LocalAgent(
            build(LocalSettings, config),
            LocalTables(
                alias_maps=Maps([self.alias_table]),
                **{name: Maps([FakeTable(entries)]) for name, entries in (tables or {}).items()},
            ),
            FakeAddresses(),
            self.intake,
            self.actions,
            ManualClock(),
            self.log,
            transports=found,
            users=self.users,
            find_default_user=lambda name: NOBODY,
        )

    async def deliver(
        self,
        local_part: str,
        *,
        sender: str = "sender@outside.example",
        content: Content | None = None,
        request: dict[str, object] | None = None,
        **recipient: object,
    ) -> DeliveryResult:
        address = Address(local_part, "example.com")
        queued = QueuedRecipient(7, address, **{"original": address, **recipient})  # type: ignore[arg-type]
        whole = DeliveryRequest(
            "4ABC",
            "local",
            HERE,
            Address.from_internal(sender),
            (queued,),
            100,
            0.0,
            **(request or {}),  # type: ignore[arg-type]
        )
        [result] = await self.agent.deliver(whole, content or Bytes(b"Subject: x\r\n\r\nbody\r\n"))
        assert result.number == 7
        return result
