"""Who is on the other side: address, and the name that DNS proves (smtpd_peer in smtpd(8))."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from ipaddress import IPv6Address, ip_address
from typing import Any

from pymta.model.dns import Lookup
from pymta.model.envelope import Client
from pymta.ports import Resolver
from pymta.protocol.smtp.grammar import valid_domain

# The same clients come again and again, and parsing an address costs as much as a reply.
_parsed = lru_cache(maxsize=4096)(ip_address)

UNKNOWN = "unknown"
_OK, _CANNOT_KNOW, _NONE = 2, 4, 5


def client_from_socket(peer: Any, server: Any) -> Client:
    """The client before its name is looked up, from `getpeername()` and `getsockname()`.

    A client over a Unix socket is this host.
    """
    if not isinstance(peer, tuple):
        return Client(port=UNKNOWN)
    here = server if isinstance(server, tuple) else ("", "")
    return Client(
        address=plain_address(peer[0]),
        port=str(peer[1]),
        name=UNKNOWN,
        reverse_name=UNKNOWN,
        name_status=_NONE,
        reverse_name_status=_NONE,
        server_address=plain_address(here[0]) if here[0] else "",
        server_port=str(here[1]),
    )


@lru_cache(maxsize=4096)
def plain_address(text: str) -> str:
    """An address without scope; IPv4 mapped into IPv6 as IPv4."""
    address = ip_address(text.partition("%")[0])
    mapped = address.ipv4_mapped if isinstance(address, IPv6Address) else None
    return str(mapped or address)


async def look_up_name(client: Client, resolver: Resolver) -> Client:
    """`client` with the names that DNS has for it; a name counts only where it resolves back to the address."""
    answer = await resolver.query(client.address, "PTR")
    if answer.status is not Lookup.FOUND or not answer.values:
        status = _CANNOT_KNOW if answer.status is Lookup.TRY_AGAIN else _NONE
        return _named(client, UNKNOWN, status, UNKNOWN, status)
    reverse_name = answer.values[0].removesuffix(".")
    if not valid_domain(reverse_name) or reverse_name.startswith("["):
        return _named(client, UNKNOWN, _NONE, UNKNOWN, _NONE)
    forward = await resolver.query(reverse_name, "AAAA" if ":" in client.address else "A")
    if forward.status is Lookup.TRY_AGAIN:
        return _named(client, UNKNOWN, _CANNOT_KNOW, reverse_name, _OK)
    if forward.status is Lookup.FOUND and _has(forward.values, client.address):
        return _named(client, reverse_name, _OK, reverse_name, _OK)
    return _named(client, UNKNOWN, _NONE, reverse_name, _OK)


def _has(values: Sequence[str], text: str) -> bool:
    """Whether the address `text` is one of `values`, however these are spelled."""
    if text in values:
        return True
    address = _parsed(text)
    return any(_parsed(value) == address for value in values)


def _named(client: Client, name: str, status: int, reverse_name: str, reverse_status: int) -> Client:
    return Client(
        address=client.address,
        port=client.port,
        name=name,
        reverse_name=reverse_name,
        name_status=status,
        reverse_name_status=reverse_status,
        server_address=client.server_address,
        server_port=client.server_port,
    )
