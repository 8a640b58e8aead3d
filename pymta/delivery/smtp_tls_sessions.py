"""TLS sessions to be resumed with the servers that they were made with (RFC 5246 7.3, RFC 8446 2.2)."""

from __future__ import annotations

import ssl
from collections.abc import Hashable

from pymta.model.frozen import frozen

_LONGEST = 7 * 86400
"""RFC 8446 4.6.1: no ticket is kept for longer than this."""
_SERVERS_KEPT = 1000
_TICKETS_KEPT = 4
"""Per server: as many connections can be resumed at the same time. A session takes 4 KiB and the certificate."""


@frozen(eq=False)
class Resumable:
    """A session; `until` is on the monotonic clock. One that serves `once` is spent by the attempt to resume it."""

    session: ssl.SSLSession
    until: float
    once: bool


class TlsSessions:
    """What is kept in memory for `seconds` after the handshake in which the server showed its certificate.

    A session that was resumed from another one ends when that would have ended: at least once in that time the
    certificate is looked at anew. The servers that were talked to last are kept, and no more than 1,000.
    """

    def __init__(self, seconds: float) -> None:
        self._seconds = min(seconds, _LONGEST)
        self._kept: dict[Hashable, list[Resumable]] = {}

    def take(self, server: Hashable, now: float) -> Resumable | None:
        """The latest session with `server`.

        Tickets of TLS 1.3 are for one use, so that nobody on the way can tell that two connections come from the
        same client (RFC 8446 C.4); before 1.3 a session may be resumed any number of times.
        """
        kept = self._kept.get(server, [])
        while kept:
            latest = kept[-1]
            if latest.once or latest.until <= now:
                kept.pop()
            if latest.until > now:
                return latest
        self._kept.pop(server, None)
        return None

    def keep(self, server: Hashable, connection: ssl.SSLObject, now: float, resumed: Resumable | None) -> None:
        """Keep what `connection` has to be resumed with, if anything; `resumed` is what it was resumed from itself."""
        session = connection.session
        if session is None:
            return
        once = connection.version() == "TLSv1.3"
        until = resumed.until if resumed else now + self._seconds
        if until <= now or not (session.has_ticket or (session.id and not once)):
            return
        kept = self._kept.pop(server, [])
        latest = Resumable(session, until, once)
        self._kept[server] = [*kept[1 - _TICKETS_KEPT :], latest] if once else [latest]
        if len(self._kept) > _SERVERS_KEPT:
            del self._kept[next(iter(self._kept))]

    def forget(self, server: Hashable) -> None:
        """Begin anew with a server: its session led to nothing good."""
        self._kept.pop(server, None)

    def clear(self) -> None:
        self._kept.clear()
