"""Whom to ask (docs/configuration.md, "DNS")."""

from __future__ import annotations

import ipaddress

from pymta.dns.resolver import DnsResolver
from pymta.errors import ConfigError
from pymta.model.frozen import frozen
from pymta.ports import Clock

_PORT = 53


@frozen
class DnsSettings:
    """Empty and 0 leave it to resolv.conf(5); `dns_timeout` is for one try, in seconds."""

    dns_nameservers: tuple[str, ...]
    dns_timeout: float
    dns_attempts: int


def make_resolver(settings: DnsSettings, clock: Clock) -> DnsResolver:
    """Raises ConfigError."""
    return DnsResolver(
        clock,
        [parse_server(text) for text in settings.dns_nameservers],
        timeout=settings.dns_timeout or None,
        attempts=settings.dns_attempts or None,
    )


def parse_server(text: str) -> tuple[str, int]:
    """`192.0.2.1`, `2001:db8::1`, `192.0.2.1:5353` or `[2001:db8::1]:5353`. Raises ConfigError."""
    address, port = text, str(_PORT)
    if text.startswith("["):
        address, _, rest = text[1:].partition("]")
        port = rest.removeprefix(":") or port
    elif text.count(":") == 1:
        address, _, port = text.partition(":")
    try:
        ipaddress.ip_address(address)
    except ValueError:
        raise ConfigError(f'found "{text}", expected ADDRESS or [ADDRESS]:PORT', name="dns_nameservers") from None
    if not port.isdecimal() or not 0 < int(port) < 65536:
        raise ConfigError(f'found "{text}", expected a port of 1 to 65535', name="dns_nameservers")
    return address, int(port)
