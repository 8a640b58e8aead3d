"""What a table makes of an address: parsing of results, extensions carried over, repeated lookups (mail_addr_map)."""

from __future__ import annotations

from dataclasses import replace

from pymta.errors import PymtaError
from pymta.model.address import Address
from pymta.rewrite.parse import parse_addresses
from pymta.rewrite.resolver import Rewriter
from pymta.tables import AddressMatch, Maps


class MappingError(PymtaError):
    """A mapping is unreasonable: too many results, too deep, too long. The text names it; the message is deferred."""


class AddressMaps:
    """Tables whose results are addresses. `propagate` copies an extension that the key lacked to each result."""

    def __init__(self, maps: Maps, rewriter: Rewriter, delimiter: str, *, propagate: bool) -> None:
        self._maps = maps
        self._rewriter = rewriter
        self._delimiter = delimiter
        self._propagate = propagate

    def __bool__(self) -> bool:
        return bool(self._maps)

    @property
    def title(self) -> str:
        return self._maps.title

    async def lookup(self, address: Address) -> list[Address] | None:
        """The addresses that stand for `address`, None where there is no entry. Raises TableError.

        `@domain` as result keeps the local part. An entry that holds no address at all maps to nothing.
        """
        match = await self._maps.find_address(address, delimiter=self._delimiter, is_local=self._rewriter.is_local)
        if match is None:
            return None
        value = match.value.strip()
        if value.startswith("@") and "," not in value and " " not in value:
            # The local part is kept with its extension, so there is nothing to carry over.
            return [self._rewriter.local_form.apply(replace(address, domain=value[1:]))]
        return [self._finish(result, match) for result in parse_addresses(value)]

    def _finish(self, result: Address, match: AddressMatch) -> Address:
        completed = self._rewriter.local_form.apply(result)
        if not (self._propagate and match.extension):
            return completed
        return completed.with_local_part(completed.local_part + match.extension)
