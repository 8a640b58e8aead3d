"""MAIL and RCPT as a client says them, with what the server offers (RFC 5321 4.1.1, RFC 3461 4, RFC 6531 3.4)."""

from __future__ import annotations

import re
from collections.abc import Sequence

from pymta.model.address import Address
from pymta.model.delivery import DeliveryRequest
from pymta.model.envelope import Body, Notify
from pymta.model.queue import QueuedRecipient
from pymta.protocol.smtp.client_capabilities import Capabilities
from pymta.protocol.smtp.client_events import Phase
from pymta.protocol.smtp.client_xforward import xforward_commands

Command = tuple[tuple[Phase, int], bytes]
"""A line with the phase of its reply and, for RCPT, the recipient's place."""

_MAIL = (Phase.MAIL, 0)
_DATA = ((Phase.DATA, 0), b"DATA\r\n")
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")
_NOT_XTEXT = re.compile(r"[^!-*,-<>-~]")
_NOT_UTF8_XTEXT = re.compile(r"[\x00- +=\\\x7f]")


def is_sendable(address: Address) -> bool:
    """Whether the address can stand in a command: a CR or LF in it would be a command of its own."""
    text = address.local_part + address.domain
    return text.isprintable() or not _CONTROL.search(text)


def all_sendable(request: DeliveryRequest) -> bool:
    """Whether each address of the message can; False also where it takes a closer look to know."""
    addresses = [request.sender, *[recipient.address for recipient in request.recipients]]
    return "".join([address.local_part + address.domain for address in addresses]).isprintable()


def transaction_commands(
    request: DeliveryRequest,
    recipients: Sequence[QueuedRecipient],
    offered: Capabilities,
    *,
    smtputf8: bool,
    reset: bool,
    xforward: bool,
    data: bool,
) -> list[Command]:
    """What a message begins with. `reset` ends what went before, `xforward` tells of the client where that is offered,
    `data` asks for the content.
    """
    commands: list[Command] = []
    if reset:
        commands.append(((Phase.RSET, 0), b"RSET\r\n"))
    if xforward and "XFORWARD" in offered.keywords:
        lines = xforward_commands(request, offered.keywords["XFORWARD"])
        phases = (Phase.XFORWARD, Phase.XFORWARD_PROTO)
        commands.extend(((phase, 0), line) for phase, line in zip(phases, lines, strict=True) if line)
    commands.append((_MAIL, mail_command(request, offered, smtputf8)))
    rcpt = Phase.RCPT
    commands += [((rcpt, number), rcpt_command(recipient, offered)) for number, recipient in enumerate(recipients)]
    if data:
        commands.append(_DATA)
    return commands


def mail_command(request: DeliveryRequest, offered: Capabilities, smtputf8: bool = False) -> bytes:
    """`MAIL FROM:<...>` with the parameters that `offered` allows; `smtputf8` where the message needs it."""
    parts = [f"MAIL FROM:<{request.sender.quoted()}>"]
    if offered.size_limit is not None:
        parts.append(f"SIZE={request.size}")
    if offered.eight_bit_mime and request.body is not None:
        parts.append("BODY=8BITMIME" if request.body is Body.EIGHT_BIT_MIME else "BODY=7BIT")
    if smtputf8 and offered.smtputf8:
        parts.append("SMTPUTF8")
    if offered.dsn and request.envid:
        parts.append(f"ENVID={request.envid}")
    if offered.dsn and request.ret is not None:
        parts.append(f"RET={request.ret.value}")
    return f"{' '.join(parts)}\r\n".encode()


def rcpt_command(recipient: QueuedRecipient, offered: Capabilities) -> bytes:
    """`RCPT TO:<...>`, with ORCPT (what the sender gave, else the address as it came to us) and NOTIFY."""
    address, original = recipient.address, recipient.original
    quoted = address.quoted()
    command = f"RCPT TO:<{quoted}>"
    if offered.dsn:
        orcpt = recipient.orcpt or _orcpt(quoted if original is address else original.quoted(), offered)
        if orcpt:
            command += f" ORCPT={orcpt}"
        # Faster than the truth of an enum.
        if recipient.notify._value_:
            command += f" NOTIFY={_notify(recipient.notify)}"
    return f"{command}\r\n".encode()


def _orcpt(text: str, offered: Capabilities) -> str:
    """ORCPT for a quoted address, with the address type and quoting that fit it; empty for no address."""
    if not text:
        return ""
    if text.isascii():
        return "rfc822;" + _NOT_XTEXT.sub(_hexadecimal, text)
    # RFC 6533 3: utf-8-addr-unitext where the server speaks SMTPUTF8, else utf-8-addr-xtext.
    pattern = _NOT_UTF8_XTEXT if offered.smtputf8 else _NOT_XTEXT
    return "utf-8;" + pattern.sub(lambda match: f"\\x{{{ord(match[0]):X}}}", text)


def _hexadecimal(match: re.Match[str]) -> str:
    return f"+{ord(match[0]):02X}"


def _notify(notify: Notify) -> str:
    if Notify.NEVER in notify:
        return "NEVER"
    return ",".join(word.name or "" for word in (Notify.SUCCESS, Notify.FAILURE, Notify.DELAY) if word in notify)
