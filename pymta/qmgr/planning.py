"""From an active message to deliveries that wait: recipients are read, resolved, grouped, and scheduled."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Sequence

from pymta.errors import PymtaError, SpoolError
from pymta.model.queue import QueuedRecipient
from pymta.qmgr.active import ActiveMessage
from pymta.qmgr.clog import Clog
from pymta.qmgr.parts import Parts
from pymta.qmgr.routing import Places, Router, group
from pymta.qmgr.scheduler import Problem
from pymta.qmgr.settings import QueueManagerSettings

_ROUTERS = 50
_NO_ROUTE = Problem("4.3.0", "address resolver failure")
_NO_TRANSPORT = Problem("4.3.0", "mail transport unavailable")
_DEFERRED_TRANSPORT = Problem("4.3.2", "deferred transport")

Defer = Callable[[ActiveMessage, QueuedRecipient, str, Problem], None]


class Planner:
    """Up to fifty messages are routed at a time, where tables, DNS or the disk make them wait.

    `defer` takes recipients for which there is nothing to try, `planned` a message whose recipients have their place.
    """

    def __init__(
        self,
        settings: QueueManagerSettings,
        parts: Parts,
        router: Router,
        *,
        defer: Defer,
        planned: Callable[[ActiveMessage], None],
    ) -> None:
        self._settings = settings
        self._parts = parts
        self._router = router
        self._scheduler = parts.scheduler
        self._agents = parts.agents
        self._defer = defer
        self._planned = planned
        self._clog = Clog(settings.qmgr_message_active_limit, settings.qmgr_clog_warn_time, parts.log)
        self._unrouted: deque[ActiveMessage] = deque()
        self._routers = 0
        self.is_running = False

    def configure(self, settings: QueueManagerSettings) -> None:
        self._settings = settings
        self._router = self._router.with_filter_nexthop(settings.default_filter_nexthop)
        self._clog.configure(settings.qmgr_message_active_limit, settings.qmgr_clog_warn_time)

    def add(self, message: ActiveMessage) -> None:
        """Have the next recipients of `message` get their place: now where that is known, else when it is."""
        page = message.page
        if page and self.is_running and (places := self._router.known(message.entry, page)) is not None:
            message.page = ()
            self._submit(message, places)
            self._planned(message)
            return
        message.is_routing = True
        self._unrouted.append(message)
        if self._routers < _ROUTERS and self.is_running:
            self._routers += 1
            self._parts.work.spawn(self._route_waiting())

    async def _route_waiting(self) -> None:
        """One router does for all that do not wait; where it waits, others take over."""
        try:
            while self._unrouted and self.is_running:
                message = self._unrouted.popleft()
                if not message.is_withdrawn:
                    await self._route(message)
                message.is_routing = False
                self._planned(message)
        finally:
            self._routers -= 1

    async def _route(self, message: ActiveMessage) -> None:
        """Give the next recipients to the scheduler, or their outcome where there is nothing to try."""
        if not message.page and message.unread:
            await self._read_page(message)
        recipients, message.page = message.page, ()
        places, lost = await self._router.route(message.entry, recipients)
        for recipient in lost:
            self._defer(message, recipient, "none", _NO_ROUTE)
        self._submit(message, places)

    async def _read_page(self, message: ActiveMessage) -> None:
        """The next recipients from disk. An error of the disk passes or is seen to; the message waits for that."""
        supply = self._parts.supply
        while True:
            now = self._parts.clock.monotonic()
            wanted = supply.wanted(message, now) or supply.minimum
            try:
                recipients = await self._parts.spool.recipients(message.queue_id, message.last_number, wanted)
                break
            except SpoolError as error:
                self._parts.log.warning(f"{message.queue_id}: cannot read recipients: {error}")
                await asyncio.sleep(self._settings.transport_retry_time)
        message.read_at = now
        message.turn_page(recipients)
        supply.in_core += len(message.page)

    def _submit(self, message: ActiveMessage, places: Places) -> None:
        now = self._parts.clock.monotonic()
        limits: dict[str, int] = {}
        for place in list(places):
            if not self._may_try(message, place[0], limits, places[place]):
                del places[place]
        if message.is_long:
            message.transports.update(limits)
        for each in group(places, limits, self._settings.recipient_delimiter):
            answer = self._scheduler.submit(message, each.transport, each.name, each.nexthop, each.recipients, now)
            if isinstance(answer, Problem):
                for recipient in each.recipients:
                    self._defer(message, recipient, each.transport, answer)
            else:
                message.waiting += answer
                self._clog.check(each, self._scheduler, len(self._parts.active), now)

    def _may_try(
        self, message: ActiveMessage, transport: str, limits: dict[str, int], members: Sequence[QueuedRecipient]
    ) -> bool:
        """Whether `transport` can be used, with its recipient limit; else its recipients are deferred here and now."""
        problem = _NO_TRANSPORT
        if transport in self._settings.defer_transports and not message.flushed:
            problem = _DEFERRED_TRANSPORT
        elif self._agents(transport) is None:
            self._parts.log.warning(f"transport {transport} is not defined: mail for it is deferred")
        else:
            try:
                limits[transport] = self._scheduler.recipient_limit(transport)
                return True
            except PymtaError as error:
                self._parts.log.error(f"transport {transport} is not usable: {error}")
        for recipient in members:
            self._defer(message, recipient, transport, problem)
        return False
