"""Values between processes arrive as they were sent, with every field."""

import typing
from dataclasses import fields, is_dataclass, replace
from enum import Flag
from itertools import count
from types import NoneType
from typing import Any

import pytest

from pymta.app.remote_values import (
    dumps,
    loads,
    pack_entry,
    pack_request,
    pack_results,
    unpack_entry,
    unpack_request,
    unpack_results,
)
from pymta.model.address import NULL_SENDER, Address
from pymta.model.delivery import DeliveryRequest, DeliveryResult, Outcome
from pymta.model.queue import QueuedRecipient, QueueEntry

_numbers = count(1)


def filled(kind: Any) -> Any:
    """A value of type `kind` of which no field has its default: a field that is not carried shows."""
    if is_dataclass(kind):
        hints = typing.get_type_hints(kind)
        return kind(**{one.name: filled(hints[one.name]) for one in fields(kind)})  # type: ignore[operator]
    if typing.get_origin(kind) is tuple:
        return (filled(typing.get_args(kind)[0]), filled(typing.get_args(kind)[0]))
    if arguments := typing.get_args(kind):
        return filled(next(one for one in arguments if one is not NoneType))
    if issubclass(kind, Flag):
        return ~kind(0)
    if hasattr(kind, "__members__"):
        return list(kind)[-1]
    return {str: f"\udcff text {next(_numbers)}", int: next(_numbers), float: next(_numbers) + 0.5, bool: True}[kind]


def plain(kind: Any) -> Any:
    """A value of type `kind` with defaults where there are any."""
    value = filled(kind)
    recipient = QueuedRecipient(1, Address("r", "example.com"), Address("r", "example.com"))
    defaults = {one.name: one.default for one in fields(kind) if isinstance(one.default, str | bool | NoneType)}
    return replace(value, **defaults, **({"recipients": (recipient,)} if hasattr(value, "recipients") else {}))


@pytest.mark.parametrize("make", [filled, plain])
def test_a_queue_entry(make: Any) -> None:
    entry = make(QueueEntry)
    assert unpack_entry(loads(dumps(pack_entry(entry)))) == entry
    null = replace(entry, sender=NULL_SENDER)
    assert unpack_entry(loads(dumps(pack_entry(null)))) == null


@pytest.mark.parametrize("make", [filled, plain])
def test_a_delivery_request(make: Any) -> None:
    request = make(DeliveryRequest)
    assert unpack_request(loads(dumps(pack_request(request)))) == request


@pytest.mark.parametrize("make", [filled, plain])
def test_results(make: Any) -> None:
    results = [make(DeliveryResult), make(DeliveryResult)]
    assert unpack_results(loads(dumps(pack_results(results)))) == results


def test_what_results_share_is_said_once() -> None:
    sent = DeliveryResult(1, Outcome.SENT, "2.0.0", "250 Ok", "mx[192.0.2.1]:25", transfer_seconds=0.5)
    refused = DeliveryResult(3, Outcome.BOUNCED, "5.1.1", "no such user")
    results = [sent, sent.for_recipient(2), refused, sent.for_recipient(4)]
    packed = pack_results(results)
    assert [numbers for numbers, _ in packed] == [[1, 2], [3], [4]]
    assert unpack_results(loads(dumps(packed))) == results
    assert pack_results([]) == []


@pytest.mark.parametrize("damaged", [b"", b"\x00", b"(\x05\x00\x00\x00", b"garbage"])
def test_what_was_not_written_by_us_is_a_clear_error(damaged: bytes) -> None:
    with pytest.raises((ValueError, EOFError, TypeError)):
        loads(damaged)
