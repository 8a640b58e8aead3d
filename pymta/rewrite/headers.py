"""Rewriting the addresses of a header and nothing else in it (cleanup(8))."""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, Iterator
from itertools import pairwise

from pymta.model.address import Address, quote_local_part
from pymta.rewrite.parse import has_route, parse, to_address
from pymta.rewrite.tokens import DEFAULT_TOKEN_LIMIT, Kind, Token

AddressFunction = Callable[[Address], Awaitable[Address]]

# Comments and phrases beside one address are dropped beyond this, for readers with fixed buffers (CERT CA-2003-07).
_MAX_COMMENTS = 250
_FOLD_COLUMN = 70
_QUOTE_IN_PHRASE = re.compile(r'(["\\\r\n])')
_QUOTE_IN_LITERAL = re.compile(r"([\\\r\n])")
_SPACED = frozenset({Kind.ATOM, Kind.QUOTED, Kind.LITERAL, Kind.COMMENT, Kind.ADDRESS})


# Lists of complete addresses, as nearly all headers are: nothing to do, seen without taking them apart.
_ATEXT = rb"A-Za-z0-9!#$&'*+/=?^_`{|}~\-"
_COMPLETE = rb"[%b.]++@(?:[A-Za-z0-9-]++\.)+[A-Za-z0-9-]++" % _ATEXT
_PHRASE = rb'[%b. \t\r\n]*+(?:"[^"\\]*+"[%b. \t\r\n]*+)*' % (_ATEXT, _ATEXT)
_COMPLETE_ITEM = rb"\s*+(?:%b|%b<%b>)\s*+" % (_COMPLETE, _PHRASE, _COMPLETE)
# Groups are not repeated possessively: before 3.11.5 Python loses its place where the last round fails.
_COMPLETE_LIST = re.compile(rb"%b(?:,%b)*" % (_COMPLETE_ITEM, _COMPLETE_ITEM))

match_complete_list = _COMPLETE_LIST.fullmatch
"""Finds values of plain complete addresses only, which no standard form changes; not all such. Takes a start, too."""


class AddressHeader:
    """The value of a header that holds addresses, read once, written with others in their place.

    Only the first `limit` tokens count. An address that ends in `@` is broken and stays as it is, so that whoever
    looks can see it.
    """

    def __init__(self, value: str, limit: int = DEFAULT_TOKEN_LIMIT) -> None:
        self._tree = parse(value, limit)
        self._tokens: list[Token] = []
        self._is_odd = False
        for token in self._tree:
            if token.kind is not Kind.ADDRESS:
                continue
            if _is_lone_at(token):
                # As good as empty.
                token.text = external(Address(""))
                self._is_odd = True
            elif _ends_in_at(token):
                token.text = external(to_address(token)) + "@"
            else:
                self._tokens.append(token)
                self._is_odd |= has_route(token)
        self.addresses = [to_address(token) for token in self._tokens]

    def changes_to(self, addresses: list[Address]) -> bool:
        """Whether the text changes when `addresses` take the place of `self.addresses`; source routes always go."""
        return self._is_odd or addresses != self.addresses

    def replaced(self, addresses: list[Address], column: int = 0) -> str:
        """The value with `addresses`, laid out anew: one blank between items, lines of about 70 columns.

        Lines are joined by a newline and a tab. `column` is the width of the header's name with colon and blank.
        """
        for token, address in zip(self._tokens, addresses, strict=True):
            token.text = external(address)
        return _fold(_items(self._tree), column)


async def rewrite_header_addresses(
    value: str, function: AddressFunction, *, column: int = 0, limit: int = DEFAULT_TOKEN_LIMIT
) -> str:
    """Apply `function` to every address of a header's value; phrases, comments and groups stay.

    Where no address changes, `value` itself is returned, layout and all; else see `AddressHeader.replaced`.
    """
    header = AddressHeader(value, limit)
    addresses = [await function(address) for address in header.addresses]
    return header.replaced(addresses, column) if header.changes_to(addresses) else value


def external(address: Address) -> str:
    """`address` for a header, quoted where RFC 5322 asks for it; an empty local part is `""`."""
    local_part = quote_local_part(address.local_part) or '""'
    return f"{local_part}@{address.domain}" if address.domain else local_part


def _ends_in_at(token: Token) -> bool:
    return bool(token.inner) and token.inner[-1].is_operator("@")  # type: ignore[index]


def _is_lone_at(token: Token) -> bool:
    return token.inner is not None and len(token.inner) == 1 and token.inner[0].is_operator("@")


def _items(tree: list[Token]) -> Iterator[str]:
    """The list's items, each with the comma that follows it."""
    item: list[Token] = []
    for token in tree:
        if token.is_operator(","):
            yield _item(item) + ","
            item = []
        else:
            item.append(token)
    if item:
        yield _item(item)


def _item(tokens: list[Token]) -> str:
    text = "".join(_write(token, following) for token, following in pairwise([*tokens, None]) if token)
    address = next((token.text for token in tokens if token.kind is Kind.ADDRESS), "")
    return f"<{address}>" if address and len(text) - len(address) > _MAX_COMMENTS else text


def _write(token: Token, following: Token | None) -> str:
    return _text(token) + " " if following and _blank_between(token, following) else _text(token)


def _blank_between(token: Token, following: Token) -> bool:
    if token.kind is Kind.GROUP or following.is_operator("<"):
        return True
    return token.kind in _SPACED and following.kind in _SPACED


def _text(token: Token) -> str:
    if token.kind is Kind.QUOTED:
        return '"' + _QUOTE_IN_PHRASE.sub(r"\\\1", token.text) + '"'
    if token.kind is Kind.LITERAL:
        return "[" + _QUOTE_IN_LITERAL.sub(r"\\\1", token.text) + "]"
    return ":" if token.kind is Kind.GROUP else token.text


def _fold(items: Iterator[str], column: int) -> str:
    lines: list[str] = []
    for item in items:
        if lines and column + len(lines[-1]) + 1 + len(item) < _FOLD_COLUMN:
            lines[-1] += " " + item
        else:
            if lines:
                column = 0
            lines.append(item)
    return "\n\t".join(lines)
