"""The SMTP service: listens, admits clients, ends in good order (smtpd(8), master(8))."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Sequence
from dataclasses import replace

from pymta.auth.inbound import InboundAuthentication
from pymta.model.envelope import Client
from pymta.model.reply import Reply
from pymta.ports import AccessPolicy, AddressResolver, Clock, Intake, Log, RecipientDirectory, Resolver, SiteFlush
from pymta.protocol.smtp.commands import COMMANDS, Command, command_table
from pymta.protocol.smtp.server import ServerSession
from pymta.protocol.smtp.server_etrn import with_etrn
from pymta.protocol.smtp.server_starttls import with_starttls
from pymta.runtime.descriptors import is_scarce
from pymta.smtpd.connection import Connection
from pymta.smtpd.desk import Desk
from pymta.smtpd.footer import footer_values, with_footer
from pymta.smtpd.limits import ConnectionLimits, SharedCounts
from pymta.smtpd.peer import client_from_socket, look_up_name
from pymta.smtpd.rates import ClientRates, rates
from pymta.smtpd.sasl import SaslService
from pymta.smtpd.settings import SmtpdSettings, session_options
from pymta.smtpd.tls import ServerTls, with_tls
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
    ) -> None:
        noop_commands = tables.string_list(settings.smtpd_noop_commands)
        forbidden_commands = tables.string_list(settings.smtpd_forbidden_commands)
        self.tls = tls if tls and tls.is_on else None
        self.sasl = sasl
        shows_tls = self.tls is not None and self.tls.settings.smtpd_tls_received_header
        self.desk = Desk(
            settings,
            policy,
            intake,
            rewriter,
            directory,
            clock,
            log,
            noop_commands,
            forbidden_commands,
            shows_tls,
            authentication,
            flush,
        )
        self._settings = settings
        self._resolver = resolver
        self._name = name
        self._commands = with_etrn(with_starttls(commands))
        self._table = command_table(self._commands)
        self._options = with_tls(session_options(settings), self.tls)
        self._excluded_options = with_tls(session_options(settings, bare_newline_excluded=True), self.tls)
        self._bare_newline_exclusions = tables.network_list(settings.smtpd_forbid_bare_newline_exclusions)
        self._limit_exceptions = tables.network_list(settings.smtpd_client_event_limit_exceptions)
        self._limits = ConnectionLimits(
            settings.smtpd_client_connection_count_limit,
            settings.smtpd_client_connection_rate_limit,
            settings.anvil_rate_time_unit,
            settings.smtpd_client_ipv4_prefix_length,
            settings.smtpd_client_ipv6_prefix_length,
        )
        self._shared_counts = shared_counts
        limited = rates(
            messages=settings.smtpd_client_message_rate_limit,
            recipients=settings.smtpd_client_recipient_rate_limit,
            logins=settings.smtpd_client_auth_rate_limit,
            tls_sessions=self.tls.settings.smtpd_client_new_tls_session_rate_limit if self.tls else 0,
        )
        client_rates = ClientRates(name, limited, self._limits, self._limit_exceptions, clock, log, shared_counts)
        self.count = client_rates.refusal
        self._options = replace(self._options, counted_verbs=client_rates.verbs)
        self._excluded_options = replace(self._excluded_options, counted_verbs=client_rates.verbs)
        self._servers: list[asyncio.Server] = []
        self._connections: set[Connection] = set()
        self._counted: dict[asyncio.Transport, str] = {}

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
        await asyncio.gather(*(connection.finished() for connection in list(self._connections)))
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
        label = self._label(client)
        refusal = await self._over_limit(transport, client)
        if refusal:
            self.desk.log.info(f"connect from {label}")
            self.desk.log.warning(refusal)
            self.desk.log.info(f"disconnect from {label} commands=0/0")
            text = f"{self._settings.myhostname} Error: too many connections from {client.address}"
            return self._completed(Reply.of(421, text, "4.7.0"), client)
        excluded = await self._bare_newline_exclusions.matches(client.address)
        session = ServerSession(
            self._excluded_options if excluded else self._options,
            client,
            self.desk.intake.new_queue_id,
            complete=self.desk.complete,
            asks=self.desk.policy.asks,
            footer=self._with_footer if self._settings.smtpd_reject_footer else None,
            label=label,
            commands=self._commands,
            table=self._table,
        )
        session.auth = await self.sasl.rules(client) if self.sasl else None
        return session

    def left(self, connection: Connection, client: Client | None) -> None:
        self._connections.discard(connection)
        address = self._counted.pop(connection.accepted, None)
        if address and self._shared_counts:
            self._shared_counts.closed(self._name, self._limits.network(address))
        elif address:
            self._limits.closed(address)

    async def _over_limit(self, transport: asyncio.Transport, client: Client) -> str:
        """The warning that a client over its limits is worth; empty where it is welcome."""
        if await self._limit_exceptions.matches(client.address):
            return ""
        count, rate = await self._count(client.address)
        self._counted[transport] = client.address
        service = f"from {client} for service {self._name}"
        if self._limits.exceeds_count(count):
            return f"Connection concurrency limit exceeded: {count} {service}"
        if self._limits.exceeds_rate(rate):
            return f"Connection rate limit exceeded: {rate} {service}"
        return ""

    async def _count(self, address: str) -> tuple[int, int]:
        limits, shared = self._limits, self._shared_counts
        if shared is None:
            return limits.opened(address, self.desk.clock.monotonic())
        return await shared.opened(self._name, limits.network(address), limits.window)

    def _label(self, client: Client) -> str:
        return f"{client}:{client.port}" if self._settings.smtpd_client_port_logging else str(client)

    def _with_footer(self, reply: Reply, session: ServerSession) -> Reply:
        transaction = session.transaction
        said = str(transaction.said) if transaction.said else ""
        return self._completed(reply, session.client, str(transaction.sender or ""), said)

    def _completed(self, reply: Reply, client: Client, sender: str = "", recipient: str = "") -> Reply:
        template = self._settings.smtpd_reject_footer
        if not template:
            return reply
        now, host = self.desk.clock.now(), self._settings.myhostname
        values = footer_values(client, now, server_name=host, sender=sender, recipient=recipient)
        return with_footer(reply, template, values)
