"""What a notice returns of the message: all of it, or its header (RFC 3461 4.3)."""

from __future__ import annotations

from collections.abc import Callable

from pymta.ports import Content

_END_OF_HEADER = b"\r\n\r\n"
_TAIL = len(_END_OF_HEADER) - 1


async def copy_all(content: Content, write: Callable[[bytes], None]) -> None:
    """Copy the message piece by piece."""
    if content.data is not None:
        write(content.data)
        return
    async for chunk in content.chunks():
        write(chunk)


async def copy_header(content: Content, write: Callable[[bytes], None], limit: int) -> None:
    """Copy the header without the empty line behind it, and at most `limit` bytes, cut at the end of a line."""
    if content.data is not None:
        write(_header(content.data[: limit + len(_END_OF_HEADER)], limit))
        return
    head = bytearray()
    async for chunk in content.chunks():
        searched = max(0, len(head) - _TAIL)
        head += chunk
        if head.find(_END_OF_HEADER, searched) >= 0 or len(head) > limit or head.startswith(b"\r\n"):
            break
    write(_header(bytes(head), limit))


def _header(head: bytes, limit: int) -> bytes:
    if head.startswith(b"\r\n"):
        return b""
    end = head.find(_END_OF_HEADER)
    header = head[: end + 2] if end >= 0 else head
    if len(header) <= limit:
        return header
    return header[: header.rfind(b"\r\n", 0, limit) + 2] if b"\r\n" in header[:limit] else b""
