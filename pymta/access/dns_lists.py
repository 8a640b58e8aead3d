"""DNS lists of clients and domains: reject_rbl_client, reject_rhsbl_*, permit_dnswl_client, permit_rhswl_client.

A list is asked for the reversed address, or for the name, below its own name; an A record says that it is listed,
a TXT record why (RFC 5782).
"""

from __future__ import annotations

import ipaddress
from collections.abc import Callable
from typing import NamedTuple

from pymta.access import subject
from pymta.access.actions import RunList
from pymta.access.decision import Decision, LookupFailed, Outcome, Refusal
from pymta.access.destination import permit_auth_destination
from pymta.access.dns_list_filter import AddressFilter, parse_filter
from pymta.access.dns_list_reply import Listing, reply_to
from pymta.access.names import is_hostname, to_ascii, without_final_dot
from pymta.access.parse import Words
from pymta.access.rules import Rule
from pymta.access.subject import Kind
from pymta.errors import TableError
from pymta.model.access import AccessContext
from pymta.model.dns import WITHHELD, Lookup

_UNKNOWN = "unknown"


class DnsList(NamedTuple):
    """`text` is how the restriction list names it, `domain=filter`; answers that `matches` does not know are none."""

    text: str
    domain: str
    matches: AddressFilter | None


class _Asked(NamedTuple):
    """What a list is asked for: `label` stands before its domain, replies show `shown` (`rbl_what`)."""

    label: str
    shown: str
    kind: Kind


Asked = Callable[[AccessContext], _Asked | None]


# --- what is asked for; None where there is nothing to ask ---


def _client_address(context: AccessContext) -> _Asked | None:
    address = ipaddress.ip_address(context.client.address)
    reversed_name = address.reverse_pointer.removesuffix(".in-addr.arpa").removesuffix(".ip6.arpa")
    return _Asked(reversed_name, context.client.address, Kind.CLIENT)


def _client_name(context: AccessContext) -> _Asked | None:
    return _name(context.client.name, context.client.name, Kind.CLIENT)


def _reverse_client_name(context: AccessContext) -> _Asked | None:
    return _name(context.client.reverse_name, context.client.reverse_name, Kind.REVERSE_CLIENT)


def _helo_name(context: AccessContext) -> _Asked | None:
    return _name(context.helo_name, context.helo_name or "", Kind.HELO)


def _sender_domain(context: AccessContext) -> _Asked | None:
    return _name(context.sender.domain, str(context.sender), Kind.SENDER) if context.sender else None


def _recipient_domain(context: AccessContext) -> _Asked | None:
    recipient = context.recipient
    return _name(recipient.domain, str(recipient), Kind.RECIPIENT) if recipient else None


def _name(name: str | None, shown: str, kind: Kind) -> _Asked | None:
    ascii_name = to_ascii(without_final_dot(name)) if name and name != _UNKNOWN else None
    return _Asked(ascii_name, shown, kind) if ascii_name and is_hostname(ascii_name) else None


# --- restrictions ---


class RejectListed:
    """reject_rbl_client and reject_rhsbl_*: what cannot be looked up is not listed."""

    def __init__(self, dns_list: DnsList, asked: Asked) -> None:
        self._list = dns_list
        self._asked = asked

    async def __call__(self, decision: Decision) -> Outcome:
        asked = self._asked(decision.context)
        if asked is None or await _is_listed(decision, self._list, asked.label) is not Lookup.FOUND:
            return Outcome.DUNNO
        reason = await _reason(decision, f"{asked.label}.{self._list.domain}")
        listing = Listing(self._list.domain, asked.kind, asked.shown, reason)
        return decision.reject(*reply_to(decision, listing, await self._template(decision)))

    async def _template(self, decision: Decision) -> str:
        replies = decision.environment.rbl_replies
        try:
            found = await replies.find(self._list.text) if replies else None
        except TableError as error:
            raise LookupFailed(self._list.text, error) from error
        return found or decision.settings.default_rbl_reply


class PermitListed:
    """permit_dnswl_client and permit_rhswl_client; they never let a stranger relay (postconf(5))."""

    def __init__(self, dns_list: DnsList, asked: Asked) -> None:
        self._list = dns_list
        self._asked = asked

    async def __call__(self, decision: Decision) -> Outcome:
        asked = self._asked(decision.context)
        if asked is None or not await _may_permit(decision):
            return Outcome.DUNNO
        status = await _is_listed(decision, self._list, asked.label)
        if status is Lookup.FOUND:
            return await decision.permit(self._list.text, subject.client)
        if status is Lookup.TRY_AGAIN:
            # Nobody is refused for good because a list could not be asked.
            text = subject.Subject(asked.shown, asked.kind).rejected("Service unavailable")
            return decision.defer_unless_permitted(Refusal(450, "4.7.1", text))
        return Outcome.DUNNO


async def _may_permit(decision: Decision) -> bool:
    if decision.context.recipient is None:
        return True
    # The answer matters, its line in the log does not.
    lines = len(decision.lines)
    outcome = await permit_auth_destination(decision)
    del decision.lines[lines:]
    return outcome is Outcome.OK


async def _is_listed(decision: Decision, dns_list: DnsList, label: str) -> Lookup:
    name = f"{label}.{dns_list.domain}"
    if not is_hostname(name):
        return Lookup.NOT_FOUND
    answer = await decision.environment.resolver.query(name, "A")
    if answer.status is Lookup.TRY_AGAIN:
        decision.environment.log.warning(f"{name}: RBL lookup error: {answer.reason}")
    if answer.status is Lookup.FOUND and dns_list.matches and not any(map(dns_list.matches, answer.values)):
        return Lookup.NOT_FOUND
    return answer.status


async def _reason(decision: Decision, name: str) -> str:
    answer = await decision.environment.resolver.query(name, "TXT")
    if answer.withheld:
        decision.environment.log.warning(f"{name}: TXT lookup error: {WITHHELD}")
    return " / ".join(answer.values) if answer.status is Lookup.FOUND else ""


# --- builders ---


def _take_list(restriction: str, words: Words) -> DnsList:
    if not words:
        raise words.error(f"restriction {restriction} requires domain name argument")
    text = words.take()
    domain, sign, allowed = text.partition("=")
    domain = without_final_dot(domain)
    if not is_hostname(domain):
        raise words.error(f'restriction {restriction}: "{domain}" is not a domain name')
    try:
        return DnsList(text, domain, parse_filter(allowed) if sign else None)
    except ValueError as error:
        raise words.error(f'restriction {restriction}: bad filter "{allowed}": {error}') from None


def _rejecting(asked: Asked) -> Callable[[str, Words, RunList], Rule]:
    return lambda restriction, words, _: RejectListed(_take_list(restriction, words), asked)


def _permitting(asked: Asked) -> Callable[[str, Words, RunList], Rule]:
    return lambda restriction, words, _: PermitListed(_take_list(restriction, words), asked)


BUILDERS = {
    "reject_rbl": _rejecting(_client_address),
    "reject_rbl_client": _rejecting(_client_address),
    "reject_rhsbl_client": _rejecting(_client_name),
    "reject_rhsbl_reverse_client": _rejecting(_reverse_client_name),
    "reject_rhsbl_helo": _rejecting(_helo_name),
    "reject_rhsbl_sender": _rejecting(_sender_domain),
    "reject_rhsbl_recipient": _rejecting(_recipient_domain),
    "permit_dnswl_client": _permitting(_client_address),
    "permit_rhswl_client": _permitting(_client_name),
}
