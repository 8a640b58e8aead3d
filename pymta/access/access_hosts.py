"""check_*_a_access, check_*_mx_access, check_*_ns_access: a table is asked for the hosts behind a name (postconf(5)).

Whoever owns a domain decides what its records say, so an OK from the table is an error of its author.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence

from pymta.access import subject
from pymta.access.access_maps import AccessCheck, Check, address_keys, domain_keys
from pymta.access.decision import Decision, Outcome
from pymta.access.names import is_address_literal, is_hostname, is_ip_address, to_ascii, without_final_dot
from pymta.access.subject import Kind, Subject
from pymta.model.access import AccessContext
from pymta.model.dns import Answer, Lookup

_UNKNOWN = "unknown"
_SERVER_LIMIT = 100

Servers = Callable[[Decision, str, Subject], Awaitable[Sequence[str]]]
Named = Callable[[AccessContext], tuple[str, Subject] | None]


# --- whose hosts: a domain and what replies call it, None where there is none ---


def _client(context: AccessContext) -> tuple[str, Subject] | None:
    name = context.client.name
    return None if name == _UNKNOWN else (name, Subject(name, Kind.CLIENT))


def _reverse_client(context: AccessContext) -> tuple[str, Subject] | None:
    name = context.client.reverse_name
    return None if name == _UNKNOWN else (name, Subject(name, Kind.REVERSE_CLIENT))


def _helo(context: AccessContext) -> tuple[str, Subject] | None:
    return (context.helo_name, subject.helo(context)) if context.helo_name else None


def _sender(context: AccessContext) -> tuple[str, Subject] | None:
    sender = context.sender
    return (sender.domain, subject.sender(context)) if sender and sender.domain else None


def _recipient(context: AccessContext) -> tuple[str, Subject] | None:
    recipient = context.recipient
    return (recipient.domain, subject.recipient(context)) if recipient and recipient.domain else None


# --- which hosts ---


async def _exchangers(decision: Decision, domain: str, about: Subject) -> Sequence[str]:
    """A domain without MX is its own; addresses in their place count, as that is what such tables look for."""
    answer = await _query(decision, domain, "MX")
    if answer.status in (Lookup.NO_DATA, Lookup.NOT_FOUND):
        return (domain,)
    if answer.status is Lookup.TRY_AGAIN:
        _warn(decision, f"MX host for {domain}", "Host not found, try again")
    return [mx.host for mx in answer.mx]


async def _name_servers(decision: Decision, domain: str, about: Subject) -> Sequence[str]:
    """Those of the closest enclosing domain that has any."""
    while True:
        answer = await _query(decision, domain, "NS")
        if answer.status is Lookup.FOUND:
            return answer.values
        parent = domain.partition(".")[2]
        if answer.status is Lookup.TRY_AGAIN or not parent:
            again = answer.status is Lookup.TRY_AGAIN
            shown, why = (domain, "Host not found, try again") if again else (about.name, "Host not found")
            _warn(decision, f"NS host for {shown}", why)
            return ()
        domain = parent


async def _query(decision: Decision, domain: str, rdtype: str) -> Answer:
    ascii_name = to_ascii(without_final_dot(domain))
    if ascii_name is None or not is_hostname(ascii_name):
        return Answer(Lookup.NOT_FOUND)
    environment = decision.environment
    query = environment.query_any or environment.resolver.query
    return await query(ascii_name, rdtype)


def _warn(decision: Decision, what: str, why: str) -> None:
    decision.environment.log.warning(f"Unable to look up {what}: {why}")


# --- checks ---


def _checking(named: Named, record: str) -> Check:
    async def check(access: AccessCheck, decision: Decision) -> Outcome:
        found = named(decision.context)
        if found is None:
            return Outcome.DUNNO
        domain, about = found
        outcome = await _LOOKUPS[record](access, decision, domain, about)
        if outcome is not Outcome.OK or decision.is_discarded:
            return outcome or Outcome.DUNNO
        return access.refuses_ok(decision, about.name)

    return check


async def _check_address(access: AccessCheck, decision: Decision, domain: str, about: Subject) -> Outcome | None:
    """The addresses of the name itself; that it has none is nothing to speak of."""
    if domain.startswith("["):
        return await _check_literal(access, decision, domain, about)
    addresses, _ = await _addresses(decision, domain)
    return await _check_addresses(access, decision, addresses, about)


async def _check_exchangers(access: AccessCheck, decision: Decision, domain: str, about: Subject) -> Outcome | None:
    if domain.startswith("["):
        return await _check_literal(access, decision, domain, about)
    hosts = await _exchangers(decision, domain, about)
    return await _check_hosts(access, decision, hosts, "MX", about)


async def _check_name_servers(access: AccessCheck, decision: Decision, domain: str, about: Subject) -> Outcome | None:
    if domain.startswith("["):
        return None
    return await _check_hosts(access, decision, await _name_servers(decision, domain, about), "NS", about)


_LOOKUPS = {"a": _check_address, "mx": _check_exchangers, "ns": _check_name_servers}


async def _check_literal(access: AccessCheck, decision: Decision, literal: str, about: Subject) -> Outcome | None:
    if not is_address_literal(literal):
        return None
    address = literal[1:-1]
    address = address[5:] if address[:5].lower() == "ipv6:" else address
    return await _check_addresses(access, decision, (address,), about)


async def _check_hosts(
    access: AccessCheck, decision: Decision, hosts: Sequence[str], record: str, about: Subject
) -> Outcome | None:
    """Each host by its name, then by its addresses; the first result of the table counts."""
    for host in filter(None, hosts[:_SERVER_LIMIT]):
        outcome = await access.act(decision, domain_keys(decision, host), about)
        if outcome is not None:
            return outcome
        addresses, why = await _addresses(decision, host)
        if why:
            _warn(decision, f"{record} host {host} for {about.kind.value} {about.name}", why)
        outcome = await _check_addresses(access, decision, addresses, about)
        if outcome is not None:
            return outcome
    return None


async def _check_addresses(
    access: AccessCheck, decision: Decision, addresses: Sequence[str], about: Subject
) -> Outcome | None:
    for address in addresses:
        outcome = await access.act(decision, address_keys(address), about)
        if outcome is not None:
            return outcome
    return None


async def _addresses(decision: Decision, host: str) -> tuple[tuple[str, ...], str]:
    """The addresses of both families, or why there are none."""
    if is_ip_address(host):
        return (host,), ""
    v4, v6 = await _query(decision, host, "A"), await _query(decision, host, "AAAA")
    found = (*v4.values, *v6.values)
    if found:
        return found, ""
    again = Lookup.TRY_AGAIN in (v4.status, v6.status)
    return (), "Temporary failure in name resolution" if again else "Name or service not known"


CHECKS = {
    f"check_{who}_{record}_access": _checking(named, record)
    for who, named in (
        ("client", _client),
        ("reverse_client_hostname", _reverse_client),
        ("helo", _helo),
        ("sender", _sender),
        ("recipient", _recipient),
    )
    for record in ("a", "mx", "ns")
}
