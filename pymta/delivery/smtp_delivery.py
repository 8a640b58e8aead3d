"""One delivery request over SMTP or LMTP: host after host until every recipient has its result (smtp(8))."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from pymta.delivery.connection import ClientConnection, ContentUnreadableError
from pymta.delivery.hosts import SMTP_PORT, Destination, Failure, Host
from pymta.delivery.smtp_content import for_server, needs_smtputf8, refusal_of
from pymta.delivery.smtp_failures import broke_off, refused_to_talk, tls_missing
from pymta.delivery.smtp_security import CLEARTEXT, PoolKey, SecurityPolicy, TlsLevel
from pymta.model.delivery import DeliveryRequest, DeliveryResult, Outcome
from pymta.model.queue import QueuedRecipient
from pymta.ports import Content
from pymta.protocol.smtp.client_commands import is_sendable
from pymta.protocol.smtp.client_events import (
    BeginTls,
    Event,
    Finished,
    Lost,
    Ready,
    RecipientReply,
    Refused,
    SendContent,
)
from pymta.protocol.smtp.client_replies import ServerReply

if TYPE_CHECKING:
    from pymta.delivery.smtp import SmtpAgent


class SmtpDelivery:
    """The state of one delivery: who is left, what became of the others, and the last thing that went wrong.

    A temporary failure is final only where no other host is left to try; a permanent one always is.
    """

    def __init__(self, agent: SmtpAgent, request: DeliveryRequest, content: Content) -> None:
        self._agent = agent
        self._request = request
        self._content = content
        self._left: list[QueuedRecipient] = []
        self._results: dict[int, DeliveryResult] = {}
        self._sent: tuple[ServerReply, DeliveryResult] | None = None
        self._failure: Failure | None = None
        self._more_hosts = False
        self._policy = CLEARTEXT
        self._retry_in_clear = False
        self._reached_host = False
        self._started = agent.clock.monotonic()
        self._set_up = self._started
        self._use = 1
        self._place = request.nexthop

    async def run(self) -> Sequence[DeliveryResult]:
        """Exactly one result per recipient, in the order of the request."""
        self._refuse_unsendable()
        if self._left:
            await self._deliver()
        return [self._results[recipient.number] for recipient in self._request.recipients]

    def _refuse_unsendable(self) -> None:
        sender_is_bad = not is_sendable(self._request.sender)
        for recipient in self._request.recipients:
            if sender_is_bad:
                self._settle(recipient, Failure("5.1.7", "control character in the sender address"))
            elif not is_sendable(recipient.address):
                self._settle(recipient, Failure("5.1.3", "control character in the recipient address"))
            else:
                self._left.append(recipient)

    # The walk over destinations and hosts.

    async def _deliver(self) -> None:
        agent, destinations = self._agent, self._agent.destinations(self._request.nexthop)
        first = destinations[0]
        key = None if isinstance(first, Failure) else await self._key_for(first)
        dense = key is not None and agent.note_request(key)
        if key is not None and (kept := agent.take(key)) is not None:
            self._more_hosts = True
            await self._converse(kept, key, dense)
        position = 0
        for position, destination in enumerate(destinations):
            if not self._left:
                return
            final = position == len(destinations) - 1
            self._place = agent.written(self._request.nexthop, position)
            if isinstance(destination, Failure):
                self._failure = destination
                agent.log.warning(destination.reason)
                continue
            await self._try_destination(destination, key if position == 0 else None, dense, final)
            if self._failure and self._failure.is_loop:
                break
        if self._left:
            self._give_up(position)

    async def _key_for(self, destination: Destination | Host) -> PoolKey | None:
        """None where there is no policy now, so that no session may be shared."""
        policy = await self._agent.policy_for(destination)
        if isinstance(policy, Failure):
            return None
        return await self._agent.key_for(destination, self._request.sender, policy)

    async def _try_destination(
        self, destination: Destination | Host, key: PoolKey | None, dense: bool, final: bool
    ) -> None:
        hosts = await self._agent.hosts(destination)
        if isinstance(hosts, Failure):
            self._failure = hosts
            return
        policy = key.security if key else await self._agent.policy_for(destination)
        if isinstance(policy, Failure):
            self._failure = policy
            return
        sessions = 0
        for number, host in enumerate(hosts):
            last = number == len(hosts) - 1
            self._more_hosts = not (last and final)
            self._started = self._agent.clock.monotonic()
            connection = await self._open(host, destination, policy)
            if connection:
                sessions += 1
                last = last or sessions == self._agent.settings.mx_session_limit
                self._more_hosts = not (last and final)
                await self._converse(connection, key, dense)
            if self._retry_in_clear and (connection := await self._open(host, destination, policy.in_clear())):
                await self._converse(connection, None, False)
            if last or not self._left:
                return

    def _give_up(self, position: int) -> None:
        """Nobody is left to try: the last failure is everybody's (postconf(5) smtp_fallback_relay, relayhost)."""
        failure = self._failure or Failure("4.3.0", "server unavailable or unable to receive mail")
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
        for recipient in self._left:
            self._settle(recipient, failure, unreachable=not self._reached_host)
        self._left = []

    # One session.

    async def _open(
        self, host: Host, destination: Destination | Host, policy: SecurityPolicy
    ) -> ClientConnection | None:
        """A session with `host` under `policy`, ready for mail; None where there is none, with the reason noted."""
        self._policy, self._retry_in_clear = policy, False
        connection = await self._agent.connect(host, policy)
        if isinstance(connection, Failure):
            self._failure = connection
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
            self._fail_session(failure, host, throttle=self._policy.level is not TlsLevel.MAY)
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
        self._fail_session(tls_missing(host, session.tls_refusal), host, session.tls_refusal)
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
        self._set_up = agent.clock.monotonic()
        agent.note_host(host, failed=not isinstance(event, Ready))
        if isinstance(event, Refused):
            failure = refused_to_talk(host, event, agent.settings.skip_5xx_greeting)
            agent.end(connection)
            self._fail_session(failure, host, event.reply)
            return False
        if not isinstance(event, Ready):
            self._lose(connection, event, self._left)
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
                self._fail_session(Failure(status, reason), host)
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
                self._lose(connection, refused, self._left)
                return False
            if refused:
                agent.end(connection)
                self._fail_session(refused.failure, connection.host, refused.reply)
                return False
        self._reached_host = True
        return True

    async def _converse(self, connection: ClientConnection, key: PoolKey | None, dense: bool) -> None:
        """Hand the message over, and keep or end the session, unless others are in line for it."""
        if key is None:
            await self._send(connection)
            self._agent.end(connection)
            return
        self._agent.begin_use(connection, key)
        try:
            await self._send(connection)
        finally:
            is_last = not connection.turns
            if is_last:
                self._agent.end_use(connection, key)
        if is_last:
            await self._agent.keep_or_end(connection, key, self._started, dense)

    async def _send(self, connection: ClientConnection) -> None:
        """Hand the message over, unless we see that this server will not take it. An exception cuts the connection."""
        if connection.messages:
            self._started = self._set_up = self._agent.clock.monotonic()
            self._reached_host = True
        try:
            offered = connection.session.capabilities
            refusal = await refusal_of(offered, self._request, self._left, self._content, connection.host)
            if refusal is None:
                await self._transact(connection)
        except ContentUnreadableError as error:
            self._agent.log.warning(f"{self._request.queue_id}: content: {error}")
            failure = Failure("4.3.0", f"local data error while talking to {connection.host.named}")
            self._fail_session(failure, connection.host)
            return
        except BaseException:
            connection.abort()
            raise
        if refusal is not None:
            self._fail_message(refusal, connection)

    async def _transact(self, connection: ClientConnection) -> None:
        session, recipients, request = connection.session, self._left, self._request
        smtputf8 = request.smtputf8 and await needs_smtputf8(request, recipients, self._content)
        content = for_server(session.capabilities, request, self._content, self._agent.settings)
        if self._agent.checks is not None:
            content = self._agent.checks(content, request.queue_id)
        small = content.data is not None
        turn = connection.take_turn(lambda: session.begin(request, recipients, smtputf8, small))
        try:
            if not await connection.turn_begun(turn):
                if not connection.messages:
                    self._lose(connection, Lost(session.phase), recipients)
                return
            connection.messages += 1
            self._use = connection.messages
            event = await connection.next_event(turn)
            if isinstance(event, SendContent):
                await connection.send_content(content, turn)
                if session.broke_line:
                    limit = self._agent.settings.line_length_limit
                    self._agent.log.info(f"{request.queue_id}: breaking line > {limit} bytes with <CR><LF>SPACE")
                event = await connection.next_event(turn)
                connection.note_answer()
        finally:
            connection.end_turn(turn)
        if isinstance(event, Finished):
            self._left, self._sent = [], None
            for recipient, decided in zip(recipients, event.replies, strict=True):
                self._decide(connection, recipient, decided)
        else:
            self._lose(connection, event, recipients)

    def _lose(self, connection: ClientConnection, event: object, recipients: list[QueuedRecipient]) -> None:
        """The connection broke: what was decided before stays, the others have a session that failed."""
        assert isinstance(event, Lost), event
        host = connection.host
        self._left = []
        undecided = []
        for number, recipient in enumerate(recipients):
            decided = event.replies[number] if event.replies else None
            if decided is not None:
                self._decide(connection, recipient, decided)
            else:
                undecided.append(recipient)
        kept, self._left = self._left, undecided
        if undecided and connection.tls is not None and self._may_retry_in_clear():
            self._retry_in_clear = True
        elif undecided:
            self._fail_session(broke_off(host, event, timed_out=connection.timed_out), host)
        self._left = kept + self._left

    # What becomes of recipients.

    def _decide(self, connection: ClientConnection, recipient: QueuedRecipient, decided: RecipientReply) -> None:
        """Delivered, refused, or left for the next host."""
        host, reply = connection.host, decided.reply
        if decided.is_delivered:
            self._settle_sent(connection, recipient, reply)
            return
        reason = f"host {host.named} said: {reply.line} (in reply to {decided.phase.command})"
        failure = Failure(reply.status if reply.status[0] in "45" else "4.5.0", reason)
        if failure.is_temporary and self._more_hosts:
            self._failure = failure
            self._agent.log.info(f"{self._request.queue_id}: {reason}")
            self._left.append(recipient)
        else:
            self._settle(recipient, failure, host, reply)

    def _fail_message(self, failure: Failure, connection: ClientConnection) -> None:
        """A refusal of our own, for this message at this host."""
        for recipient in self._left:
            self._settle(recipient, failure, connection.host)
        self._left = []

    def _fail_session(
        self, failure: Failure, host: Host, reply: ServerReply | None = None, *, throttle: bool = True
    ) -> None:
        """The session failed for all who are left; any other host may do better (Postfix: also where this is final)."""
        self._failure = failure
        if self._more_hosts and not failure.is_loop:
            self._agent.log.info(f"{self._request.queue_id}: {failure.reason}")
            return
        for recipient in self._left:
            self._settle(recipient, failure, host, reply, unreachable=throttle)
        self._left = []

    def _settle_sent(self, connection: ClientConnection, recipient: QueuedRecipient, reply: ServerReply) -> None:
        """One reply to the final dot is the outcome of all recipients."""
        if self._sent is None or self._sent[0] is not reply:
            result = self._delivered(connection, recipient, reply)
            self._sent = reply, result
        else:
            result = self._sent[1].for_recipient(recipient.number)
        self._results[recipient.number] = result

    def _delivered(
        self, connection: ClientConnection, recipient: QueuedRecipient, reply: ServerReply
    ) -> DeliveryResult:
        now = self._agent.clock.monotonic()
        return DeliveryResult(
            number=recipient.number,
            outcome=Outcome.SENT,
            status=reply.status if reply.status[0] == "2" else "2.0.0",
            reason=reply.line,
            relay=connection.host.relay,
            remote_mta=connection.host.name,
            diagnostic=f"smtp; {reply.line}",
            action="delivered" if self._agent.settings.lmtp else "relayed",
            dsn_relayed=connection.session.capabilities.dsn,
            connection_use=self._use,
            connect_seconds=self._set_up - self._started,
            transfer_seconds=now - self._set_up,
        )

    def _settle(
        self,
        recipient: QueuedRecipient,
        failure: Failure,
        host: Host | None = None,
        reply: ServerReply | None = None,
        *,
        unreachable: bool = False,
    ) -> None:
        now = self._agent.clock.monotonic()
        set_up = max(self._set_up, self._started)
        self._results[recipient.number] = DeliveryResult(
            number=recipient.number,
            outcome=Outcome.DEFERRED if failure.is_temporary else Outcome.BOUNCED,
            status=failure.status,
            reason=failure.reason,
            relay=host.relay if host else "none",
            remote_mta=host.name if host and reply else "",
            diagnostic=f"smtp; {reply.line}" if reply else "",
            connection_use=self._use,
            connect_seconds=set_up - self._started if host else now - self._started,
            transfer_seconds=now - set_up if host else 0.0,
            host_unreachable=unreachable and failure.is_temporary,
        )
