"""A message as mailbox files and commands get it: local line ends, `From ` lines quoted, headers in front."""

from __future__ import annotations

import os
import time
from collections.abc import Iterable, Iterator

from pymta.errors import DeliveryError
from pymta.model.address import Address


class ContentError(DeliveryError):
    """The message could not be read to its end."""


class LineFilter:
    """Turns content with CRLF line ends into content with `eol`, piece by piece, without a loop over lines.

    `quote_from` puts `>` before `From ` at the start of a line, `quote_dot` doubles a leading dot. What could be
    the start of a match at the end of a piece waits for the next one: at most six bytes.
    """

    def __init__(self, eol: bytes = b"\n", *, quote_from: bool = False, quote_dot: bool = False) -> None:
        self._eol = eol
        self._marks: list[tuple[bytes, bytes]] = []
        if quote_from:
            self._marks.append((b"\r\nFrom ", b"\r\n>From "))
        if quote_dot:
            self._marks.append((b"\r\n.", b"\r\n.."))
        # The message begins as if a line had just ended, so that its first line is quoted as well.
        self._held = b"\r\n"
        self._skip = len(eol)

    def feed(self, piece: bytes) -> bytes:
        data = self._held + piece
        hold = self._incomplete(data)
        self._held = data[len(data) - hold :]
        return self._convert(data[: len(data) - hold])

    def finish(self) -> bytes:
        held, self._held = self._held, b""
        return self._convert(held)

    def _incomplete(self, data: bytes) -> int:
        tail = data[-6:]
        start = tail.rfind(b"\r")
        if start < 0:
            return 0
        suffix = tail[start:]
        if suffix == b"\r" or any(len(suffix) < len(mark) and mark.startswith(suffix) for mark, _ in self._marks):
            return len(suffix)
        return 0

    def _convert(self, data: bytes) -> bytes:
        for mark, quoted in self._marks:
            data = data.replace(mark, quoted)
        if self._eol != b"\r\n":
            data = data.replace(b"\r\n", self._eol)
        if self._skip and data:
            data = data[self._skip :]
            self._skip = 0
        return data


def converted(pieces: Iterable[bytes], line_filter: LineFilter) -> Iterator[bytes]:
    """The non-empty pieces of a message after `line_filter`.

    Raises ContentError where the message cannot be read, so that no one takes that for a failed write.
    """
    source = iter(pieces)
    while (piece := _next(source)) is not None:
        if data := line_filter.feed(piece):
            yield data
    if data := line_filter.finish():
        yield data


def _next(source: Iterator[bytes]) -> bytes | None:
    try:
        return next(source, None)
    except OSError as error:
        raise ContentError(f"error reading message: {error}") from error


def write_all(descriptor: int, data: bytes) -> None:
    """Write `data` whole; raises OSError."""
    written = os.write(descriptor, data)
    while written < len(data):
        written += os.write(descriptor, memoryview(data)[written:])


def external(address: Address) -> str:
    """The quoted form; an empty local part with a domain is `""@domain` (RFC 5321 4.1.2)."""
    if not address.local_part and address.domain:
        return f'""@{address.domain}'
    return address.quoted()


def from_line(sender: Address, now: float) -> bytes:
    """`From sender  Wed Apr 22 16:13:33 2015`, in local time, without a line end; the null sender is MAILER-DAEMON."""
    return encode(f"From {external(sender) or 'MAILER-DAEMON'}  {time.asctime(time.localtime(now))}")


def envelope_header(
    *, sender: Address | None = None, original: Address | None = None, delivered: Address | None = None
) -> bytes:
    """Return-Path, X-Original-To and Delivered-To in Postfix's order, those that are given, with bare LF."""
    lines = []
    if sender is not None:
        lines.append(f"Return-Path: <{external(sender)}>\n")
    if original is not None:
        lines.append(f"X-Original-To: {external(original)}\n")
    if delivered is not None:
        lines.append(f"Delivered-To: {external(delivered)}\n")
    return encode("".join(lines))


def encode(text: str) -> bytes:
    return text.encode("utf-8", "surrogateescape")
