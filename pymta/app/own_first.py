"""SMTP deliveries that the queue manager makes itself, as long as they are few (docs/processes.md)."""

from __future__ import annotations

from collections.abc import Sequence

from pymta.app.remote_delivery import Done, RemoteAgent
from pymta.delivery.smtp import SmtpAgent
from pymta.model.delivery import DeliveryRequest, DeliveryResult
from pymta.ports import Content


class Hands:
    """How many deliveries of all transports are in hand here, and how many may be."""

    __slots__ = ("limit", "used")

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self.used = 0

    @property
    def are_full(self) -> bool:
        return self.used >= self.limit


class OwnFirst:
    """A `DetachedAgent`: `own` makes what finds hands free, `others` the rest.

    To pass a message on and its result back costs a quarter of the work of both processes. That is well spent only
    where there is so much to deliver that another processor can help.
    """

    def __init__(self, own: SmtpAgent, others: RemoteAgent, hands: Hands) -> None:
        self.own = own
        self._others = others
        self._hands = hands

    async def deliver(self, request: DeliveryRequest, content: Content) -> Sequence[DeliveryResult]:
        if self._hands.are_full:
            return await self._others.deliver(request, content)
        self._hands.used += 1
        try:
            return await self.own.deliver(request, content)
        finally:
            self._hands.used -= 1

    def begin(self, request: DeliveryRequest, content: Content, done: Done) -> bool:
        hands = self._hands
        if hands.are_full:
            return self._others.begin(request, content, done)

        def ended(answer: Sequence[DeliveryResult] | Exception) -> None:
            hands.used -= 1
            done(answer)

        hands.used += 1
        is_begun = False
        try:
            is_begun = self.own.begin(request, content, ended)
        finally:
            if not is_begun:
                hands.used -= 1
        return is_begun
