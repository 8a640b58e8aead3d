"""`MTA`: the whole program in one event loop, for embedding and for `pymta run`."""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import field
from email.message import Message
from types import TracebackType
from typing import Any, Self

from pymta.app.actions import open_actions
from pymta.app.admin import Administration
from pymta.app.doors import Doors, listen_anew, open_sockets
from pymta.app.own_first import Hands
from pymta.app.remote_delivery import RemoteAgent
from pymta.app.requeue import Resubmitter
from pymta.app.sasl import LoginParts
from pymta.app.settings import Settings
from pymta.app.submit import submit_message
from pymta.app.switch import ProbeRoutes, Switch
from pymta.app.wiring import Lasting, Wiring, rewire
from pymta.auth.verify_app import CheckFunction, TokenFunction
from pymta.config import Config, build
from pymta.control.queue import QueueCommands
from pymta.control.service import ControlService, Hooks
from pymta.delivery.host_failures import HostFailures
from pymta.delivery.mailbox_jobs import UserActions
from pymta.dns.settings import DnsSettings, make_resolver
from pymta.errors import ConfigError
from pymta.model.frozen import frozen
from pymta.model.queue import QueueId
from pymta.model.reply import Reply
from pymta.pickup.drop import DIRECTORY_MODE
from pymta.pickup.service import DropCollector
from pymta.pickup.submission import Submission
from pymta.ports import Clock, DeliveryAgent, PasswordDatabase, Restriction, TokenVerifier
from pymta.qmgr import QueueAdmin, QueueManager
from pymta.runtime.clock import SystemClock
from pymta.runtime.control import ControlServer
from pymta.runtime.logging import MailLog, PythonLogSink
from pymta.runtime.places import SpoolPlaces
from pymta.runtime.privileges import make_directory
from pymta.runtime.tls_files import PemFiles
from pymta.spool import SqliteSpool
from pymta.spool.faults import NO_FAULTS, Faults
from pymta.spool.handover import clear_drafts

_DRAIN_SECONDS = 10.0


@frozen
class Place:
    """Where an `MTA` stands among processes: what it leaves to others, and who answers for all (`reload`, `pid`).

    `smtp_agent` is the agent of every SMTP and LMTP transport, but for what finds free `hands` here; queue ids come
    from `id_slots` processes.
    """

    serves_clients: bool = True
    smtp_agent: RemoteAgent | None = None
    hands: Hands = field(default_factory=lambda: Hands(0))
    id_slots: int = 1
    reload: Callable[[], Awaitable[list[str]]] | None = None
    pid: int = 0


ALONE = Place()


