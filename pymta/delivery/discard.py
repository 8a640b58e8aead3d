"""discard(8): counts every recipient as delivered and keeps nothing."""

from __future__ import annotations

from collections.abc import Sequence

from pymta.model.delivery import DeliveryRequest, DeliveryResult, Outcome
from pymta.ports import Content


class DiscardAgent:
    """Answers `sent` with the next hop as reason (`discard:silently` logs `silently`)."""

    async def deliver(self, request: DeliveryRequest, content: Content) -> Sequence[DeliveryResult]:
        return [
            DeliveryResult(recipient.number, Outcome.SENT, "2.0.0", request.nexthop) for recipient in request.recipients
        ]
