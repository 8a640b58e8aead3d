"""Restrictions about nothing in particular: permit, reject, defer and their relatives (postconf(5))."""

from __future__ import annotations

from pymta.access.decision import Decision, Outcome, Refusal
from pymta.model.access import Stage


async def permit(decision: Decision) -> Outcome:
    return await decision.permit("permit", lambda _: decision.subject)


async def dunno(decision: Decision) -> Outcome:
    return Outcome.DUNNO


async def reject(decision: Decision) -> Outcome:
    return decision.reject(decision.settings.reject_code, "5.7.1", decision.subject.rejected("Access denied"))


async def defer(decision: Decision) -> Outcome:
    return decision.reject(decision.settings.defer_code, "4.3.2", decision.subject.rejected("Try again later"))


async def defer_if_permit(decision: Decision) -> Outcome:
    text = decision.subject.rejected("defer_if_permit requested")
    return decision.defer_unless_rejected("defer_if_permit", Refusal(450, "4.7.0", text))


async def defer_if_reject(decision: Decision) -> Outcome:
    text = decision.subject.rejected("defer_if_reject requested")
    return decision.defer_unless_permitted(Refusal(450, "4.7.0", text))


async def reject_unauth_pipelining(decision: Decision) -> Outcome:
    if not decision.context.unauthorized_pipelining:
        return Outcome.DUNNO
    return decision.reject(503, "5.5.0", decision.subject.rejected("Improper use of SMTP command pipelining"))


async def reject_multi_recipient_bounce(decision: Decision) -> Outcome:
    """The null sender has one recipient (RFC 5321 4.5.5). Before DATA the recipient asked about counts, too."""
    context = decision.context
    if context.sender is None or not context.sender.is_null:
        return Outcome.DUNNO
    allowed = 0 if context.stage is Stage.RCPT else 1
    if len(context.recipients) <= allowed:
        return Outcome.DUNNO
    code = decision.settings.multi_recipient_bounce_reject_code
    return decision.reject(code, "5.5.3", decision.subject.rejected("Multi-recipient bounce"))
