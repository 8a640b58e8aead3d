"""Restrictions about who connected."""

from __future__ import annotations

from pymta.access import subject
from pymta.access.decision import Decision, LookupFailed, Outcome
from pymta.errors import TableError
from pymta.model.envelope import Client

_FOUND = 2
_NONE = 5


async def permit_mynetworks(decision: Decision) -> Outcome:
    client = decision.context.client
    try:
        inside = await decision.environment.mynetworks.matches(client.address, client.name)
    except TableError as error:
        raise LookupFailed(str(client), error) from error
    return await decision.permit("permit_mynetworks", subject.client) if inside else Outcome.DUNNO


async def permit_sasl_authenticated(decision: Decision) -> Outcome:
    if not decision.context.client.sasl_username:
        return Outcome.DUNNO
    return await decision.permit("permit_sasl_authenticated", subject.client)


async def reject_unknown_client_hostname(decision: Decision) -> Outcome:
    """No name, or a name that does not lead back to the address."""
    client = decision.context.client
    if client.name_status == _FOUND:
        return Outcome.DUNNO
    return _no_name(decision, client, client.name_status, "hostname")


async def reject_unknown_reverse_client_hostname(decision: Decision) -> Outcome:
    client = decision.context.client
    if client.reverse_name_status == _FOUND:
        return Outcome.DUNNO
    return _no_name(decision, client, client.reverse_name_status, "reverse hostname")


def _no_name(decision: Decision, client: Client, status: int, what: str) -> Outcome:
    code = decision.settings.unknown_client_reject_code if status >= _NONE else 450
    return decision.reject(code, "4.7.25", f"Client host rejected: cannot find your {what}, [{client.address}]")
