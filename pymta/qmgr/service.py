"""The queue manager: from durable to delivered (qmgr(8), docs/queue.md)."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Coroutine, Sequence
from functools import partial
from typing import Any

from pymta.errors import PymtaError, SpoolError
from pymta.model.delivery import DeliveryResult, Outcome
from pymta.model.queue import QueuedRecipient, QueueEntry, QueueFilter, QueueId, QueueName
from pymta.ports import AddressResolver, Clock, Content, ContentWriter, DeliveryAgent, Log, Notifier, Spool
from pymta.qmgr import lines
from pymta.qmgr.active import ActiveMessage
from pymta.qmgr.attempt import attempt, judged
from pymta.qmgr.clog import Clog
from pymta.qmgr.feed import Feed
from pymta.qmgr.flusher import Flusher
from pymta.qmgr.keeper import SpoolKeeper
from pymta.qmgr.routing import Router, group
from pymta.qmgr.scheduler import Entry, Problem, Scheduler, TransportLimits
from pymta.qmgr.settings import QueueManagerSettings
from pymta.qmgr.settle import Settlement
from pymta.qmgr.supply import FlowTokens, Supply
from pymta.spool.faults import NO_FAULTS, Faults

_ROUTERS = 50
# Results of one attempt that are in memory before they are reported and recorded.
_RESULTS_AT_ONCE = 10_000
_CONTENT_MEMORY = 64 * 1024 * 1024


class QueueManager:
    """`ports.Queue`, and all that happens to a message after it.

    `agents` gives the delivery agent of a transport, None where there is none. `limits` gives a transport's rules
    (`settings.transport_limits`). `delivery_log` is the log for a transport's recipients (`postfix/smtp`).
    """

    def __init__(
        self,
        settings: QueueManagerSettings,
        spool: Spool,
        resolver: AddressResolver,
        agents: Callable[[str], DeliveryAgent | None],
        limits: Callable[[str], TransportLimits],
        notifier: Notifier,
        clock: Clock,
        log: Log,
        *,
        delivery_log: Callable[[str], Log] | None = None,
        faults: Faults = NO_FAULTS,
    ) -> None:
        self._settings = settings
        self._spool = spool
        self._agents = agents
        self._clock = clock
        self._log = log
        self._delivery_log = delivery_log or (lambda transport: log)
        self._faults = faults
        self._router = Router(resolver, log, settings.default_filter_nexthop)
        self._scheduler = Scheduler(limits, settings.minimal_backoff_time, settings.transport_retry_time)
        self._settlement = Settlement(spool, notifier, settings.backoff, clock, log, faults)
        self._tokens = FlowTokens(settings.default_process_limit)
        self._feed = Feed(
            spool,
            clock,
            log,
            settings.queue_run_delay,
            self._room,
            self.is_active,
            self._admit_waiting,
            self._tokens.refill,
        )
        flush = partial(self.admit, flushed=True)
        self._flusher = Flusher(spool, self._feed, clock, log, self.has_room, self.is_active, flush)
        self._keeper = SpoolKeeper(spool, log, self._feed.start_over)
        self._active: dict[QueueId, ActiveMessage] = {}
        self._supply = Supply(
            self._scheduler, settings.qmgr_message_recipient_limit, settings.qmgr_message_recipient_minimum
        )
        self._clog = Clog(settings.qmgr_message_active_limit, settings.qmgr_clog_warn_time, log)
        self._content_memory = 0
        self._was_full = False
        self._unrouted: deque[ActiveMessage] = deque()
        self._routers = 0
        self._tasks: set[asyncio.Task[None]] = set()
        self._timer: asyncio.TimerHandle | None = None
        self._timer_at = 0.0
        self._running = False

    # -- life

    async def start(self) -> None:
        """Begin with what is due; what a crash left in the incoming queue is. The spool is open."""
        self._running = True
        self._feed.start()

    def configure(self, settings: QueueManagerSettings) -> None:
        """Put new settings in force, those of transports included; deliveries under way go on."""
        self._settings = settings
        self._router = self._router.with_filter_nexthop(settings.default_filter_nexthop)
        now = self._clock.monotonic()
        self._scheduler.configure(settings.minimal_backoff_time, settings.transport_retry_time, now)
        self._supply.configure(settings.qmgr_message_recipient_limit, settings.qmgr_message_recipient_minimum)
        self._clog.configure(settings.qmgr_message_active_limit, settings.qmgr_clog_warn_time)
        self._tokens.limit = settings.default_process_limit
        self._settlement.configure(settings.backoff)
        self._feed.configure(settings.queue_run_delay)

    async def stop(self, drain_seconds: float = 0.0) -> None:
        """Start nothing new, give deliveries under way `drain_seconds` to end; the rest is tried at the next start."""
        self._running = False
        await self._keeper.close()
        await self._flusher.close()
        await self._feed.stop()
        if self._timer is not None:
            self._timer.cancel()
        if self._tasks and drain_seconds > 0:
            await asyncio.wait(list(self._tasks), timeout=drain_seconds)
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        self._active.clear()

    def _spawn(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._ended)

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            self._log.error(f"queue manager: {error!r}")

    # -- ports.Queue

    def new_queue_id(self) -> QueueId:
        return self._spool.new_queue_id()

    def new_content(self, queue_id: QueueId) -> ContentWriter:
        return self._spool.new_content(queue_id)

    async def enqueue(self, entry: QueueEntry, content: ContentWriter) -> None:
        """Make durable, then schedule. Slows down by `in_flow_delay` while mail comes faster than it becomes active."""
        if self._tokens.are_used_up and self._settings.in_flow_delay > 0:
            await asyncio.sleep(self._settings.in_flow_delay)
        try:
            await self._spool.add(entry, content)
        except asyncio.CancelledError:
            # Nobody waits any more, but the message may be in the transaction that is under way.
            self._feed.waits(entry.queue_id, entry.next_attempt)
            raise
        except SpoolError:
            self._keeper.check()
            raise
        if entry.queue is QueueName.HOLD or entry.queue_id in self._active:
            # Who read the queue between the sync and our turn has made it active already.
            return
        due = entry.queue is QueueName.INCOMING and entry.next_attempt <= self._clock.now()
        if due and self._running and self._room() > 0:
            self._admit(entry, content.content())
        else:
            if due:
                self._tokens.take()
            self._feed.waits(entry.queue_id, entry.next_attempt)

    async def flush_site(self, site: str) -> None:
        self.flush(QueueFilter(queues=(QueueName.INCOMING, QueueName.DEFERRED), site=site))

    def flush(self, query: QueueFilter) -> None:
        """Have the waiting messages that `query` means tried as there is room, and what is dead revived."""
        if query.site is None:
            self._scheduler.revive(self._clock.monotonic())
        else:
            self._scheduler.revive_site(query.site.lower(), self._clock.monotonic())
        self._flusher.start(query)

    # -- the active queue

    def is_active(self, queue_id: QueueId) -> bool:
        return queue_id in self._active

    def active_ids(self) -> list[QueueId]:
        return sorted(self._active)

    @property
    def feed(self) -> Feed:
        return self._feed

    def active(self, queue_id: QueueId) -> ActiveMessage | None:
        return self._active.get(queue_id)

    def _room(self) -> int:
        """How many more messages may become active; remembers that somebody had to wait."""
        settings = self._settings
        room = settings.qmgr_message_active_limit - len(self._active)
        if self._active and self._supply.is_exhausted:
            room = 0
        if room <= 0:
            self._was_full = True
        return room

    def has_room(self) -> bool:
        return self._running and self._room() > 0

    def withdraw(self, message: ActiveMessage) -> None:
        """End a message that is deleted or held: now where nobody works on it, else after what is under way."""
        if not message.is_busy:
            self._spawn(self._settle(message))

    def _admit_waiting(self, entry: QueueEntry) -> None:
        if entry.queue is QueueName.INCOMING:
            self._tokens.give_back()
        self.admit(entry)

    def admit(self, entry: QueueEntry, *, flushed: bool = False) -> None:
        """Make a message from disk active; `flushed` tries even transports of `defer_transports`."""
        self._admit(entry, self._spool.content(entry), flushed=flushed)

    def _admit(self, entry: QueueEntry, content: Content, *, flushed: bool = False) -> None:
        in_memory = entry.size if content.data is not None else 0
        if self._content_memory + in_memory > _CONTENT_MEMORY:
            content, in_memory = self._spool.content(entry), 0
        self._content_memory += in_memory
        message = ActiveMessage(entry, content, self._clock.now(), in_memory, flushed=flushed)
        self._active[entry.queue_id] = message
        self._supply.in_core += message.in_core
        self._log.info(lines.active(entry))
        self._route_later(message)

    def _dismiss(self, message: ActiveMessage) -> None:
        queue_id = message.queue_id
        if self._active.get(queue_id) is not message:
            return
        del self._active[queue_id]
        if message.is_long:
            message.unread = 0
            self._scheduler.all_read(message)
        self._supply.in_core -= message.in_core
        self._content_memory -= message.in_memory
        self._feed.settled(queue_id)
        if self._was_full and self._room() > 0:
            self._was_full = False
            self._feed.has_room()

    # -- routing

    def _route_later(self, message: ActiveMessage) -> None:
        message.is_routing = True
        self._unrouted.append(message)
        if self._routers < _ROUTERS and self._routers < len(self._unrouted):
            self._routers += 1
            self._spawn(self._route_waiting())

    async def _route_waiting(self) -> None:
        try:
            while self._unrouted and self._running:
                await self._route(self._unrouted.popleft())
        finally:
            self._routers -= 1

    async def _route(self, message: ActiveMessage) -> None:
        """Give the next recipients to the scheduler, or their outcome where there is nothing to try."""
        if not message.is_withdrawn:
            if not message.page and message.unread:
                await self._read_page(message)
            recipients, message.page = message.page, ()
            if len(recipients) > 1 or message.is_long:
                recipients, duplicates = message.without_duplicates(recipients)
                self._supply.in_core -= duplicates
            places, lost = await self._router.route(message.entry, recipients)
            for recipient in lost:
                self._defer(message, recipient, "none", Problem("4.3.0", "address resolver failure"))
            self._submit(message, places)
        message.is_routing = False
        self._pump()
        await self._advance(message)

    async def _read_page(self, message: ActiveMessage) -> None:
        """The next recipients from disk. An error of the disk passes or is seen to; the message waits for that."""
        while True:
            now = self._clock.monotonic()
            wanted = self._supply.wanted(message, now) or self._supply.minimum
            try:
                recipients = await self._spool.recipients(message.queue_id, message.last_number, wanted)
                break
            except SpoolError as error:
                self._log.warning(f"{message.queue_id}: cannot read recipients: {error}")
                await asyncio.sleep(self._settings.transport_retry_time)
        message.read_at = now
        message.turn_page(recipients)
        self._supply.in_core += len(recipients)

    def _submit(self, message: ActiveMessage, places: dict[tuple[str, str], list[QueuedRecipient]]) -> None:
        now = self._clock.monotonic()
        limits: dict[str, int] = {}
        possible = {
            place: members for place, members in places.items() if self._may_try(message, place[0], limits, members)
        }
        if message.is_long:
            message.transports.update(limits)
        for each in group(possible, limits, self._settings.recipient_delimiter):
            answer = self._scheduler.submit(message, each.transport, each.name, each.nexthop, each.recipients, now)
            if isinstance(answer, Problem):
                for recipient in each.recipients:
                    self._defer(message, recipient, each.transport, answer)
            else:
                message.waiting += answer
                self._clog.check(each, self._scheduler, len(self._active), now)

    def _may_try(
        self, message: ActiveMessage, transport: str, limits: dict[str, int], members: Sequence[QueuedRecipient]
    ) -> bool:
        """Whether `transport` can be used, with its recipient limit; else its recipients are deferred here and now."""
        problem = Problem("4.3.0", "mail transport unavailable")
        if transport in self._settings.defer_transports and not message.flushed:
            problem = Problem("4.3.2", "deferred transport")
        elif self._agents(transport) is None:
            self._log.warning(f"transport {transport} is not defined: mail for it is deferred")
        else:
            try:
                limits[transport] = self._scheduler.recipient_limit(transport)
                return True
            except PymtaError as error:
                self._log.error(f"transport {transport} is not usable: {error}")
        for recipient in members:
            self._defer(message, recipient, transport, problem)
        return False

    # -- delivering

    def _pump(self) -> None:
        """Start every delivery that may start now."""
        if not self._running:
            return
        now = self._clock.monotonic()
        while (entry := self._scheduler.next(now)) is not None:
            message = self._active.get(entry.queue_id)
            if message is None or message is not entry.message or message.is_withdrawn:
                self._scheduler.finished(entry, now, False)
                if message is entry.message and message is not None:
                    message.waiting -= 1
                continue
            message.in_flight += 1
            self._spawn(self._deliver(message, entry))
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
        self._pump()

    async def _deliver(self, message: ActiveMessage, entry: Entry) -> None:
        handed = self._clock.now()
        agent = self._agents(entry.transport)
        results, outcome = await attempt(agent, message.entry, message.content, entry, self._log)
        self._faults("delivered")
        withdrawn = self._scheduler.finished(entry, self._clock.monotonic(), outcome)
        message.in_flight -= 1
        message.waiting -= 1
        for recipient, result in zip(entry.recipients, results, strict=True):
            self._note(message, recipient, result, entry.transport, handed)
        if isinstance(outcome, Problem):
            self._defer_withdrawn(withdrawn, outcome)
        self._pump()
        await self._advance(message)

    def _note(
        self, message: ActiveMessage, recipient: QueuedRecipient, result: DeliveryResult, transport: str, handed: float
    ) -> None:
        result, logged = judged(result, soft_bounce=self._settings.soft_bounce, is_probe=message.is_probe)
        now = self._clock.now()
        connect, transfer = result.connect_seconds, result.transfer_seconds
        before = message.start - message.entry.arrival_time
        delays = (before, handed - message.start, connect, transfer or now - handed - connect)
        resolution = self._settings.delay_logging_resolution_limit
        for line in lines.outcomes(message, recipient, result, delays, resolution, logged):
            self._delivery_log(transport).info(line)
        self._supply.in_core -= 1
        message.note(recipient, result, confirm_delay_cleared=self._settings.confirm_delay_cleared)

    def _defer(self, message: ActiveMessage, recipient: QueuedRecipient, transport: str, problem: Problem) -> None:
        result = DeliveryResult(recipient.number, Outcome.DEFERRED, problem.status, problem.reason)
        self._note(message, recipient, result, transport, self._clock.now())

    def _defer_withdrawn(self, withdrawn: Sequence[Entry], problem: Problem) -> None:
        """Messages that waited for a destination that is dead now wait on disk instead."""
        for entry in withdrawn:
            message = self._active.get(entry.queue_id)
            if message is None or message is not entry.message:
                continue
            message.waiting -= 1
            for recipient in entry.recipients:
                self._defer(message, recipient, entry.transport, problem)
            if message.is_tried or message.unread:
                self._spawn(self._advance(message))

    # -- ending

    async def _advance(self, message: ActiveMessage) -> None:
        """Record what is done, route more recipients, or settle the message."""
        if message.is_tried or (message.is_withdrawn and not message.is_busy):
            await self._settle(message)
            return
        if message.unread and not message.is_routing and self._supply.wanted(message, self._clock.monotonic()):
            self._route_later(message)
        if message.is_settling:
            return
        try:
            if message.results_in_core >= _RESULTS_AT_ONCE:
                await self._settlement.relieve(message)
            elif message.done:
                await self._settlement.record_done(message)
        except SpoolError as error:
            self._log.warning(f"{message.queue_id}: cannot record deliveries yet: {error}")
            self._keeper.check()

    async def _settle(self, message: ActiveMessage) -> None:
        if message.is_settling:
            return
        message.is_settling = True
        queue_id = message.entry.queue_id
        due = None
        while True:
            try:
                due = await self._settlement.settle(message)
                break
            except SpoolError as error:
                # Until this is durable the message stays active, so that nothing is delivered twice.
                self._log.warning(f"{queue_id}: cannot record the delivery attempt: {error}")
                self._keeper.check()
                await asyncio.sleep(self._settings.transport_retry_time)
            except Exception as error:
                self._log.error(f"{queue_id}: cannot end the delivery attempt: {error!r}")
                break
        self._dismiss(message)
        if due is not None:
            self._feed.waits(queue_id, due)
