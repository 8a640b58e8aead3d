"""The stub resolver over dnspython: what DNS says, or that it says nothing, as values."""

from __future__ import annotations

import asyncio
import ipaddress
import socket
from collections.abc import Coroutine, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import dns.asyncbackend
import dns.asyncresolver
import dns.exception
import dns.flags
import dns.message
import dns.name
import dns.nameserver
import dns.rdata
import dns.rdataclass
import dns.rdatatype
import dns.resolver
import dns.reversename

from pymta.dns.answers import alias_loop, invalid_name, malformed, no_records
from pymta.dns.cache import AnswerCache, Key
from pymta.dns.names import is_hostname, to_ascii
from pymta.model.dns import MX, Answer, Lookup
from pymta.ports import Clock

RESOLV_CONF = Path("/etc/resolv.conf")
# Postfix 3.9: what one answer may bring in; more is somebody's attempt to keep us busy.
MAXIMUM_RECORDS = 100
_MAXIMUM_ALIASES = 10
_NATIVE_TTL = 5.0
_NATIVE_THREADS = 4
_EDNS_SIZE = 1232
_RECORD_TYPES = ("A", "AAAA", "CNAME", "DNAME", "MX", "NS", "OPT", "PTR", "SOA", "SPF", "SRV", "TLSA", "TXT")
# Marks the cache's keys of `query_any` where `query` has another answer.
_ANY = " any"


def load_late_modules() -> None:
    """Import what dnspython imports when it is first used: later, the account that we run as may not read it."""
    dns.asyncbackend.get_backend("asyncio")
    for name in _RECORD_TYPES:
        dns.rdata.get_rdata_class(dns.rdataclass.IN, dns.rdatatype.from_text(name))  # type: ignore[no-untyped-call]


