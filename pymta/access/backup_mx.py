"""permit_inet_interfaces and permit_mx_backup: what belongs to this host's own addresses (postconf(5))."""

from __future__ import annotations

import ipaddress
from collections.abc import Sequence

from pymta.access import subject
from pymta.access.decision import Decision, LookupFailed, Outcome, Refusal
from pymta.access.destination import permit_auth_destination
from pymta.access.names import is_hostname, to_ascii, without_final_dot
from pymta.errors import TableError
from pymta.model.address import Address
from pymta.model.dns import MX, Answer, Lookup
from pymta.model.route import AddressClass

# What getaddrinfo(3) says, whom Postfix asks where a host is (gai_strerror(3)).
_NO_ADDRESS = {
    Lookup.TRY_AGAIN: "Temporary failure in name resolution",
    Lookup.NO_DATA: "No address associated with hostname",
    Lookup.NOT_FOUND: "Name or service not known",
}
# What DNS says, whom Postfix asks for addresses to compare with permit_mx_backup_networks.
_NO_RECORD = {
    Lookup.TRY_AGAIN: "Host not found, try again",
    Lookup.NO_DATA: "Host found but no data record of requested type",
    Lookup.NOT_FOUND: "Host not found",
}


async def permit_inet_interfaces(decision: Decision) -> Outcome:
    if decision.context.client.address not in decision.environment.own_addresses:
        return Outcome.DUNNO
    return await decision.permit("permit_inet_interfaces", subject.client)


async def permit_mx_backup(decision: Decision) -> Outcome:
    """The recipient's domain is ours, or names this host among its MX hosts, and not as the first.

    With permit_mx_backup_networks all its first MX hosts have to be there. An address that says where to go next
    (`user%elsewhere@domain`) needs allow_untrusted_routing. Where a host cannot be looked up, somebody else's refusal
    becomes a temporary one: the mail may be ours to take.
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
    environment = decision.environment
    answer = await (environment.query_any or environment.resolver.query)(domain, "MX")
    if answer.status is Lookup.TRY_AGAIN:
        return _defer(decision, f"Unable to look up mail exchanger information: {_NO_RECORD[answer.status]}")
    if answer.status is not Lookup.FOUND or not await _is_backup(decision, answer.mx):
        return Outcome.DUNNO
    return await decision.permit("permit_mx_backup", subject.recipient)


async def _is_backup(decision: Decision, exchangers: Sequence[MX]) -> bool:
    if any(not one.host for one in exchangers):
        # A null MX (RFC 7505): nobody takes mail for that domain.
        return False
    best = min((one.preference for one in exchangers), default=0)
    first = [one.host for one in exchangers if one.preference == best]
    others = [one.host for one in sorted(exchangers, key=lambda one: one.preference) if one.preference != best]
    if await _has_own(decision, first) or not await _has_own(decision, others):
        return False
    return decision.environment.backup_networks is None or await _are_in_networks(decision, first)


async def _has_own(decision: Decision, hosts: Sequence[str]) -> bool:
    """Whether we are one of them: a name may say so, and that costs nothing; addresses have to be looked up."""
    for host in hosts:
        if await _is_local_name(decision, host):
            return True
    own = frozenset(decision.environment.own_addresses)
    for host in hosts:
        found, status = await _addresses(decision, host)
        if not own.isdisjoint(found):
            return True
        if not found:
            _defer(decision, f"Unable to look up mail exchanger host {host}: {_NO_ADDRESS[status]}")
    return False


async def _is_local_name(decision: Decision, host: str) -> bool:
    route = await decision.route(Address("postmaster", host))
    return route.address_class is AddressClass.LOCAL and not _is_address(host)


async def _are_in_networks(decision: Decision, hosts: Sequence[str]) -> bool:
    """Whether all addresses of `hosts` are in permit_mx_backup_networks."""
    networks = decision.environment.backup_networks
    assert networks is not None
    for host in hosts:
        found, status = ([], Lookup.NOT_FOUND) if _is_address(host) else await _addresses(decision, host)
        if not found:
            _defer(decision, f"Unable to look up host {host} as mail exchanger: {_NO_RECORD[status]}")
            return False
        try:
            if not all([await networks.matches(address) for address in found]):
                return False
        except TableError as error:
            raise LookupFailed(str(decision.context.recipient), error) from error
    return True


async def _addresses(decision: Decision, host: str) -> tuple[list[str], Lookup]:
    """The addresses of `host`, and why there are none."""
    if _is_address(host):
        return [host], Lookup.FOUND
    query = decision.environment.resolver.query
    answers: list[Answer] = [await query(host, rdtype) for rdtype in ("A", "AAAA")]
    statuses = {one.status for one in answers}
    why = next((one for one in (Lookup.TRY_AGAIN, Lookup.NO_DATA) if one in statuses), Lookup.NOT_FOUND)
    return [value for one in answers for value in one.values], why


def _is_address(host: str) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True


def _defer(decision: Decision, text: str) -> Outcome:
    return decision.defer_unless_permitted(Refusal(450, "4.4.4", decision.subject.rejected(text)))
