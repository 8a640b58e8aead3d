"""The state of one decision: what was refused, deferred, noted and asked for so far (SMTPD_ACCESS_README)."""

from __future__ import annotations

from enum import Enum
from typing import NamedTuple

from pymta.access.environment import Environment
from pymta.access.subject import Subject, SubjectOf
from pymta.errors import ResolveError
from pymta.model.access import PERMIT, AccessContext, Effect, EffectKind, Stage, Verdict
from pymta.model.address import NULL_SENDER, Address
from pymta.model.reply import Reply
from pymta.model.route import Route

_DISCONNECT_CODES = frozenset({421, 521})


class Outcome(Enum):
    """What one restriction says. DUNNO asks the next; OK ends this list only; REJECT ends the decision."""

    DUNNO = "dunno"
    OK = "ok"
    REJECT = "reject"


class Refusal(NamedTuple):
    """A reply before soft_bounce; the class of `status` follows `code`."""

    code: int
    status: str
    text: str


SERVER_ERROR = Refusal(451, "4.3.5", "Server configuration error")


class LookupFailed(Exception):
    """An answer that a restriction needs cannot be known now; `name` is what was asked about."""

    def __init__(self, name: str, cause: Exception) -> None:
        self.name = name
        self.cause = cause
        super().__init__(name)