class DnsResolver:
    """Implements `ports.Resolver`. One per process; `close` when done.

    `nameservers` are (address, port) pairs; without them `resolv_conf` is read, and read again when it changes.
    `timeout` is for one try in seconds, `attempts` how often each server is tried, as in resolv.conf(5).
    Equal questions under way at once are asked once; at most `max_queries` are under way. `trust_ad` None
    means: believe a server's AD bit when every server is on loopback or resolv.conf says `trust-ad`.
    """

    def __init__(
        self,
        clock: Clock,
        nameservers: Sequence[tuple[str, int]] = (),
        *,
        resolv_conf: Path = RESOLV_CONF,
        timeout: float | None = None,
        attempts: int | None = None,
        trust_ad: bool | None = None,
        max_queries: int = 200,
        cache_size: int = 16 * 1024 * 1024,
    ) -> None:
        self._clock = clock
        self._nameservers = tuple(nameservers)
        self._resolv_conf = resolv_conf
        self._timeout = timeout
        self._attempts = attempts
        self._trust_ad = trust_ad
        self._cache = AnswerCache(cache_size)
        self._under_way: dict[Key, asyncio.Task[Answer]] = {}
        self._slots = asyncio.Semaphore(max_queries)
        self._threads: ThreadPoolExecutor | None = None
        self._stub: dns.asyncresolver.Resolver | None = None
        self._stub_lifetime = 0.0
        self._stub_stamp: tuple[int, int] | None = None
        self._stub_trusted = False

    async def query(self, name: str, rdtype: str) -> Answer:
        """Records of `rdtype` under `name`; for PTR, `name` is an IP address. Aliases are followed."""
        name = name.removesuffix(".")
        key = (name.lower(), rdtype)
        answer = self._cache.get(key, self._clock.monotonic())
        if answer is not None:
            return answer
        return await self._once(key, self._ask(name, rdtype))

    async def query_any(self, name: str, rdtype: str) -> Answer:
        """The same for names that are none of hosts, also as mail exchangers: DNS takes all bytes in a label."""
        name = name.removesuffix(".")
        key = _any_key(name, rdtype)
        if key[1] == rdtype:
            return await self.query(name, rdtype)
        answer = self._cache.get(key, self._clock.monotonic())
        return answer if answer is not None else await self._once(key, self._ask(name, rdtype, any_name=True))

    def at_hand(self, name: str, rdtype: str) -> Answer | None:
        """The answer to `query_any` where it needs no waiting, else None."""
        return self._cache.get(_any_key(name.removesuffix("."), rdtype), self._clock.monotonic())

    async def lookup_native(self, name: str) -> Answer:
        """Addresses of both families by the system's own rules (`/etc/hosts`, nsswitch.conf), in its order."""
        key = (name.lower(), "native")
        answer = self._cache.get(key, self._clock.monotonic())
        if answer is not None:
            return answer
        return await self._once(key, self._ask_system(name))

    def close(self) -> None:
        """Forget what is under way and release the threads."""
        for task in self._under_way.values():
            task.cancel()
        if self._threads:
            self._threads.shutdown(wait=False, cancel_futures=True)

    async def _once(self, key: Key, asking: Coroutine[Any, Any, Answer]) -> Answer:
        task = self._under_way.get(key)
        if task is None:
            task = self._under_way[key] = asyncio.create_task(self._ask_and_keep(key, asking))
            task.add_done_callback(lambda _: self._under_way.pop(key, None))
        else:
            asking.close()
        # One impatient caller must not take the answer away from the others.
        return await asyncio.shield(task)

    async def _ask_and_keep(self, key: Key, asking: Coroutine[Any, Any, Answer]) -> Answer:
        async with self._slots:
            answer = await asking
        return self._cache.put(key, answer, self._clock.monotonic())

    async def _ask(self, name: str, rdtype: str, *, any_name: bool = False) -> Answer:
        try:
            question = _any_question(name) if any_name else _question(name, rdtype)
        except (ValueError, dns.exception.DNSException):
            return invalid_name(name)
        asked = question
        stub = self._current_stub()
        ttl, secure = float("inf"), True
        for _ in range(_MAXIMUM_ALIASES + 1):
            try:
                response = await stub.resolve(
                    question, rdtype, raise_on_no_answer=False, search=False, lifetime=self._stub_lifetime
                )
            except dns.resolver.NXDOMAIN as error:
                return _nxdomain(name, rdtype, question, error)
            except dns.resolver.NoNameservers as error:
                return alias_loop(name) if _is_alias_loop(error) else no_records(name, rdtype, Lookup.TRY_AGAIN)
            except (dns.exception.DNSException, OSError):
                return no_records(name, rdtype, Lookup.TRY_AGAIN)
            ttl = min(ttl, response.chaining_result.minimum_ttl)
            secure = secure and self._stub_trusted and bool(response.response.flags & dns.flags.AD)
            if response.rrset is not None:
                answer = _found(name, rdtype, response, ttl, secure, any_name=any_name)
                if response.canonical_name == asked:
                    return answer
                return replace(answer, owner=_host(response.canonical_name))
            if response.canonical_name == question:
                return no_records(name, rdtype, Lookup.NO_DATA, ttl, secure)
            # An authoritative server gives the alias and leaves its target to us.
            question = response.canonical_name
        return alias_loop(name)

    async def _ask_system(self, name: str) -> Answer:
        if self._threads is None:
            self._threads = ThreadPoolExecutor(_NATIVE_THREADS, thread_name_prefix="getaddrinfo")
        loop = asyncio.get_running_loop()
        try:
            ascii_name = to_ascii(name)
            found = await loop.run_in_executor(self._threads, _getaddrinfo, ascii_name)
        except socket.gaierror as error:
            temporary = error.errno not in (socket.EAI_NONAME, socket.EAI_NODATA, socket.EAI_FAMILY)
            status = Lookup.TRY_AGAIN if temporary else Lookup.NOT_FOUND
            return Answer(status, ttl=_NATIVE_TTL, reason=f"unable to look up host {name}: {error.strerror}")
        except ValueError:
            return invalid_name(name)
        except OSError as error:
            return Answer(Lookup.TRY_AGAIN, reason=f"unable to look up host {name}: {error.strerror}")
        return Answer(Lookup.FOUND, tuple(found), ttl=_NATIVE_TTL)

    def _current_stub(self) -> dns.asyncresolver.Resolver:
        stamp = None if self._nameservers else _stamp(self._resolv_conf)
        if self._stub is None or stamp != self._stub_stamp:
            self._stub, self._stub_stamp = self._new_stub(), stamp
        return self._stub

    def _new_stub(self) -> dns.asyncresolver.Resolver:
        stub = dns.asyncresolver.Resolver(configure=False)
        options: list[str] = []
        if self._nameservers:
            stub.nameservers = [dns.nameserver.Do53Nameserver(*server) for server in self._nameservers]
            addresses = [address for address, _ in self._nameservers]
        else:
            options = _read_resolv_conf(stub, self._resolv_conf)
            addresses = [str(server) for server in stub.nameservers]
        stub.timeout = self._timeout or _option(options, "timeout", 5)
        attempts = self._attempts or int(_option(options, "attempts", 2))
        self._stub_lifetime = stub.timeout * attempts * max(1, len(addresses))
        self._stub_trusted = (
            self._trust_ad if self._trust_ad is not None else "trust-ad" in options or all(map(_is_loopback, addresses))
        )
        stub.use_edns(0, 0, _EDNS_SIZE)
        stub.flags = dns.flags.RD | dns.flags.AD
        return stub


