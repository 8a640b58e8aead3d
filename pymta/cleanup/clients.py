"""Whose mail counts as local: `local_header_rewrite_clients` (postconf(5), ADDRESS_REWRITING_README)."""

from __future__ import annotations

from collections.abc import Collection
from ipaddress import ip_address

from pymta.cleanup.settings import CleanupSettings
from pymta.errors import ConfigError
from pymta.model.envelope import Client
from pymta.ports import Table
from pymta.tables import TableFactory

_NAME = "local_header_rewrite_clients"


class LocalClients:
    """Decides for one client; raises ConfigError at construction for a word that we do not know."""

    def __init__(self, settings: CleanupSettings, tables: TableFactory, own_addresses: Collection[str]) -> None:
        self._own = frozenset(str(ip_address(address)) for address in own_addresses)
        parents = "mynetworks" in settings.parent_domain_matches_subdomains
        self._networks = tables.network_list(settings.mynetworks, parents, title="mynetworks")
        self._words: list[str | Table] = [
            self._word(item, tables) for item in settings.local_header_rewrite_clients if item != "check_address_map"
        ]
        self._needs_nothing = self._words == ["permit_inet_interfaces"]

    def _word(self, item: str, tables: TableFactory) -> str | Table:
        if item in ("permit_inet_interfaces", "permit_mynetworks", "permit_sasl_authenticated"):
            return item
        if ":" in item:
            return tables.open(item)
        raise ConfigError(
            f"unsupported word: {item}; expected permit_inet_interfaces, permit_mynetworks, "
            "permit_sasl_authenticated, or check_address_map type:table",
            name=_NAME,
        )

    def known(self, client: Client) -> bool | None:
        """The answer where no table needs to be asked, as with the default setting."""
        return client.address in self._own if self._needs_nothing else None

    async def contains(self, client: Client) -> bool:
        """Whether the client's mail counts as local. Raises TableError."""
        for word in self._words:
            if word == "permit_inet_interfaces":
                found = client.address in self._own
            elif word == "permit_mynetworks":
                found = await self._networks.matches(client.address, client.name)
            elif isinstance(word, str):
                found = bool(client.sasl_username)
            else:
                found = await word.lookup(client.address) is not None
            if found:
                return True
        return False
