"""Mail that goes on to other addresses, as a new message of its own (local(8))."""

from __future__ import annotations

from email.utils import formatdate

from pymta.delivery.local_state import Attempt, LocalServices
from pymta.delivery.mailbox_copy import external
from pymta.errors import PymtaError
from pymta.model.address import Address
from pymta.model.delivery import DeliveryPart, Outcome
from pymta.model.envelope import Envelope, Origin, Recipient
from pymta.model.queue import QueueId
from pymta.model.reply import Reply
from pymta.ports import Draft, Intake


async def submit_forwards(services: LocalServices, intake: Intake, attempt: Attempt) -> None:
    """Put what the expansion forwards into the queue: one new message for each sender, all its recipients together.

    The outcome is the expanded recipient's own: sent, once the new message is durable.
    """
    for (sender, delivered, is_list), recipients in attempt.forwards.items():
        envelope = _envelope(attempt, sender, tuple(recipients), is_list=is_list)
        queue_id = intake.new_queue_id()
        problem = await _submit(services, intake, attempt, envelope, queue_id, delivered)
        if problem is None:
            part = DeliveryPart(attempt.recipient.address, Outcome.SENT, "2.0.0", f"forwarded as {queue_id}", "relayed")
        else:
            services.log.warning(f"{attempt.request.queue_id}: unable to forward message: {problem}")
            part = DeliveryPart(attempt.recipient.address, Outcome.DEFERRED, "4.3.0", "unable to forward message")
        attempt.parts.append(part)


async def _submit(
    services: LocalServices,
    intake: Intake,
    attempt: Attempt,
    envelope: Envelope,
    queue_id: QueueId,
    delivered: Address,
) -> Reply | PymtaError | None:
    """Put one message into the queue; what went wrong, None where it is durable."""
    try:
        draft = await intake.begin(envelope, attempt.request.client, Origin.FORWARD, queue_id)
        reply = await _copy(services, draft, attempt, delivered)
    except PymtaError as error:
        return error
    return None if reply.is_positive else reply


def _envelope(attempt: Attempt, sender: Address, recipients: tuple[Recipient, ...], *, is_list: bool) -> Envelope:
    """A mailing list's message is a new one for DSN; an alias's carries ENVID and RET on (RFC 3461 5.2.7)."""
    request = attempt.request
    return Envelope(
        sender,
        recipients,
        body=request.body,
        smtputf8=request.smtputf8,
        envid="" if is_list else request.envid,
        ret=None if is_list else request.ret,
    )


async def _copy(services: LocalServices, draft: Draft, attempt: Attempt, delivered: Address) -> Reply:
    try:
        draft.write(_trace(services, draft, delivered))
        if attempt.content.data is not None:
            draft.write(attempt.content.data)
        else:
            async for chunk in attempt.content.chunks():
                draft.write(chunk)
        return await draft.commit()
    except BaseException:
        await draft.abort()
        raise


def _trace(services: LocalServices, draft: Draft, delivered: Address) -> bytes:
    """Received, and Delivered-To where prepend_delivered_header wants it: what breaks a forwarding loop."""
    settings = services.settings
    date = formatdate(services.clock.now(), localtime=True)
    lines = f"Received: by {settings.myhostname} ({settings.mail_name})\r\n\tid {draft.queue_id}; {date}\r\n"
    if "forward" in settings.prepend_delivered_header:
        lines += f"Delivered-To: {external(delivered)}\r\n"
    return lines.encode("utf-8", "surrogateescape")
