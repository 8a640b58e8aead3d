"""The body hash of RFC 6376 3.4, computed while the content passes: linear in time, constant in memory."""

from __future__ import annotations

import hashlib
from typing import Protocol

_EMPTY_LINES = b"\r\n" * 4096


class Sink(Protocol):
    """What a canonical body goes into."""

    def update(self, data: bytes, /) -> None: ...
    def digest(self) -> bytes: ...


class BodyHash:
    """SHA-256 of a canonicalised body that comes in pieces of any size. Lines end in CRLF; a bare CR or LF is text.

    Empty lines at the end do not count, so they wait as a number until something follows them; so do the last
    bytes of a piece whose meaning the next piece decides (a blank before a line end, a CR before its LF).
    """

    def __init__(self, *, relaxed: bool, sink: Sink | None = None) -> None:
        """`sink` takes the canonical body in place of a plain SHA-256."""
        self._relaxed = relaxed
        self._hash = sink or hashlib.sha256()
        self._held = b""
        self._empty_lines = 0
        self._has_text = False

    def update(self, data: bytes) -> None:
        if self._held:
            data = self._held + data
        if self._relaxed:
            data = _single_blanks(data).replace(b" \r\n", b"\r\n")
        end = len(data)
        if data.endswith(b"\r"):
            end -= 1
        if self._relaxed and data.endswith(b" ", 0, end):
            end -= 1
        self._held = data[end:]
        self._take(data[:end] if self._held else data)

    def digest(self) -> bytes:
        """The hash; nothing may be added after it.

        A last line gets its CRLF where it has none, and so does an empty body that is `simple` (RFC 6376 3.4.3).
        """
        if self._held and self._held != b" ":
            self._take(self._held)
        if self._has_text or not self._relaxed:
            self._hash.update(b"\r\n")
        return self._hash.digest()

    def _take(self, data: bytes) -> None:
        text = _without_line_ends(data)
        if text:
            self._write_empty_lines()
            self._hash.update(data[:text])
            self._has_text = True
        self._empty_lines += (len(data) - text) // 2

    def _write_empty_lines(self) -> None:
        left = self._empty_lines * 2
        while left > 0:
            self._hash.update(_EMPTY_LINES[:left])
            left -= len(_EMPTY_LINES)
        self._empty_lines = 0


def _single_blanks(data: bytes) -> bytes:
    """Every run of blanks and tabs as one blank. Each pass halves the longest run, so even a run of 1 MB takes 20."""
    if b"\t" in data:
        data = data.replace(b"\t", b" ")
    while b"  " in data:
        data = data.replace(b"  ", b" ")
    return data


def _without_line_ends(data: bytes) -> int:
    """Where the CRLFs at the end of `data` begin. A bare CR or LF before them is text."""
    start = len(data.rstrip(b"\r\n"))
    tail = data[start:]
    count = len(tail) // 2
    if tail == b"\r\n" * count:
        return start
    end = len(tail)
    while tail.endswith(b"\r\n", 0, end):
        end -= 2
    return start + end
