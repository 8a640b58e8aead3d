"""From rows to entries, with an eye on what is broken. Runs in reader threads."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from pymta.model.frozen import frozen
from pymta.model.queue import ENTRY_RECIPIENTS, Found, QueuedRecipient, QueueEntry, QueueFilter, QueueId, QueueName
from pymta.spool.content import IN_DATABASE_BELOW, file_path
from pymta.spool.rows import decode, decode_recipients, wreck
from pymta.spool.view import View

DUE_QUEUES = (QueueName.INCOMING.value, QueueName.DEFERRED.value)


@frozen
class Damage:
    """A message that cannot be delivered as it lies there."""

    queue_id: QueueId
    reason: str


@dataclass(slots=True)
class Page:
    """Entries of `rows` rows, the last one at `last`, `(next_attempt, queue_id)`; the broken ones in `damage`."""

    rows: int
    last: tuple[float, QueueId]
    entries: list[QueueEntry] = field(default_factory=list)
    damage: list[Damage] = field(default_factory=list)


def read_due(reader: View, now: float, limit: int, after: tuple[float, QueueId], content: Path) -> Page:
    """Messages whose time has come, checked to be whole."""
    return _read(reader, reader.due(DUE_QUEUES, now, limit, after), content)


def read_message(reader: View, queue_id: QueueId, content: Path) -> tuple[QueueEntry | None, list[Damage]]:
    """One message of any queue; only where it waits for delivery must it be whole."""
    row = reader.message(queue_id)
    if row is None:
        return None, []
    page = _read(reader, [row], content if row[1] in DUE_QUEUES else None)
    return (page.entries[0] if page.entries else wreck(row)), page.damage


def read_recipients(
    reader: View, queue_id: QueueId, after: int, limit: int
) -> tuple[list[QueuedRecipient], list[Damage]]:
    """Recipients behind number `after`; none of them where one is broken."""
    try:
        return decode_recipients(reader.more_recipients(queue_id, after, limit)), []
    except ValueError as error:
        return [], [Damage(queue_id, f"unreadable row: {error}")]


def read_page(reader: View, query: QueueFilter, after: QueueId, limit: int) -> tuple[list[QueueEntry], QueueId | None]:
    """Messages in order of id, a broken one as far as it can be shown; and after what the next page begins."""
    rows, more = reader.page(query, after, limit)
    page = _read(reader, rows, None)
    if page.damage:
        broken = {message.queue_id for message in page.damage}
        page.entries.extend(wreck(row) for row in rows if row[0] in broken)
        page.entries.sort(key=lambda entry: entry.queue_id)
    return page.entries, more


def find_page(reader: View, query: QueueFilter, after: QueueId, limit: int) -> tuple[list[Found], QueueId | None]:
    """The same without what only a listing shows; `query` is one that SQL decides alone."""
    rows, more = reader.page(query, after, limit, "queue_id, queue, forced_expire")
    return [Found(queue_id, _queue(queue), bool(forced)) for queue_id, queue, forced in rows], more


def _queue(name: object) -> QueueName:
    try:
        return QueueName(name)
    except ValueError:
        return QueueName.CORRUPT


def _read(reader: View, rows: Sequence[Sequence[Any]], content: Path | None) -> Page:
    page = Page(len(rows), (rows[-1][2], rows[-1][0]) if rows else (0.0, ""))
    queue_ids = [row[0] for row in rows]
    recipients = reader.recipients(queue_ids, ENTRY_RECIPIENTS) if rows else {}
    long = [queue_id for queue_id, found in recipients.items() if len(found) == ENTRY_RECIPIENTS]
    counts = reader.recipient_counts(long) if long else {}
    sizes = reader.content_sizes(queue_ids) if rows and content is not None else {}
    for row in rows:
        try:
            entry = decode(row, recipients[row[0]])
        except ValueError as error:
            page.damage.append(Damage(row[0], f"unreadable row: {error}"))
            continue
        if entry.queue_id in counts:
            entry = replace(entry, unread=counts[entry.queue_id] - ENTRY_RECIPIENTS)
        reason = _incomplete(entry, sizes, content) if content is not None else ""
        if reason:
            page.damage.append(Damage(entry.queue_id, reason))
        else:
            page.entries.append(entry)
    if page.damage:
        # One that went while its parts were being read is not broken.
        there = reader.existing([damage.queue_id for damage in page.damage])
        page.damage = [damage for damage in page.damage if damage.queue_id in there]
    return page


def _incomplete(entry: QueueEntry, sizes: dict[QueueId, int], content: Path) -> str:
    if not entry.recipients:
        return "no recipients"
    found = _file_size(content, entry.queue_id) if entry.size >= IN_DATABASE_BELOW else sizes.get(entry.queue_id)
    if found is None:
        return "content is missing"
    return "" if found == entry.size else f"content has {found} bytes instead of {entry.size}"


def _file_size(content: Path, queue_id: QueueId) -> int | None:
    try:
        return file_path(content, queue_id).stat().st_size
    except OSError:
        return None
