"""Mail addresses in internal form: unquoted local part and domain (RFC 5321 4.1.2, RFC 5322 3.4.1)."""

from __future__ import annotations

import re

from pymta.model.frozen import frozen

# RFC 5321 4.1.2 Dot-string, with RFC 6531's non-ASCII characters: what needs no quotes on the wire.
_DOT_STRING = re.compile(
    r"[A-Za-z0-9!#$%&'*+/=?^_`{|}~\x80-\U0010ffff-]+(?:\.[A-Za-z0-9!#$%&'*+/=?^_`{|}~\x80-\U0010ffff-]+)*"
)
_NEEDS_BACKSLASH = re.compile(r'(["\\\r\n])')


@frozen
class Address:
    """One address, in the form that tables are asked with.

    `local_part` carries no quotes or backslashes; `domain` is empty for an incomplete address such as
    `root`, keeps the case it came in, and is `[192.0.2.1]` or `[IPv6:2001:db8::1]` for an address literal.
    The null reverse-path is `NULL_SENDER`, both parts empty.
    """

    local_part: str
    domain: str = ""

    @classmethod
    def from_internal(cls, text: str) -> Address:
        """Split unquoted `local@domain` at its last `@`; no `@` gives an address without a domain."""
        local_part, at, domain = text.rpartition("@")
        return cls(local_part, domain) if at else cls(text)

    def __str__(self) -> str:
        return f"{self.local_part}@{self.domain}" if self.domain else self.local_part

    def __bool__(self) -> bool:
        return bool(self.local_part or self.domain)

    @property
    def is_null(self) -> bool:
        return not self.local_part and not self.domain

    @property
    def is_ascii(self) -> bool:
        return self.local_part.isascii() and self.domain.isascii()

    def quoted(self) -> str:
        """The form for the wire and for headers, without angle brackets; quoted where RFC 5321 asks for it."""
        local_part = self.local_part
        if local_part and not _DOT_STRING.fullmatch(local_part):
            local_part = _quote(local_part)
        return f"{local_part}@{self.domain}" if self.domain else local_part

    def with_domain(self, domain: str) -> Address:
        return Address(self.local_part, domain)

    def with_local_part(self, local_part: str) -> Address:
        return Address(local_part, self.domain)

    def folded(self) -> str:
        """`str(self)` in lower case: the key under which tables are asked."""
        text = f"{self.local_part}@{self.domain}" if self.domain else self.local_part
        return text.lower() if text.isascii() else text.casefold()


NULL_SENDER = Address("", "")


def quote_local_part(local_part: str) -> str:
    """Quote `local_part` unless it is a Dot-string (RFC 5321 4.1.2); the empty string stays empty."""
    return local_part if not local_part or _DOT_STRING.fullmatch(local_part) else _quote(local_part)


def _quote(local_part: str) -> str:
    return '"' + _NEEDS_BACKSLASH.sub(r"\\\1", local_part) + '"'
