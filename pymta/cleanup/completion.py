"""The header fields that cleanup(8) adds for local clients, where the message has none (RFC 5322 3.6)."""

from __future__ import annotations

import re
import time
from email.charset import QP, Charset
from email.header import Header

from pymta.cleanup.fields import VISIBLE_RECIPIENTS
from pymta.cleanup.header_filter import Seen
from pymta.cleanup.settings import CleanupSettings
from pymta.model.address import Address
from pymta.model.queue import QueueId
from pymta.rewrite import external
from pymta.runtime.dates import mail_date

_MAILER_DAEMON = Address("MAILER-DAEMON")
_ATOMS = re.compile(r"[A-Za-z0-9!#$%&'*+/=?^_`{|}~ -]+")
_QUOTE = re.compile(r'(["\\])')
_PARENTHESES = re.compile(r"[()\\\r\n]")


# What a message must have, and a message that was sent on besides (RFC 5322 3.6).
_REQUIRED = frozenset({"message-id", "date", "from"})
_REQUIRED_RESENT = frozenset({"resent-message-id", "resent-date", "resent-from"})


def missing_fields(
    settings: CleanupSettings, seen: Seen, queue_id: QueueId, sender: Address, full_name: str, arrival: float
) -> bytes:
    """The fields to put at the end of the header, lines ended by CRLF; notes the Message-ID in `seen`."""
    names = seen.names
    has_recipients = not settings.undisclosed_recipients_header or not VISIBLE_RECIPIENTS.isdisjoint(names)
    if has_recipients and (_REQUIRED_RESENT if seen.is_resent else _REQUIRED) <= names:
        return b""
    prefix = "Resent-" if seen.is_resent else ""
    lines: list[str] = []
    if f"{prefix}Message-Id".lower() not in names:
        message_id = f"<{_message_id(settings, queue_id, arrival)}>"
        lines.append(f"{prefix}Message-Id: {message_id}")
        if seen.is_resent:
            seen.resent_message_id = message_id
        else:
            seen.message_id = message_id
    if f"{prefix}Date".lower() not in names:
        lines.append(f"{prefix}Date: {mail_date(arrival)}")
    if f"{prefix}From".lower() not in names:
        lines.append(f"{prefix}From: {_from(settings, sender, full_name)}")
    if not has_recipients:
        lines.append(settings.undisclosed_recipients_header)
    return "".join(f"{line}\r\n" for line in lines).encode()


def _message_id(settings: CleanupSettings, queue_id: QueueId, arrival: float) -> str:
    if settings.enable_long_queue_ids:
        return f"{queue_id}@{settings.myhostname}"
    return f"{time.strftime('%Y%m%d%H%M%S', time.gmtime(arrival))}.{queue_id}@{settings.myhostname}"


def _from(settings: CleanupSettings, sender: Address, full_name: str) -> str:
    address = external(sender or _MAILER_DAEMON)
    name = " ".join(full_name.split())
    if not sender or not name:
        return address
    if not name.isascii():
        name = _encoded(name, settings.full_name_encoding_charset)
        return f"{name} <{address}>" if settings.header_from_format == "standard" else f"{address} ({name})"
    if settings.header_from_format == "standard":
        phrase = name if _ATOMS.fullmatch(name) else '"' + _QUOTE.sub(r"\\\1", name) + '"'
        return f"{phrase} <{address}>"
    return f"{address} ({_PARENTHESES.sub('', name)})"


def _encoded(name: str, charset: str) -> str:
    """An encoded word (RFC 2047), for names outside of ASCII."""
    rule = Charset(charset)
    rule.header_encoding = QP
    return Header(name, rule, maxlinelen=998).encode()
