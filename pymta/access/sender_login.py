"""Whether who logged in may send as the sender that MAIL names (postconf(5) smtpd_sender_login_maps)."""

from __future__ import annotations

from pymta.access.decision import Decision, LookupFailed, Outcome
from pymta.errors import TableError
from pymta.model.address import Address
from pymta.model.route import AddressClass


async def reject_sender_login_mismatch(decision: Decision) -> Outcome:
    """A login needs to own the sender; who did not log in may not use a sender that has an owner."""
    return await _judge(decision, authenticated=True, unauthenticated=True)


async def reject_authenticated_sender_login_mismatch(decision: Decision) -> Outcome:
    return await _judge(decision, authenticated=True, unauthenticated=False)


async def reject_unauthenticated_sender_login_mismatch(decision: Decision) -> Outcome:
    return await _judge(decision, authenticated=False, unauthenticated=True)


async def reject_known_sender_login_mismatch(decision: Decision) -> Outcome:
    """As reject_sender_login_mismatch, but a sender without owner is anybody's."""
    return await _judge(decision, authenticated=True, unauthenticated=True, free_for_all=True)


async def _judge(
    decision: Decision, *, authenticated: bool, unauthenticated: bool, free_for_all: bool = False
) -> Outcome:
    context = decision.context
    sender, login = context.sender, context.client.sasl_username
    if sender is None or sender.is_null or not (authenticated if login else unauthenticated):
        return Outcome.DUNNO
    owners = await _owners(decision, sender)
    if not login:
        return _reject(decision, sender, "not logged in") if owners else Outcome.DUNNO
    if login.lower() in (owner.lower() for owner in owners) or (free_for_all and not owners):
        return Outcome.DUNNO
    return _reject(decision, sender, f"not owned by user {login}")


def _reject(decision: Decision, sender: Address, why: str) -> Outcome:
    return decision.reject(553, "5.7.1", f"<{sender}>: Sender address rejected: {why}")


async def _owners(decision: Decision, sender: Address) -> list[str]:
    """Logins that own `sender`: by its whole address, without extension, by user where it is local, by domain."""
    maps = decision.environment.sender_logins
    if maps is None:
        return []

    async def is_local(_: str) -> bool:
        return (await decision.route(sender)).address_class is AddressClass.LOCAL

    try:
        match = await maps.find_address(sender, delimiter=decision.settings.recipient_delimiter, is_local=is_local)
    except TableError as error:
        raise LookupFailed(str(sender), error) from error
    return match.value.replace(",", " ").split() if match else []
