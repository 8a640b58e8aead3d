"""Bytes from the network into command lines and message content (RFC 5321 4.1.1.4, 4.5.2; RFC 3030)."""

from __future__ import annotations

import re

from pymta.protocol.content import find_dot_line

_CRLF = b"\r\n"
_STANDARD_END = b"\r\n.\r\n"
# What a chunk must not be cut at: the beginning of a line end, of a stuffed dot, of the end of data.
_UNDECIDED = re.compile(rb"(?:\r?\n\.?\r?|\r)\Z")


def _has_only_crlf(block: bytes) -> bool:
    """Whether no LF stands without a CR before it, as in nearly all mail."""
    return block.count(b"\n") == block.count(_CRLF)


class CommandLines:
    """Splits input into command lines, each ended by LF with or without CRs before it.

    A line longer than `limit` bytes is cut there and its rest dropped as it comes, as Postfix does with
    `line_length_limit`; `limit` may change between two lines. After `take_rest` the input belongs to someone else
    until `put_back`.
    """

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self._input = b""
        self._position = 0
        self._overlong = b""
        self.is_empty = True
        self.got_bare_newline = False

    def __len__(self) -> int:
        return len(self._input) - self._position

    def feed(self, data: bytes) -> None:
        self._input = data if self.is_empty else self._input[self._position :] + data
        self._position = 0
        self.is_empty = not self._input

    def next_line(self) -> bytes | None:
        """The next line without its end, None where it is not complete yet."""
        end = self._input.find(b"\n", self._position)
        if end < 0:
            self._bound()
            return None
        line = self._input[self._position : end]
        self._position = end + 1
        self.is_empty = self._position == len(self._input)
        if not (line or self._overlong[-1:]).endswith(b"\r"):
            self.got_bare_newline = True
        if self._overlong:
            line, self._overlong = self._overlong[: self.limit], b""
        return line.rstrip(b"\r")[: self.limit]

    def _bound(self) -> None:
        """Keep no more of an endless line than is ever looked at, and its last byte."""
        if len(self._input) - self._position > self.limit:
            rest = self.take_rest()
            self._overlong = (self._overlong or rest)[: self.limit] + rest[-1:]

    def peek(self, limit: int) -> bytes:
        """Up to `limit` bytes of what waits behind the lines taken so far."""
        return self._input[self._position : self._position + limit]

    def take_rest(self) -> bytes:
        rest = self._input[self._position :] if self._position else self._input
        self.put_back(b"")
        return rest

    def put_back(self, data: bytes) -> None:
        self._input, self._position, self.is_empty = data, 0, not data


class DataDecoder:
    """DATA: finds the end, takes off stuffed dots, ends every line in CRLF. Memory: four bytes.

    With `standard_end` only `<CR><LF>.<CR><LF>` ends the data (RFC 5321 4.1.1.4); without it a bare LF ends
    a line everywhere, which is what smuggling needs and what some old clients send. Bare LFs become CRLF
    either way and are told by `got_bare_newline`. Stray CRs stay; `is_tidy` tells that the latest piece has none.
    """

    def __init__(self, standard_end: bool = True) -> None:
        self._standard_end = standard_end
        self._carry = _CRLF
        self._at_start = True
        self.got_bare_newline = False
        self.is_tidy = False

    def feed(self, data: bytes) -> tuple[bytes, bytes | None]:
        """Decoded content, and what follows the end of data once that is seen (None before)."""
        block = self._carry + data
        # One byte is found many times faster than two: to make all line ends anew costs half of counting them.
        self.is_tidy = block.replace(b"\r", b"").replace(b"\n", _CRLF) == block
        is_clean = self.is_tidy or _has_only_crlf(block)
        dot = find_dot_line(block)
        start, stop = (
            self._find_standard_end(block, dot) if is_clean or self._standard_end else self._find_any_end(block)
        )
        if start >= 0:
            self._note_dot_line(block, start, stop)
            body, rest = block[:start], block[stop:]
        else:
            undecided = _UNDECIDED.search(block, max(0, len(block) - 4))
            cut = undecided.start() if undecided else len(block)
            body, rest, self._carry = block[:cut], None, block[cut:]
        if is_clean or _has_only_crlf(body):
            return self._decode(body, 0 <= dot < len(body) - 1), rest
        self.got_bare_newline = True
        return self._decode(body.replace(_CRLF, b"\n").replace(b"\n", _CRLF), True), rest

    def _find_standard_end(self, block: bytes, dot: int) -> tuple[int, int]:
        """Where content stops (behind the last line's end) and where the next command begins; -1 without an end."""
        found = block.find(_STANDARD_END, max(dot - 1, 0)) if dot >= 0 else -1
        return (found + 2, found + 5) if found >= 0 else (-1, -1)

    def _find_any_end(self, block: bytes) -> tuple[int, int]:
        found = block.find(b"\n.\r\n")
        bare = block.find(b"\n.\n", 0, found + 2 if found >= 0 else len(block))
        if bare >= 0:
            return bare + 1, bare + 3
        return (found + 1, found + 4) if found >= 0 else (-1, -1)

    def _note_dot_line(self, block: bytes, start: int, stop: int) -> None:
        if block[stop - 2 : stop] != _CRLF or block[start - 2 : start] != _CRLF:
            self.got_bare_newline = True

    def _decode(self, body: bytes, has_dots: bool) -> bytes:
        if has_dots:
            body = body.replace(b"\r\n.", _CRLF)
        if self._at_start and body:
            # The line end before the first line, which makes a dot there look like every other.
            self._at_start = False
            return body[2:]
        return body


class ChunkDecoder:
    """BDAT: content is what it is, but for bare LFs, which become CRLF (RFC 3030). Memory: one byte."""

    def __init__(self) -> None:
        self._carry = b""
        self._last = b""
        self.got_bare_newline = False

    def feed(self, data: bytes) -> bytes:
        body = self._carry + data if self._carry else data
        self._carry = b""
        if body.endswith(b"\r"):
            body, self._carry = body[:-1], b"\r"
        if not _has_only_crlf(body):
            self.got_bare_newline = True
            body = body.replace(_CRLF, b"\n").replace(b"\n", _CRLF)
        if body:
            self._last = body[-1:]
        return body

    def finish(self) -> bytes:
        """What is missing for the last line to be one."""
        rest, self._carry = self._carry, b""
        if rest:
            return rest + _CRLF
        return b"" if self._last in (b"", b"\n") else _CRLF
