"""Queue commands, for the running program and for a spool at rest alike."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable, Mapping
from typing import Any

from pymta.control.arguments import queue_filter
from pymta.model.queue import ENTRY_RECIPIENTS, QueuedRecipient, QueueEntry, QueueFilter, RecipientState
from pymta.ports import Clock, QueueAdmin, Spool
from pymta.protocol.content import from_crlf, split_header

Rows = AsyncIterator[Mapping[str, Any]]


def entry_row(entry: QueueEntry) -> dict[str, Any]:
    """One message in postqueue(1) -j's form, with when it is due and how often it was tried.

    `more_recipients` marks one whose other recipients come in rows of their own, which hold nothing else; the
    last of those is not marked.
    """
    return {
        "queue_name": entry.queue.value,
        "queue_id": entry.queue_id,
        "arrival_time": int(entry.arrival_time),
        "message_size": entry.size,
        "forced_expire": entry.forced_expire,
        "sender": entry.sender.quoted() or "MAILER-DAEMON",
        "recipients": _waiting(entry.recipients),
        "next_attempt": int(entry.next_attempt),
        "attempts": entry.attempts,
    } | ({"more_recipients": entry.unread} if entry.unread else {})


def _waiting(recipients: Iterable[QueuedRecipient]) -> list[dict[str, str]]:
    return [
        {"address": one.address.quoted()} | ({"delay_reason": one.reason} if one.reason else {})
        for one in recipients
        if one.state is RecipientState.PENDING
    ]


def envelope_records(entry: QueueEntry) -> list[tuple[str, str]]:
    """The envelope as postcat(1) names its records."""
    client = entry.client
    records = [
        ("message_size", str(entry.size)),
        ("message_arrival_time", f"{entry.arrival_time:.6f}"),
        ("sender", entry.sender.quoted()),
        ("log_client_name", client.name),
        ("log_client_address", client.address),
        ("log_helo_name", client.helo),
        ("log_protocol_name", client.protocol),
        ("sasl_username", client.sasl_username),
        ("dsn_envelope_id", entry.envid),
        ("content_filter", entry.filter),
        ("encoding", entry.body.value if entry.body else ""),
    ]
    return [(name, value) for name, value in records if value or name == "sender"] + _recipient_records(
        entry.recipients
    )


def _recipient_records(recipients: Iterable[QueuedRecipient]) -> list[tuple[str, str]]:
    records = []
    for one in recipients:
        records += [
            ("dsn_orig_rcpt", one.orcpt),
            ("original_recipient", one.original.quoted()),
            ("recipient" if one.state is RecipientState.PENDING else "done_recipient", one.address.quoted()),
        ]
    return [(name, value) for name, value in records if value]


class QueueCommands:
    """`list count show flush delete hold release requeue expire` over a `QueueAdmin` and its spool."""

    def __init__(self, admin: QueueAdmin, spool: Spool, clock: Clock) -> None:
        self._admin = admin
        self._spool = spool
        self._clock = clock
        self.names = frozenset({"list", "count", "show", "flush", "delete", "hold", "release", "requeue", "expire"})

    def run(self, command: str, arguments: Mapping[str, Any]) -> Rows:
        """The command's rows; raises ValueError for arguments that make no sense, SpoolError."""
        query = queue_filter(arguments, self._clock.now())
        if command == "list":
            return self._list(query)
        if command == "count":
            return self._count()
        if command == "show":
            return self._show(query)
        if command == "flush":
            return self._flush(query)
        return self._change(command, query)

    async def _list(self, query: QueueFilter) -> Rows:
        async for entry in self._admin.entries(query):
            yield entry_row(entry)
            if entry.unread:
                async for page in self._unread(entry):
                    yield {"recipients": _waiting(page), "more_recipients": 1}
                yield {"recipients": []}

    async def _unread(self, entry: QueueEntry) -> AsyncIterator[list[QueuedRecipient]]:
        """The recipients behind those that the entry holds, some at a time."""
        after = entry.recipients[-1].number if entry.recipients else -1
        while page := await self._spool.recipients(entry.queue_id, after, ENTRY_RECIPIENTS):
            yield page
            after = page[-1].number

    async def _count(self) -> Rows:
        yield dict(await self._admin.counts())

    async def _flush(self, query: QueueFilter) -> Rows:
        yield {"count": await self._admin.flush(query)}

    async def _change(self, command: str, query: QueueFilter) -> Rows:
        async for queue_id in self._admin.change(command, query):
            yield {"queue_id": queue_id}

    async def _show(self, query: QueueFilter) -> Rows:
        for queue_id in query.queue_ids:
            entry = await self._spool.load(queue_id)
            if entry is None:
                continue
            yield {**entry_row(entry), "records": envelope_records(entry)}
            if entry.unread:
                async for page in self._unread(entry):
                    yield {"records": _recipient_records(page)}
            header, content = await split_header(self._spool.content(entry).chunks())
            left = len(header)
            yield {"header": header.replace(b"\r\n", b"\n").decode("latin-1")}
            async for chunk in from_crlf(_without(content, left)):
                yield {"body": chunk.decode("latin-1")}


async def _without(chunks: AsyncIterator[bytes], first: int) -> AsyncIterator[bytes]:
    """The text less its first bytes."""
    async for chunk in chunks:
        if first >= len(chunk):
            first -= len(chunk)
            continue
        yield chunk[first:]
        first = 0
