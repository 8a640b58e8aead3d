"""Mail from the program that embeds us."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterable
from email.message import Message

from pymta.app.wiring import Wiring
from pymta.errors import PymtaError
from pymta.model.address import NULL_SENDER, Address
from pymta.model.envelope import LOCAL_CLIENT, Envelope, Origin, Recipient
from pymta.model.queue import QueueId
from pymta.model.reply import Reply
from pymta.pickup.service import header_addresses, header_recipients
from pymta.protocol.content import split_header, to_crlf
from pymta.rewrite import parse_addresses

_PIECE = 131072


class SubmitError(PymtaError):
    """The message was not queued; `reply` says why in SMTP's terms, and whether trying again can help."""

    def __init__(self, reply: Reply) -> None:
        self.reply = reply
        super().__init__(str(reply))


async def submit_message(
    wiring: Wiring, message: bytes | str | Message, sender: str | None, recipients: Iterable[str] | None
) -> QueueId:
    """Through the one door into the queue; raises SubmitError."""
    header, content = await split_header(to_crlf(_pieces(_as_bytes(message))))
    reverse_path = header_addresses(header, "from")[:1] if sender is None else parse_addresses(sender)
    given = (
        header_recipients(header)
        if recipients is None
        else [one for text in recipients for one in parse_addresses(text)]
    )
    if not given:
        raise SubmitError(Reply.of(554, "no valid recipients specified", "5.5.1"))
    envelope = Envelope(
        sender=await _rewritten(wiring, reverse_path[0]) if reverse_path else NULL_SENDER,
        recipients=tuple([await _recipient(wiring, address) for address in given]),
    )
    draft = await wiring.cleanup.begin(envelope, LOCAL_CLIENT, Origin.LIBRARY)
    try:
        async for chunk in content:
            draft.write(chunk)
        reply = await draft.commit()
    except BaseException:
        await draft.abort()
        raise
    if not reply.is_positive:
        raise SubmitError(reply)
    return draft.queue_id


def _as_bytes(message: bytes | str | Message) -> bytes:
    if isinstance(message, Message):
        return message.as_bytes(policy=message.policy.clone(linesep="\r\n"))
    return message.encode() if isinstance(message, str) else message


async def _pieces(data: bytes) -> AsyncIterator[bytes]:
    """A message is at hand as a whole, but others want their turn while it is read."""
    for start in range(0, len(data), _PIECE):
        yield data[start : start + _PIECE]
        await asyncio.sleep(0)


async def _rewritten(wiring: Wiring, address: Address) -> Address:
    return address if address.is_null else wiring.rewriter.rewrite(address)


async def _recipient(wiring: Wiring, address: Address) -> Recipient:
    complete = wiring.rewriter.rewrite(address)
    return Recipient(complete, complete)
