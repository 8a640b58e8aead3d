"""Answers without records, in the words that Postfix logs and bounces with (dns_lookup(3))."""

from __future__ import annotations

from pymta.model.dns import Answer, Lookup

_CAUSES = {
    Lookup.NOT_FOUND: "Host not found",
    Lookup.NO_DATA: "Host found but no data record of requested type",
    Lookup.TRY_AGAIN: "Host not found, try again",
}


def no_records(name: str, rdtype: str, status: Lookup, ttl: float = 0.0, secure: bool = False) -> Answer:
    """NXDOMAIN, no data, or no answer from any server."""
    reason = f"Host or domain name not found. Name service error for name={name} type={rdtype}: {_CAUSES[status]}"
    return Answer(status, ttl=ttl, secure=secure, reason=reason)


def malformed(name: str, rdtype: str) -> Answer:
    """A server answered with something that cannot be used; another one may do better later."""
    reason = f"Name service error for name={name} type={rdtype}: Malformed or unexpected name server reply"
    return Answer(Lookup.TRY_AGAIN, reason=reason)


def invalid_name(name: str) -> Answer:
    """What was asked for is not a domain name."""
    return Answer(Lookup.NOT_FOUND, reason=f"Name service error for {name}: invalid host or domain name")


def alias_loop(name: str) -> Answer:
    """The name is an alias that never ends."""
    return Answer(Lookup.NOT_FOUND, reason=f"Name server loop for {name}")
