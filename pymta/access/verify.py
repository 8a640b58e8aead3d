"""reject_unverified_sender and reject_unverified_recipient (ADDRESS_VERIFICATION_README)."""

from __future__ import annotations

from pymta.access import subject
from pymta.access.decision import Decision, Outcome, Refusal
from pymta.access.subject import Kind, Subject
from pymta.model.address import Address
from pymta.model.verification import Standing

_LONGEST_REASON = 250


async def reject_unverified_sender(decision: Decision) -> Outcome:
    settings = decision.settings
    return await _check(
        decision,
        decision.context.sender,
        subject.sender(decision.context),
        settings.unverified_sender_reject_code,
        settings.unverified_sender_defer_code,
        settings.unverified_sender_tempfail_action,
        settings.unverified_sender_reject_reason,
    )


async def reject_unverified_recipient(decision: Decision) -> Outcome:
    settings = decision.settings
    return await _check(
        decision,
        decision.context.recipient,
        subject.recipient(decision.context),
        settings.unverified_recipient_reject_code,
        settings.unverified_recipient_defer_code,
        settings.unverified_recipient_tempfail_action,
        settings.unverified_recipient_reject_reason,
    )


async def _check(
    decision: Decision,
    address: Address | None,
    about: Subject,
    reject_code: int,
    defer_code: int,
    tempfail_action: str,
    reason: str,
) -> Outcome:
    if not address:
        return Outcome.DUNNO
    verifier = decision.environment.verifier
    if verifier is None:
        return decision.server_error("reject_unverified_*: nothing here can verify addresses")
    found = await verifier.verify(address)
    if found.standing is Standing.DELIVERABLE:
        return Outcome.DUNNO
    is_final = found.standing is Standing.UNDELIVERABLE
    code = reject_code if is_final else defer_code
    detail = "1.7" if about.kind is Kind.SENDER else "1.1"
    what = "undeliverable" if code >= 500 else "unverified"
    text = about.rejected(f"{what} address: {(reason or found.text)[:_LONGEST_REASON]}")
    if is_final:
        return decision.reject(code, f"{code // 100}.{detail}", text)
    return decision.defer_unless_rejected(tempfail_action, Refusal(code, f"4.{detail}", text))
