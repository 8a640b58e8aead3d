"""One delivery request over SMTP or LMTP: host after host until every recipient has its result (smtp(8))."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from pymta.delivery.connection import ClientConnection, ContentUnreadableError, Ending, Turn
from pymta.delivery.hosts import SMTP_PORT, Destination, Failure, Host
from pymta.delivery.smtp_content import for_server, needs_smtputf8, refusal_of
from pymta.delivery.smtp_failures import broke_off, refused_to_talk, tls_missing
from pymta.delivery.smtp_outcomes import Outcomes
from pymta.delivery.smtp_security import CLEARTEXT, PoolKey, SecurityPolicy, TlsLevel
from pymta.model.delivery import DeliveryRequest, DeliveryResult
from pymta.model.queue import QueuedRecipient
from pymta.ports import Content
from pymta.protocol.smtp.client_commands import all_sendable, is_sendable
from pymta.protocol.smtp.client_events import (
    BeginTls,
    Event,
    Finished,
    Lost,
    Ready,
    Refused,
)

if TYPE_CHECKING:
    from pymta.delivery.smtp import SmtpAgent


Done = Callable[[Sequence[DeliveryResult] | Exception], None]


class SmtpDelivery:
    """The state of one delivery, and the walk over the hosts that it may take."""

    def __init__(self, agent: SmtpAgent, request: DeliveryRequest, content: Content) -> None:
        self._agent = agent
        self._request = request
        self._content = content
        self._outcomes = Outcomes(request, agent.clock, agent.log, is_lmtp=agent.settings.lmtp)
        self._policy = CLEARTEXT
        self._retry_in_clear = False
        self._reached_host = False
        self._is_utf8 = False
        self._is_in_line = False
        self._place = request.nexthop

    async def run(self) -> Sequence[DeliveryResult]:
        """Exactly one result per recipient, in the order of the request."""
        if not all_sendable(self._request):
            self._refuse_unsendable()
        if self._outcomes.left:
            await self._deliver()
        return self._results()

    def begin(self, kept: ClientConnection, key: PoolKey, dense: bool, done: Done) -> None:
        """The same over a session that is there, without waiting; the walk follows only where that leaves somebody."""

        def ended() -> None:
            if self._outcomes.left:
                self._agent.spawn(self._go_on(key, dense, done))
            else:
                done(self._results())

        self._outcomes.more_hosts = True
        try:
            self._hand_over(kept, key, dense, ended)
        except Exception as error:
            self._agent.log.error(f"{self._request.queue_id}: handing over to a kept session: {error!r}")
            kept.abort()
            # A message that is in line hears of the session's end; for any other nobody else calls it.
            if not self._is_in_line:
                ended()

    async def _go_on(self, key: PoolKey, dense: bool, done: Done) -> None:
        try:
            await self._walk(key, dense)
        except Exception as error:
            done(error)
        else:
            done(self._results())

    def _results(self) -> Sequence[DeliveryResult]:
        return self._outcomes.in_order(self._request.recipients)

    def _refuse_unsendable(self) -> None:
        sender_is_bad = not is_sendable(self._request.sender)
        outcomes, left = self._outcomes, []
        for recipient in self._request.recipients:
            if sender_is_bad:
                outcomes.settle(recipient, Failure("5.1.7", "control character in the sender address"))
            elif not is_sendable(recipient.address):
                outcomes.settle(recipient, Failure("5.1.3", "control character in the recipient address"))
            else:
                left.append(recipient)
        outcomes.left = left

    # The walk over destinations and hosts.

    async def _deliver(self) -> None:
        agent, nexthop = self._agent, self._request.nexthop
        first = agent.destinations(nexthop)[0]
        key = None if isinstance(first, Failure) else await agent.key_for(nexthop, first, self._request.sender)
        dense = key is not None and agent.note_request(key)
        if key is not None and (kept := agent.take(key)) is not None:
            self._outcomes.more_hosts = True
            await self._converse(kept, key, dense)
        await self._walk(key, dense)

    async def _walk(self, key: PoolKey | None, dense: bool) -> None:
        """Destination after destination, as long as anybody is left. `key` is that of the first one's sessions."""
        agent, outcomes = self._agent, self._outcomes
        destinations = agent.destinations(self._request.nexthop)
        position = 0
        for position, destination in enumerate(destinations):
            if not outcomes.left:
                return
            final = position == len(destinations) - 1
            self._place = agent.written(self._request.nexthop, position)
            if isinstance(destination, Failure):
                outcomes.failure = destination
                agent.log.warning(destination.reason)
                continue
            await self._try_destination(destination, key if position == 0 else None, dense, final)
            if outcomes.failure and outcomes.failure.is_loop:
                break
        if outcomes.left:
            self._give_up(position)

    async def _try_destination(
        self, destination: Destination | Host, key: PoolKey | None, dense: bool, final: bool
    ) -> None:
        hosts = await self._agent.hosts(destination)
        if isinstance(hosts, Failure):
            self._outcomes.failure = hosts
            return
        policy = key.security if key else await self._agent.policy_for(destination)
        if isinstance(policy, Failure):
            self._outcomes.failure = policy
            return
        sessions = 0
        for number, host in enumerate(hosts):
            last = number == len(hosts) - 1
            self._outcomes.more_hosts = not (last and final)
            self._outcomes.started = self._agent.clock.monotonic()
            connection = await self._open(host, destination, policy)
            if connection:
                sessions += 1
                last = last or sessions == self._agent.settings.mx_session_limit
                self._outcomes.more_hosts = not (last and final)
                await self._converse(connection, key, dense)
            if self._retry_in_clear and (connection := await self._open(host, destination, policy.in_clear())):
                await self._converse(connection, None, False)
            if last or not self._outcomes.left:
                return

    def _give_up(self, position: int) -> None:
        """Nobody is left to try: the last failure is everybody's (postconf(5) smtp_fallback_relay, relayhost)."""
        failure = self._outcomes.failure or Failure("4.3.0", "server unavailable or unable to receive mail")
        if not failure.is_temporary:
            settings, nexthop = self._agent.settings, self._request.nexthop
            culprit = ""
            if self._agent.is_fallback(nexthop, position):
                culprit = "smtp_fallback_relay"
            elif not settings.lmtp and nexthop == settings.relayhost:
                culprit = "relayhost"
            if culprit:
                self._agent.log.warning(f"{culprit} configuration problem")
                failure = Failure("4.3.5", failure.reason)
        for recipient in self._outcomes.left:
            self._outcomes.settle(recipient, failure, unreachable=not self._reached_host)
        self._outcomes.left = ()

    # One session.

    async def _open(
        self, host: Host, destination: Destination | Host, policy: SecurityPolicy
    ) -> ClientConnection | None:
        """A session with `host` under `policy`, ready for mail; None where there is none, with the reason noted."""
        self._policy, self._retry_in_clear = policy, False
        connection = await self._agent.connect(host, policy)
        if isinstance(connection, Failure):
            self._outcomes.failure = connection
            self._agent.log.info(connection.reason)
            return None
        return connection if await self._shake_hands(connection, destination, policy) else None

    def _may_retry_in_clear(self) -> bool:
        """Opportunistic TLS gives way to clear text, but not at the first attempt, nor where a password is to go."""
        tls = self._agent.tls
        if tls is None or self._policy.level is not TlsLevel.MAY or self._agent.login is not None:
            return False
        return self._agent.clock.now() - self._request.arrival_time >= tls.settings.minimal_backoff_time

    async def _begin_tls(self, connection: ClientConnection, destination: Destination | Host, *, again: bool) -> bool:
        """Whether there is a TLS session that the policy is content with; `again` where the server was greeted."""
        tls, host = self._agent.tls, connection.host
        assert tls is not None, "a policy with TLS comes from there"
        failure = await tls.secure(connection, self._policy, destination, say_hello=again)
        if failure is None:
            return True
        self._agent.end(connection)
        if connection.tls is None and self._may_retry_in_clear():
            self._retry_in_clear = True
        else:
            self._outcomes.fail_session(failure, host, throttle=self._policy.level is not TlsLevel.MAY)
        return False

    async def _first_event(
        self, connection: ClientConnection, destination: Destination | Host, policy: SecurityPolicy
    ) -> Event | None:
        """What the server's greeting came to, after TLS where it is wanted; None where TLS failed."""
        if policy.wrapper and not await self._begin_tls(connection, destination, again=False):
            return None
        event = await connection.next_event()
        if isinstance(event, BeginTls):
            if not await self._begin_tls(connection, destination, again=True):
                return None
            event = await connection.next_event()
        return event

    def _is_secure_enough(self, connection: ClientConnection, policy: SecurityPolicy) -> bool:
        session, host = connection.session, connection.host
        tls = self._agent.tls
        if connection.tls is None and session.offered_tls and tls and tls.settings.tls_note_starttls_offer:
            self._agent.log.info(f"Host offered STARTTLS: [{host.name}]")
        if connection.tls is not None or not policy.level.is_required:
            return True
        self._agent.end(connection)
        self._outcomes.fail_session(tls_missing(host, session.tls_refusal), host, session.tls_refusal)
        return False

    async def _shake_hands(
        self, connection: ClientConnection, destination: Destination | Host, policy: SecurityPolicy
    ) -> bool:
        """Whether the server talks to us. If not, it counts as a host that failed."""
        agent, host, session = self._agent, connection.host, connection.session
        try:
            event = await self._first_event(connection, destination, policy)
        except BaseException:
            connection.abort()
            raise
        if event is None:
            return False
        self._outcomes.set_up = agent.clock.monotonic()
        agent.note_host(host, failed=not isinstance(event, Ready))
        if isinstance(event, Refused):
            failure = refused_to_talk(host, event, agent.settings.skip_5xx_greeting)
            agent.end(connection)
            self._outcomes.fail_session(failure, host, event.reply)
            return False
        if not isinstance(event, Ready):
            self._lose(connection, event, self._outcomes.left)
            return False
        if not self._is_secure_enough(connection, policy):
            return False
        if connection.tls is not None and agent.tls is not None:
            agent.tls.keep_session(connection)
        own_name = agent.settings.myhostname.lower()
        if session.capabilities.bad_size:
            agent.log.warning(f'bad EHLO SIZE limit "{session.capabilities.bad_size}" from {host.relay}')
        if host.port == SMTP_PORT and session.greeting_name.lower() == own_name:
            agent.log.warning(f"host {host.relay} greeted me with my own hostname {agent.settings.myhostname}")
        if session.capabilities.name.lower() == own_name and host.port:
            agent.log.warning(
                f"host {host.relay} replied to HELO/EHLO with my own hostname {agent.settings.myhostname}"
            )
            if host.port == SMTP_PORT:
                agent.end(connection)
                status = "5.4.6" if host.is_best else "4.4.6"
                reason = f"mail for {self._request.nexthop} loops back to myself"
                self._outcomes.fail_session(Failure(status, reason), host)
                return False
        return await self._log_in(connection)

    async def _log_in(self, connection: ClientConnection) -> bool:
        """Whether mail may be sent now. A host that does not take our password failed like one that is down."""
        agent = self._agent
        if agent.login is not None:
            try:
                refused = await agent.login.log_in(connection, self._request.sender, self._place)
            except BaseException:
                connection.abort()
                raise
            if isinstance(refused, Lost):
                self._lose(connection, refused, self._outcomes.left)
                return False
            if refused:
                agent.end(connection)
                self._outcomes.fail_session(refused.failure, connection.host, refused.reply)
                return False
        self._reached_host = True
        return True

    async def _converse(self, connection: ClientConnection, key: PoolKey | None, dense: bool) -> None:
        """Hand the message over, and wait for what becomes of it. Who stops waiting cuts the connection."""
        over = asyncio.Event()
        try:
            if self._request.smtputf8:
                self._is_utf8 = await needs_smtputf8(self._request, self._outcomes.left, self._content)
            self._hand_over(connection, key, dense, over.set)
            await over.wait()
        except BaseException:
            connection.abort()
            raise

    def _hand_over(
        self, connection: ClientConnection, key: PoolKey | None, dense: bool, over: Callable[[], None]
    ) -> None:
        """Hand the message over, and keep or end the session unless others are in line for it; then call `over`."""
        agent, outcomes, session = self._agent, self._outcomes, connection.session
        recipients = outcomes.left
        if connection.messages:
            outcomes.started = outcomes.set_up = agent.clock.monotonic()
            self._reached_host = True
        content = for_server(session.capabilities, self._request, self._content, agent.settings)
        if agent.checks is not None:
            content = agent.checks(content, self._request.queue_id)

        def begin() -> Content:
            outcomes.use = connection.messages
            session.begin(self._request, recipients, self._is_utf8, content.data is not None)
            return content

        def ended(ending: Ending) -> None:
            self._note_ending(connection, recipients, ending)
            agent.release(connection, key, outcomes.started, dense)
            over()

        refusal = refusal_of(session.capabilities, self._request, connection.host, is_utf8=self._is_utf8)
        agent.occupy(connection, key)
        if refusal is None:
            self._is_in_line = True
            connection.take_turn(Turn(begin, ended))
        else:
            outcomes.fail_message(refusal, connection.host)
            agent.release(connection, key, outcomes.started, dense)
            over()

    def _note_ending(self, connection: ClientConnection, recipients: Sequence[QueuedRecipient], ending: Ending) -> None:
        if isinstance(ending, Finished):
            self._outcomes.replied(connection, recipients, ending.replies)
            if ending.broke_line:
                limit = self._agent.settings.line_length_limit
                self._agent.log.info(f"{self._request.queue_id}: breaking line > {limit} bytes with <CR><LF>SPACE")
        elif isinstance(ending, ContentUnreadableError):
            self._agent.log.warning(f"{self._request.queue_id}: content: {ending}")
            failure = Failure("4.3.0", f"local data error while talking to {connection.host.named}")
            self._outcomes.fail_session(failure, connection.host)
        elif ending is not None:
            self._lose(connection, ending, recipients)
        elif not connection.messages:
            self._lose(connection, Lost(connection.session.phase), recipients)

    def _lose(self, connection: ClientConnection, event: Event, recipients: Sequence[QueuedRecipient]) -> None:
        """The connection broke: what was decided before stays, the others have a session that failed."""
        assert isinstance(event, Lost), event
        outcomes = self._outcomes
        undecided = outcomes.replied(connection, recipients, event.replies or [None] * len(recipients))
        kept, outcomes.left = outcomes.left, undecided
        if undecided and connection.tls is not None and self._may_retry_in_clear():
            self._retry_in_clear = True
        elif undecided:
            failure = broke_off(connection.host, event, timed_out=connection.timed_out)
            outcomes.fail_session(failure, connection.host)
        outcomes.left = [*kept, *outcomes.left]
