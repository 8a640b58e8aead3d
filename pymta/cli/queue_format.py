"""Queue listings for people: postqueue -p's layout (postqueue(1))."""

from __future__ import annotations

import json
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
    reason = ""
    for row in rows:
        if "queue_id" in row:
            if count == 0:
                wide = len(row["queue_id"]) > _SHORT_ID
                yield _header(wide)
            count += 1
            size += row["message_size"]
            reason = ""
            yield _message(row, wide)
        for recipient in row["recipients"]:
            yield from _recipient(recipient, reason, wide)
            reason = recipient.get("delay_reason", "") or reason
        if not row.get("more_recipients"):
            yield ""
    if count == 0:
        yield "Mail queue is empty"
    else:
        yield f"-- {size // 1024} Kbytes in {count} Request{'s' if count > 1 else ''}."


def _header(wide: bool) -> str:
    if wide:
        return "----Queue ID----- --Size-- ---Arrival Time---- --Sender/Recipient------"
    return "-Queue ID-  --Size-- ----Arrival Time---- -Sender/Recipient-------"


def _message(row: Mapping[str, Any], wide: bool) -> str:
    arrival = time.asctime(time.localtime(row["arrival_time"]))[:19]
    queue_id = row["queue_id"] + status_mark(row)
    if wide:
        return f"{queue_id:<17} {row['message_size']:8d} {arrival} {row['sender']}"
    return f"{queue_id:<11} {row['message_size']:7d} {arrival}  {row['sender']}"


def _recipient(recipient: Mapping[str, str], last: str, wide: bool) -> Iterator[str]:
    """A recipient under the reason that it waits for, which is not repeated."""
    reason = recipient.get("delay_reason", "")
    if reason and reason != last:
        yield " " * max(0, _REASON_WIDTH - len(reason)) + f"({reason})"
    yield " " * (47 if wide else 41) + recipient["address"]


def json_lines(rows: Iterable[dict[str, Any]]) -> Iterator[str]:
    """One JSON object a line, in pieces: a message of 50,000 recipients is never held whole."""
    separator = ""
    for row in rows:
        more = row.pop("more_recipients", 0)
        if "queue_id" in row and not more:
            yield json.dumps(row, ensure_ascii=False) + "\n"
            continue
        recipients = row.pop("recipients")
        if "queue_id" in row:
            # The recipients go last, so that others may follow.
            yield json.dumps(row | {"recipients": []}, ensure_ascii=False)[:-2]
            separator = ""
        if recipients:
            yield separator + ", ".join(json.dumps(one, ensure_ascii=False) for one in recipients)
            separator = ", "
        if not more:
            yield "]}\n"


def plural(count: int, what: str = "message") -> str:
    return f"{count} {what}" if count == 1 else f"{count} {what}s"