class MTA:
    """A mail transfer agent. `async with MTA(settings) as mta:` runs it; `start` and `stop` do the same by hand.

    `agents` are delivery agents of the app's own, by transport name; `restrictions` rules of its own, by the name
    under which restriction lists use them. `passwords` and `tokens` answer where `smtpd_sasl_type = app`: databases,
    or async functions of a user's name and the password or access token. Without `log`, lines go to Python's logger
    `pymta`. `sockets` are listening sockets by service key, as `pymta run` binds them before it gives up root.
    `clock` and `faults` are for tests of what time and crashes do. Raises ConfigError for settings that cannot be
    used, before anything is opened.
    """

    def __init__(
        self,
        settings: Settings | Config,
        *,
        agents: Mapping[str, DeliveryAgent] | None = None,
        restrictions: Mapping[str, Restriction] | None = None,
        passwords: PasswordDatabase | CheckFunction | None = None,
        tokens: TokenVerifier | TokenFunction | None = None,
        log: MailLog | None = None,
        sockets: Mapping[str, Sequence[socket.socket]] | None = None,
        actions: UserActions | None = None,
        on_stop: Callable[[], None] | None = None,
        keys: PemFiles | None = None,
        clock: Clock | None = None,
        faults: Faults = NO_FAULTS,
        place: Place = ALONE,
    ) -> None:
        config = settings.config() if isinstance(settings, Settings) else settings
        self.places = SpoolPlaces.below(config.text("queue_directory"))
        self._log = log or MailLog(PythonLogSink())
        self._place = place
        self._sockets = dict(sockets) if sockets is not None else None
        self._on_stop = on_stop or (lambda: None)
        self._clock = clock or SystemClock()
        self._resolver = make_resolver(build(DnsSettings, config), self._clock)
        self._switch = Switch()
        tag = config.text("syslog_name")
        self._spool = SqliteSpool(
            self.places.queue,
            self._log.service(f"{tag}/qmgr"),
            self._clock,
            long_ids=bool(config.value("enable_long_queue_ids")),
            id_slots=place.id_slots,
            faults=faults,
        )
        self._qmgr = self._make_manager(config, faults)
        self._admin = self._make_admin(config)
        self.queue = Administration(self._admin)
        self._lasting = Lasting(
            clock=self._clock,
            log=self._log,
            resolver=self._resolver,
            queue=self._qmgr,
            actions=actions or open_actions(config),
            agents=agents or {},
            restrictions=restrictions or {},
            logins=LoginParts(passwords, tokens),
            keys=keys or PemFiles(),
            serves_clients=place.serves_clients,
            smtp_agent=place.smtp_agent,
            hands=place.hands,
        )
        self._switch.wiring = Wiring(config, self._lasting)
        self._collector = DropCollector(self.places.maildrop, self._wiring.pickup, self._wiring.log("pickup"))
        self._control = ControlServer(self.places.control_socket, self._handle, self._wiring.log("master"))
        self._doors = Doors()
        self._reloading: asyncio.Task[None] | None = None
        self._started_at = 0.0

    def _make_manager(self, config: Config, faults: Faults) -> QueueManager:
        return QueueManager(
            self._switch.queue_settings(config),
            self._spool,
            self._switch,
            self._switch.agent,
            self._switch.limits,
            self._switch,
            self._clock,
            self._log.service(f"{config.text('syslog_name')}/qmgr"),
            delivery_log=self._switch.delivery_log,
            faults=faults,
            probes=ProbeRoutes(self._switch),
        )

    def _make_admin(self, config: Config) -> QueueAdmin:
        return QueueAdmin(
            self._qmgr,
            self._spool,
            self._clock,
            self._log.service(f"{config.text('syslog_name')}/postsuper"),
            Resubmitter(self._switch, self._spool),
        )

    @property
    def _wiring(self) -> Wiring:
        return self._switch.wiring

    @property
    def manager(self) -> QueueManager:
        return self._qmgr

    @property
    def spool(self) -> SqliteSpool:
        return self._spool

    @property
    def host_failures(self) -> HostFailures:
        """What SMTP deliveries of this process know of hosts that are down."""
        return self._lasting.failures

    @property
    def config(self) -> Config:
        """The configuration in force."""
        return self._wiring.config

    @property
    def ports(self) -> tuple[int, ...]:
        """The TCP ports that smtpd listens on, in the order of the services."""
        return self._doors.ports

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.stop()

    async def start(self) -> None:
        """Open the queue, then the doors. Raises ConfigError or SpoolError; then nothing is left open."""
        try:
            await self._start()
        except BaseException:
            await self.stop(drain_seconds=0)
            raise

    async def _start(self) -> None:
        for path, mode in (
            (self.places.root, 0o755),
            (self.places.queue, 0o700),
            (self.places.public, 0o755),
            (self.places.maildrop, DIRECTORY_MODE),
        ):
            make_directory(path, mode, None)
        await self._spool.open()
        if self._place is ALONE:
            clear_drafts(self.places.queue)
        self._started_at = self._clock.monotonic()
        await self._qmgr.start()
        await self._control.start()
        self._collector.start()
        config = self._wiring.config
        given = self._sockets
        self._doors.listening = open_sockets(config) if given is None else {key: [*given[key]] for key in given}
        await self._doors.serve(self._wiring)
        if self._place is ALONE:
            self._wiring.log("master").info(f"daemon started -- configuration {self.config.text('config_directory')}")

    async def stop(self, drain_seconds: float = _DRAIN_SECONDS) -> None:
        """Close the doors, let what is under way end within `drain_seconds`, close the queue. Twice is harmless."""
        await self._doors.close(drain_seconds)
        await self._collector.close()
        await self._control.close()
        await self._qmgr.stop(drain_seconds)
        self._wiring.close(abandon=True)
        await self._spool.close()
        self._resolver.close()
        self._log.flush()

    async def submit(
        self,
        message: bytes | str | Message,
        *,
        sender: str | None = None,
        recipients: Iterable[str] | None = None,
    ) -> QueueId:
        """Queue a message; durable on return. Without `sender` it is From's, without `recipients` To, Cc and Bcc.

        Raises SubmitError with the reply that an SMTP client would have got.
        """
        return await submit_message(self._wiring, message, sender, recipients)

    # -- reload

    def request_reload(self) -> None:
        """Reload in the background; what is wrong goes to the log (SIGHUP)."""
        self._reloading = asyncio.ensure_future(self._reload_and_log())

    async def _reload_and_log(self) -> None:
        log = self._wiring.log("master")
        try:
            for message in await self.reload():
                log.warning(message)
        except ConfigError as error:
            log.error(f"reload failed, the old configuration stays: {error}")

    async def reload(self, config: Config | None = None) -> list[str]:
        """Put a new configuration in force, main.cf's where none is given; open sessions keep theirs.

        Returns warnings. Raises ConfigError, and then the old configuration stays.
        """
        if config is None:
            if self.config.directory is None:
                raise ConfigError("settings from code have no file to read again; pass the new configuration")
            config = Config.load(self.config.directory)
        wiring, warnings = self.wire(config)
        warnings += await self.put_in_force(wiring)
        return warnings

    def wire(self, config: Config) -> tuple[Wiring, list[str]]:
        """Everything of a new configuration, not in force yet, and warnings; raises ConfigError."""
        return rewire(config, self._lasting)

    async def put_in_force(self, wiring: Wiring) -> list[str]:
        """Let `wiring` replace what there is; open sessions keep theirs. Returns warnings."""
        old, config = self._wiring, wiring.config
        self._log.reopen()
        warnings = listen_anew(self._doors.listening, config) if self._lasting.serves_clients else []
        self._switch.wiring = wiring
        self._qmgr.configure(self._switch.queue_settings(config))
        self._collector.replace_pickup(wiring.pickup)
        await self._doors.serve(wiring)
        old.close()
        wiring.log("master").info(f"reload -- configuration {config.text('config_directory')}")
        return warnings

    # -- the control socket

    async def _handle(self, *request: Any) -> AsyncIterator[Mapping[str, Any]]:
        reload = self._place.reload or self.reload
        hooks = Hooks(
            submit=self._submit,
            status=self._status,
            reload=reload,
            stop=self._on_stop,
            flush_site=self._wiring.flush.flush_site,
        )
        commands = QueueCommands(self.queue, self._spool, self._clock)
        service = ControlService(self._wiring.control_settings, self._wiring.tables, commands, hooks)
        async for row in service.handle(*request):
            yield row

    async def _submit(self, arguments: Mapping[str, Any], uid: int, text: AsyncIterator[bytes]) -> Reply:
        return await self._wiring.pickup.submit(Submission.from_record(arguments), uid, text)

    async def _status(self) -> Mapping[str, Any]:
        return {
            "pid": self._place.pid or os.getpid(),
            "uptime": self._clock.monotonic() - self._started_at,
            "queues": await self.queue.counts(),
        }
