"""canonical(5) mapping and masquerading of one address (cleanup(8), ADDRESS_REWRITING_README)."""

from __future__ import annotations

from collections.abc import Iterable
from enum import Flag, auto

from pymta.model.address import Address
from pymta.ports import Log
from pymta.rewrite.mapping import AddressMaps
from pymta.rewrite.resolver import Rewriter
from pymta.rewrite.settings import MappingSettings
from pymta.tables import TableFactory

# How often a canonical address is looked up again before its table is called a loop.
_MAX_RECURSION = 1000


class Place(Flag):
    """Where an address stands; the names are those of `canonical_classes` and `masquerade_classes`."""

    NONE = 0
    ENVELOPE_SENDER = auto()
    ENVELOPE_RECIPIENT = auto()
    HEADER_SENDER = auto()
    HEADER_RECIPIENT = auto()

    @classmethod
    def of(cls, names: Iterable[str]) -> Place:
        places = cls.NONE
        for name in names:
            places |= cls[name.upper()]
        return places


_SENDERS = Place.ENVELOPE_SENDER | Place.HEADER_SENDER
_HEADERS = Place.HEADER_SENDER | Place.HEADER_RECIPIENT


class CanonicalForm:
    """canonical maps, then masquerading; raises ConfigError at construction, TableError when asked."""

    def __init__(self, settings: MappingSettings, rewriter: Rewriter, tables: TableFactory, log: Log) -> None:
        def maps(name: str) -> AddressMaps:
            return AddressMaps(
                tables.maps(getattr(settings, name), name),
                rewriter,
                settings.recipient_delimiter,
                propagate="canonical" in settings.propagate_unmatched_extensions,
            )

        self._log = log
        self._common = maps("canonical_maps")
        self._common_places = Place.of(settings.canonical_classes)
        self._sender = maps("sender_canonical_maps")
        self._sender_places = Place.of(settings.sender_canonical_classes)
        self._recipient = maps("recipient_canonical_maps")
        self._recipient_places = Place.of(settings.recipient_canonical_classes)
        self._masquerade = Masquerade(settings.masquerade_domains)
        self._masquerade_places = Place.of(settings.masquerade_classes)
        self._exceptions = tables.string_list(settings.masquerade_exceptions, title="masquerade_exceptions")
        self.changes_headers = self._changes(_HEADERS)
        self._changes_any = self._changes(_HEADERS | Place.ENVELOPE_SENDER | Place.ENVELOPE_RECIPIENT)

    def __bool__(self) -> bool:
        """Whether any address is written differently."""
        return self._changes_any

    async def apply(self, address: Address, place: Place) -> Address:
        """`address` as it is written at `place`. The specific table goes first, the common one where it is mute."""
        if not self._changes_any:
            return address
        specific, places = self._specific(place)
        mapped = address
        if specific and place in places:
            mapped = await self._map(specific, address)
        if mapped == address and self._common and place in self._common_places:
            mapped = await self._map(self._common, address)
        if self._masquerade and place in self._masquerade_places and not await self._is_exception(mapped):
            mapped = self._masquerade.apply(mapped)
        return mapped

    def _specific(self, place: Place) -> tuple[AddressMaps, Place]:
        if place & _SENDERS:
            return self._sender, self._sender_places
        return self._recipient, self._recipient_places

    async def _is_exception(self, address: Address) -> bool:
        return bool(self._exceptions) and await self._exceptions.matches(address.local_part)

    async def _map(self, maps: AddressMaps, address: Address) -> Address:
        """Follow the table until it is mute, or says that an address is itself."""
        current = address
        for _ in range(_MAX_RECURSION):
            found = await maps.lookup(current)
            if not found:
                return current
            if len(found) > 1:
                self._log.warning(f"multi-valued {maps.title} entry for {current}")
            if found[0].folded() == current.folded():
                return found[0]
            current = found[0]
        self._log.warning(f"unreasonable {maps.title} map nesting for {address}")
        return current

    def _changes(self, places: Place) -> bool:
        return bool(
            (self._common and self._common_places & places)
            or (self._sender and self._sender_places & places)
            or (self._recipient and self._recipient_places & places)
            or (self._masquerade and self._masquerade_places & places)
        )


class Masquerade:
    """`masquerade_domains`: hosts below a listed domain are written as that domain; `!domain` leaves them. Pure."""

    def __init__(self, domains: Iterable[str]) -> None:
        self._rules = [(item.lstrip("!").lower(), (len(item) - len(item.lstrip("!"))) % 2 == 0) for item in domains]

    def __bool__(self) -> bool:
        return bool(self._rules)

    def apply(self, address: Address) -> Address:
        domain = address.domain.lower()
        for parent, hides in self._rules:
            if domain == parent:
                return address
            if domain.endswith("." + parent):
                return address.with_domain(address.domain[-len(parent) :]) if hides else address
        return address
