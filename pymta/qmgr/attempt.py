"""One delivery attempt: what an agent is asked, and one result for each recipient whatever it answers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from pymta.errors import SpoolError
from pymta.model.delivery import DeliveryRequest, DeliveryResult, Outcome
from pymta.model.queue import QueueEntry
from pymta.ports import Log
from pymta.qmgr.scheduler import Entry, Problem

_SUSPENDED = "delivery temporarily suspended: "
_TRANSPORT_FAILED = Problem("4.3.0", "unknown mail transport error", of_transport=True)


Answer = Sequence[DeliveryResult] | Exception


def conclusion(answer: Answer, delivery: Entry, log: Log) -> tuple[Sequence[DeliveryResult], Problem | bool]:
    """Results in the order of the recipients, and what they say about the destination.

    That is True where it works, False where the agent gave no result, else its problem. An agent that raised, or
    gave no result for a recipient, defers that recipient; one that raised has all of its transport rest.
    """
    if isinstance(answer, SpoolError):
        # The message cannot be read, which says nothing about who would deliver it.
        log.error(f"{delivery.queue_id}: {answer}")
        answer = ()
    elif isinstance(answer, Exception):
        log.error(f"{delivery.queue_id}: transport {delivery.transport} failed: {answer!r}")
        return [_failure(recipient.number) for recipient in delivery.recipients], _TRANSPORT_FAILED
    outcome = _destination_outcome(answer)
    if [result.number for result in answer] == [recipient.number for recipient in delivery.recipients]:
        return answer, outcome
    return _complete(answer, delivery, log), outcome


def _complete(results: Sequence[DeliveryResult], delivery: Entry, log: Log) -> list[DeliveryResult]:
    by_number = {result.number: result for result in results}
    recipients = delivery.recipients
    if len(results) != len(recipients) or any(recipient.number not in by_number for recipient in recipients):
        log.warning(
            f"{delivery.queue_id}: transport {delivery.transport} gave {len(results)} results"
            f" for {len(recipients)} recipients"
        )
    return [by_number.get(recipient.number) or _failure(recipient.number) for recipient in recipients]


def _failure(number: int) -> DeliveryResult:
    return DeliveryResult(number, Outcome.DEFERRED, "4.3.0", "delivery agent failure")


def make_request(entry: QueueEntry, delivery: Entry) -> DeliveryRequest:
    return DeliveryRequest(
        queue_id=entry.queue_id,
        transport=delivery.transport,
        nexthop=delivery.nexthop,
        sender=entry.sender,
        recipients=delivery.recipients,
        size=entry.size,
        arrival_time=entry.arrival_time,
        client=entry.client,
        body=entry.body,
        smtputf8=entry.smtputf8,
        envid=entry.envid,
        ret=entry.ret,
        verp=entry.verp,
        is_notice=entry.is_notice,
        trace=entry.trace,
    )


def _destination_outcome(results: Sequence[DeliveryResult]) -> Problem | bool:
    """What a delivery says about its destination: works, unknown where the agent failed, or out of order."""
    for result in results:
        if result.host_unreachable:
            return Problem(result.status, _SUSPENDED + result.reason)
    return bool(results)


def softened(result: DeliveryResult) -> DeliveryResult:
    """What would bounce waits instead (postconf(5) soft_bounce)."""
    return replace(result, outcome=Outcome.DEFERRED, status="4" + result.status[1:])
