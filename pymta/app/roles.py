"""What each process of the system does: the same services, wired for one role (docs/processes.md)."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable
from typing import NoReturn

from pymta.app.actions import NoActions, leave_actions, take_over_actions
from pymta.app.doors import Doors, Sockets, close_sockets
from pymta.app.mta import MTA, Place
from pymta.app.own_first import Hands
from pymta.app.plan import SMTP_COMMANDS
from pymta.app.remote_counts import ClientCounts, RemoteCounts
from pymta.app.remote_delivery import DeliveryRoles, RemoteAgent
from pymta.app.remote_kinds import ID_SLOTS
from pymta.app.remote_queue import RemoteQueue
from pymta.app.remote_server import RoleServer
from pymta.app.remote_worker import DeliveryWorker
from pymta.app.role_channel import RoleChannel
from pymta.app.wiring import Lasting, Wiring, rewire
from pymta.config import Config, build
from pymta.delivery.mailbox_jobs import UserActions
from pymta.dns.settings import DnsSettings, make_resolver
from pymta.errors import PymtaError, SpoolError
from pymta.model.frozen import frozen
from pymta.model.queue import QueueEntry, QueueId
from pymta.ports import ContentWriter
from pymta.runtime.clock import SystemClock
from pymta.runtime.garbage import seldom_collections
from pymta.runtime.logging import MailLog
from pymta.runtime.loop import log_strays, run
from pymta.runtime.places import SpoolPlaces
from pymta.runtime.processes import Channel
from pymta.runtime.tls_files import PemFiles
from pymta.spool.faults import NO_FAULTS, Faults, from_environment
from pymta.spool.handover import clear_drafts

DRAIN_SECONDS = 10.0
# After the supervisor's end nobody would restart what breaks: what is under way gets only this long.
_ORPHAN_SECONDS = 1.0


@frozen
class Instance:
    """What all processes of one running system share. `token` tells them from those of another one."""

    config: Config
    token: str
    supervisor: int
    open_log: Callable[[], MailLog]
    actions: UserActions
    sockets: Sockets
    keys: PemFiles
    smtpd_processes: int
    delivery_processes: int
    own_deliveries: int

    @property
    def places(self) -> SpoolPlaces:
        return SpoolPlaces.below(self.config.text("queue_directory"))

    def open_role_log(self) -> MailLog:
        """The log of the process we are in; what its event loop has to say goes there too."""
        log = self.open_log()
        log_strays(asyncio.get_running_loop(), log.service(f"{self.config.text('syslog_name')}/master"))
        return log


def _faults(restarted: bool) -> Faults:
    """What a test asked for strikes a process, not its successors."""
    return NO_FAULTS if restarted else from_environment(os.environ)


def qmgr_main(instance: Instance, channel: Channel, restarted: bool) -> int:
    """The spool, the queue manager and everything that no delivery process delivers."""
    if restarted:
        take_over_actions(instance.actions)
    close_sockets(instance.sockets)
    return run(_qmgr(instance, channel, restarted))


async def _qmgr(instance: Instance, channel: Channel, restarted: bool) -> int:
    supervisor = RoleChannel(channel, instance.config.directory)
    roles = DeliveryRoles()
    log = instance.open_role_log()
    mta = MTA(
        instance.config,
        log=log,
        sockets={},
        actions=instance.actions,
        on_stop=lambda: supervisor.tell({"op": "stop"}),
        keys=instance.keys,
        faults=_faults(restarted),
        place=Place(
            serves_clients=False,
            smtp_agent=RemoteAgent(roles) if instance.delivery_processes else None,
            hands=Hands(instance.own_deliveries),
            id_slots=ID_SLOTS,
            reload=supervisor.ask_reload,
            pid=instance.supervisor,
        ),
    )
    clock = SystemClock()
    service_log = log.service(f"{instance.config.text('syslog_name')}/qmgr")
    server = RoleServer(
        mta.places.roles_socket,
        instance.token,
        mta.manager,
        mta.spool,
        ClientCounts(clock),
        roles,
        mta.host_failures,
        service_log,
    )
    try:
        await mta.start()
        if not restarted:
            clear_drafts(mta.places.queue)
        await server.start()
        with seldom_collections():
            drain = await supervisor.serve(mta.wire, mta.put_in_force)
        await mta.stop(DRAIN_SECONDS if drain else _ORPHAN_SECONDS)
    except PymtaError as error:
        supervisor.fail(str(error))
        return 1
    finally:
        await mta.stop(0)
        await server.close()
        log.close()
    return 0


def smtpd_main(instance: Instance, number: int, channel: Channel, restarted: bool) -> int:
    """Clients: protocol, access, cleanup."""
    leave_actions(instance.actions)
    return run(_smtpd(instance, number, channel, restarted))


async def _smtpd(instance: Instance, number: int, channel: Channel, restarted: bool) -> int:
    supervisor = RoleChannel(channel, instance.config.directory)
    log = instance.open_role_log()
    clock = SystemClock()
    places = instance.places
    clear_drafts(places.queue, number)
    queue = RemoteQueue(
        places.queue,
        places.roles_socket,
        instance.token,
        number,
        clock,
        long_ids=bool(instance.config.value("enable_long_queue_ids")),
        on_welcome=lambda: counts.announce(),
        faults=_faults(restarted),
    )
    counts = RemoteCounts(queue.upstream, clock, is_alone=instance.smtpd_processes == 1)
    resolver = make_resolver(build(DnsSettings, instance.config), clock)
    lasting = Lasting(
        clock=clock,
        log=log,
        resolver=resolver,
        queue=queue,
        actions=NoActions(),
        keys=instance.keys,
        transports=frozenset(),
        shared_counts=counts,
    )
    doors = Doors()
    try:
        wiring = Wiring(instance.config, lasting)
        doors.listening = {key: list(group) for key, group in instance.sockets.items()}
        queue.upstream.start()
        if not await supervisor.unless_ended(queue.upstream.welcomed()) or not await supervisor.may_open():
            return 0
        await doors.serve(wiring)

        async def put_in_force(new: Wiring) -> list[str]:
            log.reopen()
            before, doors.listening = doors.listening, supervisor.listening
            await doors.serve(new)
            close_sockets(before)
            return []

        drain = await supervisor.serve(lambda config: rewire(config, lasting), put_in_force)
        await doors.close(DRAIN_SECONDS if drain else _ORPHAN_SECONDS)
    except PymtaError as error:
        supervisor.fail(str(error))
        return 1
    finally:
        await queue.upstream.close()
        resolver.close()
        log.close()
    return 0


def delivery_main(instance: Instance, number: int, channel: Channel, restarted: bool) -> int:
    """SMTP and LMTP to other hosts."""
    leave_actions(instance.actions)
    close_sockets(instance.sockets)
    return run(_delivery(instance, number, channel, restarted))


async def _delivery(instance: Instance, number: int, channel: Channel, restarted: bool) -> int:
    supervisor = RoleChannel(channel, instance.config.directory)
    log = instance.open_role_log()
    clock = SystemClock()
    places = instance.places
    resolver = make_resolver(build(DnsSettings, instance.config), clock)
    lasting = Lasting(
        clock=clock,
        log=log,
        resolver=resolver,
        queue=_NoQueue(),
        actions=NoActions(),
        keys=instance.keys,
        serves_clients=False,
        transports=SMTP_COMMANDS,
    )
    current = Wiring(instance.config, lasting)
    worker = DeliveryWorker(
        places.queue / "content",
        places.roles_socket,
        instance.token,
        number,
        lambda transport: current.agents.get(transport),
        current.log("smtp"),
        _faults(restarted),
        lasting.failures,
    )

    async def put_in_force(new: Wiring) -> list[str]:
        nonlocal current
        log.reopen()
        old, current = current, new
        old.close()
        return []

    try:
        worker.upstream.start()
        if await supervisor.unless_ended(worker.upstream.welcomed()):
            await supervisor.serve(lambda config: rewire(config, lasting), put_in_force)
    finally:
        await worker.upstream.close()
        current.close()
        resolver.close()
        log.close()
    return 0


class _NoQueue:
    """`ports.Queue` of a role through which no mail comes in."""

    def new_queue_id(self) -> NoReturn:
        raise SpoolError("no mail comes in here")

    def new_content(self, queue_id: QueueId) -> NoReturn:
        raise SpoolError("no mail comes in here")

    async def enqueue(self, entry: QueueEntry, content: ContentWriter) -> NoReturn:
        raise SpoolError("no mail comes in here")

    async def flush_site(self, site: str) -> NoReturn:
        raise SpoolError("no mail comes in here")
