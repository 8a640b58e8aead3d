"""The text of tables: logical lines, lists with items in braces, key folding (postconf(5), postmap(1))."""

from __future__ import annotations

import io
import itertools
import re
from collections.abc import Iterator
from typing import NamedTuple

# C's isspace() in the POSIX locale: what ends a key and what is trimmed, whatever Unicode calls a blank.
BLANKS = " \t\n\r\f\v"
LIST_SEPARATORS = ", \t\r\n"


class Line(NamedTuple):
    """A logical line and the number of its first physical line."""

    number: int
    text: str


class BraceError(ValueError):
    """A `{` without its `}`, or text behind it."""


def logical_lines(text: str) -> Iterator[Line]:
    """Join continuation lines; leave out blank lines and comments, also those amid a continued line.

    A first line that begins with a blank has nothing to continue and keeps its blank: it has no key.
    """
    return itertools.starmap(Line, joined_lines(text))


def joined_lines(text: str) -> Iterator[tuple[int, str]]:
    """`logical_lines` for files of a million lines: plain tuples, and never all lines at once."""
    number, parts = 0, list[str]()
    for at, raw in enumerate(io.StringIO(text, newline="\n"), 1):
        first = raw[0]
        if first == "#" or first == "\n":
            continue
        line = raw.removesuffix("\n")
        if first in BLANKS:
            stripped = raw.strip(BLANKS)
            if not stripped or stripped[0] == "#":
                continue
            if parts:
                parts.append(line)
                continue
        elif parts:
            yield number, parts[0] if len(parts) == 1 else "".join(parts)
        number, parts = at, [line]
    if parts:
        yield number, "".join(parts)


def fold(key: str) -> str:
    """The form under which fixed-string tables keep and find keys: without case, also beyond ASCII."""
    return key.casefold()


def split_list(text: str, separators: str = LIST_SEPARATORS) -> list[str]:
    """Split at separators, but not inside `{ }`: `a, inline:{b=c, d=e}` has two items."""
    if "{" not in text:
        return text.replace(",", " ").split() if separators == LIST_SEPARATORS else _split_plain(text, separators)
    items, start, level = list[str](), -1, 0
    for at, char in enumerate(text):
        if level == 0 and char in separators:
            if start >= 0:
                items.append(text[start:at])
            start = -1
            continue
        if start < 0:
            start = at
        if char == "{":
            level += 1
        elif char == "}" and level:
            level -= 1
    if start >= 0:
        items.append(text[start:])
    return items


def before_comment(items: list[str]) -> list[str]:
    """What of a parameter's value counts: an item that begins with `#` ends it, as in Postfix since 3.8."""
    return next((items[:at] for at, item in enumerate(items) if item.startswith("#")), items)


def _split_plain(text: str, separators: str) -> list[str]:
    return [item for item in re.split(f"[{re.escape(separators)}]+", text) if item]


def strip_braces(text: str) -> str:
    """The text between the outer `{` and `}`, trimmed; raises BraceError where it is not one pair around everything."""
    level = 0
    for at, char in enumerate(text):
        if char == "{":
            level += 1
        elif char == "}":
            level -= 1
            if level == 0:
                if rest := text[at + 1 :].strip(BLANKS):
                    raise BraceError(f"syntax error after '}}' in \"{text[: at + 1]}{rest}\"")
                return text[1:at].strip(BLANKS)
    raise BraceError(f"missing '}}' in \"{text}\"")


def unquoted_end(text: str, stops: str) -> int:
    """Where the first of `stops` stands outside `"..."`; the length where none does, -1 where a quote stays open."""
    quoted = False
    at = 0
    while at < len(text):
        char = text[at]
        if char == "\\":
            at += 1
        elif char == '"':
            quoted = not quoted
        elif char in stops and not quoted:
            return at
        at += 1
    return -1 if quoted else len(text)
