"""The doctor on names: this host's own, its addresses' and the domain's MX."""

from __future__ import annotations

from pymta.cli.doctor_report import Finding, ok, problem, unknown, warning
from pymta.cli.doctor_subject import Subject, is_address, same_address
from pymta.model.dns import Lookup

_LOCAL = (".local", ".localdomain", ".lan", ".internal", ".home", ".invalid", ".test")


async def check_hostname(subject: Subject) -> list[Finding]:
    """The name of HELO is fully qualified and resolves to this host (RFC 5321 4.1.1.1)."""
    name, topic = subject.hostname, "hostname"
    if "." not in name or name.startswith("localhost.") or name.endswith(_LOCAL):
        why = "it is what we say in HELO; receivers refuse a name that does not exist for them"
        return [
            problem(
                topic, f"{name} is not a fully qualified name", why, f"pymta-conf -e myhostname=mail.{subject.domain}"
            )
        ]
    found, known = await subject.addresses_of(name)
    if not found:
        if not known:
            return [unknown(topic, f"DNS gives no answer for {name} now")]
        records = _address_records(name, subject) or f"{name}. IN A <the address of this host>"
        return [problem(topic, f"{name} has no address", "receivers look up the name that we say in HELO", records)]
    if not subject.addresses:
        return [
            unknown(topic, f"{name} is {', '.join(found)}; this host has no public address of its own", _NAT, _NAT_FIX)
        ]
    if not any(same_address(one, other) for one in found for other in subject.addresses):
        shown = f"{name} is {', '.join(found)}, this host is {', '.join(subject.addresses)}"
        return [problem(topic, shown, "name and address have to belong together", _address_records(name, subject))]
    return [ok(topic, f"{name} is {', '.join(found)}")]


_NAT = "behind a router, checks of addresses need to know the one that the world sees"
_NAT_FIX = "pymta-doctor --address ADDRESS, or pymta-conf -e proxy_interfaces=ADDRESS"


def _address_records(name: str, subject: Subject) -> str:
    return "\n".join(f"{name}. IN {'AAAA' if ':' in one else 'A'} {one}" for one in subject.addresses)


async def check_reverse(subject: Subject) -> list[Finding]:
    """Each outgoing address has a PTR whose name leads back to it (RFC 1912 2.1); it had better be myhostname."""
    return [await _check_address(subject, address) for address in subject.addresses]


async def _check_address(subject: Subject, address: str) -> Finding:
    topic = f"PTR of {address}"
    fix = f"ask the provider of {address} for the PTR {subject.hostname}."
    answer = await subject.resolver.query(address, "PTR")
    if answer.status is Lookup.TRY_AGAIN:
        return unknown(topic, "DNS gives no answer now")
    if answer.status is not Lookup.FOUND:
        why = 'receivers answer "450 4.7.1 Client host rejected: cannot find your hostname"'
        return problem(topic, "there is none", why, fix)
    for name in answer.values:
        found, known = await subject.addresses_of(name)
        if any(same_address(one, address) for one in found):
            if name.lower() == subject.hostname.lower():
                return ok(topic, name)
            return warning(
                topic, f"{name}, while HELO says {subject.hostname}", "some receivers want them to be equal", fix
            )
        if not known:
            return unknown(topic, f"{name}, for which DNS gives no answer now")
    why = "a name that does not lead back counts as none"
    return problem(topic, f"{', '.join(answer.values)}, which has another address", why, fix)


async def check_mx(subject: Subject) -> list[Finding]:
    """MX names hosts that have addresses, neither addresses nor aliases (RFC 5321 5.1, RFC 2181 10.3)."""
    domain, fix = subject.domain, f"{subject.domain}. IN MX 10 {subject.hostname}."
    answer = await subject.resolver.query(domain, "MX")
    if answer.status is Lookup.TRY_AGAIN:
        return [unknown("MX", "DNS gives no answer now")]
    if answer.status is Lookup.NOT_FOUND:
        return [problem("MX", f"the domain {domain} does not exist", "nobody can answer its mail", fix)]
    if not answer.mx:
        why = "mail goes to the domain's own address then, which many senders no longer do"
        return [problem("MX", "there is none", why, fix)]
    if any(not record.host for record in answer.mx):
        return [warning("MX", "the null MX says that the domain takes no mail (RFC 7505)", "no answer can arrive", fix)]
    findings = [
        await _check_exchanger(subject, record.host, fix)
        for record in sorted(answer.mx, key=lambda one: one.preference)
    ]
    if not any(record.host.lower() == subject.hostname.lower() for record in answer.mx):
        names = ", ".join(record.host for record in answer.mx)
        findings.append(
            warning("MX", f"{subject.hostname} is not among {names}", "mail for the domain arrives elsewhere")
        )
    return findings


async def _check_exchanger(subject: Subject, host: str, fix: str) -> Finding:
    topic = f"MX {host}"
    if is_address(host):
        return problem(
            topic, "this is an address, an MX has to name a host", "senders look for a host of that name", fix
        )
    alias = await subject.resolver.query(host, "CNAME")
    if alias.status is Lookup.FOUND:
        why = "an MX may not be an alias (RFC 2181 10.3); some senders refuse it"
        return problem(topic, f"an alias of {alias.values[0]}", why, f"{subject.domain}. IN MX 10 {alias.values[0]}.")
    found, known = await subject.addresses_of(host)
    if found:
        if host.lower() == subject.domain.lower():
            why = "the domain's address is often that of its web site, and moves with it"
            return warning(topic, "the domain itself", why, fix)
        return ok(topic, ", ".join(found))
    if not known:
        return unknown(topic, "DNS gives no answer for its address now")
    return problem(topic, "it has no address", "mail cannot be delivered to it", _address_records(host, subject))
