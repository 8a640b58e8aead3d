"""error(8): fails every recipient with the text that a transport map or qmgr gives as next hop."""

from __future__ import annotations

from collections.abc import Sequence

from pymta.model.delivery import DeliveryRequest, DeliveryResult, Outcome
from pymta.model.reply import split_status
from pymta.ports import Content


class ErrorAgent:
    """Bounces with the next hop as reason; with `temporary` (the `retry` service) defers instead.

    The text may begin with an enhanced status code; one whose class does not fit the outcome counts for nothing:
    what is deferred never carries a 5.x.x code, nor the other way round.
    """

    def __init__(self, *, temporary: bool = False) -> None:
        self._outcome = Outcome.DEFERRED if temporary else Outcome.BOUNCED
        self._class = "4" if temporary else "5"

    async def deliver(self, request: DeliveryRequest, content: Content) -> Sequence[DeliveryResult]:
        status, text = split_status(request.nexthop)
        if status is None or status[0] != self._class:
            status = f"{self._class}.0.0"
        reason = text or request.nexthop
        return [DeliveryResult(recipient.number, self._outcome, status, reason) for recipient in request.recipients]
