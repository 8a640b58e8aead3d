"""permit_inet_interfaces and permit_mx_backup: what belongs to this host's own addresses (postconf(5))."""

from __future__ import annotations

from collections.abc import Sequence

from pymta.access import subject
from pymta.access.decision import Decision, LookupFailed, Outcome, Refusal
from pymta.access.destination import permit_auth_destination
from pymta.access.names import is_hostname, to_ascii, without_final_dot
from pymta.errors import TableError
from pymta.model.dns import MX, Lookup


async def permit_inet_interfaces(decision: Decision) -> Outcome:
    if decision.context.client.address not in decision.environment.own_addresses:
        return Outcome.DUNNO
    return await decision.permit("permit_inet_interfaces", subject.client)


async def permit_mx_backup(decision: Decision) -> Outcome:
    """The recipient's domain is ours, or names this host among its MX hosts, and not as the first.

    With permit_mx_backup_networks all its first MX hosts have to be there. An address that says where to go next
    (`user%elsewhere@domain`) needs allow_untrusted_routing.
    """
    recipient = decision.context.recipient
    if recipient is None or not recipient.domain:
        return Outcome.DUNNO
    if await permit_auth_destination(decision) is Outcome.OK:
        return Outcome.OK
    route = await decision.route(recipient)
    domain = to_ascii(without_final_dot(route.recipient.domain))
    if route.routed or not domain or not is_hostname(domain):
        return Outcome.DUNNO
    answer = await decision.environment.resolver.query(domain, "MX")
    if answer.status is not Lookup.FOUND or not await _is_backup(decision, answer.mx):
        return Outcome.DUNNO
    return await decision.permit("permit_mx_backup", subject.recipient)


async def _is_backup(decision: Decision, exchangers: Sequence[MX]) -> bool:
    best = min((one.preference for one in exchangers), default=0)
    first = [one for one in exchangers if one.preference == best]
    if await _has_own(decision, first) or not await _has_own(decision, exchangers):
        return False
    networks = decision.environment.backup_networks
    if networks is None:
        return True
    addresses = [address for one in first for address in await _addresses(decision, one)]
    try:
        return bool(addresses) and all([await networks.matches(address) for address in addresses])
    except TableError as error:
        raise LookupFailed(str(decision.context.recipient), error) from error


async def _has_own(decision: Decision, exchangers: Sequence[MX]) -> bool:
    own = frozenset(decision.environment.own_addresses)
    for one in exchangers:
        if not own.isdisjoint(await _addresses(decision, one)):
            return True
    return False


async def _addresses(decision: Decision, exchanger: MX) -> Sequence[str]:
    """Where one cannot be found now, the mail has to wait: it may be ours to take or not."""
    resolver = decision.environment.resolver
    answers = [await resolver.query(exchanger.host, rdtype) for rdtype in ("A", "AAAA")]
    if all(one.status is not Lookup.FOUND for one in answers) and Lookup.TRY_AGAIN in [one.status for one in answers]:
        refusal = Refusal(450, "4.4.4", f"Unable to look up host {exchanger.host} as mail exchanger")
        decision.defer_unless_rejected("defer_if_permit", refusal)
    return [value for one in answers for value in one.values]
