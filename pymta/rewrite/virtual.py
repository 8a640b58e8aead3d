"""Virtual alias expansion of one recipient (virtual(5), cleanup(8))."""

from __future__ import annotations

from pymta.model.address import Address
from pymta.rewrite.mapping import AddressMaps, MappingError
from pymta.rewrite.resolver import Rewriter
from pymta.rewrite.settings import MappingSettings
from pymta.tables import TableFactory


class VirtualAliases:
    """`virtual_alias_maps` with its limits. Raises ConfigError for a table that cannot be opened."""

    def __init__(self, settings: MappingSettings, rewriter: Rewriter, tables: TableFactory) -> None:
        self._maps = AddressMaps(
            tables.maps(settings.virtual_alias_maps, "virtual_alias_maps"),
            rewriter,
            settings.recipient_delimiter,
            propagate="virtual" in settings.propagate_unmatched_extensions,
        )
        self._expansion_limit = settings.virtual_alias_expansion_limit
        self._recursion_limit = settings.virtual_alias_recursion_limit
        self._length_limit = settings.virtual_alias_address_length_limit

    def __bool__(self) -> bool:
        return bool(self._maps)

    async def expand(self, recipient: Address) -> list[Address]:
        """Everyone whom `recipient` stands for; an address without an entry stands for itself.

        Results are looked up again, depth first in place, except an address that expanded to itself. Raises
        TableError, and MappingError beyond a limit.
        """
        addresses = [recipient]
        final: set[str] = set()
        position = 0
        while position < len(addresses):
            if len(addresses) > self._expansion_limit:
                raise MappingError(f"unreasonable {self._maps.title} map expansion size for {recipient}")
            await self._expand_at(addresses, position, final, recipient)
            position += 1
        return addresses

    async def _expand_at(self, addresses: list[Address], position: int, final: set[str], recipient: Address) -> None:
        for depth in range(self._recursion_limit + 1):
            current = addresses[position]
            key = current.folded()
            if key in final:
                return
            if depth >= self._recursion_limit:
                raise MappingError(f"unreasonable {self._maps.title} map nesting for {recipient}")
            found = await self._maps.lookup(current)
            if not found:
                return
            for address in found:
                if len(str(address)) > self._length_limit:
                    raise MappingError(
                        f"unreasonable {self._maps.title} result {str(address)[:300]}... -- for {current}"
                    )
                if address.folded() == key:
                    final.add(key)
            addresses[position] = found[0]
            addresses.extend(found[1:])
