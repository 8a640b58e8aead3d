"""SPF over pyspf: its evaluator, our DNS, our limits, and a result for whatever comes (RFC 7208)."""

from __future__ import annotations

import asyncio
import ipaddress
from collections.abc import Awaitable, Callable
from contextvars import ContextVar
from typing import Any, NamedTuple

import spf

from pymta.dns.names import to_ascii
from pymta.model.authentication import Result, SpfIdentity, SpfResult
from pymta.model.dns import Answer, Lookup

# No published record comes near; what is longer is somebody's attempt to keep us busy.
MAXIMUM_RECORD = 4096
MAXIMUM_TERM = 512
_MAXIMUM_EXPLANATION = 200
# 10 terms that look up, 10 hosts of each MX and PTR, a record for each include: no record that is valid needs more.
_MAXIMUM_QUERIES = 250
_TYPES = frozenset({"A", "AAAA", "MX", "PTR", "TXT"})

Records = list[tuple[tuple[str, str], Any]]
Query = Callable[[str, str], Awaitable[Answer]]
"""Asks DNS for any name, host or not (`DnsResolver.query_any`)."""
AtHand = Callable[[str, str], Answer | None]
"""The answer to a question where it needs no waiting (`DnsResolver.at_hand`)."""


class _Key(NamedTuple):
    name: str
    rdtype: str


class _Needed(BaseException):
    """Unwinds pyspf where an answer is not at hand. Not an Exception, so that fewer of its handlers see it."""


class _Answers:
    """What DNS said during one check. `needed` is the question that stopped the last run, if one did."""

    def __init__(self, address: str, at_hand: AtHand) -> None:
        self.known: dict[_Key, Answer] = {}
        self.needed: _Key | None = None
        self._address = address
        self._at_hand = at_hand

    def question(self, key: _Key) -> tuple[str, str]:
        """The same for our resolver, which asks for the names of an address; pyspf only wants the client's."""
        return (self._address if key.rdtype == "PTR" else key.name, key.rdtype)

    def records(self, key: _Key) -> Records:
        answer = self.known.get(key) or self._at_hand(*self.question(key))
        if answer is None:
            self.needed = self.needed or key
            raise _Needed
        if answer.status is Lookup.TRY_AGAIN:
            raise spf.TempError(f"DNS {key.rdtype} {key.name}: no answer")
        return [((key.name, key.rdtype), value) for value in _values(key, answer)]


_ANSWERS: ContextVar[_Answers] = ContextVar("spf_answers")


def _values(key: _Key, answer: Answer) -> list[Any]:
    """Records in pyspf's terms: TXT as a tuple of bytes, MX as a pair."""
    if key.rdtype == "MX":
        return [(record.preference, record.host) for record in answer.mx]
    if key.rdtype == "TXT":
        return [(_checked(value),) for value in answer.values]
    return list(answer.values)


def _checked(value: str) -> bytes:
    """A record of a size that can be worked with; other TXT records are none of our business."""
    if value[:7].lower() != "v=spf1 ":
        return value[:MAXIMUM_RECORD].encode("latin-1", "replace")
    if len(value) > MAXIMUM_RECORD or any(len(term) > MAXIMUM_TERM for term in value.split(" ")):
        raise spf.PermError(f"SPF record of {len(value)} bytes is too long")
    return value.encode("latin-1", "replace")


def _lookup(name: str, rdtype: str, strict: object = True, timeout: object = None) -> Records:
    if rdtype not in _TYPES:
        return []
    return _ANSWERS.get().records(_Key(name.lower().rstrip("."), rdtype))


def nothing_at_hand(name: str, rdtype: str) -> Answer | None:
    return None


# Once and for all: each check finds its own answers through the context.
spf.DNSLookup = _lookup


