"""Delivery status notifications as text: RFC 3461, RFC 3462, RFC 3464, RFC 6533. Composition only."""

from __future__ import annotations

import re
from collections.abc import Sequence

from pymta.model.frozen import frozen

_XTEXT = re.compile(r"\+([0-9A-F]{2})")
_UNITEXT = re.compile(r"\\x\{([0-9A-F]{2,6})\}")
_UNPRINTABLE = re.compile(r"[\x00-\x1f\x7f-\x9f\ud800-\udfff\u2028\u2029]")
_WIDTH = 79
_INDENT = "    "
CRLF = "\r\n"
# Postfix's name for private fields and reasons, whoever we are: programs that sort bounces look for it.
_PRIVATE = "X-Postfix"


@frozen
class ReportedRecipient:
    """One recipient in a report. `reason` is for people, `diagnostic` is `TYPE; TEXT`; `remote_mta` a host name.

    `orcpt` is the ORCPT parameter byte for byte; without one, the address the client gave, `original`, stands in.
    """

    address: str
    action: str
    status: str
    reason: str
    original: str = ""
    orcpt: str = ""
    diagnostic: str = ""
    remote_mta: str = ""


@frozen
class Report:
    """What a report says about the message as a whole. Dates are RFC 5322 text. `envid` is byte for byte as it came.

    `retry_until` is empty except in a delay warning.
    """

    reporting_mta: str
    queue_id: str
    sender: str
    arrival_date: str
    recipients: Sequence[ReportedRecipient]
    envid: str = ""
    retry_until: str = ""
    smtputf8: bool = False


def decode_xtext(text: str) -> str:
    """Undo RFC 3461 4 xtext, and RFC 6533 3 `\\x{..}`; what is malformed stays as it is."""
    decoded = _XTEXT.sub(lambda match: chr(int(match[1], 16)), text)
    return _UNITEXT.sub(lambda match: _character(int(match[1], 16), match[0]), decoded)


def printable(text: str) -> str:
    """`text` fit for one header line: a sender who hid a line break in ENVID or ORCPT gets a `?`."""
    return _UNPRINTABLE.sub("?", text)


def wrap(text: str) -> str:
    """Break at blanks into lines of at most 79 characters where that is possible; continued lines are indented."""
    lines: list[str] = []
    rest = printable(text)
    indent = ""
    while len(indent + rest) > _WIDTH:
        room = _WIDTH - len(indent)
        at = rest.rfind(" ", 1, room + 1)
        if at < 0:
            at = rest.find(" ", room)
        if at < 0:
            break
        lines.append(indent + rest[:at])
        rest = rest[at + 1 :]
        indent = _INDENT
    return CRLF.join([*lines, indent + rest])


def delivery_status(report: Report) -> str:
    """The body of message/delivery-status (or message/global-delivery-status), ended by an empty line."""
    groups = [_message_fields(report), *(_recipient_fields(one, report) for one in report.recipients)]
    return "".join(CRLF.join(fields) + CRLF + CRLF for fields in groups)


def explanation(recipient: ReportedRecipient) -> str:
    """The recipient's paragraph in the part for people."""
    alias = recipient.original.lower() not in ("", recipient.address.lower())
    expanded = f" (expanded from <{recipient.original}>)" if alias else ""
    return wrap(f"<{recipient.address}>{expanded}: {recipient.reason}") + CRLF + CRLF


def _message_fields(report: Report) -> list[str]:
    fields = [f"Reporting-MTA: dns; {report.reporting_mta}"]
    if report.envid:
        fields.append(f"Original-Envelope-Id: {printable(decode_xtext(report.envid))}")
    fields.append(f"{_PRIVATE}-Queue-ID: {report.queue_id}")
    fields.append(f"{_PRIVATE}-Sender: {_address_type(report.sender)}; {printable(report.sender)}")
    fields.append(f"Arrival-Date: {report.arrival_date}")
    return fields


def _recipient_fields(recipient: ReportedRecipient, report: Report) -> list[str]:
    fields = [f"Final-Recipient: {_address_type(recipient.address)}; {printable(recipient.address)}"]
    original = _original_recipient(recipient)
    if original:
        fields.append(f"Original-Recipient: {original}")
    fields.append(f"Action: {recipient.action}")
    fields.append(f"Status: {recipient.status}")
    if recipient.remote_mta:
        fields.append(f"Remote-MTA: dns; {printable(recipient.remote_mta)}")
    diagnostic = recipient.diagnostic or f"{_PRIVATE}; {recipient.reason}"
    fields.append(wrap(f"Diagnostic-Code: {diagnostic}"))
    if report.retry_until:
        fields.append(f"Will-Retry-Until: {report.retry_until}")
    return fields


def _original_recipient(recipient: ReportedRecipient) -> str:
    if not recipient.orcpt:
        original = recipient.original or recipient.address
        return f"{_address_type(original)};{printable(original)}"
    kind, _, address = recipient.orcpt.partition(";")
    return f"{printable(kind)};{printable(decode_xtext(address))}"


def _address_type(address: str) -> str:
    return "rfc822" if address.isascii() else "utf-8"


def _character(code: int, text: str) -> str:
    return chr(code) if code <= 0x10FFFF else text
