"""In which order the parts of an address, a domain or a client address are looked up.

Postfix's mail_addr_find; the tables in access(5), virtual(5), canonical(5) and transport(5) say the same.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator
from enum import Enum, Flag, auto
from functools import cache
from typing import NamedTuple, Protocol

from pymta.model.address import Address, quote_local_part

IsLocal = Callable[[str], Awaitable[bool]]
"""Whether a domain is ours (`$myorigin`, `$mydestination`, our addresses), so that `user` stands for `user@domain`."""


class Lookup(Protocol):
    async def __call__(self, key: str, *, partial: bool = False) -> str | None: ...


class Find(Flag):
    """Which keys are tried, in this order: later ones only where all before found nothing."""

    FULL = auto()
    """`user+ext@domain`"""
    NOEXT = auto()
    """`user@domain`; also allows the short forms below to drop the extension"""
    LOCALPART_IF_LOCAL = auto()
    """`user+ext`, `user`, where the domain is local"""
    LOCALPART_AT_IF_LOCAL = auto()
    """`user+ext@`, `user@`, where the domain is local"""
    AT_DOMAIN = auto()
    """`@domain`"""
    DOMAIN = auto()
    """`domain`"""
    PARENTS = auto()
    """With DOMAIN: `parent` of every level (parent_domain_matches_subdomains)"""
    DOT_PARENTS = auto()
    """With DOMAIN: `.parent` of every level"""
    LOCALPART_AT = auto()
    """`user+ext@`, `user@`, whatever the domain"""

    DEFAULT = FULL | NOEXT | LOCALPART_IF_LOCAL | AT_DOMAIN


class KeyForm(Enum):
    """How a local part stands in keys: as in mail (`"a b"@c`), without quotes (`a b@c`), or one then the other."""

    EXTERNAL = "external"
    INTERNAL = "internal"
    EXTERNAL_FIRST = "external-first"


class Parents(Enum):
    """Keys under which the parents of a domain are looked up."""

    NONE = "none"
    DOT = "dot"
    """`.example.com`"""
    PLAIN = "plain"
    """`example.com` (parent_domain_matches_subdomains)"""


class AddressMatch(NamedTuple):
    """The value found, the extension that the key lacked (`+ext`, else empty), and the key."""

    value: str
    extension: str
    key: str


def split_extension(local_part: str, delimiter: str) -> tuple[str, str]:
    """Split `user+ext` into `user` and `+ext` at the first of the characters in `delimiter`.

    The reserved names, a local part that begins with a delimiter, and with `-` as delimiter `owner-LIST` and
    `LIST-request`, have no extension (postconf(5) recipient_delimiter, owner_request_special).
    """
    folded = local_part.lower()
    if not delimiter or folded in ("postmaster", "mailer-daemon", "double-bounce"):
        return local_part, ""
    if "-" in delimiter and (folded.startswith("owner-") or folded.endswith("-request")):
        return local_part, ""
    at = min((found for char in delimiter if (found := local_part.find(char)) >= 0), default=-1)
    return (local_part[:at], local_part[at:]) if at > 0 else (local_part, "")


async def find_address(
    lookup: Lookup,
    address: Address,
    delimiter: str,
    is_local: IsLocal | None,
    strategy: Find,
    form: KeyForm,
) -> AddressMatch | None:
    """The first answer to the keys of `address`; raises TableError."""
    plan = _plan(strategy)
    names, bare = _names(address.local_part, delimiter if plan.noext else "", form)
    domain = address.domain
    at_domain = f"@{domain}" if domain else ""
    if plan.full and (found := await _first(lookup, names, at_domain, partial=False)):
        return found
    if bare and (found := await _first(lookup, bare, at_domain)):
        return found
    if not domain:
        return None
    found = None
    if plan.local_suffix is not None and is_local is not None and await is_local(domain):
        found = await _first(lookup, names + bare, plan.local_suffix)
    if not found:
        found = await _first(lookup, [(key, "") for key in _domain_keys(domain, plan)], "")
    if not found and plan.localpart_at:
        found = await _first(lookup, names + bare, "@")
    return found


class _Plan(NamedTuple):
    """A strategy, taken apart once: asking a Flag costs as much as asking a table."""

    full: bool
    noext: bool
    local_suffix: str | None
    at_domain: bool
    domain: bool
    parents: Parents
    localpart_at: bool


@cache
def _plan(strategy: Find) -> _Plan:
    local_suffix = "@" if Find.LOCALPART_AT_IF_LOCAL in strategy else None
    parents = Parents.DOT if Find.DOT_PARENTS in strategy else Parents.NONE
    return _Plan(
        full=Find.FULL in strategy,
        noext=Find.NOEXT in strategy,
        local_suffix="" if Find.LOCALPART_IF_LOCAL in strategy else local_suffix,
        at_domain=Find.AT_DOMAIN in strategy,
        domain=Find.DOMAIN in strategy,
        parents=Parents.PLAIN if Find.PARENTS in strategy else parents,
        localpart_at=Find.LOCALPART_AT in strategy,
    )


_Names = list[tuple[str, str]]


def _names(local_part: str, delimiter: str, form: KeyForm) -> tuple[_Names, _Names]:
    """The local part in the forms that keys have; then the same without its extension, with the extension."""
    user, extension = split_extension(local_part, delimiter)
    names = [(name, "") for name in _forms(local_part, form)]
    return names, [(name, extension) for name in _forms(user, form)] if extension else []


async def _first(lookup: Lookup, names: _Names, suffix: str, *, partial: bool = True) -> AddressMatch | None:
    for name, extension in names:
        key = name + suffix
        value = await lookup(key, partial=partial)
        if value is not None:
            return AddressMatch(value, extension, key)
    return None


async def find_domain(lookup: Lookup, domain: str, parents: Parents) -> str | None:
    """The answer to `domain`, else to the nearest parent that has one; raises TableError."""
    value = await lookup(domain)
    if value is not None:
        return value
    for key in parent_domains(domain, parents):
        value = await lookup(key, partial=True)
        if value is not None:
            return value
    return None


async def find_network(lookup: Lookup, address: str) -> str | None:
    """The answer to `192.0.2.1`, else to `192.0.2`, `192.0`, `192`; IPv6 is cut at colons likewise."""
    value = await lookup(address)
    delimiter = ":" if ":" in address else "."
    while value is None and delimiter in address:
        address = address.rpartition(delimiter)[0]
        value = await lookup(address, partial=True)
    return value


def parent_domains(domain: str, parents: Parents) -> Iterator[str]:
    """`example.com`, `com` (or `.example.com`, `.com`) for `mail.example.com`."""
    if parents is Parents.NONE:
        return
    skip = 1 if parents is Parents.PLAIN else 0
    at = domain.find(".", 1)
    while at >= 0:
        yield domain[at + skip :]
        at = domain.find(".", at + 1)


def _domain_keys(domain: str, plan: _Plan) -> Iterator[str]:
    if plan.at_domain:
        yield f"@{domain}"
    if plan.domain:
        yield domain
        yield from parent_domains(domain, plan.parents)


def _forms(local_part: str, form: KeyForm) -> tuple[str, ...]:
    external = quote_local_part(local_part)
    if form is KeyForm.INTERNAL or external == local_part:
        return (local_part,)
    return (external,) if form is KeyForm.EXTERNAL else (external, local_part)
