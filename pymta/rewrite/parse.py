"""Address lists of headers, aliases and command lines (RFC 5322 3.4), read as leniently as Postfix does.

Tokens are grouped from right to left, since only the right end of an address tells where a phrase, a route or a
group begins. Nothing is refused: what cannot be an address stays beside the addresses.
"""

from __future__ import annotations

from collections import deque

from pymta.model.address import Address
from pymta.rewrite.tokens import DEFAULT_TOKEN_LIMIT, Kind, Token, scan

_COMMA = ","


def parse(text: str, limit: int = DEFAULT_TOKEN_LIMIT) -> list[Token]:
    """Read `text` into phrases, comments, operators and ADDRESS tokens, in order; missing commas are added."""
    return _Grouping(scan(text, limit)).run()


def parse_addresses(text: str, limit: int = DEFAULT_TOKEN_LIMIT) -> list[Address]:
    """The addresses of a list, without phrases, comments, group names and source routes, in order.

    `user` has no domain; `<>` and an empty group add nothing. Never raises.
    """
    return [to_address(token) for token in parse(text, limit) if token.kind is Kind.ADDRESS]


def to_address(token: Token) -> Address:
    """The internal form of an ADDRESS token; a source route (RFC 5322 4.4) is stripped."""
    tokens = _without_route(token.inner or [])
    for index in range(len(tokens) - 1, -1, -1):
        if tokens[index].is_operator("@"):
            return Address(flatten(tokens[:index]), flatten(tokens[index + 1 :]))
    return Address(flatten(tokens))


def has_route(token: Token) -> bool:
    """Whether an ADDRESS token begins with a source route that `to_address` takes off."""
    tokens = token.inner or []
    return _without_route(tokens) is not tokens


def flatten(tokens: list[Token]) -> str:
    """The tokens of an address as one string without quotes; literals keep their brackets, commas get a blank."""
    return "".join(_plain(token) for token in tokens)


def _plain(token: Token) -> str:
    if token.kind is Kind.LITERAL:
        return f"[{token.text}]"
    return ", " if token.is_operator(_COMMA) else token.text


def _without_route(tokens: list[Token]) -> list[Token]:
    if not tokens or not tokens[0].is_operator("@"):
        return tokens
    for index, token in enumerate(tokens):
        if token.is_operator(":"):
            return tokens[index + 1 :] or tokens
    return tokens


class _Grouping:
    """One pass over the tokens from the right.

    `_done` is finished output; `_pending` are the tokens between the current one and what is done, which
    become one ADDRESS. `_word_expected` is False where the token to the right was a word, so that another
    word means that a comma was left out.
    """

    def __init__(self, tokens: list[Token]) -> None:
        self._left = tokens
        self._done: deque[Token] = deque()
        self._pending: deque[Token] = deque()
        self._word_expected = True
        self._in_group = False

    def run(self) -> list[Token]:
        while self._left:
            self._step(self._left.pop())
        self._close()
        return list(self._done)

    def _step(self, token: Token) -> None:
        if token.kind is Kind.COMMENT:
            self._done.appendleft(token)
        elif token.is_word:
            if not self._word_expected:
                self._close(comma=True)
            self._word_expected = False
            self._pending.appendleft(token)
        elif token.text == ";":
            self._close(comma=True)
            self._done.appendleft(token)
            self._in_group = self._word_expected = True
        elif token.text == ":" and self._in_group:
            self._close()
            self._start_of_group(token)
        elif token.text == ">":
            self._angle(token)
        elif token.text == _COMMA:
            self._close()
            self._done.appendleft(token)
            self._word_expected = True
        else:
            self._pending.appendleft(token)
            self._word_expected = True

    def _close(self, comma: bool = False) -> None:
        """Turn the pending tokens into one address; with `comma`, set it apart from what stands to its left."""
        if not self._pending:
            return
        self._done.appendleft(Token(Kind.ADDRESS, "", list(self._pending)))
        self._pending.clear()
        if comma:
            self._done.appendleft(Token(Kind.OPERATOR, _COMMA))

    def _start_of_group(self, colon: Token) -> None:
        colon.kind = Kind.GROUP
        self._done.appendleft(colon)
        while self._left and not self._left[-1].is_operator(_COMMA):
            self._done.appendleft(self._left.pop())
        self._in_group = False
        self._word_expected = True

    def _angle(self, closing: Token) -> None:
        self._close(comma=True)
        self._done.appendleft(closing)
        while self._left:
            token = self._left.pop()
            if token.is_operator("<"):
                self._close()
                self._done.appendleft(token)
                break
            if token.kind is Kind.COMMENT:
                self._done.appendleft(token)
            else:
                self._pending.appendleft(token)
        self._close()
        while self._left and not self._left[-1].is_operator(">;,:"):
            self._done.appendleft(self._left.pop())
        self._word_expected = True
