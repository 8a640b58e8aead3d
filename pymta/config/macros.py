"""The `$` language of main.cf: names, conditionals and comparisons (postconf(5)).

The same language is used by parameters that keep their `$` until mail is handled (`mailbox_command`,
`forward_path`, `default_rbl_reply`): their users call `expand` with a lookup of their own.
"""

from __future__ import annotations

import operator
import re
from collections.abc import Callable
from typing import Any

from pymta.config.levels import parse_level

Lookup = Callable[[str], str | None]

LARGEST_EXPANSION = 1 << 20
_DEEPEST_NESTING = 100
_BLANKS = " \t\r\n"
_NAME = re.compile(r"[A-Za-z0-9_]*")
_OPERATOR = re.compile(r"(==|!=|<=|>=|<|>)([A-Za-z0-9_]*)")
_COMPARE: dict[str, Callable[[Any, Any], bool]] = {
    "==": operator.eq,
    "!=": operator.ne,
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
}
_CLOSING = {"{": "}", "(": ")"}


class MacroError(ValueError):
    """A `$` expression that has no meaning; the text shows the place as `...before>>>after`."""


def expand(text: str, lookup: Lookup, is_set: Callable[[str], bool] | None = None) -> str:
    """Replace every `$` expression in `text`; names without a value become empty, `$$` becomes `$`.

    `lookup` gives a name's finished value. `is_set` answers the test of `${name?...}` and `${name:...}`,
    by default whether the value is there and not empty. The result is at most `LARGEST_EXPANSION` characters.
    Raises MacroError.
    """
    if "$" not in text:
        return text
    return _Expansion(lookup, is_set or (lambda name: bool(lookup(name)))).expand(text, 0)


def references(text: str) -> list[str]:
    """The names that `text` may look up, in order, those of branches not taken included. Raises MacroError."""
    names: list[str] = []

    def note(name: str) -> str:
        names.append(name)
        return ""

    def note_test(name: str) -> bool:
        names.append(name)
        return True

    _Expansion(note, note_test, every_branch=True).expand(text, 0)
    return names


def balanced(text: str, start: int) -> int:
    """The index behind the bracket that closes the one at `start`, or -1."""
    opening = text[start]
    closing = _CLOSING[opening]
    depth = 0
    for position in range(start, len(text)):
        if text[position] == opening:
            depth += 1
        elif text[position] == closing:
            depth -= 1
            if not depth:
                return position + 1
    return -1


