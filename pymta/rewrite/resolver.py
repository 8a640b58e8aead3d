"""An address to its route: trivial-rewrite(8)'s two questions, answered in-process."""

from __future__ import annotations

import re
from collections.abc import Collection

from pymta.errors import ResolveError, TableError
from pymta.model.address import Address, quote_local_part
from pymta.model.route import AddressClass, Route
from pymta.ports import Log
from pymta.rewrite.domains import DomainClasses, LocalDomains, is_address, is_deliverable_domain
from pymta.rewrite.settings import RewriteSettings
from pymta.rewrite.standard import StandardForm, without_final_dot
from pymta.rewrite.transport import Hop, TransportTable, split_setting
from pymta.tables import Maps, TableFactory

_ROUTING = re.compile("[@%!]")
_BAD_SYNTAX = "5.1.3 bad address syntax"
_ERROR = "error"
_DUNNO = "dunno"
_CACHE_LIMIT = 4096


class Rewriter:
    """The `AddressResolver` of one configuration.

    `own_addresses` are the IP addresses of `inet_interfaces` and `proxy_interfaces`. Raises ConfigError for a table
    that cannot be opened. What depends on the domain alone is remembered where no table is involved.
    """

    def __init__(
        self, settings: RewriteSettings, tables: TableFactory, log: Log, own_addresses: Collection[str] = ()
    ) -> None:
        self._settings = settings
        self._log = log
        self.local_domains = LocalDomains(settings.mydestination, own_addresses, tables)
        self._classes = DomainClasses(settings, self.local_domains, tables, log)
        self.local_form = _local_form(settings)
        self.remote_form = _remote_form(settings)
        self._transports = TransportTable(
            tables.maps(settings.transport_maps, "transport_maps"),
            settings.recipient_delimiter,
            parents="transport_maps" in settings.parent_domain_matches_subdomains,
        )
        self._sender_transports = _maps(tables, settings, "sender_dependent_default_transport_maps")
        self._sender_relays = _maps(tables, settings, "sender_dependent_relayhost_maps")
        self._relocated = _maps(tables, settings, "relocated_maps")
        self._plain = not (self._transports or self._sender_transports or self._sender_relays or self._relocated)
        self._hops: dict[str, tuple[Hop, AddressClass]] = {}

    def rewrite(self, address: Address) -> Address:
        """The standard form of `address` for mail of our own; never fails."""
        return self.local_form.apply(address)

    async def resolve(self, recipient: Address, sender: Address) -> Route:
        """Where `recipient` goes; raises ResolveError where a table cannot tell."""
        try:
            return await self.route(recipient, sender)
        except TableError as error:
            self._log.warning(f"{error.table} lookup failure: {error.message}")
            raise ResolveError(str(error)) from error

    async def is_local(self, domain: str) -> bool:
        """Whether `user@domain` may be looked up as `user`: `$myorigin` and the local domains. Raises TableError."""
        return domain.lower() == self._settings.myorigin.lower() or await self.local_domains.contains(domain)

    async def route(self, original: Address, sender: Address) -> Route:
        """`resolve` for those who want to know which table failed: raises TableError."""
        if known := self.known(original):
            return known
        recipient = await self._strip_local(original)
        domain = recipient.domain
        if not is_deliverable_domain(domain):
            if not (self._settings.resolve_numeric_domain and is_address(domain)):
                return _malformed(recipient)
            domain = f"[{domain}]"
            recipient = recipient.with_domain(domain)
        address_class = await self._classes.of(domain)
        routed = address_class is not AddressClass.LOCAL and self._is_routed(recipient.local_part)
        hop = await self._hop(domain, address_class, sender)
        if self._plain and recipient is original:
            self._remember(domain, hop, address_class)
        if self._transports and address_class is not AddressClass.VIRTUAL_ALIAS:
            hop = await self._transports.apply(recipient, hop)
        if self._relocated and (moved := await self._relocated_to(recipient)):
            hop = Hop(_ERROR, moved)
        if recipient.local_part.startswith("-") and not self._settings.allow_min_user:
            return _malformed(recipient)
        return Route(hop.transport, hop.nexthop, recipient, address_class, routed=routed)

    def known(self, recipient: Address) -> Route | None:
        """The route to a domain that was seen before, for a local part without special meaning."""
        known = self._hops.get(recipient.domain)
        local_part = recipient.local_part
        if not known or not local_part or _ROUTING.search(local_part):
            return None
        if local_part[0] == "-" and not self._settings.allow_min_user:
            return None
        hop, address_class = known
        return Route(hop.transport, hop.nexthop, recipient, address_class)

    def _remember(self, domain: str, hop: Hop, address_class: AddressClass) -> None:
        """Only where the lists cannot have changed by the next time."""
        if self._classes.known(domain) is None:
            return
        if len(self._hops) >= _CACHE_LIMIT:
            self._hops.clear()
        self._hops[domain] = (hop, address_class)

    async def _strip_local(self, address: Address) -> Address:
        """Take off our own domains until a remote one, or none, is left: `a%remote@us` is `a@remote`.

        The result always has a domain. Terminates, as every turn makes the address shorter.
        """
        local_part, domain = address.local_part, address.domain
        ours = ""
        while True:
            domain = without_final_dot(domain)
            if domain and not await self._is_ours(domain):
                if not ours and domain == address.domain:
                    return address
                return Address(local_part, domain)
            ours = domain or ours
            split = self._split_route(local_part)
            if split is None:
                break
            if not split.domain and not self._settings.resolve_null_domain:
                return Address(f"{split.local_part}@")
            form = self.local_form.apply(split) if split.domain else split
            local_part, domain = form.local_part, form.domain
        ours = ours or self._settings.myhostname
        if local_part and local_part == address.local_part and ours == address.domain:
            return address
        return Address(local_part or self._settings.empty_address_recipient, ours)

    async def _is_ours(self, domain: str) -> bool:
        known = self._classes.known(domain)
        return known is AddressClass.LOCAL if known else await self.local_domains.contains(domain)

    def _split_route(self, local_part: str) -> Address | None:
        """The next address that a local part of ours asks for."""
        if not self._is_routed(local_part):
            return None
        if "@" in local_part:
            user, _, site = local_part.rpartition("@")
        elif self._settings.swap_bangpath and "!" in local_part:
            site, _, user = local_part.partition("!")
        else:
            user, _, site = local_part.rpartition("%")
        return Address(user, site)

    def _is_routed(self, local_part: str) -> bool:
        settings = self._settings
        if not settings.resolve_dequoted_address and quote_local_part(local_part) != local_part:
            return False
        return (
            "@" in local_part
            or (settings.swap_bangpath and "!" in local_part)
            or (settings.allow_percent_hack and "%" in local_part)
        )

    async def _hop(self, domain: str, address_class: AddressClass, sender: Address) -> Hop:
        settings = self._settings
        match address_class:
            case AddressClass.LOCAL:
                return split_setting(settings.local_transport, domain)
            case AddressClass.VIRTUAL_ALIAS:
                where = " in virtual alias table" if settings.show_user_unknown_table_name else ""
                return Hop(_ERROR, f"5.1.1 User unknown{where}")
            case AddressClass.VIRTUAL_MAILBOX:
                return split_setting(settings.virtual_transport, domain)
            case AddressClass.RELAY:
                transport = settings.relay_transport
            case AddressClass.DEFAULT:
                transport = await self._default_transport(sender)
        return split_setting(transport, await self._relayhost(sender) or domain)

    async def _default_transport(self, sender: Address) -> str:
        key = self._settings.empty_address_default_transport_maps_lookup_key
        found = await self._by_sender(self._sender_transports, sender, key)
        return self._settings.default_transport if found is None or found.lower() == _DUNNO else found

    async def _relayhost(self, sender: Address) -> str:
        """The next hop that replaces a remote domain; empty for none. DUNNO in the table means none too."""
        key = self._settings.empty_address_relayhost_maps_lookup_key
        found = await self._by_sender(self._sender_relays, sender, key)
        if found is None:
            return self._settings.relayhost
        return "" if found.lower() == _DUNNO else found

    async def _by_sender(self, maps: Maps, sender: Address, null_key: str) -> str | None:
        if not maps:
            return None
        key = sender if sender else Address.from_internal(null_key)
        return await self._find(maps, key)

    async def _relocated_to(self, recipient: Address) -> str | None:
        found = await self._find(self._relocated, recipient)
        if found is None:
            return None
        return f"5.1.6 User has moved to {found}" if self._settings.relocated_prefix_enable else found

    async def _find(self, maps: Maps, address: Address) -> str | None:
        match = await maps.find_address(address, delimiter=self._settings.recipient_delimiter, is_local=self.is_local)
        return match.value if match else None


def _malformed(recipient: Address) -> Route:
    return Route(_ERROR, _BAD_SYNTAX, recipient, AddressClass.DEFAULT, malformed=True)


def _maps(tables: TableFactory, settings: RewriteSettings, name: str) -> Maps:
    return tables.maps(getattr(settings, name), name)


def _local_form(settings: RewriteSettings) -> StandardForm:
    return StandardForm(
        origin=settings.myorigin if settings.append_at_myorigin else "",
        domain=settings.mydomain if settings.append_dot_mydomain else "",
        swap_bangpath=settings.swap_bangpath,
        percent_hack=settings.allow_percent_hack,
    )


def _remote_form(settings: RewriteSettings) -> StandardForm | None:
    """For headers of remote clients; None where they are left alone."""
    domain = settings.remote_header_rewrite_domain
    if not domain:
        return None
    return StandardForm(domain, domain, settings.swap_bangpath, settings.allow_percent_hack)
