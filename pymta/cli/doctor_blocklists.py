"""The doctor on DNS blocklists (RFC 5782)."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from ipaddress import ip_address

from pymta.cli.doctor_report import Finding, ok, problem, unknown
from pymta.cli.doctor_subject import Subject
from pymta.model.dns import Lookup

_REFUSED = "127.255.255."


def query_name(address: str, zone: str) -> str:
    """`192.0.2.99` at `bl.example` -> `99.2.0.192.bl.example`."""
    pointer = ip_address(address).reverse_pointer
    return f"{pointer.removesuffix('.in-addr.arpa').removesuffix('.ip6.arpa')}.{zone}"


async def check_blocklists(subject: Subject, zones: Sequence[str]) -> list[Finding]:
    """Whether the addresses of this host are listed, one line for each list that has something to say."""
    pairs = [(address, zone) for address in subject.addresses for zone in zones]
    found = await asyncio.gather(*(_ask(subject, address, zone) for address, zone in pairs))
    trouble = [one for one in found if one is not None]
    if pairs and not any(one.topic.startswith("blocklist") and one.health.value == "problem" for one in trouble):
        clean = len(pairs) - len(trouble)
        return [ok("blocklists", f"not listed by {clean} of {len(pairs)} asked"), *trouble]
    return trouble


async def _ask(subject: Subject, address: str, zone: str) -> Finding | None:
    topic, name = f"blocklist {zone}", query_name(address, zone)
    answer = await subject.resolver.query(name, "A")
    if answer.status is Lookup.TRY_AGAIN:
        return unknown(topic, f"{address}: no answer")
    codes = [value for value in answer.values if value.startswith("127.")]
    if answer.status is not Lookup.FOUND or not codes:
        return None
    if codes[0].startswith(_REFUSED):
        why = "it does not answer through large public resolvers"
        return unknown(
            topic, f"{address}: the list refused the question ({codes[0]})", why, "use a resolver of your own"
        )
    text = await subject.texts(name)
    reason = text.values[0] if text.values else ", ".join(codes)
    return problem(
        topic,
        f"{address} is listed: {reason}",
        "receivers that use the list refuse our mail",
        f"find out why, stop it, then ask {zone} to remove {address}",
    )
