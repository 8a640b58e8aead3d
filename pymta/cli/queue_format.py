"""Queue listings for people: postqueue -p's layout (postqueue(1))."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Mapping

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

_MARKS = {"active": "*", "hold": "!"}
_SHORT_ID = 10
_REASON_WIDTH = 76


def status_mark(row: Mapping[str, Any]) -> str:
    """`*` active, `!` on hold, `#` told to expire, else nothing."""
    if row.get("forced_expire"):
        return "#"
    return _MARKS.get(row["queue_name"], "")


def listing(rows: Iterable[Mapping[str, Any]]) -> Iterator[str]:
    """Lines of `postqueue -p` as the rows come; `Mail queue is empty` where there are none."""
    size = count = 0
    wide = False
    for row in rows:
        if count == 0:
            wide = len(row["queue_id"]) > _SHORT_ID
            yield _header(wide)
        count += 1
        size += row["message_size"]
        yield from _entry(row, wide)
        yield ""
    if count == 0:
        yield "Mail queue is empty"
    else:
        yield f"-- {size // 1024} Kbytes in {count} Request{'s' if count > 1 else ''}."


def _header(wide: bool) -> str:
    if wide:
        return "----Queue ID----- --Size-- ---Arrival Time---- --Sender/Recipient------"
    return "-Queue ID-  --Size-- ----Arrival Time---- -Sender/Recipient-------"


def _entry(row: Mapping[str, Any], wide: bool) -> Iterator[str]:
    arrival = time.asctime(time.localtime(row["arrival_time"]))[:19]
    queue_id = row["queue_id"] + status_mark(row)
    if wide:
        yield f"{queue_id:<17} {row['message_size']:8d} {arrival} {row['sender']}"
    else:
        yield f"{queue_id:<11} {row['message_size']:7d} {arrival}  {row['sender']}"
    indent = " " * (47 if wide else 41)
    last = ""
    for recipient in row["recipients"]:
        reason = recipient.get("delay_reason", "")
        if reason and reason != last:
            yield " " * max(0, _REASON_WIDTH - len(reason)) + f"({reason})"
            last = reason
        yield indent + recipient["address"]
    if more := row.get("more_recipients"):
        yield f"{indent}(and {more} more)"


def plural(count: int, what: str = "message") -> str:
    return f"{count} {what}" if count == 1 else f"{count} {what}s"
