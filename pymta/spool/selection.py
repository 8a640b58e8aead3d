"""Which entries a `QueueFilter` means; the one definition that every spool shares.

An entry with recipients that are not read yet matches where it may: what leads to it has looked at all of them.
"""

from __future__ import annotations

from pymta.model.address import Address
from pymta.model.queue import QueueEntry, QueueFilter


def matches(entry: QueueEntry, query: QueueFilter) -> bool:
    """Whether every field of `query` that is set fits `entry`."""
    if query.queue_ids and entry.queue_id not in query.queue_ids:
        return False
    if query.queues and entry.queue not in query.queues:
        return False
    age = query.now - entry.arrival_time
    if query.older_than is not None and age <= query.older_than:
        return False
    if query.younger_than is not None and age >= query.younger_than:
        return False
    if query.sender is not None and not _is_address(entry.sender, query.sender):
        return False
    return entry.unread > 0 or _matches_recipients(entry, query)


def _matches_recipients(entry: QueueEntry, query: QueueFilter) -> bool:
    wanted, site = query.recipient, query.site
    if wanted is not None and not any(_is_address(recipient.address, wanted) for recipient in entry.recipients):
        return False
    return site is None or any(recipient.address.domain.lower() == site.lower() for recipient in entry.recipients)


def _is_address(address: Address, wanted: str) -> bool:
    if wanted.startswith("@"):
        return address.domain.casefold() == wanted[1:].casefold()
    return str(address).casefold() == wanted.casefold()
