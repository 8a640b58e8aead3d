"""Ordered search in a list of tables (postconf(5): `type:table, type:table`)."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from pymta.errors import TableError
from pymta.model.address import Address
from pymta.ports import Table
from pymta.tables.kinds import takes_partial_keys
from pymta.tables.search import (
    AddressMatch,
    Find,
    IsLocal,
    KeyForm,
    Parents,
    find_address,
    find_domain,
    find_network,
)


class Maps:
    """The tables of one parameter, asked in order; the first that knows the key answers."""

    def __init__(self, tables: Iterable[Table], title: str = "") -> None:
        self.tables: Sequence[Table] = tuple(tables)
        self.title = title or ", ".join(table.name for table in self.tables)
        self.constant: str | None = getattr(self.tables[0], "constant", None) if self.tables else None
        """The value for every key, where the first table has the same for all."""
        self._for_partial_keys = tuple(table for table in self.tables if takes_partial_keys(table))

    def __bool__(self) -> bool:
        return bool(self.tables)

    async def find_address(
        self,
        address: Address,
        *,
        delimiter: str = "",
        is_local: IsLocal | None = None,
        strategy: Find = Find.DEFAULT,
        form: KeyForm = KeyForm.EXTERNAL_FIRST,
    ) -> AddressMatch | None:
        """Search for an address and its parts in the order of mail_addr_find (virtual(5), canonical(5)).

        `delimiter` is `recipient_delimiter`; `is_local` tells whether a domain is ours, so that `user` alone is
        tried. Raises TableError.
        """
        if not self.tables:
            return None
        return await find_address(self.find, address, delimiter, is_local, strategy, form)

    async def find_domain(self, domain: str, *, parents: Parents = Parents.DOT) -> str | None:
        """Search for a domain, then for its parents (access(5), transport(5)). Raises TableError."""
        return await find_domain(self.find, domain, parents)

    async def find_network(self, address: str) -> str | None:
        """Search for an IP address, then for its networks: octets (IPv6: groups) are cut off at the right."""
        return await find_network(self.find, address)

    async def find(self, key: str, *, partial: bool = False) -> str | None:
        """The value for `key`. Raises TableError at the first table that cannot tell.

        `partial` marks a key that is only a part of what is looked for (`@domain`, a parent domain): tables of
        patterns are left out. The empty key is in no table; an empty value is an error of the table's author.
        """
        if not key:
            return None
        for table in self._for_partial_keys if partial else self.tables:
            value = await table.lookup(key)
            if value is None:
                continue
            if not value:
                raise TableError(
                    table.name,
                    f'lookup of "{key}" returns an empty string; a key that is not in the table has no entry',
                )
            return value
        return None
