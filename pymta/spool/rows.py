"""Queue entries as rows of plain SQL types, and back.

What is searched or changed has a column of its own; the rest is one list per message, and one JSON text per recipient,
empty where there is nothing to say.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import fields
from operator import attrgetter
from typing import Any

from pymta.errors import SpoolError
from pymta.model.address import Address
from pymta.model.envelope import LOCAL_CLIENT, Body, Client, Notify, Origin, Ret, Trace
from pymta.model.frozen import frozen
from pymta.model.queue import (
    EntryUpdate,
    QueuedRecipient,
    QueueEntry,
    QueueId,
    QueueName,
    RecipientState,
    RecipientUpdate,
)

# The last value is JSON in the database, and the list that it stands for everywhere else.
MessageRow = tuple[QueueId, str, float, int, float | None, int, float, int, str, str, str | list[Any]]
RecipientRow = tuple[QueueId, int, str, str, str, str]
# Of an id: queue, next_attempt, attempts, warned_time, forced_expire, None where they stay; the recipients' outcomes
# by number, None where one is done.
UpdateRow = tuple[
    QueueId, tuple[str | None, float | None, int | None, float | None, int | None], list[tuple[int, str | None]]
]

MESSAGE_COLUMNS = (
    "queue_id, queue, next_attempt, attempts, warned_time, forced_expire, arrival_time, size,"
    " sender_local, sender_domain, data"
)
RECIPIENT_COLUMNS = "queue_id, number, local_part, domain, data, outcome"

_client_values = attrgetter(*(field.name for field in fields(Client)))
_QUEUES = {one.value: one for one in QueueName}
_ORIGINS = {one.value: one for one in Origin}
_UNSAID = Notify.DEFAULT
_PENDING = RecipientState.PENDING
_dump = json.JSONEncoder(separators=(",", ":")).encode


@frozen
class NewMessage:
    """A message as the writer stores it; `content` is None where it lies in a file."""

    message: MessageRow
    recipients: list[RecipientRow]
    content: bytes | None

    @property
    def weight(self) -> int:
        """About how many bytes it adds to a transaction."""
        return len(self.content or b"") + 256 * len(self.recipients)


def encode(entry: QueueEntry, content: bytes | None) -> NewMessage:
    """Raises SpoolError for an address that is not text (lone surrogates cannot be stored)."""
    queue_id, sender = entry.queue_id, entry.sender
    _check_text(sender, queue_id)
    message = (
        queue_id,
        entry.queue._value_,
        entry.next_attempt,
        entry.attempts,
        entry.warned_time,
        int(entry.forced_expire),
        entry.arrival_time,
        entry.size,
        sender.local_part,
        sender.domain,
        _details(entry),
    )
    return NewMessage(message, [_recipient_row(queue_id, recipient) for recipient in entry.recipients], content)


def stored(message: MessageRow) -> MessageRow:
    """The row as the database has it. Most messages are gone before they get there, and are never told in JSON."""
    details = message[-1]
    return message if isinstance(details, str) else (*message[:-1], _dump(details))


def _details(entry: QueueEntry) -> list[Any]:
    details: list[Any] = [
        entry.queued_time,
        None if entry.client == LOCAL_CLIENT else _client_values(entry.client),
        entry.origin._value_,
        entry.body._value_ if entry.body else None,
        entry.smtputf8,
        entry.envid,
        entry.ret.value if entry.ret else None,
        entry.verp,
        entry.filter,
        entry.message_id,
        entry.is_notice,
    ]
    if entry.trace is not Trace.NONE or entry.expanded:
        details.append(entry.trace.value)
    if entry.expanded:
        details.append([_expanded(entry.queue_id, one) for one in entry.expanded])
    return details


def _check_text(address: Address, queue_id: QueueId) -> None:
    if not address.is_ascii:
        try:
            str(address).encode()
        except UnicodeEncodeError as error:
            raise SpoolError(f"{queue_id}: an address is not valid UTF-8: {str(address)!r}") from error


def _recipient_text(queue_id: QueueId, recipient: QueuedRecipient) -> str:
    address, original = recipient.address, recipient.original
    _check_text(address, queue_id)
    if recipient.orcpt or recipient.notify._value_ or (original is not address and original != address):
        return _dump([original.local_part, original.domain, recipient.notify.value, recipient.orcpt])
    return ""


def _expanded(queue_id: QueueId, alias: QueuedRecipient) -> list[Any]:
    """An alias as a row of recipients would have it, with neither queue id nor outcome."""
    text = _recipient_text(queue_id, alias)
    return [alias.number, alias.address.local_part, alias.address.domain, text]


def _recipient_row(queue_id: QueueId, recipient: QueuedRecipient) -> RecipientRow:
    address, text = recipient.address, _recipient_text(queue_id, recipient)
    outcome = encode_outcome(recipient) if recipient.reason or recipient.status else ""
    return (queue_id, recipient.number, address.local_part, address.domain, text, outcome)


def encode_outcome(source: QueuedRecipient | RecipientUpdate) -> str:
    """The last attempt's outcome for one recipient."""
    return _dump([source.status, source.reason, source.relay, source.remote_mta, source.diagnostic])


