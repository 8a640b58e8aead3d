"""What is examined: a domain, and this host as its mail server."""

from __future__ import annotations

from ipaddress import ip_address

from pymta.config import Config, Host
from pymta.model.dns import Answer, Lookup
from pymta.model.frozen import frozen
from pymta.ports import Resolver


@frozen
class Subject:
    """`addresses` are those under which the world sees this host; `config` is None where there is none to read."""

    domain: str
    hostname: str
    addresses: tuple[str, ...]
    resolver: Resolver
    config: Config | None = None

    async def addresses_of(self, name: str) -> tuple[list[str], bool]:
        """A and AAAA records, and whether all of them are known."""
        answers = [await self.resolver.query(name, rdtype) for rdtype in ("A", "AAAA")]
        found = [value for answer in answers if answer.status is Lookup.FOUND for value in answer.values]
        return found, all(answer.status is not Lookup.TRY_AGAIN for answer in answers)

    async def texts(self, name: str) -> Answer:
        return await self.resolver.query(name, "TXT")


def public_addresses(config: Config | None, host: Host) -> tuple[str, ...]:
    """Addresses of this host's interfaces and of proxies before it that can be reached from outside."""
    found = [str(interface.ip) for interface in host.interfaces()]
    if config is not None:
        found += [
            *config.items("proxy_interfaces"),
            *config.items("smtp_bind_address"),
            *config.items("smtp_bind_address6"),
        ]
    return tuple(dict.fromkeys(address for address in found if is_public(address)))


def is_public(text: str) -> bool:
    try:
        return ip_address(text.partition("%")[0]).is_global
    except ValueError:
        return False


def same_address(one: str, other: str) -> bool:
    try:
        return ip_address(one) == ip_address(other)
    except ValueError:
        return False


def is_address(text: str) -> bool:
    try:
        ip_address(text.strip("[]"))
    except ValueError:
        return False
    return True
