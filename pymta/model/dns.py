"""DNS answers as values."""

from __future__ import annotations

from enum import Enum

from pymta.model.frozen import frozen

WITHHELD = "DNS reply filter drops all results"
"""Why an answer has no records where `*_dns_reply_filter` took them out, in Postfix's words."""


class Lookup(Enum):
    """The three results of a lookup, with NO_DATA told apart from NOT_FOUND (NXDOMAIN)."""

    FOUND = "found"
    NO_DATA = "no data"
    NOT_FOUND = "not found"
    TRY_AGAIN = "try again"


@frozen
class MX:
    preference: int
    host: str


@frozen
class Answer:
    """Records of one type under one name. `secure` is the validated AD bit, only where it can be trusted.

    `values` are addresses for A and AAAA, host names without trailing dot for PTR, CNAME and NS, joined
    strings for TXT (bytes decoded as Latin-1), presentation form for SRV and TLSA; MX records are in `mx`, a
    null MX (RFC 7505) as `MX(0, "")`. `reason` tells why there are none, in Postfix's words; `withheld` ones were taken
    out by a filter of ours. `owner` is the name that has the records, where the one asked for is an alias.
    """

    status: Lookup
    values: tuple[str, ...] = ()
    mx: tuple[MX, ...] = ()
    ttl: float = 0.0
    secure: bool = False
    reason: str = ""
    withheld: bool = False
    owner: str = ""
