"""What a server answers, read from bytes: bounded, and never an exception (RFC 5321 4.2, RFC 2034)."""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Callable
from functools import lru_cache

from pymta.model.frozen import frozen

# What is kept of one line, of one reply, and how much a server may send without being asked.
LINE_LIMIT = 2048
TEXT_LIMIT = 102_400
LINES_LIMIT = 10_000
UNASKED_LIMIT = 100

_STATUS = re.compile(r"[245]\.[0-9]{1,3}\.[0-9]{1,3}(?=\s|$)")
_UNPRINTABLE = re.compile(r"[\x00-\x1f\x7f-\x9f]")


@frozen
class ServerReply:
    """One reply. `text` is as it came, codes included, lines separated by LF; `line` the same on one line.

    `status` is the server's enhanced status where it fits the code, else `2.0.0`, `4.0.0` or `5.0.0`. What is no
    reply at all has the code 0 and the status 4.5.0: a temporary failure.
    """

    code: int
    status: str
    text: str

    @property
    def line(self) -> str:
        return self.text.replace("\n", " ")

    @property
    def is_positive(self) -> bool:
        return 200 <= self.code < 300


class ReplyReader:
    """Cuts the server's bytes into `replies`, for the owner to take.

    `is_broken` once it floods us: nothing is read any more. `replace` gives what to read in place of a line.
    """

    def __init__(self, replace: Callable[[str], str] | None = None) -> None:
        self._replace = replace
        self.is_broken = False
        self._rest = b""
        self._in_long_line = False
        self._lines: list[str] = []
        self._line_count = 0
        self._size = 0
        self.replies: deque[ServerReply] = deque()

    def feed(self, data: bytes) -> None:
        # What one read brings may answer a thousand recipients; what is still here at the next one, nobody asked for.
        self.is_broken = self.is_broken or len(self.replies) > UNASKED_LIMIT
        if self.is_broken:
            return
        if self._in_long_line:
            end = data.find(b"\n")
            if end < 0:
                return
            data = data[end:]
            self._in_long_line = False
        lines = (self._rest + data).split(b"\n")
        rest = lines.pop()
        if len(rest) > LINE_LIMIT:
            rest, self._in_long_line = rest[:LINE_LIMIT], True
        self._rest = rest
        is_plain, replies = self._replace is None, self.replies
        for line in lines:
            if is_plain and not self._lines and (reply := _single_line(line[:LINE_LIMIT])) is not None:
                replies.append(reply)
            else:
                self._take(line)

    def _take(self, line: bytes) -> None:
        if self._replace is not None:
            line = self._replace(_decode(line[:LINE_LIMIT])).encode("utf-8", "surrogateescape")
        if not self._lines and (reply := _single_line(line[:LINE_LIMIT])) is not None:
            self._add(reply)
            return
        text = _decode(line[:LINE_LIMIT])
        is_reply = _is_reply(text)
        self._line_count += 1
        if self._size < TEXT_LIMIT:
            self._lines.append(text)
            self._size += len(text)
        if is_reply and text[3:4] == "-":
            if self._line_count < LINES_LIMIT:
                return
            self.is_broken, is_reply = True, False
        if is_reply:
            # The last line decides, even when TEXT_LIMIT kept it out of the text.
            self._add(ServerReply(int(text[:3]), _status(text), "\n".join(self._lines)))
        else:
            self._add(ServerReply(0, "4.5.0", text))

    def _add(self, reply: ServerReply) -> None:
        self.replies.append(reply)
        self._lines, self._line_count, self._size = [], 0, 0


@lru_cache(maxsize=256)
def _single_line(line: bytes) -> ServerReply | None:
    """A reply of one line; the same few come again and again. None for anything else."""
    text = _decode(line)
    if not _is_reply(text) or text[3:4] == "-":
        return None
    return ServerReply(int(text[:3]), _status(text), text)


def _is_reply(text: str) -> bool:
    code = text[:3]
    return len(code) == 3 and code.isascii() and code.isdecimal() and code[0] in "2345" and text[3:4] in ("", " ", "-")


def _status(text: str) -> str:
    match = _STATUS.match(text, 4)
    return match[0] if match and text[4] == text[0] else f"{text[0] if text[0] != '3' else '4'}.0.0"


def _decode(line: bytes) -> str:
    text = line.rstrip(b"\r").decode("utf-8", "replace")
    return text if text.isprintable() else _UNPRINTABLE.sub("?", text)
