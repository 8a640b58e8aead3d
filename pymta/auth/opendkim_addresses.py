"""OpenDKIM's sets of addresses: DontSignMailTo, ExemptDomains (opendkim.conf(5))."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from pymta.auth.key_table import lookup_order, wildcard
from pymta.auth.opendkim_datasets import Row


class Addresses(Protocol):
    def contains(self, address: str) -> bool: ...


class AddressSet:
    """Addresses, hosts and `.domains`; in a refile, patterns."""

    def __init__(self, rows: Sequence[Row], *, wildcards: bool) -> None:
        self._patterns = [wildcard(row.key) for row in rows] if wildcards else []
        self._keys = frozenset() if wildcards else frozenset(row.key.lower() for row in rows)

    def contains(self, address: str) -> bool:
        if any(pattern.fullmatch(address) for pattern in self._patterns):
            return True
        return bool(self._keys) and not self._keys.isdisjoint(lookup_order(address.lower()))
