"""The header of a message as it streams in: field by field, bytes kept, memory bounded (RFC 5322 2.2)."""

from __future__ import annotations

import re

# A name may be followed by blanks (RFC 5322 4.5.8); 8-bit bytes in a name end the header, as in Postfix.
_FIELD = re.compile(rb"^[!-9;-~]++[ \t]*+:[^\n]*\n(?:[ \t][^\n]*\n)*", re.MULTILINE)
_END_OF_HEADER = b"\n\r\n"
_END_OF_FIELD = re.compile(rb"\n(?![ \t])(?=.)", re.DOTALL)
_CRLF = b"\r\n"


class HeaderParser:
    """Push parser: `feed` returns fields that are complete, each with its line ends.

    Nearly all headers end within `limit` bytes: up to there it waits for the end, and finds all fields at once.
    `ended` turns true at the empty line, or at the first line that is no field; `rest` then holds what follows,
    the empty line first, put in where it was missing. A field keeps its first `limit` bytes; more is dropped as it
    comes in.
    """

    def __init__(self, limit: int, *, completes: bool = True) -> None:
        """Without `completes`, as in a part of a message, an empty line that is missing stays so, and each field is
        told as it comes: a boundary may come before the header has an end.
        """
        self.ended = False
        self.rest = b""
        self._limit = limit
        self._buffer = b""
        self._cut = b""
        self._blank = _CRLF if completes else b""
        self._waits = completes

    def feed(self, data: bytes) -> list[bytes]:
        """Take more content; not to be called once `ended`."""
        buffer = self._buffer + data if self._buffer else data
        if self._waits and not self._cut:
            end = buffer.find(_END_OF_HEADER, max(len(self._buffer) - 2, 0)) + 1
            if not end and len(buffer) <= self._limit:
                self._buffer = buffer
                return []
            if 0 < end <= self._limit:
                fields = _FIELD.findall(buffer, 0, end)
                if len(b"".join(fields)) == end:
                    self._end(buffer[end:])
                    return fields
        return self._feed_fields(buffer)

    def _feed_fields(self, buffer: bytes) -> list[bytes]:
        """One field after the other, where the header is long, or has an end without an empty line."""
        fields: list[bytes] = []
        position = 0
        if self._cut:
            position = self._skip(buffer, fields)
            if position < 0:
                return fields
        position = self._take(buffer, position, fields)
        if not self.ended:
            self._buffer = buffer[position:]
            if len(self._buffer) > self._limit:
                self._start_cut()
        return fields

    def finish(self) -> list[bytes]:
        """The content is over: what is left are the last fields, or a body without its empty line."""
        if self.ended:
            return []
        if self._cut:
            self.ended = True
            return [self._cut]
        buffer = self._buffer
        if buffer and not buffer.endswith(b"\n"):
            buffer += _CRLF
        fields: list[bytes] = []
        position = self._take(buffer, 0, fields)
        if not self.ended:
            self._end(b"")
            if position < len(buffer):
                fields.append(buffer[position:])
        return fields

    def _take(self, buffer: bytes, position: int, fields: list[bytes]) -> int:
        size = len(buffer)
        match_field = _FIELD.match
        limit = self._limit
        while match := match_field(buffer, position):
            end = match.end()
            # The field may go on in what is still to come.
            if end == size or buffer[end] in b" \t":
                return position
            field = match[0]
            fields.append(field if end - position <= limit else _shorten(field, limit))
            position = end
        if buffer.startswith(_CRLF, position):
            self._end(buffer[position:])
        elif buffer.find(b"\n", position) >= 0:
            self._end(self._blank + buffer[position:])
        return position

    def _end(self, rest: bytes) -> None:
        self.ended = True
        self.rest = rest
        self._buffer = b""

    def _start_cut(self) -> None:
        """More than a field may have: keep its beginning; a line that is no field ends the header."""
        if re.match(rb"[!-9;-~]+[ \t]*:", self._buffer):
            self._cut = _shorten(self._buffer, self._limit)
            self._buffer = self._buffer[-1:]
        else:
            self._end(self._blank + self._buffer)

    def _skip(self, buffer: bytes, fields: list[bytes]) -> int:
        """Drop the tail of a field that was cut; the position behind it, or -1 where it still goes on."""
        match = _END_OF_FIELD.search(buffer)
        if not match:
            self._buffer = buffer[-1:]
            return -1
        fields.append(self._cut)
        self._cut = b""
        return match.end()


def _shorten(field: bytes, limit: int) -> bytes:
    return field[:limit].rstrip(_CRLF) + _CRLF
