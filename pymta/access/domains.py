"""Restrictions about names in HELO, MAIL and RCPT: their form, and whether DNS knows them."""

from __future__ import annotations

from pymta.access import subject
from pymta.access.decision import Decision, Outcome, Refusal
from pymta.access.names import (
    is_address_literal,
    is_hostname,
    is_ip_address,
    is_qualified,
    to_ascii,
    without_final_dot,
)
from pymta.access.subject import Kind, Subject
from pymta.model.address import Address
from pymta.model.dns import WITHHELD, Answer, Lookup
from pymta.model.route import AddressClass

_FINAL = frozenset({AddressClass.LOCAL, AddressClass.VIRTUAL_ALIAS, AddressClass.VIRTUAL_MAILBOX})


# --- HELO ---


async def reject_invalid_helo_hostname(decision: Decision) -> Outcome:
    name = decision.context.helo_name
    if name is None:
        return Outcome.DUNNO
    if name.startswith("["):
        return _check_literal(decision, name)
    bare = without_final_dot(name)
    if is_hostname(bare) or is_ip_address(bare):
        return Outcome.DUNNO
    text = subject.helo(decision.context).rejected("Invalid name")
    return decision.reject(decision.settings.invalid_hostname_reject_code, "5.5.2", text)


async def reject_non_fqdn_helo_hostname(decision: Decision) -> Outcome:
    name = decision.context.helo_name
    if name is None:
        return Outcome.DUNNO
    if name.startswith("["):
        return _check_literal(decision, name)
    if is_qualified(without_final_dot(name)):
        return Outcome.DUNNO
    text = subject.helo(decision.context).rejected("need fully-qualified hostname")
    return decision.reject(decision.settings.non_fqdn_reject_code, "5.5.2", text)


async def reject_unknown_helo_hostname(decision: Decision) -> Outcome:
    """A name with neither address nor MX."""
    name = decision.context.helo_name
    if name is None:
        return Outcome.DUNNO
    if name.startswith("["):
        return _check_literal(decision, name)
    found = await _find(decision, name, ("A", "AAAA", "MX"))
    if found.status is Lookup.FOUND or _is_withheld(decision, found, f"{name}: address or MX lookup error"):
        return Outcome.DUNNO
    text = subject.helo(decision.context).rejected("Host not found")
    if found.status is Lookup.TRY_AGAIN:
        action = decision.settings.unknown_helo_hostname_tempfail_action
        return decision.defer_unless_rejected(action, Refusal(450, "4.7.1", text))
    return decision.reject(decision.settings.unknown_hostname_reject_code, "4.7.1", text)


def _check_literal(decision: Decision, name: str) -> Outcome:
    if is_address_literal(name):
        return Outcome.DUNNO
    text = subject.helo(decision.context).rejected("invalid ip address")
    return decision.reject(decision.settings.invalid_hostname_reject_code, "5.5.2", text)


# --- addresses ---


async def reject_non_fqdn_sender(decision: Decision) -> Outcome:
    return _check_qualified(decision, decision.context.sender, subject.sender(decision.context))


async def reject_non_fqdn_recipient(decision: Decision) -> Outcome:
    return _check_qualified(decision, decision.context.recipient, subject.recipient(decision.context))


def _check_qualified(decision: Decision, address: Address | None, about: Subject) -> Outcome:
    if not address or address.domain.startswith("["):
        return Outcome.DUNNO
    domain = to_ascii(without_final_dot(address.domain))
    if domain and is_qualified(domain):
        return Outcome.DUNNO
    text = about.rejected("need fully-qualified address")
    return decision.reject(decision.settings.non_fqdn_reject_code, "4.5.2", text)


async def reject_unknown_sender_domain(decision: Decision) -> Outcome:
    return await _check_domain(decision, decision.context.sender, subject.sender(decision.context))


async def reject_unknown_recipient_domain(decision: Decision) -> Outcome:
    return await _check_domain(decision, decision.context.recipient, subject.recipient(decision.context))


async def _check_domain(decision: Decision, address: Address | None, about: Subject) -> Outcome:
    """Refuse a domain that is not ours and has neither MX nor address, or a null MX (RFC 7505)."""
    if not address:
        return Outcome.DUNNO
    route = await decision.route(address)
    domain = route.recipient.domain
    if not domain or domain.startswith("[") or route.address_class in _FINAL:
        return Outcome.DUNNO
    found = await _query(decision, domain, "MX")
    if found.status is Lookup.FOUND:
        return _null_mx(decision, about, domain) if _is_null_mx(found) else Outcome.DUNNO
    if found.status is not Lookup.TRY_AGAIN:
        found = await _find(decision, domain, ("A", "AAAA"))
    if found.status is Lookup.FOUND or _is_withheld(decision, found, f"{domain}: MX or address lookup error"):
        return Outcome.DUNNO
    enhanced = "4.1.8" if about.kind is Kind.SENDER else "4.1.2"
    text = about.rejected("Domain not found")
    if found.status is Lookup.TRY_AGAIN:
        action = decision.settings.unknown_address_tempfail_action
        return decision.defer_unless_rejected(action, Refusal(450, enhanced, text))
    return decision.reject(decision.settings.unknown_address_reject_code, enhanced, text)


def _is_null_mx(answer: Answer) -> bool:
    return len(answer.mx) == 1 and answer.mx[0].host in ("", ".")


def _null_mx(decision: Decision, about: Subject, domain: str) -> Outcome:
    code, status = (550, "5.7.27") if about.kind is Kind.SENDER else (556, "5.1.10")
    return decision.reject(code, status, about.rejected(f"Domain {domain} does not accept mail (nullMX)"))


async def _find(decision: Decision, name: str, types: tuple[str, ...]) -> Answer:
    """FOUND where any type has a record; TRY_AGAIN only where none has and one could not be asked."""
    worst = Answer(Lookup.NOT_FOUND)
    for rdtype in types:
        answer = await _query(decision, name, rdtype)
        if answer.status is Lookup.FOUND:
            return answer
        if answer.status is Lookup.TRY_AGAIN:
            worst = answer
    return worst


def _is_withheld(decision: Decision, answer: Answer, what: str) -> bool:
    """What smtpd_dns_reply_filter hides is there; the log says so."""
    if answer.withheld:
        decision.environment.log.warning(f"{what}: {WITHHELD}")
    return answer.withheld


async def _query(decision: Decision, name: str, rdtype: str) -> Answer:
    ascii_name = to_ascii(without_final_dot(name))
    if ascii_name is None or not is_hostname(ascii_name):
        return Answer(Lookup.NOT_FOUND, reason="malformed name")
    return await decision.environment.resolver.query(ascii_name, rdtype)
