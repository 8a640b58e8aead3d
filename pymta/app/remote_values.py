"""Queue entries, delivery requests and results as bytes between our processes.

Plain values in tuples through `marshal`: a sixth of the time of JSON for one message. Both ends run the same Python
from the same files, and read only what the other has written; nothing of this is ever stored.
"""

from __future__ import annotations

import marshal
from collections.abc import Sequence
from dataclasses import fields
from operator import attrgetter
from typing import Any, TypeVar

from pymta.model.address import Address
from pymta.model.delivery import DeliveryPart, DeliveryRequest, DeliveryResult, Outcome
from pymta.model.envelope import LOCAL_CLIENT, Body, Client, Notify, Origin, Ret, Trace
from pymta.model.queue import QueuedRecipient, QueueEntry, QueueName, RecipientState

T = TypeVar("T")

_QUEUES = {one.value: one for one in QueueName}
_STATES = {one.value: one for one in RecipientState}
_ORIGINS = {one.value: one for one in Origin}
_BODIES: dict[str | None, Body | None] = {None: None, **{one.value: one for one in Body}}
_RETS: dict[str | None, Ret | None] = {None: None, **{one.value: one for one in Ret}}
_TRACES = {one.value: one for one in Trace}
_OUTCOMES = {one.value: one for one in Outcome}
_NOTIFY = {value: Notify(value) for value in range(16)}

_PENDING = RecipientState.PENDING

# In what follows `_value_` is what `value` looks up by a descriptor in Python: two calls more for each of them.
dumps = marshal.dumps
_client_values = attrgetter(*(field.name for field in fields(Client)))
_shared_values = attrgetter(*(field.name for field in fields(DeliveryResult) if field.name != "number"))


def loads(data: bytes) -> Any:
    """Raises ValueError, EOFError or TypeError for what `dumps` did not write."""
    return marshal.loads(data)  # noqa: S302 - written by ourselves, see above


def _client(client: Client) -> tuple[Any, ...] | None:
    return None if client is LOCAL_CLIENT else _client_values(client)


def _recipient(one: QueuedRecipient) -> tuple[Any, ...]:
    address, original = one.address, one.original
    values = (
        one.number,
        address.local_part,
        address.domain,
        None if original is address else (original.local_part, original.domain),
        one.notify._value_,
        one.orcpt,
    )
    if not one.status and not one.reason and one.state is _PENDING:
        return values
    return (*values, one.state._value_, one.status, one.reason, one.relay, one.remote_mta, one.diagnostic)


def _read_recipient(values: Sequence[Any]) -> QueuedRecipient:
    number, local_part, domain, original, notify, orcpt = values[:6]
    address = Address(local_part, domain)
    said = address if original is None else Address(*original)
    if len(values) == 6:
        return QueuedRecipient(number, address, said, _NOTIFY[notify], orcpt)
    return QueuedRecipient(number, address, said, _NOTIFY[notify], orcpt, _STATES[values[6]], *values[7:])


def _recipients(packed: Sequence[Sequence[Any]]) -> tuple[QueuedRecipient, ...]:
    if len(packed) == 1:
        return (_read_recipient(packed[0]),)
    return tuple([_read_recipient(one) for one in packed])


def pack_entry(entry: QueueEntry) -> tuple[Any, ...]:
    return (
        entry.queue_id,
        entry.queue._value_,
        entry.sender.local_part,
        entry.sender.domain,
        [_recipient(one) for one in entry.recipients],
        entry.arrival_time,
        entry.queued_time,
        entry.size,
        _client(entry.client),
        entry.origin._value_,
        entry.body._value_ if entry.body else None,
        entry.smtputf8,
        entry.envid,
        entry.ret._value_ if entry.ret else None,
        entry.verp,
        entry.filter,
        entry.message_id,
        entry.next_attempt,
        entry.attempts,
        entry.warned_time,
        entry.is_notice,
        entry.forced_expire,
        entry.unread,
        entry.trace._value_,
        [_recipient(one) for one in entry.expanded] if entry.expanded else (),
    )


def unpack_entry(values: Sequence[Any]) -> QueueEntry:
    queue_id, queue, sender, domain, recipients, arrival, queued, size, client, origin, body, utf8, *more = values
    envid, ret, verp, filter_, message_id, due, attempts, warned, is_notice, expires, unread, trace, expanded = more
    return QueueEntry(
        queue_id,
        _QUEUES[queue],
        Address(sender, domain),
        _recipients(recipients),
        arrival,
        queued,
        size,
        LOCAL_CLIENT if client is None else Client(*client),
        _ORIGINS[origin],
        _BODIES[body],
        utf8,
        envid,
        _RETS[ret],
        verp,
        filter_,
        message_id,
        due,
        attempts,
        warned,
        is_notice,
        expires,
        unread,
        _TRACES[trace],
        _recipients(expanded) if expanded else (),
    )


def pack_request(request: DeliveryRequest) -> tuple[Any, ...]:
    recipients = request.recipients
    return (
        request.queue_id,
        request.transport,
        request.nexthop,
        request.sender.local_part,
        request.sender.domain,
        [_recipient(one) for one in recipients] if len(recipients) > 1 else (_recipient(recipients[0]),),
        request.size,
        request.arrival_time,
        _client(request.client),
        request.body._value_ if request.body else None,
        request.smtputf8,
        request.envid,
        request.ret._value_ if request.ret else None,
        request.verp,
        request.is_notice,
        request.trace._value_,
    )


def unpack_request(values: Sequence[Any]) -> DeliveryRequest:
    queue_id, transport, nexthop, sender, domain, recipients, size, arrival, *more = values
    client, body, utf8, envid, ret, verp, is_notice, trace = more
    return DeliveryRequest(
        queue_id,
        transport,
        nexthop,
        Address(sender, domain),
        _recipients(recipients),
        size,
        arrival,
        LOCAL_CLIENT if client is None else Client(*client),
        _BODIES[body],
        utf8,
        envid,
        _RETS[ret],
        verp,
        is_notice,
        _TRACES[trace],
    )


def pack_results(results: Sequence[DeliveryResult]) -> list[tuple[list[int], tuple[Any, ...]]]:
    """What neighbours share, all but their numbers, is said once: 50 recipients of one message had one reply."""
    groups: list[tuple[list[int], tuple[Any, ...]]] = []
    last = None
    for one in results:
        values = _shared_values(one)
        if values != last:
            outcome, *plain, parts = last = values
            groups.append(([], (outcome._value_, *plain, [_part(part) for part in parts])))
        groups[-1][0].append(one.number)
    return groups


def _part(part: DeliveryPart) -> tuple[Any, ...]:
    address = part.address
    return (address.local_part, address.domain, part.outcome._value_, part.status, part.reason, part.action)


def unpack_results(groups: Sequence[tuple[Sequence[int], Sequence[Any]]]) -> list[DeliveryResult]:
    results = []
    for numbers, (outcome, *plain, parts) in groups:
        values = (_OUTCOMES[outcome], *plain, tuple([_read_part(part) for part in parts]) if parts else ())
        for number in numbers:
            results.append(DeliveryResult(number, *values))
    return results


def _read_part(values: Sequence[Any]) -> DeliveryPart:
    local_part, domain, outcome, *texts = values
    return DeliveryPart(Address(local_part, domain), _OUTCOMES[outcome], *texts)
