"""Deliveries under way: started as the scheduler has it, and what came of them noted for each recipient."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from functools import partial

from pymta.model.delivery import DeliveryRequest, DeliveryResult, Outcome
from pymta.model.queue import QueuedRecipient
from pymta.ports import DeliveryAgent, Log
from pymta.qmgr.active import ActiveMessage
from pymta.qmgr.attempt import Answer, conclusion, make_request, softened
from pymta.qmgr.lines import OutcomeLines
from pymta.qmgr.parts import Parts
from pymta.qmgr.scheduler import Entry, Problem
from pymta.qmgr.settings import QueueManagerSettings


class Deliveries:
    """`advance` is told of each message whose deliveries have changed something. `delivery_log` is by transport."""

    def __init__(
        self,
        settings: QueueManagerSettings,
        parts: Parts,
        delivery_log: Callable[[str], Log],
        *,
        advance: Callable[[ActiveMessage], None],
    ) -> None:
        self._settings = settings
        self._scheduler = parts.scheduler
        self._active = parts.active
        self._ahead = parts.ahead
        self._supply = parts.supply
        self._agents = parts.agents
        self._work = parts.work
        self._clock = parts.clock
        self._log = parts.log
        self._faults = parts.faults
        self._delivery_log = delivery_log
        self._advance = advance
        self._timer: asyncio.TimerHandle | None = None
        self._timer_at = 0.0
        self._is_starting = False
        self.is_running = False

    def configure(self, settings: QueueManagerSettings) -> None:
        self._settings = settings

    def stop(self) -> None:
        """Start nothing new."""
        self.is_running = False
        if self._timer is not None:
            self._timer.cancel()

    # -- starting

    def start_soon(self) -> None:
        """Start what may start at the end of this turn, when all that came in it is known."""
        if not self._is_starting:
            self._is_starting = True
            asyncio.get_running_loop().call_soon(self._start_waiting)

    def _start_waiting(self) -> None:
        self._is_starting = False
        if not self.is_running:
            return
        now = self._clock.monotonic()
        while (entry := self._scheduler.next(now)) is not None:
            message = entry.message
            assert isinstance(message, ActiveMessage)
            if not self._active.holds(message, entry.queue_id):
                self._scheduler.finished(entry, now, False)
            elif message.is_withdrawn:
                self._scheduler.finished(entry, now, False)
                message.waiting -= 1
            else:
                self._deliver(message, entry)
        self._set_timer(now)

    def _set_timer(self, now: float) -> None:
        wakeup = self._scheduler.next_wakeup()
        if wakeup is None or (self._timer is not None and self._timer_at <= wakeup):
            return
        if self._timer is not None:
            self._timer.cancel()
        self._timer_at = wakeup
        self._timer = asyncio.get_running_loop().call_later(max(0.0, wakeup - now), self._timer_ended)

    def _timer_ended(self) -> None:
        self._timer = None
        self._start_waiting()

    def _deliver(self, message: ActiveMessage, entry: Entry) -> None:
        message.in_flight += 1
        if not message.in_memory:
            self._ahead.begun(message)
        request = make_request(message.entry, entry)
        agent = self._agents(request.transport)
        handed = self._clock.now()
        # Of a DetachedAgent; isinstance() of a protocol costs as much as all the rest here.
        begin = getattr(agent, "begin", None)
        if begin is not None:
            self._work.begun()
            try:
                if begin(request, message.content, partial(self._answered, message, entry, handed)):
                    return
            except Exception as error:
                self._answered(message, entry, handed, error)
                return
            self._work.ended()
        self._work.spawn(self._ask(agent, request, message, entry, handed))

    async def _ask(
        self,
        agent: DeliveryAgent | None,
        request: DeliveryRequest,
        message: ActiveMessage,
        entry: Entry,
        handed: float,
    ) -> None:
        answer: Answer = ()
        if agent is not None:
            try:
                answer = await agent.deliver(request, message.content)
            except Exception as error:
                answer = error
        self._finished(message, entry, handed, answer)

    def _answered(self, message: ActiveMessage, entry: Entry, handed: float, answer: Answer) -> None:
        """The same for an agent that is not waited for; it may answer after all has ended."""
        self._work.ended()
        if self._active.holds(message, entry.queue_id):
            self._finished(message, entry, handed, answer)

    # -- ending

    def _finished(self, message: ActiveMessage, entry: Entry, handed: float, answer: Answer) -> None:
        results, outcome = conclusion(answer, entry, self._log)
        self._faults("delivered")
        withdrawn = self._scheduler.finished(entry, self._clock.monotonic(), outcome)
        message.in_flight -= 1
        message.waiting -= 1
        self._note(message, entry.recipients, results, entry.transport, handed)
        if isinstance(outcome, Problem):
            self._defer_withdrawn(withdrawn, outcome)
        self.start_soon()
        self._advance(message)

    def _note(
        self,
        message: ActiveMessage,
        recipients: Sequence[QueuedRecipient],
        results: Sequence[DeliveryResult],
        transport: str,
        handed: float,
    ) -> None:
        """One delivery's results, in the order of its recipients, to the log and to the message."""
        settings = self._settings
        log = self._delivery_log(transport)
        lines = OutcomeLines(message, handed, self._clock.now(), settings.delay_logging_resolution_limit)
        softens = settings.soft_bounce and not message.is_probe
        for recipient, result in zip(recipients, results, strict=True):
            status = ""
            if softens and result.outcome is Outcome.BOUNCED:
                result, status = softened(result), "SOFTBOUNCE"
            for line in lines.of(recipient, result, status):
                log.info(line)
            message.note(recipient, result, confirm_delay_cleared=settings.confirm_delay_cleared)
        self._supply.in_core -= len(results)

    def defer(self, message: ActiveMessage, recipient: QueuedRecipient, transport: str, problem: Problem) -> None:
        """Give a recipient that is not tried its outcome."""
        result = DeliveryResult(recipient.number, Outcome.DEFERRED, problem.status, problem.reason)
        self._note(message, (recipient,), (result,), transport, self._clock.now())

    def _defer_withdrawn(self, withdrawn: Sequence[Entry], problem: Problem) -> None:
        """Messages that waited for a destination that is dead now wait on disk instead."""
        for entry in withdrawn:
            message = entry.message
            assert isinstance(message, ActiveMessage)
            if not self._active.holds(message, entry.queue_id):
                continue
            message.waiting -= 1
            for recipient in entry.recipients:
                self.defer(message, recipient, entry.transport, problem)
            if message.is_tried or message.unread:
                self._advance(message)
