"""The trace header that we put on top of each message (RFC 5321 4.4, RFC 3848)."""

from __future__ import annotations

import time

from pymta.model.address import Address
from pymta.model.envelope import Client
from pymta.model.queue import QueueId


def received_header(
    client: Client,
    host: str,
    mail_name: str,
    queue_id: QueueId,
    now: float,
    *,
    only_recipient: Address | None = None,
    smtputf8: bool = False,
) -> bytes:
    """`Received: from HELO (NAME [ADDR]) by HOST (MAILNAME) with ESMTP id QID for <rcpt>; date`, folded.

    `for` is there with one recipient only, so that nobody learns of others. `now` is seconds since the epoch.
    """
    protocol = f"UTF8{client.protocol.removeprefix('E')}" if smtputf8 else client.protocol
    lines = [
        f"Received: from {client.helo or client.name} ({client.name} [{address_literal(client.address)}])",
        f"\tby {host} ({mail_name}) with {protocol} id {queue_id}",
    ]
    if only_recipient is not None:
        lines.append(f"\tfor <{only_recipient.quoted()}>; {header_date(now)}")
    else:
        lines[1] += ";"
        lines.append(f"\t{header_date(now)}")
    return ("\r\n".join(lines) + "\r\n").encode("utf-8", "replace")


def address_literal(address: str) -> str:
    """An IP address as RFC 5321 4.1.3 writes it between brackets."""
    return f"IPv6:{address}" if ":" in address else address


_cached_date = (-1, "")


def header_date(now: float) -> str:
    """`Sat, 21 Nov 2026 12:51:17 +0000 (UTC)` in local time; the same second is formatted once."""
    global _cached_date
    second = int(now)
    if _cached_date[0] != second:
        local = time.localtime(second)
        day, month = _DAYS[local.tm_wday], _MONTHS[local.tm_mon - 1]
        text = time.strftime(f"{day}, %d {month} %Y %H:%M:%S %z (%Z)", local)
        _cached_date = (second, text)
    return _cached_date[1]


# RFC 5322 wants English names whatever the locale.
_DAYS = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")
_MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")
