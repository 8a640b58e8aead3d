"""Local text into spool content, every line ended by CRLF, and back (postdrop(1), postcat(1))."""

from __future__ import annotations

import re
from collections.abc import AsyncIterable, AsyncIterator

HEADER_LIMIT = 1 << 20
"""How much of a message is searched for the end of its header when recipients come from it."""

_LF = 10
# One dot in so many bytes is looked at by itself before all line ends are.
_BYTES_PER_DOT = 2048


def find_dot_line(data: bytes) -> int:
    """Where the first LF with a dot behind it is; -1 where there is none."""
    dot = -1
    # Long content often has few dots or none (base64), and single bytes are found fast.
    for _ in range(len(data) // _BYTES_PER_DOT):
        dot = data.find(b".", dot + 1)
        if dot < 0:
            return -1
        if dot and data[dot - 1] == _LF:
            return dot - 1
    return data.find(b"\n.", max(dot, 0))


_FROM_LINE = re.compile(rb">*From ")
_PERHAPS_FROM_LINE = re.compile(rb">{0,1000}(?:F(?:r(?:om?)?)?)?")


class Opening:
    """The first lines of content, so that they cannot go on the header that we put before them.

    Lines of mailbox files (`From `, `>From `) get `mark` in front, or go where it is None; where what follows begins
    with a blank or a tab, an empty line comes before it. Content comes in pieces with CRLF as line end; once
    `is_over`, `take` need not be asked.
    """

    __slots__ = ("_held", "_in_from_line", "_mark", "is_over")

    def __init__(self, mark: bytes | None) -> None:
        self._mark = mark
        self._held = b""
        self._in_from_line = False
        self.is_over = False

    def take(self, data: bytes) -> bytes:
        if self.is_over:
            return data
        data, self._held = self._held + data, b""
        kept: list[bytes] = []
        position = 0
        while position < len(data) and not self.is_over:
            position = self._step(data, position, kept)
        return b"".join(kept)

    def _step(self, data: bytes, position: int, kept: list[bytes]) -> int:
        """Handle what begins at `position`; where the next begins."""
        if not self._in_from_line and _FROM_LINE.match(data, position):
            self._in_from_line = True
            kept.append(self._mark or b"")
        if self._in_from_line:
            end = data.find(b"\n", position) + 1
            self._in_from_line = end == 0
            if self._mark is not None:
                kept.append(data[position : end or len(data)])
            return end or len(data)
        if _PERHAPS_FROM_LINE.fullmatch(data, position):
            self._held = data[position:]
            return len(data)
        self.is_over = True
        if data[position] in b" \t":
            kept.append(b"\r\n")
        kept.append(data[position:])
        return len(data)

    def finish(self) -> bytes:
        """What was held back."""
        self.is_over = True
        held, self._held = self._held, b""
        return held


async def without_from_lines(chunks: AsyncIterable[bytes]) -> AsyncIterator[bytes]:
    """A message that a program handed over as it stood in a mailbox file, without its `From ` line."""
    opening = Opening(None)
    async for chunk in chunks:
        if text := opening.take(chunk):
            yield text
    if held := opening.finish():
        yield held


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