async def check_host(
    query: Query,
    client_address: str,
    identity: SpfIdentity,
    sender: str,
    helo: str,
    *,
    receiver: str,
    time_limit: float = 20.0,
    at_hand: AtHand = nothing_at_hand,
) -> SpfResult:
    """One SPF check; never raises. `sender` is the MAIL FROM mailbox, ignored for the HELO identity.

    DNS is asked through `query`, one question at a time, at most 10 terms that look up and 2 void lookups
    (RFC 7208 4.6.4), and no longer than `time_limit` seconds in all: then it is a temperror.
    """
    address = _address(client_address)
    helo = _domain(helo) or helo
    mailbox = _mailbox("" if identity is SpfIdentity.HELO else sender, helo)
    domain = mailbox.rpartition("@")[2]
    nothing = SpfResult(Result.NONE, identity, domain, mailbox, client_address, helo)
    if address is None or not _is_qualified(domain):
        return nothing
    try:
        async with asyncio.timeout(time_limit):
            return await _evaluate(query, nothing, _Answers(address, at_hand), address, receiver)
    except TimeoutError:
        return _failed(nothing, Result.TEMPERROR, f"DNS took longer than {time_limit:g}s")
    except Exception as error:  # whatever pyspf stumbles over, it is the record's or the mailbox's doing
        return _failed(nothing, Result.PERMERROR, f"{type(error).__name__}: {error}")


async def _evaluate(query: Query, about: SpfResult, answers: _Answers, address: str, receiver: str) -> SpfResult:
    """Run pyspf again and again, each time with one more answer, until it needs none."""
    token = _ANSWERS.set(answers)
    try:
        for _ in range(_MAXIMUM_QUERIES):
            answers.needed = None
            outcome = _run(about, address, receiver)
            needed = answers.needed
            if outcome is not None and (needed is None or outcome.result is not Result.FAIL):
                # A question that did not stop the run was for an explanation; only a fail has use for one.
                return outcome
            assert needed is not None, "a run without a result has asked for something"
            answers.known[needed] = await query(*answers.question(needed))
            await asyncio.sleep(0)
    finally:
        _ANSWERS.reset(token)
    return _failed(about, Result.PERMERROR, "the record asks for too much of DNS")


def _run(about: SpfResult, address: str, receiver: str) -> SpfResult | None:
    """One run of pyspf over what is known; None where it needs more."""
    query = spf.query(i=address, s=about.sender, h=about.helo, receiver=receiver)
    try:
        word, _, text = query.check()
    except _Needed:
        return None
    result = Result(word)
    return SpfResult(
        result,
        about.identity,
        about.domain,
        about.sender,
        about.client_address,
        about.helo,
        mechanism=_printable(getattr(query, "mechanism", None) or ""),
        explanation=_explanation(query, text) if result is Result.FAIL else "",
        problem=_printable(getattr(query, "prob", "")) if result in (Result.TEMPERROR, Result.PERMERROR) else "",
    )


def _explanation(query: Any, text: str) -> str:
    """What the domain's owner says; pyspf's own default is nobody's explanation."""
    return "" if text == query.defexps["fail"] else _printable(text)


def _failed(about: SpfResult, result: Result, problem: str) -> SpfResult:
    return SpfResult(
        result,
        about.identity,
        about.domain,
        about.sender,
        about.client_address,
        about.helo,
        problem=_printable(problem),
    )


def _printable(text: object) -> str:
    shown = str(text)[:_MAXIMUM_EXPLANATION]
    return "".join(character if " " <= character <= "~" else "?" for character in shown)


def _address(text: str) -> str | None:
    """A client's address as SPF compares it: IPv4 also where it came mapped into IPv6, without scope."""
    try:
        address = ipaddress.ip_address(text.partition("%")[0])
    except ValueError:
        return None
    mapped = address.ipv4_mapped if isinstance(address, ipaddress.IPv6Address) else None
    return str(mapped or address)


def _domain(name: str) -> str:
    try:
        return to_ascii(name.removesuffix("."))
    except ValueError:
        return ""


def _mailbox(sender: str, helo: str) -> str:
    """What is checked; a mailbox without a local part is a postmaster's (RFC 7208 4.3)."""
    local_part, at, domain = sender.rpartition("@")
    if not at:
        local_part, domain = sender, helo
    return f"{local_part or 'postmaster'}@{_domain(domain) or domain}"


def _is_qualified(domain: str) -> bool:
    """RFC 7208 4.3: what is malformed, an address literal or a single label has no policy."""
    labels = domain.split(".")
    return len(labels) > 1 and not domain.startswith("[") and all(0 < len(label) < 64 for label in labels)
