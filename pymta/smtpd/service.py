"""The SMTP service: listens, admits clients, ends in good order (smtpd(8), master(8))."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Sequence

from pymta.auth.inbound import InboundAuthentication
from pymta.model.envelope import Client
from pymta.model.reply import Reply
from pymta.ports import AccessPolicy, AddressResolver, Clock, Intake, Log, RecipientDirectory, Resolver, SiteFlush
from pymta.protocol.smtp.commands import COMMANDS, Command
from pymta.protocol.smtp.server import ServerSession
from pymta.runtime.descriptors import is_scarce
from pymta.smtpd.connection import Connection
from pymta.smtpd.desk import Desk, ErrorNotices
from pymta.smtpd.gate import Gate
from pymta.smtpd.limits import SharedCounts
from pymta.smtpd.outbox import Outbox
from pymta.smtpd.peer import client_from_socket, look_up_name
from pymta.smtpd.sasl import SaslService
from pymta.smtpd.sessions import Sessions
from pymta.smtpd.settings import SmtpdSettings
from pymta.smtpd.tls import ServerTls
from pymta.smtpd.workers import Workers
from pymta.tables import TableFactory

BACKLOG = 1024


class SmtpServer:
    """One smtpd service of master.cf. `name` is how warnings call it (`smtpd`, `submission`).

    `serve` listens on sockets that are bound; `stop_listening` lets sessions go on; `close` ends them: those
    between messages at once with 421, the others after `drain_seconds`. A commit under way is always waited for.
    Raises ConfigError at construction for settings that cannot be used.
    """

    def __init__(
        self,
        settings: SmtpdSettings,
        *,
        policy: AccessPolicy,
        intake: Intake,
        rewriter: AddressResolver,
        directory: RecipientDirectory,
        resolver: Resolver,
        clock: Clock,
        log: Log,
        tables: TableFactory,
        name: str = "smtp",
        commands: Sequence[Command] = COMMANDS,
        tls: ServerTls | None = None,
        sasl: SaslService | None = None,
        shared_counts: SharedCounts | None = None,
        authentication: InboundAuthentication | None = None,
        flush: SiteFlush | None = None,
        notices: ErrorNotices | None = None,
    ) -> None:
        self.tls = tls if tls and tls.is_on else None
        self.sasl = sasl
        self.desk = Desk(
            settings,
            policy,
            intake,
            rewriter,
            directory,
            clock,
            log,
            noop_commands=tables.string_list(settings.smtpd_noop_commands),
            forbidden_commands=tables.string_list(settings.smtpd_forbidden_commands),
            shows_tls=self.tls is not None and self.tls.settings.smtpd_tls_received_header,
            authentication=authentication,
            flush=flush,
            notices=notices,
            command_filter=tables.maps(settings.smtpd_command_filter, "smtpd_command_filter"),
        )
        tls_sessions = self.tls.settings.smtpd_client_new_tls_session_rate_limit if self.tls else 0
        self._gate = Gate(settings, tables, clock, log, name, shared_counts, tls_sessions=tls_sessions)
        self.rates = self._gate.rates
        self._sessions = Sessions(settings, self.desk, tables, self.tls, sasl, commands, self._gate.rates.verbs)
        self._settings = settings
        self._resolver = resolver
        self._servers: list[asyncio.Server] = []
        self._connections: set[Connection] = set()
        self._all_left = asyncio.Event()
        self.workers = Workers()
        self.outbox = Outbox()

    async def serve(self, sockets: Sequence[socket.socket]) -> None:
        """Accept clients on listening or bound sockets from now on; returns at once."""
        if self.tls:
            self.tls.open()
        loop = asyncio.get_running_loop()
        for listener in sockets:
            create = loop.create_unix_server if listener.family == socket.AF_UNIX else loop.create_server
            self._servers.append(await create(self._new_connection, sock=listener, backlog=BACKLOG))

    def stop_listening(self) -> None:
        for server in self._servers:
            server.close()
        self._servers.clear()

    async def close(self, drain_seconds: float = 10.0) -> None:
        self.stop_listening()
        goodbye = Reply.of(421, f"{self._settings.myhostname} Service shutting down", "4.3.2")
        loop = asyncio.get_running_loop()
        end = loop.time() + drain_seconds
        while self._connections and loop.time() < end:
            for connection in [one for one in self._connections if one.is_idle]:
                connection.shut_down(goodbye)
            await asyncio.sleep(0.02)
        for connection in list(self._connections):
            connection.shut_down(goodbye)
            connection.cut()
        if self._connections:
            self._all_left.clear()
            await self._all_left.wait()
        self.workers.close()
        if self.sasl:
            self.sasl.close()

    @property
    def connection_count(self) -> int:
        return len(self._connections)

    def _new_connection(self) -> Connection:
        connection = Connection(self, asyncio.get_running_loop())
        self._connections.add(connection)
        return connection

    # What connections ask.

    async def admit(self, transport: asyncio.Transport) -> ServerSession | Reply:
        """A session for a new client, or what it is told instead."""
        client = client_from_socket(transport.get_extra_info("peername"), transport.get_extra_info("sockname"))
        if is_scarce(transport.get_extra_info("socket").fileno()):
            self.desk.log.warning(f"Too many open files (RLIMIT_NOFILE): {client} has to come again")
            return Reply.of(421, f"{self._settings.myhostname} Error: all server ports are busy", "4.3.2")
        if self._settings.smtpd_peername_lookup and client.port != "unknown":
            client = await look_up_name(client, self._resolver)
        label = f"{client}:{client.port}" if self._settings.smtpd_client_port_logging else str(client)
        excess = await self._gate.excess(transport, client)
        if not excess:
            return await self._sessions.begin(client, label)
        self.desk.log.info(f"connect from {label}")
        self.desk.log.warning(excess)
        self.desk.log.info(f"disconnect from {label} commands=0/0")
        text = f"{self._settings.myhostname} Error: too many connections from {client.address}"
        return self._sessions.refusal(Reply.of(421, text, "4.7.0"), client)

    def left(self, connection: Connection, client: Client | None) -> None:
        self._connections.discard(connection)
        self._gate.left(connection.accepted)
        if not self._connections:
            self._all_left.set()
