"""Who of a message's recipients is reported to whom (RFC 3461 5.2)."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from pymta.model.address import Address
from pymta.model.delivery import DeliveryPart, DeliveryResult, Outcome
from pymta.model.envelope import Notify, Trace
from pymta.model.queue import QueuedRecipient, QueueEntry, RecipientState
from pymta.protocol.dsn import ReportedRecipient

_FAILURES = frozenset({Outcome.BOUNCED, Outcome.EXPIRED})

Pair = tuple[QueuedRecipient, ReportedRecipient]


def failed(entry: QueueEntry, results: Sequence[DeliveryResult]) -> list[Pair]:
    """Every failure, whoever asked for a report of it."""
    return [(one, _report(one, result, "failed")) for one, result in _join(entry, results, _FAILURES)]


def succeeded(entry: QueueEntry, results: Sequence[DeliveryResult]) -> list[Pair]:
    """Those that asked, and for whom no other system took over the duty to report."""
    wanted = [
        (one, result)
        for one, result in _join(entry, results, {Outcome.SENT})
        if Notify.SUCCESS in one.notify and not result.dsn_relayed
    ]
    return [(one, _report(one, result, result.action or "delivered")) for one, result in wanted]


def delayed(entry: QueueEntry) -> list[Pair]:
    """Everyone who waits after a first attempt."""
    return [
        (
            one,
            ReportedRecipient(
                address=one.address.quoted(),
                action="delayed",
                status=one.status or "4.0.0",
                reason=one.reason or "delivery temporarily suspended",
                original=one.original.quoted(),
                orcpt=one.orcpt,
                diagnostic=one.diagnostic,
                remote_mta=one.remote_mta,
            ),
        )
        for one in entry.recipients
        if one.state is RecipientState.PENDING
    ]


def traced(entry: QueueEntry, results: Sequence[DeliveryResult]) -> list[Pair]:
    """Everyone, whatever came of it; the members in place of a recipient that was expanded."""
    is_probe = entry.trace is Trace.VERIFY
    return [
        (one, _traced(one, result, part, is_probe=is_probe))
        for one, result in _join(entry, results, Outcome)
        for part in _outcomes(one, result, is_probe=is_probe)
    ]


def _outcomes(recipient: QueuedRecipient, result: DeliveryResult, *, is_probe: bool) -> list[DeliveryPart]:
    if not result.parts:
        return [DeliveryPart(recipient.address, result.outcome, result.status, result.reason, result.action)]
    parts = list(result.parts)
    if Notify.SUCCESS in recipient.notify and not is_probe:
        # RFC 3461 5.2.7.3: success is told of the alias itself, not of its members.
        parts.append(DeliveryPart(recipient.address, Outcome.SENT, "2.0.0", "alias expanded", "expanded"))
    return parts


def _traced(
    recipient: QueuedRecipient, result: DeliveryResult, part: DeliveryPart, *, is_probe: bool
) -> ReportedRecipient:
    reason = part.reason if result.relay == "none" else f"delivery via {result.relay}: {part.reason}"
    return ReportedRecipient(
        address=part.address.quoted(),
        action=_traced_action(part, is_probe=is_probe),
        status=part.status,
        reason=reason,
        original=recipient.original.quoted(),
        orcpt=recipient.orcpt,
        diagnostic=result.diagnostic,
        remote_mta=result.remote_mta,
    )


def _traced_action(part: DeliveryPart, *, is_probe: bool) -> str:
    """The Action field: Postfix's own two words for a probe, else those of RFC 3464 2.3.3."""
    if is_probe:
        return "deliverable" if part.outcome is Outcome.SENT else "undeliverable"
    if part.outcome is Outcome.SENT:
        return part.action or "delivered"
    return "delayed" if part.outcome is Outcome.DEFERRED else "failed"


def asked_for(pairs: Iterable[Pair], kind: Notify) -> list[Pair]:
    """Those whose NOTIFY names `kind`, or who left it to us."""
    return [pair for pair in pairs if not pair[0].notify or kind in pair[0].notify]


def verp_address(sender: Address, recipient: Address, delimiters: str) -> Address:
    """`list+user=example.com@sender.example` for list@sender.example and user@example.com (VERP_README)."""
    local_part = f"{sender.local_part}{delimiters[0]}{recipient.local_part}{delimiters[1]}{recipient.domain}"
    return sender.with_local_part(local_part)


def _join(
    entry: QueueEntry, results: Sequence[DeliveryResult], outcomes: Iterable[Outcome]
) -> list[tuple[QueuedRecipient, DeliveryResult]]:
    by_number = {one.number: one for one in entry.recipients}
    wanted = frozenset(outcomes)
    return [
        (by_number[result.number], result)
        for result in results
        if result.outcome in wanted and result.number in by_number
    ]


def _report(recipient: QueuedRecipient, result: DeliveryResult, action: str) -> ReportedRecipient:
    return ReportedRecipient(
        address=recipient.address.quoted(),
        action=action,
        status=result.status,
        reason=result.reason,
        original=recipient.original.quoted(),
        orcpt=recipient.orcpt,
        diagnostic=result.diagnostic,
        remote_mta=result.remote_mta,
    )
