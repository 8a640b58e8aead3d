"""Which answers of a DNS list count: `127.0.0.[2;4..8]` (postconf(5), reject_rbl_client)."""

from __future__ import annotations

import re
from collections.abc import Callable

AddressFilter = Callable[[str], bool]
_OCTET = re.compile(r"\d{1,3}|\[[^\[\]]*\]")
_LARGEST = 255


def parse_filter(text: str) -> AddressFilter:
    """A test for IPv4 addresses; each of four octets is a number or `[a;b..c]`. Raises ValueError."""
    octets: list[frozenset[int]] = []
    at = 0
    while True:
        match = _OCTET.match(text, at)
        if not match:
            raise ValueError(f'expected a number or "[...]" at "{text[at:]}"')
        octets.append(_octet(match[0]))
        at = match.end()
        if at == len(text):
            break
        if text[at] != ".":
            raise ValueError(f'expected "." at "{text[at:]}"')
        at += 1
    if len(octets) != 4:
        raise ValueError("expected four octets")
    return lambda address: all(
        part.isdecimal() and int(part) in wanted for part, wanted in zip(address.split("."), octets, strict=False)
    )


def _octet(text: str) -> frozenset[int]:
    if not text.startswith("["):
        return frozenset([_number(text)])
    found: set[int] = set()
    for part in text[1:-1].split(";"):
        first, dots, last = part.partition("..")
        low, high = _number(first), _number(last if dots else first)
        if low > high:
            raise ValueError(f'"{part}" ends before it begins')
        found.update(range(low, high + 1))
    return frozenset(found)


def _number(text: str) -> int:
    if not text.isdecimal() or int(text) > _LARGEST:
        raise ValueError(f'"{text}" is not a number of 0 to {_LARGEST}')
    return int(text)
