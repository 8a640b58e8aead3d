"""A bounce service on an intake that keeps what it is given."""

from __future__ import annotations

import email
import email.policy
from collections.abc import AsyncIterator, Sequence
from dataclasses import fields, replace
from email.message import EmailMessage
from typing import Any

from pymta.bounce import BounceService, BounceSettings
from pymta.model.access import Effect
from pymta.model.address import Address
from pymta.model.delivery import DeliveryResult, Outcome
from pymta.model.envelope import Client, Envelope, Origin
from pymta.model.queue import QueuedRecipient, QueueEntry, QueueId, QueueName
from pymta.model.reply import Reply
from pymta.testing import ManualClock, RecordingLog

ARRIVAL = 1_700_000_000.0
DEFAULTS: dict[str, Any] = {
    "myhostname": "mx.example.com",
    "mydomain": "example.com",
    "myorigin": "example.com",
    "mail_name": "Postfix",
    "double_bounce_sender": "double-bounce",
    "two_bounce_notice_recipient": "postmaster",
    "bounce_notice_recipient": "postmaster",
    "delay_notice_recipient": "delays@other.example",
    "error_notice_recipient": "postmaster",
    "notify_classes": ("resource", "software"),
    "bounce_size_limit": 50000,
    "bounce_template_file": "",
    "delay_warning_time": 4 * 3600.0,
    "maximal_queue_lifetime": 5 * 86400.0,
    "enable_threaded_bounces": False,
    "disable_verp_bounces": False,
    "default_verp_delimiters": "+=",
    "smtputf8_enable": True,
}
MESSAGE = b"From: A <a@sender.example>\r\nSubject: Test\r\nMessage-ID: <orig@sender.example>\r\n\r\nhello\r\n.dot\r\n"


def bounce_settings(**values: Any) -> BounceSettings:
    unknown = set(values) - {field.name for field in fields(BounceSettings)}
    assert not unknown
    return BounceSettings(**{**DEFAULTS, **values})


class StoredContent:
    """Content in memory, or in pieces of `chunk` bytes as from a file."""

    def __init__(self, data: bytes = MESSAGE, chunk: int = 0) -> None:
        self._data = data
        self._chunk = chunk
        self.read = 0

    @property
    def size(self) -> int:
        return len(self._data)

    @property
    def data(self) -> bytes | None:
        return None if self._chunk else self._data

    async def chunks(self, limit: int = 65536) -> AsyncIterator[bytes]:
        for at in range(0, len(self._data), self._chunk or limit):
            piece = self._data[at : at + (self._chunk or limit)]
            self.read += len(piece)
            yield piece


class MemoryDraft:
    def __init__(self, intake: MemoryIntake, envelope: Envelope, queue_id: QueueId) -> None:
        self.envelope = envelope
        self.queue_id = queue_id
        self.content = b""
        self.aborted = False
        self._intake = intake

    def write(self, data: bytes, *, is_tidy: bool = False) -> None:
        self.content += data

    async def commit(self, effects: Sequence[Effect] = ()) -> Reply:
        if self.envelope.recipients[0].address.local_part in self._intake.refused:
            return Reply.of(451, "Error: queue file write error", "4.3.0")
        self._intake.accepted.append(self)
        return Reply.of(250, f"Ok: queued as {self.queue_id}", "2.0.0")

    async def abort(self) -> None:
        self.aborted = True

    @property
    def message(self) -> EmailMessage:
        parsed = email.message_from_bytes(self.content, policy=email.policy.SMTPUTF8)
        assert isinstance(parsed, EmailMessage)
        return parsed

    @property
    def text(self) -> str:
        assert b"\n" not in self.content.replace(b"\r\n", b"")
        return self.content.decode().replace("\r\n", "\n")

    @property
    def parts(self) -> list[EmailMessage]:
        return [part for part in self.message.iter_parts() if isinstance(part, EmailMessage)]


class MemoryIntake:
    """`accepted` are the notices in order; those to a local part in `refused` get a 451."""

    def __init__(self) -> None:
        self.accepted: list[MemoryDraft] = []
        self.drafts: list[MemoryDraft] = []
        self.refused: set[str] = set()

    def new_queue_id(self) -> QueueId:
        return f"N{len(self.drafts) + 1}"

    async def begin(
        self, envelope: Envelope, client: Client, origin: Origin, queue_id: QueueId | None = None
    ) -> MemoryDraft:
        assert origin is Origin.NOTICE
        self.drafts.append(MemoryDraft(self, envelope, queue_id or self.new_queue_id()))
        return self.drafts[-1]


class Notices:
    """The service and what came of it."""

    def __init__(self, **values: Any) -> None:
        self.intake = MemoryIntake()
        self.log = RecordingLog()
        self.service = BounceService(bounce_settings(**values), self.intake, ManualClock(ARRIVAL + 60), self.log)

    @property
    def sent(self) -> list[MemoryDraft]:
        return self.intake.accepted

    @property
    def envelopes(self) -> list[tuple[str, str]]:
        return [(str(one.envelope.sender), str(one.envelope.recipients[0].address)) for one in self.sent]


def recipient(number: int = 1, address: str = "x@fail.example", **changes: Any) -> QueuedRecipient:
    parsed = Address.from_internal(address)
    return replace(QueuedRecipient(number, parsed, parsed), **changes)


def entry(*recipients: QueuedRecipient, sender: str = "a@sender.example", **changes: Any) -> QueueEntry:
    made = QueueEntry(
        queue_id="4QID",
        queue=QueueName.ACTIVE,
        sender=Address.from_internal(sender),
        recipients=recipients or (recipient(),),
        arrival_time=ARRIVAL,
        queued_time=ARRIVAL,
        size=len(MESSAGE),
        message_id="<orig@sender.example>",
    )
    return replace(made, **changes)


def bounced(number: int = 1, reason: str = "no such place", status: str = "5.1.1", **changes: Any) -> DeliveryResult:
    return replace(DeliveryResult(number, Outcome.BOUNCED, status, reason), **changes)


def sent(number: int = 1, **changes: Any) -> DeliveryResult:
    return replace(DeliveryResult(number, Outcome.SENT, "2.0.0", "250 ok"), **changes)
