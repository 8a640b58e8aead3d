"""What a message's content asks of the server that gets it."""

from __future__ import annotations

from collections.abc import Sequence

from pymta.delivery.hosts import Failure, Host
from pymta.model.delivery import DeliveryRequest
from pymta.model.queue import QueuedRecipient
from pymta.ports import Content
from pymta.protocol.smtp.client_capabilities import Capabilities


async def refusal_of(
    offered: Capabilities, request: DeliveryRequest, recipients: Sequence[QueuedRecipient], content: Content, host: Host
) -> Failure | None:
    """Why what the server offers is not enough for this message, so that there is no need to ask it."""
    if request.smtputf8 and not offered.smtputf8 and await needs_smtputf8(request, recipients, content):
        return Failure("5.6.7", f"SMTPUTF8 is required, but was not offered by host {host.named}")
    if offered.size_limit and request.size > offered.size_limit:
        limit = offered.size_limit
        text = f"message size {request.size} exceeds size limit {limit} of server {host.named}"
        return Failure("5.3.4", text)
    return None


async def needs_smtputf8(request: DeliveryRequest, recipients: Sequence[QueuedRecipient], content: Content) -> bool:
    """Whether an SMTPUTF8 message has anything in its envelope or header that is not ASCII (RFC 6531 3.2)."""
    if not request.sender.is_ascii or not all(recipient.address.is_ascii for recipient in recipients):
        return True
    return not await _header_is_ascii(content)


async def _header_is_ascii(content: Content) -> bool:
    data = content.data
    if data is not None:
        end = data.find(b"\r\n\r\n")
        return (data if end < 0 else data[:end]).isascii()
    last = b""
    async for chunk in content.chunks():
        joined = last + chunk
        end = joined.find(b"\r\n\r\n")
        if not (joined if end < 0 else joined[:end]).isascii():
            return False
        if end >= 0:
            return True
        last = chunk[-3:]
    return True
