"""Local text into spool content, every line ended by CRLF, and back (postdrop(1), postcat(1))."""

from __future__ import annotations

from collections.abc import AsyncIterable, AsyncIterator

HEADER_LIMIT = 1 << 20
"""How much of a message is searched for the end of its header when recipients come from it."""


async def to_crlf(chunks: AsyncIterable[bytes]) -> AsyncIterator[bytes]:
    """The same text with each line ended by CRLF, the last one too; an empty text stays empty."""
    held = b""
    last = b""
    async for chunk in chunks:
        chunk = held + chunk
        # A CR at the end may be the first half of a CRLF.
        held = b"\r" if chunk.endswith(b"\r") else b""
        text = chunk[: len(chunk) - len(held)].replace(b"\r\n", b"\n").replace(b"\n", b"\r\n")
        if text:
            last = text
            yield text
    if held:
        yield held + b"\r\n"
    elif last and not last.endswith(b"\n"):
        yield b"\r\n"


async def from_crlf(chunks: AsyncIterable[bytes]) -> AsyncIterator[bytes]:
    """Content with each CRLF as a single LF; other CRs stay."""
    held = b""
    async for chunk in chunks:
        chunk = held + chunk
        held = b"\r" if chunk.endswith(b"\r") else b""
        if text := chunk[: len(chunk) - len(held)].replace(b"\r\n", b"\n"):
            yield text
    if held:
        yield held


async def split_header(chunks: AsyncIterable[bytes]) -> tuple[bytes, AsyncIterator[bytes]]:
    """The header block, at most HEADER_LIMIT bytes of it, and an iterator over the whole text, header included."""
    stream = aiter(chunks)
    seen: list[bytes] = []
    size = 0
    tail = b""
    async for chunk in stream:
        seen.append(chunk)
        size += len(chunk)
        if b"\r\n\r\n" in tail + chunk or size >= HEADER_LIMIT:
            break
        tail = chunk[-3:]
    head = b"".join(seen)
    end = -2 if head.startswith(b"\r\n") else head.find(b"\r\n\r\n")

    async def whole() -> AsyncIterator[bytes]:
        yield head
        async for chunk in stream:
            yield chunk

    return (head if end == -1 else head[: end + 2])[:HEADER_LIMIT], whole()
