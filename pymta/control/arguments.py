"""Reading what a caller sent: everything is checked before it means something."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pymta.model.queue import QueueFilter, QueueName

_IDS_LIMIT = 10_000


def queue_filter(arguments: Mapping[str, Any], now: float) -> QueueFilter:
    """A `QueueFilter` from a request's arguments; raises ValueError naming the argument."""
    return QueueFilter(
        queue_ids=tuple(_texts(arguments, "queue_ids")),
        queues=tuple(_queue(name) for name in _texts(arguments, "queues")),
        sender=_text(arguments, "sender"),
        recipient=_text(arguments, "recipient"),
        site=_text(arguments, "site"),
        older_than=_number(arguments, "older_than"),
        younger_than=_number(arguments, "younger_than"),
        now=now,
    )


def _queue(name: str) -> QueueName:
    try:
        return QueueName(name)
    except ValueError:
        known = ", ".join(one.value for one in QueueName)
        raise ValueError(f"no queue is named {name!r}; there are {known}") from None


def _texts(arguments: Mapping[str, Any], name: str) -> list[str]:
    value = arguments.get(name, [])
    if not isinstance(value, list) or len(value) > _IDS_LIMIT or not all(isinstance(one, str) for one in value):
        raise ValueError(f"{name} is not a list of at most {_IDS_LIMIT} texts")
    return value


def _text(arguments: Mapping[str, Any], name: str) -> str | None:
    value = arguments.get(name)
    if value is not None and not isinstance(value, str):
        raise ValueError(f"{name} is not a text")
    return value


def _number(arguments: Mapping[str, Any], name: str) -> float | None:
    value = arguments.get(name)
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float) or value < 0:
        raise ValueError(f"{name} is not a number of seconds")
    return float(value)
