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
    text: str


def rates(*, messages: int, recipients: int, logins: int, tls_sessions: int) -> dict[str, Rate]:
    """The limits that are set, by verb; 0 is none."""
    known = {
        "MAIL": Rate(messages, "Message delivery request", "too much mail"),
        "RCPT": Rate(recipients, "Recipient address", "too many recipients"),
        "AUTH": Rate(logins, "AUTH command", "too many AUTH commands"),
        TLS_SESSION: Rate(tls_sessions, "New TLS session", "too many new TLS sessions"),
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

    async def count(self, verb: str, client: Client) -> Reply | None:
        """Count a command; the refusal where that is one too many, or nobody can tell."""
        rate = self._rates.get(verb)
        if rate is None:
            return None
        count = await self._count(verb, client)
        if count is None:
            return _UNKNOWN
        if count <= rate.limit:
            return None
        self._complain(rate, count, client)
        return Reply.of(450, f"Error: {rate.text} from {client.address}", "4.7.1")

    async def may_begin_tls(self, client: Client) -> Reply | None:
        """What a client is told who began too many new TLS sessions already; resuming one does not help him, either."""
        rate = self._rates.get(TLS_SESSION)
        if rate is None:
            return None
        count = await self._count(TLS_SESSION, client, amount=0)
        if count is not None and count <= rate.limit:
            return None
        self._log.warning(f"Refusing STARTTLS request from {client} for service {self._service}")
        return Reply.of(454, f"Error: {rate.text} from {client}", "4.7.0")

    async def tls_begun(self, client: Client, *, myhostname: str) -> Reply | None:
        """Count a handshake that resumed nothing, or failed; the goodbye where that is one too many."""
        rate = self._rates.get(TLS_SESSION)
        if rate is None:
            return None
        count = await self._count(TLS_SESSION, client)
        if count is None or count <= rate.limit:
            return None
        self._complain(rate, count, client)
        return Reply.of(421, f"{myhostname} Error: {rate.text} from {client}", "4.7.0")

    def _complain(self, rate: Rate, count: int, client: Client) -> None:
        self._log.warning(f"{rate.what} rate limit exceeded: {count} from {client} for service {self._service}")

    async def _count(self, event: str, client: Client, amount: int = 1) -> int | None:
        """How many there were, 0 for a client that is not counted; None where nobody can tell."""
        limits = self._limits
        try:
            if await self._exceptions.matches(client.address, client.name):
                return 0
            if self._shared is None:
                return limits.counted(client.address, event, self._clock.monotonic(), amount)
            network = limits.network(client.address)
            return await self._shared.counted(self._service, network, event, limits.time_unit, amount)
        except Exception as error:
            self._log.warning(f"counting {event} of {client}: {type(error).__name__}: {error}")
            return None
