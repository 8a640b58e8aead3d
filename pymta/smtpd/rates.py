"""What clients of one service may do per time unit: messages, recipients, logins, TLS sessions (anvil(8))."""

from __future__ import annotations

from pymta.model.envelope import Client
from pymta.model.frozen import frozen
from pymta.model.reply import Reply
from pymta.ports import Clock, Log
from pymta.smtpd.limits import TLS_SESSION, ConnectionLimits, SharedCounts
from pymta.tables import NetworkList

_UNKNOWN = Reply.of(451, "Temporary lookup failure", "4.3.0")


@frozen
class Rate:
    """How many a client may have in a time unit; what the log says of more, and the client is told."""

    limit: int
    what: str
    code: int
    status: str
    text: str
    names_client: bool = False

    def refusal(self, client: Client) -> Reply:
        who = str(client) if self.names_client else client.address
        return Reply.of(self.code, f"Error: {self.text} from {who}", self.status)


def rates(*, messages: int, recipients: int, logins: int, tls_sessions: int) -> dict[str, Rate]:
    """The limits that are set, by verb; 0 is none."""
    known = {
        "MAIL": Rate(messages, "Message delivery request", 450, "4.7.1", "too much mail"),
        "RCPT": Rate(recipients, "Recipient address", 450, "4.7.1", "too many recipients"),
        "AUTH": Rate(logins, "AUTH command", 450, "4.7.1", "too many AUTH commands"),
        TLS_SESSION: Rate(tls_sessions, "New TLS session", 454, "4.7.0", "too many new TLS sessions", True),
    }
    return {event: rate for event, rate in known.items() if rate.limit > 0}


class ClientRates:
    """Counts events of clients that are not in `exceptions`; `shared` counts for all processes together."""

    def __init__(
        self,
        service: str,
        rates: dict[str, Rate],
        limits: ConnectionLimits,
        exceptions: NetworkList,
        clock: Clock,
        log: Log,
        shared: SharedCounts | None,
    ) -> None:
        self._service = service
        self._rates = rates
        self._limits = limits
        self._exceptions = exceptions
        self._clock = clock
        self._log = log
        self._shared = shared

    @property
    def verbs(self) -> frozenset[str]:
        """The commands that count."""
        return frozenset(self._rates) - {TLS_SESSION}

    async def refusal(self, event: str, client: Client) -> Reply | None:
        """Count what `client` wants to do; the refusal where that is one too many, or nobody can tell."""
        rate = self._rates.get(event)
        if rate is None:
            return None
        try:
            if await self._exceptions.matches(client.address, client.name):
                return None
            count = await self._count(event, client)
        except Exception as error:
            self._log.warning(f"counting {event} of {client}: {type(error).__name__}: {error}")
            return _UNKNOWN
        if count <= rate.limit:
            return None
        self._log.warning(f"{rate.what} rate limit exceeded: {count} from {client} for service {self._service}")
        return rate.refusal(client)

    async def _count(self, event: str, client: Client) -> int:
        limits = self._limits
        if self._shared is None:
            return limits.counted(client.address, event, self._clock.monotonic())
        return await self._shared.counted(self._service, limits.network(client.address), event, limits.time_unit)