def _question(name: str, rdtype: str) -> dns.name.Name:
    if rdtype == "PTR":
        return dns.reversename.from_address(name)
    ascii_name = to_ascii(name)
    if not is_hostname(ascii_name):
        raise ValueError(name)
    return dns.name.from_text(ascii_name)


def _any_key(name: str, rdtype: str) -> Key:
    """The cache's key for `query_any`: that of `query` where both have the same answer."""
    is_same = rdtype == "PTR" or (rdtype != "MX" and is_hostname(name))
    return (name.lower(), rdtype if is_same else rdtype + _ANY)


def _any_question(name: str) -> dns.name.Name:
    """A name of any labels, as they are: nothing in them escapes anything."""
    return dns.name.Name([*(label.encode() for label in name.split(".")), b""])


def _nxdomain(name: str, rdtype: str, question: dns.name.Name, error: dns.resolver.NXDOMAIN) -> Answer:
    try:
        ttl = float(error.kwargs["responses"][question].resolve_chaining().minimum_ttl)
    except (KeyError, dns.exception.DNSException):
        ttl = 0.0
    return no_records(name, rdtype, Lookup.NOT_FOUND, ttl)


def _is_alias_loop(error: dns.resolver.NoNameservers) -> bool:
    return any(isinstance(cause[3], dns.message.ChainTooLong) for cause in error.kwargs["errors"])


def _found(
    name: str, rdtype: str, response: dns.resolver.Answer, ttl: float, secure: bool, *, any_name: bool = False
) -> Answer:
    records = list(response.rrset or ())[:MAXIMUM_RECORDS]
    if rdtype == "MX":
        mx = tuple(MX(record.preference, _host(record.exchange)) for record in records)
        # A host of "" is the null MX (RFC 7505); any other name that is none cannot be looked up.
        usable = tuple(record for record in mx if any_name or not record.host or is_hostname(record.host))
        return Answer(Lookup.FOUND, mx=usable, ttl=ttl, secure=secure) if usable else malformed(name, rdtype)
    values = tuple(_value(record, rdtype) for record in records)
    if rdtype in ("PTR", "CNAME", "NS"):
        values = tuple(value for value in values if is_hostname(value))
    return Answer(Lookup.FOUND, values, ttl=ttl, secure=secure) if values else malformed(name, rdtype)


def _value(record: Any, rdtype: str) -> str:
    if rdtype in ("A", "AAAA"):
        return str(record.address)
    if rdtype == "TXT":
        return b"".join(record.strings).decode("latin-1")
    if rdtype in ("PTR", "CNAME", "NS"):
        return _host(record.target)
    return str(record.to_text())


def _host(name: dns.name.Name) -> str:
    return "" if name == dns.name.root else name.to_text(omit_final_dot=True)


def _getaddrinfo(name: str) -> list[str]:
    found = socket.getaddrinfo(name, None, type=socket.SOCK_STREAM)
    return list(dict.fromkeys(str(entry[4][0]) for entry in found))


def _stamp(path: Path) -> tuple[int, int] | None:
    try:
        status = path.stat()
    except OSError:
        return None
    return (status.st_mtime_ns, status.st_ino)


def _read_resolv_conf(stub: dns.asyncresolver.Resolver, path: Path) -> list[str]:
    """Take over the servers; returns the options. Without servers it is the local one, as in resolv.conf(5)."""
    with suppress(dns.exception.DNSException, OSError, ValueError):
        stub.read_resolv_conf(str(path))
    if not stub.nameservers:
        stub.nameservers = ["127.0.0.1"]
    try:
        lines = path.read_text(errors="replace").splitlines()
    except OSError:
        return []
    return [word for line in lines if line.startswith("options") for word in line.split()[1:]]


def _option(options: list[str], name: str, default: float) -> float:
    for option in options:
        key, _, value = option.partition(":")
        if key == name and value.isdecimal():
            return max(1.0, min(float(value), 30.0))
    return default


def _is_loopback(address: str) -> bool:
    try:
        return ipaddress.ip_address(address).is_loopback
    except ValueError:
        return False
