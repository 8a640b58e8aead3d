"""Content on its way to a server: dots doubled, overlong lines broken (RFC 5321 4.5.2, 4.5.3.1.6)."""

from __future__ import annotations

import re
from functools import cache

from pymta.protocol.content import find_dot_line

END_OF_DATA = b".\r\n"
# A line that is longer than this is passed on in pieces, so that one endless line does not fill the memory.
_HELD_LIMIT = 65_536


class ContentEncoder:
    """Encodes content that comes in pieces; every line ends in CRLF, a piece may end anywhere.

    Lines of more than `line_limit` bytes are broken with CRLF and a blank (smtp_line_length_limit); 0 leaves
    them. `broke_line` tells that this was needed. Without `for_data` it is for BDAT: dots mean nothing there.
    """

    def __init__(self, line_limit: int = 998, *, for_data: bool = True) -> None:
        self._for_data = for_data
        # A line of one byte could not hold the blank and a byte of content.
        self._limit = max(line_limit, 2) if line_limit > 0 else 0
        self._held = b""
        self._in_line = False
        self.broke_line = False

    def encode(self, data: bytes) -> bytes:
        """The bytes to send for `data`; an unfinished last line is kept for the next call."""
        if self._held:
            data = self._held + data
        end = data.rfind(b"\n") + 1
        self._held = data[end:]
        lines = self._stuffed(data[:end]) if end else b""
        if len(self._held) > _HELD_LIMIT:
            lines += self._release()
        return lines

    def finish(self) -> bytes:
        """The rest and the final dot, on a line of its own whatever the content ended with."""
        rest = self._stuffed(self._held) + b"\r\n" if self._held or self._in_line else b""
        self._held = b""
        return rest + END_OF_DATA if self._for_data else rest

    def _stuffed(self, data: bytes) -> bytes:
        if self._limit and has_longer_line(data, self._limit):
            self.broke_line = True
            data = break_lines(data, self._limit)
        if self._for_data:
            if find_dot_line(data) >= 0:
                data = data.replace(b"\n.", b"\n..")
            if not self._in_line and data.startswith(b"."):
                data = b"." + data
        self._in_line = False
        return data

    def _release(self) -> bytes:
        """Send the beginning of an endless line; what stays held can still be cut where it must be."""
        if not self._limit:
            piece, self._held = self._stuffed(self._held), b""
            self._in_line = True
            return piece
        self.broke_line = True
        # One byte at least stays, as it may be the CR of the line's end.
        length = self._limit + (len(self._held) - 1 - self._limit) // (self._limit - 1) * (self._limit - 1)
        piece, self._held = self._held[:length], b" " + self._held[length:]
        return self._stuffed(piece + b"\r\n")


def has_longer_line(data: bytes, limit: int) -> bool:
    """Whether a line has more than `limit` bytes before its CRLF. Looks at some lines' ends in `limit` bytes."""
    strides = _strides(limit).match(data)
    assert strides is not None
    return strides.end() < len(data) - limit


@cache
def _strides(limit: int) -> re.Pattern[bytes]:
    """From one line's end to the last one within reach, again and again."""
    return re.compile(rb"(?s:.{0,%d}\n)*" % (limit + 1))


def break_lines(data: bytes, limit: int) -> bytes:
    """Break every line of more than `limit` bytes; the lines that follow begin with a blank that counts."""
    return b"\r\n".join(line if len(line) <= limit else _broken(line, limit) for line in data.split(b"\r\n"))


def _broken(line: bytes, limit: int) -> bytes:
    pieces = [line[:limit]]
    pieces += [line[start : start + limit - 1] for start in range(limit, len(line), limit - 1)]
    return b"\r\n ".join(pieces)