class Decision:
    """Mutable, one per `AccessEngine.decide`; restrictions call its methods and return the outcome."""

    __slots__ = (
        "_routes",
        "_subject",
        "_subject_of",
        "context",
        "defer_if_permit",
        "defer_if_reject",
        "depth",
        "disconnect",
        "effects",
        "environment",
        "lines",
        "recipient_checked",
        "reply",
        "sender_checked",
        "settings",
        "warning",
    )

    def __init__(self, context: AccessContext, environment: Environment, subject: SubjectOf) -> None:
        self.context = context
        self.environment = environment
        self.settings = environment.settings
        self._subject: Subject | None = None
        self._subject_of = subject
        self.reply: Reply | None = None
        self.disconnect = False
        self.effects: list[Effect] = []
        self.lines: list[str] = []
        self.defer_if_permit: Refusal | None = _earlier(context) if context.deferrals else None
        self.defer_if_reject: Refusal | None = None
        self.warning = False
        self.depth = 0
        self.sender_checked = False
        self.recipient_checked = False
        self._routes: dict[Address, Route] = {}

    # --- what it is about ---

    @property
    def subject(self) -> Subject:
        """What the restrictions of the list under way speak about; put into words by the first that refuses."""
        if self._subject is None:
            self._subject = self._subject_of(self.context)
        return self._subject

    @subject.setter
    def subject(self, subject: Subject) -> None:
        self._subject = subject

    def begin_list(self, subject: SubjectOf) -> None:
        """Another list begins: it has its own subject, and no defer_if_reject yet."""
        self._subject, self._subject_of = None, subject
        self.defer_if_reject = None

    # --- refusing ---

    def reject(self, code: int, status: str, text: str) -> Outcome:
        """Refuse, or only say so under warn_if_reject; an earlier defer_if_reject turns a 5xx into itself."""
        refusal = Refusal(code, status, text)
        if self.defer_if_reject and code >= 500 and not self.warning:
            refusal, self.defer_if_reject = self.defer_if_reject, None
        reply = self._reply(refusal)
        self.note("reject_warning" if self.warning else "reject", str(reply))
        if self.warning:
            return Outcome.DUNNO
        self.reply = reply
        self.disconnect = reply.code in _DISCONNECT_CODES
        return Outcome.REJECT

    def defer_unless_rejected(self, action: str, refusal: Refusal) -> Outcome:
        """A temporary failure: `action` is `defer_if_permit`, or `defer` at once (postconf(5) *_tempfail_action)."""
        if self.warning or action == "defer":
            return self.reject(*refusal)
        self.defer_if_permit = self.defer_if_permit or refusal
        return Outcome.DUNNO

    def defer_unless_permitted(self, refusal: Refusal) -> Outcome:
        self.defer_if_reject = self.defer_if_reject or refusal
        return Outcome.DUNNO

    def settle(self) -> Outcome:
        """At the end of the last list: a defer_if_permit from any of them is due now."""
        return self.reject(*self.defer_if_permit) if self.defer_if_permit else Outcome.DUNNO

    def hang_up(self) -> Outcome:
        """End the session whatever warn_if_reject says; there is always a reply, so that nobody reads it as a yes."""
        self.reply = self.reply or Reply.of(421, "Service unavailable", "4.3.2")
        self.disconnect = True
        return Outcome.REJECT

    def server_error(self, *warnings: str) -> Outcome:
        """Our configuration is at fault: the log gets `warnings`, the client 451 4.3.5."""
        for warning in warnings:
            self.environment.log.warning(warning)
        return self.reject(*SERVER_ERROR)

    def lookup_failed(self, failure: LookupFailed) -> Outcome:
        self.environment.log.warning(str(failure.cause))
        return self.reject(451, "4.3.0", f"<{failure.name}>: Temporary lookup failure")

    def refuse_with(self, reply: Reply) -> Outcome:
        """Refuse with a reply that someone else composed (the recipient directory, an app's restriction)."""
        outcome = self.reject(reply.code, reply.status or f"{reply.code // 100}.7.1", reply.text)
        if outcome is Outcome.REJECT and reply.status is None and self.reply is not None:
            self.reply = Reply(self.reply.code, None, reply.lines)
        elif outcome is Outcome.REJECT and self.reply is not None and len(reply.lines) > 1:
            self.reply = Reply(self.reply.code, self.reply.status, reply.lines)
        return outcome

    def _reply(self, refusal: Refusal) -> Reply:
        code, status, text = refusal
        if not 400 <= code <= 599:
            self.environment.log.warning(f"SMTP reply code configuration error: {code}")
            code = 450
        if code >= 500 and self.settings.soft_bounce:
            code -= 100
        return Reply(code, f"{code // 100}{status[1:]}", (text,))

    # --- noting ---

    def effect(self, kind: EffectKind, value: str = "") -> None:
        self.effects.append(Effect(kind, value))

    @property
    def is_discarded(self) -> bool:
        return bool(self.effects) and any(effect.kind is EffectKind.DISCARD for effect in self.effects)

    def note(self, what: str, text: str) -> None:
        """Add a log line such as `reject: RCPT from host[address]: TEXT; from=<> to=<x> proto=ESMTP helo=<y>`."""
        context = self.context
        parts = [f"{what}: {self.where} from {context.client}: {text};"]
        if context.sender is not None:
            parts.append(f"from=<{context.sender.quoted()}>")
        if context.recipient is not None:
            parts.append(f"to=<{context.recipient.quoted()}>")
        parts.append("proto=ESMTP" if context.client.protocol.startswith(("E", "UTF8")) else "proto=SMTP")
        if context.helo_name is not None:
            parts.append(f"helo=<{context.helo_name}>")
        if context.client.sasl_method:
            parts.append(f"sasl_method={context.client.sasl_method}")
        if context.client.sasl_username:
            parts.append(f"sasl_username={context.client.sasl_username}")
        self.lines.append(" ".join(parts))

    async def permit(self, action: str, subject_of: SubjectOf, details: str = "") -> Outcome:
        """OK, logged where smtpd_log_access_permit_actions matches `action`."""
        logged = self.environment.logged_permits
        if logged is not None and await logged.matches(action):
            subject = subject_of(self.context)
            self.note("permit", f"action={action} for {subject.kind.value}={subject.name} {details}")
        return Outcome.OK

    @property
    def where(self) -> str:
        """The protocol state as log lines name it; HELO shows the verb that came."""
        context = self.context
        return context.command if context.stage is Stage.HELO and context.command else context.stage.value

    # --- asking ---

    async def route(self, address: Address) -> Route:
        """Where `address` would go, resolved once per decision; raises LookupFailed."""
        route = self._routes.get(address)
        if route is None:
            try:
                route = await self.environment.rewriter.resolve(address, self.context.sender or NULL_SENDER)
            except ResolveError as error:
                raise LookupFailed(str(address), error) from error
            self._routes[address] = route
        return route

    def verdict(self) -> Verdict:
        if not (self.reply or self.effects or self.lines or self.disconnect or self.defer_if_permit):
            return PERMIT
        deferral = Reply(*self.defer_if_permit[:2], self.defer_if_permit[2:]) if self.defer_if_permit else None
        return Verdict(self.reply, tuple(self.effects), self.disconnect, tuple(self.lines), deferral)


def _earlier(context: AccessContext) -> Refusal:
    """The first defer_if_permit of CONNECT, HELO and MAIL, where those were decided in their own time."""
    first = context.deferrals[0]
    return Refusal(first.code, first.status or "4.7.1", first.text)
