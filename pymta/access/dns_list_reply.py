"""What a listed client is told: the templates of default_rbl_reply and rbl_reply_maps (postconf(5))."""

from __future__ import annotations

import re
from functools import cache
from typing import NamedTuple

from pymta.access.decision import Decision, Refusal
from pymta.access.subject import Kind
from pymta.config.macros import MacroError, expand
from pymta.model.address import Address
from pymta.model.reply import split_status

_ESCAPE = re.compile(r"\\([abfnrtv\\]|[0-7]{1,3})")
_ESCAPES = {"a": "\a", "b": "\b", "f": "\f", "n": "\n", "r": "\r", "t": "\t", "v": "\v", "\\": "\\"}
_FALLBACK = Refusal(450, "4.7.1", "Service unavailable")


class Listing(NamedTuple):
    """What is listed, where, and what the list says of the cause."""

    domain: str
    kind: Kind
    what: str
    reason: str


def reply_to(decision: Decision, listing: Listing, template: str) -> Refusal:
    """The filled-in template; one that is no SMTP reply is a warning, and 450 for the client."""
    values = _values(decision, listing)
    allowed = _characters(decision.settings.smtpd_expansion_filter)

    def value(name: str) -> str:
        return "".join(char if char in allowed else "_" for char in values.get(name, ""))

    try:
        text = expand(template, value)
    except MacroError as error:
        decision.environment.log.warning(f"rbl response template: {error}")
        return _FALLBACK
    code = text[:3]
    if not (code.isdecimal() and code[0] in "45" and text[3:4] in ("", " ")):
        decision.environment.log.warning(f"rbl response code configuration error: {text}")
        return _FALLBACK
    status, said = split_status(text[4:].strip())
    return Refusal(int(code), status or f"{code[0]}.7.1", said)


@cache
def _characters(text: str) -> frozenset[str]:
    """smtpd_expansion_filter: characters, some of them as in C (`\\t`, `\\40`)."""
    return frozenset(_ESCAPE.sub(lambda match: _ESCAPES.get(match[1]) or chr(int(match[1], 8)), text))


def _values(decision: Decision, listing: Listing) -> dict[str, str]:
    context, client = decision.context, decision.context.client
    sender, recipient = context.sender, context.recipient
    return {
        "client": str(client),
        "client_address": client.address,
        "client_name": client.name,
        "reverse_client_name": client.reverse_name,
        "helo_name": context.helo_name or "",
        "rbl_class": listing.kind.value,
        "rbl_code": str(decision.settings.maps_rbl_reject_code),
        "rbl_domain": listing.domain,
        "rbl_reason": listing.reason,
        "rbl_txt": listing.reason,
        "rbl_what": listing.what,
        **_address_values("recipient", recipient),
        **_address_values("sender", sender),
    }


def _address_values(role: str, address: Address | None) -> dict[str, str]:
    if address is None:
        return {}
    if address.is_null:
        return {role: "<>", f"{role}_name": "<>"}
    return {role: str(address), f"{role}_name": address.local_part, f"{role}_domain": address.domain}
