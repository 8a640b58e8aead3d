"""What a message's content asks of the server that gets it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from functools import cached_property, partial

from pymta.delivery.hosts import Failure, Host
from pymta.delivery.smtp_settings import AgentSettings
from pymta.model.delivery import DeliveryRequest
from pymta.model.envelope import Body
from pymta.model.queue import QueuedRecipient
from pymta.ports import Content
from pymta.protocol.mime_downgrade import MimeDowngrade
from pymta.protocol.smtp.client_capabilities import Capabilities

_PIECE = 65_536


def refusal_of(offered: Capabilities, request: DeliveryRequest, host: Host, *, is_utf8: bool) -> Failure | None:
    """Why what the server offers is not enough for this message, so that there is no need to ask it.

    `is_utf8` tells that it needs SMTPUTF8.
    """
    if is_utf8 and not offered.smtputf8:
        return Failure("5.6.7", f"SMTPUTF8 is required, but was not offered by host {host.named}")
    if offered.size_limit and request.size > offered.size_limit:
        limit = offered.size_limit
        text = f"message size {request.size} exceeds size limit {limit} of server {host.named}"
        return Failure("5.3.4", text)
    return None


class SevenBitContent:
    """`ports.Content` for a server without 8BITMIME: what is labelled as 8-bit goes as quoted-printable.

    `size` is that of the original, as Postfix says it.
    """

    def __init__(self, content: Content, nesting: int, boundary_length: int) -> None:
        self._content = content
        self._new = partial(MimeDowngrade, nesting, boundary_length)
        self.size = content.size

    @cached_property
    def data(self) -> bytes | None:
        data = self._content.data
        if data is None:
            return None
        downgrade = self._new()
        return downgrade.feed(data) + downgrade.finish()

    async def chunks(self, limit: int = 65536) -> AsyncIterator[bytes]:
        """Pieces are at most some times `limit` long: an octet may become three."""
        downgrade = self._new()
        # Conversion is work for the event loop's thread: not too much of it at once.
        async for chunk in self._content.chunks(min(limit, _PIECE)):
            if piece := downgrade.feed(chunk):
                yield piece
        yield downgrade.finish()


def for_server(offered: Capabilities, request: DeliveryRequest, content: Content, settings: AgentSettings) -> Content:
    """The content in the form that a server with these offers takes (disable_mime_output_conversion)."""
    if offered.eight_bit_mime or request.body is Body.SEVEN_BIT or settings.disable_mime_output_conversion:
        return content
    return SevenBitContent(content, settings.mime_nesting_limit, settings.mime_boundary_length_limit)


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
