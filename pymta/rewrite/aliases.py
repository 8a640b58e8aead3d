"""Right-hand sides of aliases(5) and lines of `.forward` and `:include:` files, as values."""

from __future__ import annotations

import re
from collections.abc import Iterator

from pymta.model.address import Address
from pymta.model.frozen import frozen

_INCLUDE = ":include:"
# One token of RFC 5322's structured fields. A quoted string or comment that never ends runs to the end of the text.
_TOKEN = re.compile(
    r"""(?P<quoted>"(?:[^"\\]|\\.)*(?:"|\\?\Z))
      | (?P<comment>\()
      | (?P<blank>[ \t\r\n]+)
      | (?P<special>[,<>])
      | (?P<word>(?:[^"()<>, \t\r\n\\]|\\.)+)
      | (?P<backslash>\\)""",
    re.VERBOSE | re.DOTALL,
)
_QUOTED_PAIR = re.compile(r"\\(.)", re.DOTALL)
_COMMENT_PART = re.compile(r"\\.|[()]", re.DOTALL)


@frozen
class Command:
    """`|command`: the text after the bar."""

    command: str


@frozen
class FileName:
    """`/file/name`, or `~/name` below the recipient's home; with a trailing slash a maildir."""

    path: str


@frozen
class Include:
    """`:include:/file/name`: a file of more destinations."""

    path: str


Destination = Address | Command | FileName | Include


def parse_destinations(text: str) -> tuple[Destination, ...]:
    """The destinations in a comma separated list; empty items and comments do not count (aliases(5)).

    An address comes unquoted, and keeps one leading backslash where it was written outside of quotes: `\\user`
    asks for the mailbox itself. Never fails: what is no address becomes one that nobody has.
    """
    return tuple(destination for item in _items(text) if (destination := item.destination()) is not None)


def parse_destination_lines(text: str) -> tuple[Destination, ...]:
    """The destinations of a `.forward` or `:include:` file: lists line by line, lines that begin with `#` left out."""
    return tuple(
        destination
        for line in text.splitlines()
        if line and not line.startswith("#")
        for destination in parse_destinations(line)
    )


class _Item:
    """One list item while its tokens come in; `domain_at` is where its last unquoted `@` stands in `text`."""

    def __init__(self) -> None:
        self.text = ""
        self.domain_at = -1
        self._bracketed = False
        self._closed = False
        self._blank = False

    def add(self, text: str, *, quoted: bool) -> None:
        if self._closed:
            return
        at = -1 if quoted else text.rfind("@")
        # Blanks around the `@` mean nothing (RFC 5322 3.4.1), others keep words apart.
        is_beside_at = text.startswith("@", 0, at + 1) or (self.text and self.domain_at == len(self.text) - 1)
        if self._blank and self.text and not is_beside_at:
            self.text += " "
        self._blank = False
        if at >= 0:
            self.domain_at = len(self.text) + at
        self.text += text

    def blank(self) -> None:
        self._blank = True

    def open_bracket(self) -> None:
        """`<`: what came before was a display name."""
        self.text, self.domain_at, self._bracketed, self._blank = "", -1, True, False

    def close_bracket(self) -> None:
        self._closed = self._bracketed

    def destination(self) -> Destination | None:
        text = self.text
        if not text:
            return None
        if text[0] in "/~":
            return FileName(text)
        if text[0] == "|":
            return Command(text[1:].lstrip())
        if text[: len(_INCLUDE)].lower() == _INCLUDE:
            return Include(text[len(_INCLUDE) :].lstrip())
        if self.domain_at < 0 or text == "@":
            return Address(text)
        return Address(text[: self.domain_at], text[self.domain_at + 1 :])


def _items(text: str) -> Iterator[_Item]:
    item = _Item()
    position = 0
    while match := _TOKEN.match(text, position):
        position = match.end()
        part = match[0]
        match match.lastgroup:
            case "comment":
                position = _end_of_comment(text, position)
                item.blank()
            case "blank":
                item.blank()
            case "quoted":
                item.add(_unquote(part), quoted=True)
            case "word" if part.startswith("\\") and not item.text:
                item.add("\\" + _unescape(part[1:]), quoted=False)
            case "word":
                item.add(_unescape(part), quoted=False)
            case "special" if part == ",":
                yield item
                item = _Item()
            case "special" if part == "<":
                item.open_bracket()
            case "special":
                item.close_bracket()
    yield item


def _unquote(token: str) -> str:
    inner = token[1:-1] if len(token) > 1 and token.endswith('"') else token[1:]
    return _unescape(inner)


def _unescape(text: str) -> str:
    return _QUOTED_PAIR.sub(r"\1", text) if "\\" in text else text


def _end_of_comment(text: str, position: int) -> int:
    depth = 1
    for match in _COMMENT_PART.finditer(text, position):
        depth += {"(": 1, ")": -1}.get(match[0], 0)
        if depth == 0:
            return match.end()
    return len(text)
