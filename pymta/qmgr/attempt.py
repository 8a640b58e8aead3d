"""One delivery attempt: an agent is asked, and whatever it does there is one result for each recipient."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from pymta.errors import SpoolError
from pymta.model.delivery import DeliveryRequest, DeliveryResult, Outcome
from pymta.model.queue import QueueEntry
from pymta.ports import Content, DeliveryAgent, Log
from pymta.qmgr import lines
from pymta.qmgr.scheduler import Entry, Problem

_SUSPENDED = "delivery temporarily suspended: "
_TRANSPORT_FAILED = Problem("4.3.0", "unknown mail transport error", of_transport=True)


async def attempt(
    agent: DeliveryAgent | None, message: QueueEntry, content: Content, delivery: Entry, log: Log
) -> tuple[list[DeliveryResult], Problem | bool]:
    """Results in the order of the recipients, and what they say about the destination.

    That is True where it works, False where the agent gave no result, else its problem. An agent that raises, or
    gives no result for a recipient, defers that recipient; one that raises has all of its transport rest.
    """
    results: Sequence[DeliveryResult] = ()
    if agent is not None:
        try:
            results = await agent.deliver(_request(message, delivery), content)
        except SpoolError as error:
            # The message cannot be read, which says nothing about who would deliver it.
            log.error(f"{delivery.queue_id}: {error}")
        except Exception as error:
            log.error(f"{delivery.queue_id}: transport {delivery.transport} failed: {error!r}")
            return [_failure(recipient.number) for recipient in delivery.recipients], _TRANSPORT_FAILED
    outcome = _destination_outcome(results)
    if len(results) == 1 and len(delivery.recipients) == 1 and results[0].number == delivery.recipients[0].number:
        return [results[0]], outcome
    return _complete(results, delivery, log), outcome


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


def _request(entry: QueueEntry, delivery: Entry) -> DeliveryRequest:
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


def judged(result: DeliveryResult, *, soft_bounce: bool, is_probe: bool) -> tuple[DeliveryResult, str]:
    """What counts, and the word for the log: with `soft_bounce` what would bounce waits instead, but for probes."""
    if not soft_bounce or is_probe or result.outcome is not Outcome.BOUNCED:
        return result, lines.status_word(result.outcome, is_probe=is_probe)
    return replace(result, outcome=Outcome.DEFERRED, status="4" + result.status[1:]), "SOFTBOUNCE"