def encode_update(update: EntryUpdate) -> UpdateRow:
    expire = update.forced_expire
    columns = (
        update.queue.value if update.queue else None,
        update.next_attempt,
        update.attempts,
        update.warned_time,
        None if expire is None else int(expire),
    )
    done = RecipientState.DONE
    outcomes = [(one.number, None if one.state is done else encode_outcome(one)) for one in update.recipients]
    return update.queue_id, columns, outcomes


def updated_message(message: MessageRow, update: UpdateRow) -> MessageRow:
    """What the database makes of a message's row."""
    queue, next_attempt, attempts, warned, expire = update[1]
    return (
        message[0],
        message[1] if queue is None else queue,
        message[2] if next_attempt is None else next_attempt,
        message[3] if attempts is None else attempts,
        message[4] if warned is None else warned,
        message[5] if expire is None else expire,
        *message[6:],
    )


def updated_recipients(recipients: list[RecipientRow], update: UpdateRow) -> list[RecipientRow]:
    """Those that are not done, with the outcomes that are new."""
    outcomes = dict(update[2])
    if not outcomes:
        return recipients
    left = []
    for row in recipients:
        outcome = outcomes.get(row[1], row[5])
        if outcome is not None:
            left.append((*row[:5], outcome))
    return left


def decode(message: Sequence[Any], recipients: Sequence[Sequence[Any]]) -> QueueEntry:
    """Read back what `encode` wrote. Raises ValueError for anything else."""
    try:
        return _decode(message, recipients)
    except (TypeError, KeyError, IndexError, AttributeError) as error:
        raise ValueError(str(error)) from error


def decode_recipients(rows: Sequence[Sequence[Any]]) -> list[QueuedRecipient]:
    """Raises ValueError for what `encode` did not write."""
    try:
        return [_decode_recipient(row) for row in rows]
    except (TypeError, KeyError, IndexError, AttributeError) as error:
        raise ValueError(str(error)) from error


def _decode(message: Sequence[Any], recipients: Sequence[Sequence[Any]]) -> QueueEntry:
    queue_id, queue, next_attempt, attempts, warned, expire, arrival, size, sender_local, sender_domain, data = message
    details = json.loads(data) if isinstance(data, str) else data
    queued, client, origin, body, smtputf8, envid, ret, verp, filter_, message_id, is_notice, *more = details
    return QueueEntry(
        queue_id=queue_id,
        queue=_QUEUES[queue],
        sender=Address(sender_local, sender_domain),
        recipients=tuple([_decode_recipient(row) for row in recipients]),
        arrival_time=float(arrival),
        queued_time=float(queued),
        size=int(size),
        client=LOCAL_CLIENT if client is None else Client(*client),
        origin=_ORIGINS[origin],
        body=Body(body) if body else None,
        smtputf8=smtputf8,
        envid=envid,
        ret=Ret(ret) if ret else None,
        verp=verp,
        filter=filter_,
        message_id=message_id,
        next_attempt=float(next_attempt),
        attempts=int(attempts),
        warned_time=warned,
        is_notice=is_notice,
        forced_expire=bool(expire),
        trace=Trace(more[0]) if more else Trace.NONE,
        expanded=tuple([_decode_recipient((queue_id, *row, "")) for row in more[1]]) if len(more) > 1 else (),
    )


def _decode_recipient(row: Sequence[Any]) -> QueuedRecipient:
    _, number, local_part, domain, data, outcome = row
    address = Address(local_part, domain)
    original, notify, orcpt = address, _UNSAID, ""
    if data:
        original_local, original_domain, notify_value, orcpt = json.loads(data)
        original, notify = Address(original_local, original_domain), Notify(notify_value)
    recipient = (number, address, original, notify, orcpt)
    if not outcome:
        return QueuedRecipient(*recipient)
    status, reason, relay, remote_mta, diagnostic = json.loads(outcome)
    return QueuedRecipient(*recipient, _PENDING, status, reason, relay, remote_mta, diagnostic)


def wreck(message: Sequence[Any]) -> QueueEntry:
    """What can still be shown of a message whose rows `decode` refuses."""
    queue_id, arrival, size = str(message[0]), message[6], message[7]
    return QueueEntry(
        queue_id=queue_id,
        queue=QueueName.CORRUPT,
        sender=Address(str(message[8]), str(message[9])),
        recipients=(),
        arrival_time=arrival if isinstance(arrival, float) else 0.0,
        queued_time=0.0,
        size=size if isinstance(size, int) else 0,
    )


def unreadable(new: NewMessage) -> NewMessage:
    """What every database can hold of a message, for the corrupt queue."""
    row = (new.message[0], QueueName.CORRUPT.value, 0.0, 0, None, 0, 0.0, len(new.content or b""), "", "", "")
    return NewMessage(row, [], new.content)
