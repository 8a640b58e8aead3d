"""smtp(8) and lmtp(8): deliver to other hosts, over sessions that are kept while there is mail for them."""

from __future__ import annotations

import asyncio
import errno
import os
import random
import socket
from collections.abc import Awaitable, Callable, Collection, Coroutine, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from pymta.delivery.connection import ClientConnection
from pymta.delivery.host_failures import HostFailures
from pymta.delivery.hosts import (
    Destination,
    Failure,
    Host,
    HostResolver,
    find_hosts,
    parse_destination,
    split_destinations,
)
from pymta.delivery.pool import PoolLimits, SessionPool
from pymta.delivery.smtp_auth import SmtpLogin
from pymta.delivery.smtp_checks import Checks
from pymta.delivery.smtp_delivery import Done, SmtpDelivery
from pymta.delivery.smtp_reply_filter import ReplyFilter
from pymta.delivery.smtp_rules import client_options, host_rules, service_port, source_addresses, time_limits
from pymta.delivery.smtp_security import CLEARTEXT, PoolKey, SecurityPolicy, TlsLevel
from pymta.delivery.smtp_settings import LmtpSettings, SmtpSettings, agent_settings
from pymta.delivery.smtp_tls import ClientTls
from pymta.model.address import Address
from pymta.model.delivery import DeliveryRequest, DeliveryResult
from pymta.ports import Clock, Content, Log
from pymta.protocol.smtp.client import ClientSession
from pymta.protocol.smtp.client_commands import all_sendable

_PARSED_LIMIT = 10_000
# Where all sessions are busy, the next message goes behind another one, its envelope together with the end of that
# content, if the server took less than this for its last answer: sooner than a new session would be there.
_QUICK = 0.01
_LINE = 2


