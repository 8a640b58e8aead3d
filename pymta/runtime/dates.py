"""Dates in mail headers (RFC 5322 3.3)."""

from __future__ import annotations

import time

# RFC 5322 wants English names whatever the locale.
_DAYS = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")
_MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")

_latest = (-1, "")


def mail_date(now: float) -> str:
    """`Sat, 21 Nov 2026 12:51:17 +0000 (UTC)` in local time, without the comment where the zone has no name.

    A second that repeats is formatted once.
    """
    global _latest
    second = int(now)
    if _latest[0] != second:
        local = time.localtime(second)
        day, month = _DAYS[local.tm_wday], _MONTHS[local.tm_mon - 1]
        zone = f" ({local.tm_zone})" if local.tm_zone else ""
        _latest = (second, time.strftime(f"{day}, %d {month} %Y %H:%M:%S %z", local) + zone)
    return _latest[1]
