"""The queue manager: from durable to delivered (qmgr(8), docs/queue.md)."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from functools import partial

from pymta.errors import SpoolError
from pymta.model.queue import QueueEntry, QueueFilter, QueueId, QueueName
from pymta.ports import AddressResolver, Clock, Content, ContentWriter, DeliveryAgent, Log, Notifier, Recorded, Spool
from pymta.qmgr import lines
from pymta.qmgr.active import ActiveMessage
from pymta.qmgr.active_queue import ActiveQueue
from pymta.qmgr.ahead import ReadAhead
from pymta.qmgr.deliveries import Deliveries
from pymta.qmgr.endings import Endings
from pymta.qmgr.feed import Feed
from pymta.qmgr.flusher import Flusher
from pymta.qmgr.keeper import SpoolKeeper
from pymta.qmgr.parts import Parts
from pymta.qmgr.planning import Planner
from pymta.qmgr.routing import Router
from pymta.qmgr.scheduler import Scheduler, TransportLimits
from pymta.qmgr.settings import QueueManagerSettings
from pymta.qmgr.settle import Settlement
from pymta.qmgr.supply import FlowTokens, Supply
from pymta.qmgr.work import Work
from pymta.spool.faults import NO_FAULTS, Faults


class QueueManager:
    """`ports.Queue`, and all that happens to a message after it.

    A message is admitted to the active queue here; a `Planner` gives its recipients to the scheduler, `Deliveries` are
    made, `Endings` record what came of them. `agents` gives the delivery agent of a transport, None where there is
    none. `limits` gives a transport's rules (`settings.transport_limits`). `delivery_log` is the log for a transport's
    recipients (`postfix/smtp`). `probes` resolves for address verification in place of `resolver`.
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
        probes: AddressResolver | None = None,
    ) -> None:
        self._settings = settings
        self._spool = spool
        self._clock = clock
        self._log = log
        self._running = False
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
        parts = self._parts = self._make_parts(settings, spool, agents, limits, clock, log, faults)
        self._active = parts.active
        self._flusher = Flusher(parts, self._feed, self.has_room, partial(self.admit, flushed=True))
        self._keeper = SpoolKeeper(spool, log, self._feed.start_over)
        self._settlement = Settlement(spool, notifier, settings.backoff, clock, log, faults)
        self._endings = Endings(
            parts, self._settlement, self._keeper, settings.transport_retry_time, more=self._plan, dismiss=self._dismiss
        )
        self._deliveries = Deliveries(
            settings, parts, delivery_log or (lambda transport: log), advance=self._endings.advance
        )
        self._planner = Planner(
            settings,
            parts,
            Router(resolver, probes or resolver, log, settings.default_filter_nexthop),
            defer=self._deliveries.defer,
            planned=self._planned,
        )

    def _make_parts(
        self,
        settings: QueueManagerSettings,
        spool: Spool,
        agents: Callable[[str], DeliveryAgent | None],
        limits: Callable[[str], TransportLimits],
        clock: Clock,
        log: Log,
        faults: Faults,
    ) -> Parts:
        scheduler = Scheduler(limits, settings.minimal_backoff_time, settings.transport_retry_time)
        supply = Supply(scheduler, settings.qmgr_message_recipient_limit, settings.qmgr_message_recipient_minimum)
        active = ActiveQueue(spool, supply, settings.qmgr_message_active_limit, self._feed.has_room)
        return Parts(spool, scheduler, supply, active, ReadAhead(), agents, Work(log), clock, log, faults)

    # -- life

    async def start(self) -> None:
        """Begin with what is due; what a crash left in the incoming queue is. The spool is open."""
        self._set_running(True)
        self._feed.start()

    def _set_running(self, running: bool) -> None:
        self._running = self._planner.is_running = self._deliveries.is_running = running

    def configure(self, settings: QueueManagerSettings) -> None:
        """Put new settings in force, those of transports included; deliveries under way go on."""
        self._settings = settings
        now = self._clock.monotonic()
        self._parts.scheduler.configure(settings.minimal_backoff_time, settings.transport_retry_time, now)
        self._parts.supply.configure(settings.qmgr_message_recipient_limit, settings.qmgr_message_recipient_minimum)
        self._active.limit = settings.qmgr_message_active_limit
        self._tokens.limit = settings.default_process_limit
        self._planner.configure(settings)
        self._deliveries.configure(settings)
        self._settlement.configure(settings.backoff)
        self._endings.retry_seconds = settings.transport_retry_time
        self._feed.configure(settings.queue_run_delay)

    async def stop(self, drain_seconds: float = 0.0) -> None:
        """Start nothing new, give deliveries under way `drain_seconds` to end; the rest is tried at the next start."""
        self._set_running(False)
        await self._keeper.close()
        await self._flusher.close()
        await self._feed.stop()
        self._deliveries.stop()
        await self._parts.work.stop(drain_seconds)
        self._active.clear()

    # -- ports.Queue

    def new_queue_id(self) -> QueueId:
        return self._spool.new_queue_id()

    def new_content(self, queue_id: QueueId) -> ContentWriter:
        return self._spool.new_content(queue_id)

    async def enqueue(self, entry: QueueEntry, content: ContentWriter) -> None:
        """Make durable, then schedule. Slows down by `in_flow_delay` while mail comes faster than it becomes active."""
        waiter: asyncio.Future[None] = asyncio.get_running_loop().create_future()

        def stored(error: SpoolError | None) -> None:
            if not waiter.done():
                waiter.set_exception(error) if error is not None else waiter.set_result(None)

        self.store(entry, content, stored)
        await waiter

    def store(self, entry: QueueEntry, content: ContentWriter, done: Recorded) -> None:
        """`enqueue` without anybody who awaits it."""
        stored = partial(self._stored, entry, content, done)
        delay = self._settings.in_flow_delay
        if delay > 0 and self._tokens.are_used_up:
            asyncio.get_running_loop().call_later(delay, self._spool.store, entry, content, stored)
        else:
            self._spool.store(entry, content, stored)

    def _stored(self, entry: QueueEntry, content: ContentWriter, done: Recorded, error: SpoolError | None) -> None:
        done(error)
        if error is not None:
            self._keeper.check()
            return
        if entry.queue is QueueName.HOLD or entry.queue_id in self._active:
            # Who read the queue between the sync and our turn has made it active already.
            return
        due = entry.queue is QueueName.INCOMING and entry.next_attempt <= self._clock.now()
        if due and self._running and self._active.room() > 0:
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
            self._parts.scheduler.revive(self._clock.monotonic())
        else:
            self._parts.scheduler.revive_site(query.site.lower(), self._clock.monotonic())
        self._flusher.start(query)

    # -- the active queue

    def is_active(self, queue_id: QueueId) -> bool:
        return queue_id in self._active

    def active_ids(self) -> list[QueueId]:
        return self._active.ids()

    @property
    def feed(self) -> Feed:
        return self._feed

    def active(self, queue_id: QueueId) -> ActiveMessage | None:
        return self._active.get(queue_id)

    def _room(self) -> int:
        return self._active.room()

    def has_room(self) -> bool:
        return self._running and self._room() > 0

    def withdraw(self, message: ActiveMessage) -> None:
        """End a message that is deleted or held: now where nobody works on it, else after what is under way."""
        self._endings.settle(message)

    def _admit_waiting(self, entry: QueueEntry) -> None:
        if entry.queue is QueueName.INCOMING:
            self._tokens.give_back()
        self.admit(entry)

    def admit(self, entry: QueueEntry, *, flushed: bool = False) -> None:
        """Make a message from disk active; `flushed` tries even transports of `defer_transports`."""
        self._admit(entry, self._spool.content(entry), flushed=flushed)

    def _admit(self, entry: QueueEntry, content: Content, *, flushed: bool = False) -> None:
        clock = self._clock
        message = self._active.add(entry, content, clock.now(), since=clock.monotonic(), flushed=flushed)
        self._log.info(lines.active(entry))
        self._planner.add(message)

    def _plan(self, message: ActiveMessage) -> None:
        self._planner.add(message)

    def _planned(self, message: ActiveMessage) -> None:
        self._deliveries.start_soon()
        if message.waiting and not message.in_memory:
            self._parts.ahead.add(message)
        if not message.waiting or message.unread or message.done or message.is_withdrawn:
            self._endings.advance(message)

    def _dismiss(self, message: ActiveMessage, due: float | None) -> None:
        """A message has ended, for now where it is `due` again."""
        queue_id = message.queue_id
        if self._active.holds(message, queue_id):
            if message.is_long:
                message.unread = 0
                self._parts.scheduler.all_read(message)
            self._feed.settled(queue_id)
            self._active.remove(message)
            if not message.in_memory:
                self._parts.ahead.begun(message)
        if due is not None:
            self._feed.waits(queue_id, due)
