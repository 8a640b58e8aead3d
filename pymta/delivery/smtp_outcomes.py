"""What became of a delivery's recipients, in Postfix's words (smtp(8): smtp_trouble.c)."""

from __future__ import annotations

from collections.abc import Sequence

from pymta.delivery.connection import ClientConnection
from pymta.delivery.hosts import Failure, Host
from pymta.model.delivery import DeliveryRequest, DeliveryResult, Outcome
from pymta.model.queue import QueuedRecipient
from pymta.ports import Clock, Log
from pymta.protocol.smtp.client_events import RecipientReply
from pymta.protocol.smtp.client_replies import ServerReply


class Outcomes:
    """Who is `left`, the results of the others, and the last thing that went wrong.

    A temporary failure is final only where there are no `more_hosts` to try; a permanent one always is. `started` and
    `set_up` are when this host's turn and its session began, `use` counts the messages over the session.
    """

    __slots__ = (
        "_clock",
        "_is_lmtp",
        "_log",
        "_queue_id",
        "_results",
        "failure",
        "left",
        "more_hosts",
        "set_up",
        "started",
        "use",
    )

    def __init__(self, request: DeliveryRequest, clock: Clock, log: Log, *, is_lmtp: bool) -> None:
        self._clock = clock
        self._log = log
        self._is_lmtp = is_lmtp
        self._queue_id = request.queue_id
        self._results: dict[int, DeliveryResult] = {}
        self.left: Sequence[QueuedRecipient] = request.recipients
        self.failure: Failure | None = None
        self.more_hosts = False
        self.started = self.set_up = clock.monotonic()
        self.use = 1

    def in_order(self, recipients: Sequence[QueuedRecipient]) -> list[DeliveryResult]:
        results = self._results
        return [results[recipient.number] for recipient in recipients]

    def replied(
        self,
        connection: ClientConnection,
        recipients: Sequence[QueuedRecipient],
        replies: Sequence[RecipientReply | None],
    ) -> list[QueuedRecipient]:
        """Delivered, refused, or left for the next host; those without a reply are given back.

        One reply to the final dot is the outcome of all recipients that have it.
        """
        left: list[QueuedRecipient] = []
        undecided: list[QueuedRecipient] = []
        last: RecipientReply | None = None
        result: DeliveryResult | None = None
        for recipient, decided in zip(recipients, replies, strict=True):
            if decided is None:
                undecided.append(recipient)
            elif decided is last and result is not None:
                self._results[recipient.number] = result.for_recipient(recipient.number)
            elif decided.is_delivered:
                last = decided
                result = self._results[recipient.number] = self._delivered(connection, recipient, decided.reply)
            elif not self._refused(connection.host, recipient, decided):
                left.append(recipient)
        self.left = left
        return undecided

    def _refused(self, host: Host, recipient: QueuedRecipient, decided: RecipientReply) -> bool:
        """Whether that is the last word."""
        reply = decided.reply
        reason = f"host {host.named} said: {reply.line} (in reply to {decided.phase.command})"
        failure = Failure(reply.status if reply.status[0] in "45" else "4.5.0", reason)
        if failure.is_temporary and self.more_hosts:
            self.failure = failure
            self._log.info(f"{self._queue_id}: {reason}")
            return False
        self.settle(recipient, failure, host, reply)
        return True

    def fail_message(self, failure: Failure, host: Host) -> None:
        """A refusal of our own, for this message at this host."""
        for recipient in self.left:
            self.settle(recipient, failure, host)
        self.left = ()

    def fail_session(
        self, failure: Failure, host: Host, reply: ServerReply | None = None, *, throttle: bool = True
    ) -> None:
        """The session failed for all who are left; any other host may do better (Postfix: also where this is final)."""
        self.failure = failure
        if self.more_hosts and not failure.is_loop:
            self._log.info(f"{self._queue_id}: {failure.reason}")
            return
        for recipient in self.left:
            self.settle(recipient, failure, host, reply, unreachable=throttle)
        self.left = ()

    def _delivered(
        self, connection: ClientConnection, recipient: QueuedRecipient, reply: ServerReply
    ) -> DeliveryResult:
        host, line = connection.host, reply.line
        return DeliveryResult(
            recipient.number,
            Outcome.SENT,
            reply.status if reply.status[0] == "2" else "2.0.0",
            line,
            host.relay,
            host.name,
            f"smtp; {line}",
            "delivered" if self._is_lmtp else "relayed",
            connection.session.capabilities.dsn,
            self.use,
            self.set_up - self.started,
            self._clock.monotonic() - self.set_up,
        )

    def settle(
        self,
        recipient: QueuedRecipient,
        failure: Failure,
        host: Host | None = None,
        reply: ServerReply | None = None,
        *,
        unreachable: bool = False,
    ) -> None:
        now = self._clock.monotonic()
        set_up = max(self.set_up, self.started)
        self._results[recipient.number] = DeliveryResult(
            number=recipient.number,
            outcome=Outcome.DEFERRED if failure.is_temporary else Outcome.BOUNCED,
            status=failure.status,
            reason=failure.reason,
            relay=host.relay if host else "none",
            remote_mta=host.name if host and reply else "",
            diagnostic=f"smtp; {reply.line}" if reply else "",
            connection_use=self.use,
            connect_seconds=set_up - self.started if host else now - self.started,
            transfer_seconds=now - set_up if host else 0.0,
            host_unreachable=unreachable and failure.is_temporary,
        )
