"""Handing a recipient to another transport: mailbox_transport, fallback_transport (postconf(5))."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from pymta.delivery.local_state import Attempt, Context, LocalServices, Steps
from pymta.ports import DeliveryAgent

# The agent of a master.cf service, None where there is none.
Transports = Callable[[str], DeliveryAgent | None]


async def pass_on(
    services: LocalServices, transports: Transports, attempt: Attempt, context: Context, destination: str
) -> Steps:
    """Deliver through `transport:nexthop`; without a next hop, it is the recipient's domain, or our own name."""
    transport, _, nexthop = destination.partition(":")
    agent = transports(transport)
    if agent is None or transport == attempt.request.transport:
        services.log.warning(f"{attempt.request.queue_id}: no such transport: {transport}")
        return attempt.failed(context, "4.3.0", "mail transport unavailable")
    recipient = replace(attempt.recipient, address=context.address, notify=context.notify)
    request = replace(
        attempt.request,
        transport=transport,
        nexthop=nexthop or context.domain or services.settings.myhostname,
        sender=context.sender,
        recipients=(recipient,),
    )
    for result in await agent.deliver(request, attempt.content):
        attempt.passed(context, result)
    return []