class _Expansion:
    def __init__(self, lookup: Lookup, is_set: Callable[[str], bool], every_branch: bool = False) -> None:
        self._lookup = lookup
        self._is_set = is_set
        self._every_branch = every_branch

    def expand(self, text: str, depth: int) -> str:
        if depth > _DEEPEST_NESTING:
            raise MacroError(f'unreasonable macro call nesting: "{text}"')
        parts: list[str] = []
        length = position = 0
        while (dollar := text.find("$", position)) >= 0:
            parts.append(text[position:dollar])
            value, position = self._reference(text, dollar + 1, depth)
            parts.append(value)
            length += len(parts[-1]) + len(parts[-2])
            if length > LARGEST_EXPANSION:
                raise MacroError(f"the value grows beyond {LARGEST_EXPANSION} characters")
        parts.append(text[position:])
        return "".join(parts)

    def _reference(self, text: str, position: int, depth: int) -> tuple[str, int]:
        """The value of the reference behind a `$`, and where the text goes on."""
        first = text[position : position + 1]
        if first == "$":
            return "$", position + 1
        if first in ("{", "("):
            end = balanced(text, position)
            if end < 0:
                raise MacroError(f'truncated macro reference: "{text}"')
            return self._expression(text[position + 1 : end - 1], depth + 1), end
        name = _name_at(text, position)
        if not name:
            raise MacroError(f'empty macro name: "{text}"')
        return self._lookup(name) or "", position + len(name)

    def _expression(self, text: str, depth: int) -> str:
        """The inside of `${...}` or `$(...)`."""
        start = _skip_blanks(text, 0)
        if text[start : start + 1] == "{":
            truth, position = self._comparison(text, start, depth)
            return self._branches(text, position, truth, "true" if truth else "", depth)
        name = _name_at(text, start)
        end = start + len(name)
        position = _skip_blanks(text, end)
        if not name or text[position : position + 1] not in ("", "?", ":"):
            raise MacroError(f'attribute name syntax error at: "...{text[:end]}>>>{text[end : end + 20]}"')
        if position == len(text):
            return self._lookup(name) or ""
        return self._branches(text, position, self._is_set(name), "", depth)

    def _comparison(self, text: str, start: int, depth: int) -> tuple[bool, int]:
        """`{left} operator {right}`: its truth, and where the text goes on."""
        left, position = _payload(text, start)
        match = _OPERATOR.match(text, position)
        if not match:
            wanted = '"==" or "!="" or "<"" or "<="" or ">="" or ">"'
            raise MacroError(f'{wanted} expected at: "...{left}}}>>>{text[position : position + 20]}"')
        sign, suffix = match.groups()
        if suffix not in ("", "level"):
            raise MacroError(f'bad operator suffix at: "...{sign}>>>{suffix}"')
        position = _skip_blanks(text, match.end())
        if text[position : position + 1] != "{":
            raise MacroError(f'"{{expression}}" expected at: "...{{{left}}} {sign}>>>{text[position : position + 20]}"')
        right, position = _payload(text, position)
        truth = _compare(self.expand(left, depth + 1), sign, suffix, self.expand(right, depth + 1))
        if text[position : position + 1] not in ("", "?", ":"):
            raise MacroError(f'"?" or ":" expected at: "...}}>>>{text[position : position + 20]}"')
        return truth, position

    def _branches(self, text: str, position: int, truth: bool, unbranched: str, depth: int) -> str:
        """`?{yes}:{no}`, `?yes` or `:no` at `position`, or nothing there."""
        if position == len(text):
            return unbranched
        sign = text[position]
        first, position = _branch(text, position + 1)
        second = ""
        if position < len(text):
            if sign == ":":
                raise MacroError(f'unexpected input at: "...{first}}}>>>{text[position : position + 20]}"')
            if text[position] != ":":
                raise MacroError(f'":" expected at: "...{first}}}>>>{text[position : position + 20]}"')
            second, end = _branch(text, position + 1)
            if end < len(text):
                raise MacroError(f'unexpected input at: "...{second}}}>>>{text[end : end + 20]}"')
        yes, no = (first, second) if sign == "?" else ("", first)
        if self._every_branch:
            return self.expand(yes, depth) + self.expand(no, depth)
        return self.expand(yes if truth else no, depth)


def _name_at(text: str, position: int) -> str:
    match = _NAME.match(text, position)
    assert match
    return match[0]


def _skip_blanks(text: str, position: int) -> int:
    while position < len(text) and text[position] in _BLANKS:
        position += 1
    return position


def _payload(text: str, start: int) -> tuple[str, int]:
    """The inside of the `{...}` at `start`, and the next position that is not blank."""
    end = balanced(text, start)
    if end < 0:
        raise MacroError(f'unbalanced {{}} in attribute expression: "{text[start:]}"')
    return text[start + 1 : end - 1], _skip_blanks(text, end)


def _branch(text: str, position: int) -> tuple[str, int]:
    """`{text}`, or everything to the end where no brace stands first (its blanks included)."""
    start = _skip_blanks(text, position)
    if text[start : start + 1] == "{":
        return _payload(text, start)
    return text[position:], len(text)


def _compare(left: str, sign: str, suffix: str, right: str) -> bool:
    """By level, by number where both are all digits, else byte by byte."""
    if suffix == "level":
        try:
            return _COMPARE[sign](parse_level(left), parse_level(right))
        except ValueError as error:
            raise MacroError(str(error)) from None
    if _is_number(left) and _is_number(right):
        return _COMPARE[sign](int(left), int(right))
    return _COMPARE[sign](left, right)


def _is_number(text: str) -> bool:
    return text.isascii() and text.isdigit() and len(text) <= 18
