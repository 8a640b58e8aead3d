"""Restrictions about the recipient's place: ours, relayed by us, or somebody else's (postconf(5))."""

from __future__ import annotations

from pymta.access import subject
from pymta.access.decision import Decision, LookupFailed, Outcome
from pymta.access.settings import AccessSettings
from pymta.errors import ResolveError, TableError
from pymta.model.address import Address


async def permit_auth_destination(decision: Decision) -> Outcome:
    if decision.context.recipient is None or not await _is_authorized(decision, decision.context.recipient):
        return Outcome.DUNNO
    return await decision.permit("permit_auth_destination", subject.recipient)


async def reject_unauth_destination(decision: Decision) -> Outcome:
    return await _refuse_relay(decision, decision.settings.relay_domains_reject_code, "5.7.1")


async def defer_unauth_destination(decision: Decision) -> Outcome:
    return await _refuse_relay(decision, decision.settings.relay_domains_reject_code - 100, "4.7.1")


async def _refuse_relay(decision: Decision, code: int, status: str) -> Outcome:
    recipient = decision.context.recipient
    if recipient is None or await _is_authorized(decision, recipient):
        return Outcome.DUNNO
    return decision.reject(code, status, f"<{recipient}>: Relay access denied")


async def _is_authorized(decision: Decision, recipient: Address) -> bool:
    """Ours or relayed. What a next hop would send on (`user%other@relayed`) needs allow_untrusted_routing."""
    route = await decision.route(recipient)
    return route.is_ours and (decision.settings.allow_untrusted_routing or not route.routed)


async def reject_unlisted_recipient(decision: Decision) -> Outcome:
    """Asked once per decision: it also stands, unwritten, at the end of all recipient restrictions."""
    recipient = decision.context.recipient
    if recipient is None or decision.recipient_checked or accepts_unknown(decision.settings):
        return Outcome.DUNNO
    decision.recipient_checked = True
    try:
        refusal = await decision.environment.directory.check_recipient(recipient)
    except (TableError, ResolveError) as error:
        raise LookupFailed(str(recipient), error) from error
    return Outcome.DUNNO if refusal is None else decision.refuse_with(refusal)


async def reject_unlisted_sender(decision: Decision) -> Outcome:
    sender = decision.context.sender
    if not sender or decision.sender_checked or accepts_unknown(decision.settings):
        return Outcome.DUNNO
    decision.sender_checked = True
    try:
        refusal = await decision.environment.directory.check_sender(sender)
    except (TableError, ResolveError) as error:
        raise LookupFailed(str(sender), error) from error
    return Outcome.DUNNO if refusal is None else decision.refuse_with(refusal)


def accepts_unknown(settings: AccessSettings) -> bool:
    return "no_unknown_recipient_checks" in settings.receive_override_options
