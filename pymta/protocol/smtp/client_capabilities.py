"""What a server says it can do (RFC 5321 4.1.1.1, RFC 1870, RFC 2920, RFC 3461, RFC 6152, RFC 6531)."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import field

from pymta.model.frozen import frozen
from pymta.protocol.smtp.client_replies import ServerReply


@frozen
class Capabilities:
    """The extensions of one session. `name` is how the server called itself in its reply to EHLO.

    `keywords` maps the upper-case keyword to its parameters as they came. `size_limit` is None without SIZE, 0
    where the server names no limit; `bad_size` is a parameter of SIZE that is no number.
    """

    name: str = ""
    keywords: Mapping[str, str] = field(default_factory=dict)
    pipelining: bool = False
    eight_bit_mime: bool = False
    smtputf8: bool = False
    dsn: bool = False
    size_limit: int | None = None
    bad_size: str = ""


def parse_capabilities(reply: ServerReply, discarded: Collection[str] = ()) -> Capabilities:
    """Read a reply to EHLO or LHLO. `discarded` are lower-case keywords to overlook (smtp_discard_ehlo_keywords)."""
    first, *lines = reply.text.split("\n")
    keywords: dict[str, str] = {}
    for line in lines:
        keyword, _, parameters = line[4:].strip().partition(" ")
        if "=" in keyword:
            # `AUTH=LOGIN PLAIN`, as servers wrote it before RFC 2554.
            keyword, _, parameter = keyword.partition("=")
            parameters = f"{parameter} {parameters}".strip()
        if keyword and keyword.lower() not in discarded:
            keywords.setdefault(keyword.upper(), parameters.strip())
    limit = keywords.get("SIZE")
    number = limit.split()[0] if limit else "0"
    valid = number.isascii() and number.isdecimal() and len(number) <= 20
    return Capabilities(
        name=server_name(first),
        keywords=keywords,
        pipelining="PIPELINING" in keywords,
        eight_bit_mime="8BITMIME" in keywords,
        smtputf8="SMTPUTF8" in keywords,
        dsn="DSN" in keywords,
        size_limit=None if limit is None else int(number) if valid else 0,
        bad_size="" if valid else number,
    )


def server_name(line: str) -> str:
    """The first word after the code: the host's own name in its greeting and its reply to EHLO."""
    return line[4:].split(None, 1)[0] if line[4:].strip() else ""
