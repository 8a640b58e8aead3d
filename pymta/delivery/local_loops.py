"""Delivered-To headers of a message: who has had it already (local(8), pipe(8))."""

from __future__ import annotations

import re

from pymta.ports import Content

# Headers beyond this many octets are not searched; a loop adds its Delivered-To at the top.
_LIMIT = 1024 * 1024
_DELIVERED_TO = re.compile(rb"^delivered-to[ \t]*:((?:[^\r\n]|\r?\n[ \t])*)", re.IGNORECASE | re.MULTILINE)
_NONE: frozenset[str] = frozenset()


async def delivered_to(content: Content) -> frozenset[str]:
    """The addresses in Delivered-To headers, in lower case and without quotes."""
    header = await _header(content)
    if b"elivered-" not in header.lower():
        return _NONE
    return frozenset(_address(match[1]) for match in _DELIVERED_TO.finditer(header))


def is_loop(loops: frozenset[str], address: str) -> bool:
    return bool(loops) and address.lower() in loops


async def _header(content: Content) -> bytes:
    if content.data is not None:
        return content.data[:_LIMIT].partition(b"\r\n\r\n")[0]
    header = b""
    async for chunk in content.chunks():
        header += chunk
        if b"\r\n\r\n" in header or len(header) > _LIMIT:
            break
    return header.partition(b"\r\n\r\n")[0]


def _address(value: bytes) -> str:
    text = "".join(value.decode("utf-8", "surrogateescape").split("\n")).strip(" \t\r").lower()
    return re.sub(r'"((?:[^"\\]|\\.)*)"', lambda match: re.sub(r"\\(.)", r"\1", match[1]), text)
