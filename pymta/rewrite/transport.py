"""transport(5): which transport and next hop a table gives an address."""

from __future__ import annotations

from typing import NamedTuple

from pymta.model.address import Address
from pymta.tables import Find, KeyForm, Maps

_ERROR_TRANSPORTS = ("error", "retry")
_WITHOUT_REASON = "Address is undeliverable"


class Hop(NamedTuple):
    transport: str
    nexthop: str


class TransportTable:
    """`transport_maps`. `parents` tells that `example.com` stands for what is below it, else `.example.com` does."""

    def __init__(self, maps: Maps, delimiter: str, *, parents: bool) -> None:
        self._maps = maps
        self._delimiter = delimiter
        self._strategy = Find.FULL | Find.NOEXT | Find.DOMAIN | (Find.PARENTS if parents else Find.DOT_PARENTS)

    def __bool__(self) -> bool:
        return bool(self._maps)

    async def apply(self, recipient: Address, hop: Hop) -> Hop:
        """`hop` as the table's entry for `recipient` changes it. Raises TableError.

        The order is user+extension@domain, user@domain, domain, its parents, `*`.
        """
        match = await self._maps.find_address(
            recipient, delimiter=self._delimiter, strategy=self._strategy, form=KeyForm.EXTERNAL_FIRST
        )
        value = match.value if match else await self._maps.find("*", partial=True)
        return hop if value is None else apply_entry(value, hop, recipient.domain)


def apply_entry(value: str, hop: Hop, domain: str) -> Hop:
    """What `[transport][:[nexthop]]` makes of `hop`: an entry without transport keeps it, one with resets the next hop.

    `:` alone changes nothing.
    """
    transport, _, nexthop = value.partition(":")
    transport = transport.strip()
    if not transport:
        return Hop(hop.transport, nexthop or hop.nexthop)
    if not nexthop:
        nexthop = _WITHOUT_REASON if transport in _ERROR_TRANSPORTS else domain
    return Hop(transport, nexthop)


def split_setting(value: str, nexthop: str) -> Hop:
    """A `transport[:nexthop]` of main.cf, with `nexthop` where it names none."""
    transport, _, own = value.partition(":")
    return Hop(transport, own or nexthop)
