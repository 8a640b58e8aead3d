"""Tokens of RFC 822 address text, as Postfix's tok822(3) sees them: lenient, nothing refused."""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import Enum

# How many tokens of one header are looked at (postconf(5), header_address_token_limit).
DEFAULT_TOKEN_LIMIT = 10240

_SPECIALS = '"(),.:;<>@[]%!'
_SKIP = re.compile(r"[ \t\r\n]+")
_ATOM = re.compile(r'(?:\\.|[^\\ \t\r\n"(),.:;<>@\[\]%!])+\\?|\\', re.DOTALL)
_QUOTED = re.compile(r'((?:\\.|[^"\\])*)("|\\?\Z)', re.DOTALL)
_LITERAL = re.compile(r"((?:\\.|[^\]\\])*)(\]|\\?\Z)", re.DOTALL)
_COMMENT_MARK = re.compile(r"\\.|[()]", re.DOTALL)
_ESCAPED = re.compile(r"\\(.)", re.DOTALL)
_BREAK = re.compile(r"[\t\r\n]")
_UNSAFE_ATOM = re.compile(r'[\x00-\x20\x7f"(),.:;<>@\[\]%!]')


class Kind(Enum):
    """What a token is. ADDRESS and GROUP appear only after parsing."""

    ATOM = "atom"
    QUOTED = "quoted string"
    LITERAL = "domain literal"
    COMMENT = "comment"
    OPERATOR = "operator"
    GROUP = "group"
    ADDRESS = "address"


@dataclass(slots=True)
class Token:
    """One token. `text` is without quotes, backslashes or brackets; a comment keeps its parentheses and backslashes.

    An ADDRESS carries its own tokens in `inner`.
    """

    kind: Kind
    text: str
    inner: list[Token] | None = None

    @property
    def is_word(self) -> bool:
        return self.kind in _WORDS

    def is_operator(self, characters: str) -> bool:
        return self.kind is Kind.OPERATOR and self.text in characters


_WORDS = frozenset({Kind.ATOM, Kind.QUOTED, Kind.LITERAL})


def scan(text: str, limit: int = DEFAULT_TOKEN_LIMIT) -> list[Token]:
    """Split `text` into at most `limit` tokens; what follows them is dropped. Unclosed quotes end with the text."""
    tokens: list[Token] = []
    position = 0
    end = len(text)
    while len(tokens) < limit:
        if match := _SKIP.match(text, position):
            position = match.end()
        if position >= end:
            break
        token, position = _next_token(text, position)
        tokens.append(token)
    return tokens


def _next_token(text: str, position: int) -> tuple[Token, int]:
    character = text[position]
    if character == "(":
        stop = _comment_end(text, position)
        return Token(Kind.COMMENT, text[position:stop]), stop
    if character == '"':
        return _enclosed(Kind.QUOTED, _QUOTED, text, position + 1)
    if character == "[":
        return _enclosed(Kind.LITERAL, _LITERAL, text, position + 1)
    if character in _SPECIALS:
        return Token(Kind.OPERATOR, character), position + 1
    match = _ATOM.match(text, position)
    assert match is not None  # every other character starts an atom
    return _atom(match[0]), match.end()


def _enclosed(kind: Kind, pattern: re.Pattern[str], text: str, position: int) -> tuple[Token, int]:
    match = pattern.match(text, position)
    assert match is not None  # matches up to the end of the text at least
    return Token(kind, _plain(match[1])), match.end()


def _atom(raw: str) -> Token:
    if "\\" not in raw:
        return Token(Kind.ATOM, raw)
    text = _plain(raw.removesuffix("\\") if _ends_alone(raw) else raw)
    return Token(Kind.QUOTED if _UNSAFE_ATOM.search(text) else Kind.ATOM, text)


def _ends_alone(raw: str) -> bool:
    return (len(raw) - len(raw.rstrip("\\"))) % 2 == 1


def _plain(raw: str) -> str:
    if "\\" in raw:
        raw = _ESCAPED.sub(r"\1", raw)
    return _BREAK.sub(" ", raw) if not raw.isprintable() else raw


def _comment_end(text: str, position: int) -> int:
    level = 0
    for match in _COMMENT_MARK.finditer(text, position):
        mark = match[0]
        if mark == "(":
            level += 1
        elif mark == ")":
            level -= 1
            if level == 0:
                return match.end()
    return len(text)
