"""What a server session asks of its owner, and the owner's answers (`server_events`)."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable

from pymta.errors import ProtocolUseError
from pymta.model.access import Verdict
from pymta.model.reply import Reply
from pymta.model.sasl import SaslStep
from pymta.model.tls import TlsSession
from pymta.protocol.smtp.server_events import CommandKind, Event


class Questions:
    """Events in order, each with who waits for its answer; while one is unanswered the session stands still.

    Raises ProtocolUseError for an answer that nobody waits for.
    """

    def __init__(self) -> None:
        self._events: deque[tuple[Event, Callable[..., None] | None]] = deque()
        self._answer: Callable[..., None] | None = None

    def emit(self, event: Event) -> None:
        self._events.append((event, None))

    def ask(self, event: Event, answer: Callable[..., None]) -> None:
        self._events.append((event, answer))

    def _answered(self, *values: object) -> None:
        answer, self._answer = self._answer, None
        if answer is None:
            raise ProtocolUseError("an answer to a session that asked nothing")
        answer(*values)

    # What the owner calls; `server_events` says which answers which.

    def decide(self, verdict: Verdict) -> None:
        self._answered(verdict)

    def filtered(self, better: str | None) -> None:
        self._answered(better)

    def classified(self, kind: CommandKind) -> None:
        self._answered(kind)

    def draft_opened(self, refusal: Reply | None = None) -> None:
        self._answered(refusal)

    def message_result(self, reply: Reply) -> None:
        self._answered(reply)

    def counted(self, refusal: Reply | None = None) -> None:
        self._answered(refusal)

    def tls_prepared(self, refusal: Reply | None = None) -> None:
        self._answered(refusal)

    def authenticated(self, step: SaslStep, exchange: object) -> None:
        self._answered(step, exchange)

    def tls_started(self, tls: TlsSession | None, refusal: Reply | None = None) -> None:
        """`refusal` is the goodbye to a client that had one session too many."""
        self._answered(tls, refusal)

    def resume(self, *answer: bool | None) -> None:
        self._answered(*answer)
