"""Which of the five address classes a domain is in (postfix ADDRESS_CLASS_README)."""

from __future__ import annotations

import re
from collections.abc import Collection
from ipaddress import ip_address

from pymta.dns.names import to_ascii
from pymta.model.route import AddressClass
from pymta.ports import Log
from pymta.rewrite.settings import RewriteSettings
from pymta.rewrite.standard import without_final_dot
from pymta.tables import TableFactory

# Domains whose class is remembered; patterns in files and tables are asked every time, since they may change.
_CACHE_LIMIT = 4096
_HOSTNAME = re.compile(
    r"(?![0-9.]+\Z)(?=.{1,255}\Z)[A-Za-z0-9_](?:[A-Za-z0-9_-]{0,61}[A-Za-z0-9_])?"
    r"(?:\.[A-Za-z0-9_](?:[A-Za-z0-9_-]{0,61}[A-Za-z0-9_])?)*"
)


class LocalDomains:
    """`mydestination` and the addresses of this host, written `[192.0.2.1]` or `[IPv6:2001:db8::1]`."""

    def __init__(self, mydestination: str, own_addresses: Collection[str], tables: TableFactory) -> None:
        self._list = tables.string_list(mydestination, title="mydestination")
        self._own = frozenset(ip_address(address) for address in own_addresses)

    async def contains(self, domain: str) -> bool:
        """Whether mail to `domain` is for this host (resolve_local(3)). Raises TableError."""
        domain = without_final_dot(domain)
        if not domain or domain.endswith("."):
            return False
        if await self._list.matches(domain):
            return True
        if not (domain.startswith("[") and domain.endswith("]")):
            return False
        try:
            return ip_address(_bare(domain)) in self._own
        except ValueError:
            return False


class DomainClasses:
    """The class of every domain, with a warning for one that two lists claim."""

    def __init__(self, settings: RewriteSettings, local: LocalDomains, tables: TableFactory, log: Log) -> None:
        parents = "relay_domains" in settings.parent_domain_matches_subdomains
        self._local = local
        self._alias = tables.string_list(settings.virtual_alias_domains, title="virtual_alias_domains")
        self._mailbox = tables.string_list(settings.virtual_mailbox_domains, title="virtual_mailbox_domains")
        self._relay = tables.domain_list(settings.relay_domains, parents, title="relay_domains")
        self._log = log
        self._cache: dict[str, AddressClass] | None = {} if _is_constant(settings) else None

    async def of(self, domain: str) -> AddressClass:
        """Raises TableError where a list cannot tell."""
        if self._cache is None:
            return await self._find(domain)
        found = self._cache.get(domain)
        if found is None:
            if len(self._cache) >= _CACHE_LIMIT:
                self._cache.clear()
            found = self._cache[domain] = await self._find(domain)
        return found

    def known(self, domain: str) -> AddressClass | None:
        """The class where it was asked before and cannot have changed."""
        return self._cache.get(domain) if self._cache is not None else None

    async def _find(self, domain: str) -> AddressClass:
        if await self._local.contains(domain):
            if await self._alias.matches(domain):
                self._warn(domain, "mydestination", "virtual_alias_domains")
            if await self._mailbox.matches(domain):
                self._warn(domain, "mydestination", "virtual_mailbox_domains")
            return AddressClass.LOCAL
        if await self._alias.matches(domain):
            if await self._mailbox.matches(domain):
                self._warn(domain, "virtual_alias_domains", "virtual_mailbox_domains")
            return AddressClass.VIRTUAL_ALIAS
        if await self._mailbox.matches(domain):
            return AddressClass.VIRTUAL_MAILBOX
        return AddressClass.RELAY if await self._relay.matches(domain) else AddressClass.DEFAULT

    def _warn(self, domain: str, first: str, second: str) -> None:
        self._log.warning(f"do not list domain {domain} in BOTH {first} and {second}")


def is_deliverable_domain(domain: str) -> bool:
    """Whether `domain` is a host name or an address literal that mail can go to."""
    if domain.startswith("["):
        return domain.endswith("]") and is_address(_bare(domain), domain)
    if domain.isascii():
        return _HOSTNAME.fullmatch(domain) is not None
    try:
        return _HOSTNAME.fullmatch(to_ascii(domain)) is not None
    except ValueError:
        return False


def is_address(text: str, literal: str = "") -> bool:
    """Whether `text` is an IP address; within a `literal`, IPv6 needs its tag (RFC 5321 4.1.3)."""
    try:
        address = ip_address(text)
    except ValueError:
        return False
    return not literal or (address.version == 6) == literal.lower().startswith("[ipv6:")


def _bare(literal: str) -> str:
    text = literal[1:-1]
    return text[5:] if text[:5].lower() == "ipv6:" else text


def _is_constant(settings: RewriteSettings) -> bool:
    """Whether the lists hold plain patterns only: no table and no file that may change."""
    text = " ".join(
        (
            settings.mydestination,
            settings.virtual_alias_domains,
            settings.virtual_mailbox_domains,
            settings.relay_domains,
        )
    )
    return ":" not in text and "/" not in text
