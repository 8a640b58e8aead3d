"""IP networks as Postfix writes them: `192.0.2.0/24`, `192.0.2.1`, `[2001:db8::]/32` (cidr_table(5))."""

from __future__ import annotations

from functools import lru_cache
from socket import AF_INET, AF_INET6, inet_ntop, inet_pton
from typing import NamedTuple


class Packed(NamedTuple):
    """An address as a number, with its width in bits (32 or 128)."""

    bits: int
    value: int


class Network(NamedTuple):
    """All addresses of one width that agree with `value` in the first `prefix` bits."""

    bits: int
    prefix: int
    value: int

    def covers(self, address: Packed) -> bool:
        return address.bits == self.bits and (address.value ^ self.value) >> (self.bits - self.prefix) == 0


_LONGEST = 45
"""Characters of the longest IPv6 address, one that ends in dotted decimal."""


def pack(text: str) -> Packed | None:
    """Read an address without brackets; None for anything else (a host name, `unknown`)."""
    return _pack(text) if len(text) <= _LONGEST else None


@lru_cache(maxsize=4096)
def _pack(text: str) -> Packed | None:
    try:
        if ":" in text:
            return Packed(128, int.from_bytes(inet_pton(AF_INET6, text), "big"))
        return Packed(32, int.from_bytes(inet_pton(AF_INET, text), "big"))
    except (OSError, ValueError):
        return None


def parse_network(pattern: str) -> Network:
    """Read a pattern; raises ValueError with Postfix's words for what is wrong with it."""
    address, slash, mask = _unbracketed(pattern).partition("/")
    packed = pack(address)
    if not slash:
        if packed is None:
            raise ValueError(f'bad address pattern: "{address}"')
        return Network(packed.bits, packed.bits, packed.value)
    shown = f"{address}/{mask}"
    if not mask.isdecimal() or not mask.isascii():
        raise ValueError(f'bad mask value in "{shown}"')
    if packed is None:
        raise ValueError(f'bad network value in "{shown}"')
    if len(mask) > 3 or int(mask) > packed.bits:
        raise ValueError(f'bad mask length in "{shown}"')
    return _aligned(packed, int(mask), shown)


def _aligned(packed: Packed, prefix: int, shown: str) -> Network:
    host_bits = packed.bits - prefix
    value = packed.value >> host_bits << host_bits
    if value != packed.value:
        family = AF_INET6 if packed.bits == 128 else AF_INET
        network = inet_ntop(family, value.to_bytes(packed.bits // 8, "big"))
        raise ValueError(
            f'non-null host address bits in "{shown}", perhaps you should use "{network}/{prefix}" instead'
        )
    return Network(packed.bits, prefix, value)


def _unbracketed(pattern: str) -> str:
    if not pattern.startswith("["):
        return pattern
    address, bracket, rest = pattern[1:].partition("]")
    if not bracket:
        raise ValueError(f"missing ']' character after \"{pattern}\"")
    if rest and not rest.startswith("/"):
        raise ValueError(f'garbage after "[{address}]"')
    return address + rest


class NetworkSet:
    """Many networks; asking costs one dictionary lookup per prefix length in use."""

    def __init__(self) -> None:
        self._by_prefix: dict[int, dict[int, set[int]]] = {32: {}, 128: {}}

    def add(self, network: Network) -> None:
        shift = network.bits - network.prefix
        self._by_prefix[network.bits].setdefault(shift, set()).add(network.value >> shift)

    def __bool__(self) -> bool:
        return any(self._by_prefix.values())

    def covers(self, address: Packed) -> bool:
        value = address.value
        for shift, known in self._by_prefix[address.bits].items():  # noqa: SIM110 - half the time of any()
            if value >> shift in known:
                return True
        return False
