"""Who has too many connections to one service already, or began too many of them (anvil(8), TUNING_README)."""

from __future__ import annotations

from pymta.model.envelope import Client
from pymta.ports import Clock, Log
from pymta.smtpd.limits import ConnectionLimits, SharedCounts
from pymta.smtpd.rates import ClientRates, rates
from pymta.smtpd.settings import SmtpdSettings
from pymta.tables import TableFactory


class Gate:
    """Counts the clients of the service `name`, but for `smtpd_client_event_limit_exceptions`.

    `shared` counts for all processes together. `tls_sessions` is `smtpd_client_new_tls_session_rate_limit`. `rates`
    are the limits of what a client does once it is in.
    """

    def __init__(
        self,
        settings: SmtpdSettings,
        tables: TableFactory,
        clock: Clock,
        log: Log,
        name: str,
        shared: SharedCounts | None,
        *,
        tls_sessions: int = 0,
    ) -> None:
        self._name = name
        self._clock = clock
        self._shared = shared
        self._exceptions = tables.network_list(settings.smtpd_client_event_limit_exceptions)
        self._limits = ConnectionLimits(
            settings.smtpd_client_connection_count_limit,
            settings.smtpd_client_connection_rate_limit,
            settings.anvil_rate_time_unit,
            settings.smtpd_client_ipv4_prefix_length,
            settings.smtpd_client_ipv6_prefix_length,
        )
        limited = rates(
            messages=settings.smtpd_client_message_rate_limit,
            recipients=settings.smtpd_client_recipient_rate_limit,
            logins=settings.smtpd_client_auth_rate_limit,
            tls_sessions=tls_sessions,
        )
        self.rates = ClientRates(name, limited, self._limits, self._exceptions, clock, log, shared)
        self._addresses: dict[object, str] = {}

    async def excess(self, connection: object, client: Client) -> str:
        """Count a connection until it has `left`. What the log says of one too many; empty for one that is welcome."""
        if await self._exceptions.matches(client.address):
            return ""
        count, rate = await self._opened(client.address)
        self._addresses[connection] = client.address
        service = f"from {client} for service {self._name}"
        if self._limits.exceeds_count(count):
            return f"Connection concurrency limit exceeded: {count} {service}"
        if self._limits.exceeds_rate(rate):
            return f"Connection rate limit exceeded: {rate} {service}"
        return ""

    def left(self, connection: object) -> None:
        """A connection is over, counted or not."""
        address = self._addresses.pop(connection, None)
        if address and self._shared:
            self._shared.closed(self._name, self._limits.network(address))
        elif address:
            self._limits.closed(address)

    async def _opened(self, address: str) -> tuple[int, int]:
        limits = self._limits
        if self._shared is None:
            return limits.opened(address, self._clock.monotonic())
        return await self._shared.opened(self._name, limits.network(address), limits.window)