class SmtpAgent:
    """A `DeliveryAgent` for one transport; LmtpSettings make it speak LMTP. Any number of deliveries at once.

    `own_addresses` are those where mail to port 25 reaches ourselves (inet_interfaces, proxy_interfaces).
    `always_cached` answers for smtp_connection_cache_destinations; without it the list is taken as plain names.
    `failures` is what agents of this process share about hosts that are down.
    """

    def __init__(
        self,
        settings: SmtpSettings | LmtpSettings,
        resolver: HostResolver,
        clock: Clock,
        log: Log,
        *,
        own_addresses: Collection[str] = (),
        always_cached: Callable[[str], Awaitable[bool]] | None = None,
        shuffle: Callable[[list[Host]], None] = random.shuffle,
        login: SmtpLogin | None = None,
        tls: ClientTls | None = None,
        failures: HostFailures | None = None,
        reply_filter: ReplyFilter | None = None,
        checks: Checks | None = None,
    ) -> None:
        self._failures = HostFailures() if failures is None else failures
        self.login = login
        self.checks = checks
        self.tls = tls
        self.settings = agent_settings(settings)
        self.clock = clock
        self.log = log
        self._resolver = resolver
        self._always_cached = always_cached
        self._rules = host_rules(self.settings, own_addresses, shuffle)
        self._options = client_options(self.settings)
        self._reply_filter = reply_filter
        self._limits = time_limits(self.settings)
        self._source = source_addresses(self.settings)
        self._default_port = service_port(self.settings.tcp_port) or (24 if self.settings.lmtp else 25)
        self._parsed: dict[str, tuple[Destination | Host | Failure, ...]] = {}
        self._keys: dict[tuple[Destination | Host, str, SecurityPolicy], PoolKey] = {}
        self._pool: SessionPool[ClientConnection] = SessionPool(
            PoolLimits(
                idle=self.settings.connection_cache_time_limit,
                age=self.settings.connection_reuse_time_limit,
                uses=self.settings.connection_reuse_count_limit,
            ),
            self.settings.connection_cache_on_demand,
        )
        self._fixed_keys: dict[str, PoolKey] = {}
        self._quick: dict[PoolKey, dict[ClientConnection, None]] = {}
        self._occupied: dict[ClientConnection, None] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._sweep: asyncio.TimerHandle | None = None

    async def deliver(self, request: DeliveryRequest, content: Content) -> Sequence[DeliveryResult]:
        """One result per recipient, in the order of the request."""
        return await SmtpDelivery(self, request, content).run()

    def begin(self, request: DeliveryRequest, content: Content, done: Done) -> bool:
        """Have `done` called with the same, later, where a session is kept that takes the message now."""
        key = self._fixed_keys.get(request.nexthop)
        if key is None or request.smtputf8 or not all_sendable(request):
            return False
        kept = self.take(key)
        if kept is None:
            return False
        SmtpDelivery(self, request, content).begin(kept, key, self.note_request(key), done)
        return True

    def close(self) -> None:
        """End the idle sessions; deliveries under way go on."""
        for connection in self._pool.clear():
            self.end(connection)

    def abandon(self) -> None:
        """Cut the sessions that have mail under way: nobody waits for its results any more."""
        for task in self._tasks:
            task.cancel()
        for connection in self._occupied:
            connection.abandon()
        self._occupied.clear()
        self._quick.clear()

    def spawn(self, work: Coroutine[Any, Any, None]) -> None:
        """Have a part of a delivery done that has to wait."""
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    # What a delivery asks.

    def destinations(self, nexthop: str) -> tuple[Destination | Host | Failure, ...]:
        """The destinations of `nexthop` and then those of smtp_fallback_relay, each read."""
        parsed = self._parsed.get(nexthop)
        if parsed is None:
            if len(self._parsed) >= _PARSED_LIMIT:
                self._parsed.clear()
            parsed = self._parsed[nexthop] = self._parse(nexthop)
        return parsed

    def written(self, nexthop: str, position: int) -> str:
        """The destination at `position` as main.cf or a table has it."""
        texts = (*split_destinations(nexthop), *self.settings.fallback_relay)
        return texts[position] if position < len(texts) else nexthop

    def is_fallback(self, nexthop: str, position: int) -> bool:
        """Whether the destination at `position` is one of smtp_fallback_relay's."""
        return position >= len(self.destinations(nexthop)) - len(self.settings.fallback_relay)

    async def hosts(self, destination: Destination | Host) -> Sequence[Host] | Failure:
        """Best first, but those that failed lately last (smtp_host_backoff_time)."""
        if isinstance(destination, Host):
            return (destination,)
        found = await find_hosts(destination, self._rules, self._resolver)
        return found if isinstance(found, Failure) else self._failures.failed_last(found, self.clock.monotonic())

    def note_host(self, host: Host, *, failed: bool) -> None:
        """Whether a host talks to us is of interest to the deliveries that follow, in other processes, too."""
        if not failed:
            self._failures.reached(host)
        elif self.settings.host_backoff_time > 0:
            self._failures.failed(host, self.clock.monotonic() + self.settings.host_backoff_time)

    async def connect(self, host: Host, policy: SecurityPolicy = CLEARTEXT) -> ClientConnection | Failure:
        """A connection whose handshake is still to come, or why there is none."""
        try:
            async with asyncio.timeout(self._limits.connect or None):
                return await self._open(host, policy)
        except TimeoutError:
            cause = os.strerror(errno.ETIMEDOUT)
        except OSError as error:
            cause = os.strerror(error.errno) if error.errno else str(error)
        self.note_host(host, failed=True)
        place = host.named if not host.port else f"{host.named}:{host.port}"
        return Failure("4.4.1", f"connect to {place}: {cause}")

    async def policy_for(self, destination: Destination | Host) -> SecurityPolicy | Failure:
        return CLEARTEXT if self.tls is None else await self.tls.policies.policy_for(destination)

    async def key_for(self, nexthop: str, destination: Destination | Host, sender: Address) -> PoolKey | None:
        """The identity of sessions with the first destination of `nexthop` that take mail of `sender`.

        None where there is no policy now, so that no session may be shared.
        """
        policy = await self.policy_for(destination)
        if isinstance(policy, Failure):
            return None
        login = await self.login.identity(sender) if self.login else ""
        identity = (destination, login, policy)
        key = self._keys.get(identity)
        if key is None:
            if len(self._keys) >= _PARSED_LIMIT:
                self._keys.clear()
                self._fixed_keys.clear()
            key = self._keys[identity] = PoolKey(destination, policy, login)
        if not (self.tls and self.tls.policies.has_table) and not (self.login and self.login.is_by_sender):
            if len(self._fixed_keys) >= _PARSED_LIMIT:
                self._fixed_keys.clear()
            self._fixed_keys[nexthop] = key
        return key

    def note_request(self, key: PoolKey) -> bool:
        return self._pool.note_request(key, self.clock.monotonic())

    def take(self, key: PoolKey) -> ClientConnection | None:
        """A kept session that is still alive, or one in which it will soon be our turn."""
        while (connection := self._pool.take(key, self.clock.monotonic())) is not None:
            if connection.is_alive and connection.session.can_begin:
                return connection
            connection.abort()
        return next(filter(self._takes_another, self._quick.get(key, ())), None)

    def _takes_another(self, connection: ClientConnection) -> bool:
        limit = self.settings.connection_reuse_count_limit
        return (
            connection.turns < _LINE
            and connection.is_alive
            and connection.session.is_reusable
            and (not limit or connection.messages + connection.turns <= limit)
            and self.clock.monotonic() - connection.opened < self.settings.connection_reuse_time_limit
        )

    def occupy(self, connection: ClientConnection, key: PoolKey | None) -> None:
        """A message goes over this session; others stand in line where the server is quick enough and pipelines."""
        self._occupied[connection] = None
        if key is None:
            return
        if connection.answer_seconds < _QUICK and connection.session.capabilities.pipelining:
            self._quick.setdefault(key, {})[connection] = None

    def release(self, connection: ClientConnection, key: PoolKey | None, since: float, dense: bool) -> None:
        """A message is done with: after the last of a line keep the session where more mail is expected, or end it."""
        if connection.turns:
            return
        self._occupied.pop(connection, None)
        if key is None:
            self.end(connection)
            return
        quick = self._quick.get(key)
        if quick is not None:
            quick.pop(connection, None)
            if not quick:
                del self._quick[key]
        if not connection.is_alive or not connection.session.can_begin:
            self.end(connection)
        elif dense or self._pool.is_dense(key, self.clock.monotonic(), since):
            self._keep(connection, key)
        elif self.settings.connection_cache_destinations:
            self.spawn(self._keep_if_listed(connection, key))
        else:
            self.end(connection)

    def _keep(self, connection: ClientConnection, key: PoolKey) -> None:
        now = self.clock.monotonic()
        for worn_out in self._pool.put(key, connection, now, connection.opened, connection.messages):
            self.end(worn_out)
        if self._sweep is None:
            self._plan_sweep()

    async def _keep_if_listed(self, connection: ClientConnection, key: PoolKey) -> None:
        if await self._is_always_cached(key) and connection.is_alive and connection.session.can_begin:
            self._keep(connection, key)
        else:
            self.end(connection)

    def end(self, connection: ClientConnection) -> None:
        connection.end(wait_for_reply=not self.settings.skip_quit_response)

    # Connections.

    async def _open(self, host: Host, policy: SecurityPolicy) -> ClientConnection:
        loop = asyncio.get_running_loop()
        wants_tls = policy.level is not TlsLevel.NONE and not policy.wrapper

        options = self._options
        if self._reply_filter is not None:
            options = replace(options, reply_filter=partial(self._reply_filter, f"{host.named}:{host.port}"))

        def protocol() -> ClientConnection:
            session = ClientSession(options, wants_tls=wants_tls)
            return ClientConnection(host, session, self._limits, self._pool.remove, self.clock.monotonic())

        if not host.port:
            path = str(Path(self.settings.queue_directory, host.address))
            _, connection = await loop.create_unix_connection(protocol, path)
            return connection
        source = self._source[host.is_ipv6]
        if not source:
            _, connection = await loop.create_connection(protocol, host.address, host.port)
            return connection
        bound = self._bound_socket(host, source)
        try:
            await loop.sock_connect(bound, (host.address, host.port))
            _, connection = await loop.create_connection(protocol, sock=bound)
        except BaseException:
            bound.close()
            raise
        return connection

    def _bound_socket(self, host: Host, source: str) -> socket.socket:
        bound = socket.socket(socket.AF_INET6 if host.is_ipv6 else socket.AF_INET, socket.SOCK_STREAM)
        bound.setblocking(False)
        try:
            bound.bind((source, 0))
        except OSError as error:
            self.log.warning(f"bind {source}: {os.strerror(error.errno or 0)}")
            if self.settings.bind_address_enforce:
                bound.close()
                raise
        return bound

    async def _is_always_cached(self, key: PoolKey) -> bool:
        names = self.settings.connection_cache_destinations
        if not names or not isinstance(key.destination, Destination):
            return False
        name = key.destination.host.lower()
        return await self._always_cached(name) if self._always_cached else name in map(str.lower, names)

    def _plan_sweep(self) -> None:
        if self._sweep is None and len(self._pool):
            limit = self.settings.connection_cache_time_limit
            self._sweep = asyncio.get_running_loop().call_later(max(limit / 4, 0.1), self._end_expired)

    def _end_expired(self) -> None:
        self._sweep = None
        for connection in self._pool.expired(self.clock.monotonic()):
            self.end(connection)
        self._plan_sweep()

    def _parse(self, nexthop: str) -> tuple[Destination | Host | Failure, ...]:
        if self.settings.lmtp and nexthop.startswith("unix:"):
            return (Host(self.settings.myhostname, nexthop.removeprefix("unix:"), 0),)
        texts = split_destinations(nexthop)
        if not texts:
            return (Failure("4.3.5", f'mail system configuration error: null destination: "{nexthop}"'),)
        if self.settings.lmtp:
            texts = [text.removeprefix("inet:") for text in texts]
        return tuple(
            parse_destination(text, self._default_port, service_port, by_mx=not self.settings.lmtp)
            for text in (*texts, *self.settings.fallback_relay)
        )
