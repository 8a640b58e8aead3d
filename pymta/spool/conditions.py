"""A `QueueFilter` as SQL: never less than it means, and where addresses are ASCII no more either."""

# ruff: noqa: S608 - conditions are put together from constants; values are bound.

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from pymta.model.queue import QueueFilter

IDS = "(SELECT value FROM json_each(?))"

Condition = tuple[str, list[Any]]


def is_exact(query: QueueFilter) -> bool:
    """Whether SQL decides alone: it folds the case of ASCII letters only."""
    return all(text is None or text.isascii() for text in (query.sender, query.recipient, query.site))


def recipient_driver(query: QueueFilter) -> Condition | None:
    """The condition on `recipients` whose index leads to the messages; None where no recipient is named."""
    wanted = f"@{query.site}" if query.site is not None else query.recipient
    if wanted is None or not wanted.isascii() or query.queue_ids:
        return None
    return _recipient_condition(wanted)


def sql_conditions(query: QueueFilter) -> tuple[list[str], list[Any]]:
    """Conditions on `messages`, and the values that they bind."""
    conditions, values = [], []
    for condition, bound in _each(query):
        conditions.append(condition)
        values.extend(bound)
    return conditions, values


def _each(query: QueueFilter) -> Iterator[Condition]:
    if query.queue_ids:
        yield f"queue_id IN {IDS}", [json.dumps(query.queue_ids)]
    if query.queues:
        # An expression, not the column: the index on it would have every page sorted anew.
        yield f"(queue || '') IN {IDS}", [json.dumps([queue.value for queue in query.queues])]
    if query.older_than is not None:
        yield "arrival_time < ?", [query.now - query.older_than]
    if query.younger_than is not None:
        yield "arrival_time > ?", [query.now - query.younger_than]
    if query.sender is not None and query.sender.isascii():
        yield _address_condition(query.sender, "sender_local", "sender_domain")
    for wanted in (query.recipient, f"@{query.site}" if query.site is not None else None):
        if wanted is not None and wanted.isascii():
            condition, bound = _recipient_condition(wanted)
            yield f"EXISTS (SELECT 1 FROM recipients AS r WHERE r.queue_id = messages.queue_id AND {condition})", bound


def _recipient_condition(wanted: str) -> Condition:
    """What begins with `@` is a domain; the domain is named by itself for the sake of its index."""
    local_part, at, domain = wanted.rpartition("@")
    if wanted.startswith("@"):
        return "lower(domain) = ?", [wanted[1:].lower()]
    if not at:
        return "lower(domain) = '' AND lower(local_part) = ?", [wanted.lower()]
    return "lower(domain) = ? AND lower(local_part) = ?", [domain.lower(), local_part.lower()]


def _address_condition(wanted: str, local_part: str, domain: str) -> Condition:
    if wanted.startswith("@"):
        return f"lower({domain}) = ?", [wanted[1:].lower()]
    return f"lower({local_part} || CASE {domain} WHEN '' THEN '' ELSE '@' || {domain} END) = ?", [wanted.lower()]
