"""From a next hop to the hosts to try, in order (RFC 5321 5, RFC 7505, smtp(8), postconf(5))."""

from __future__ import annotations

import ipaddress
from collections.abc import Callable, Collection
from dataclasses import field, replace
from typing import Protocol

from pymta.model.dns import MX, Answer, Lookup
from pymta.model.frozen import frozen
from pymta.ports import Resolver

SMTP_PORT = 25


class HostResolver(Resolver, Protocol):
    """DNS, and the system's own idea of host names (`smtp_host_lookup = native`)."""

    async def lookup_native(self, name: str) -> Answer: ...


@frozen
class Destination:
    """One next hop: `example.com`, `example.com:587`, `[host]`, `[192.0.2.1]:26`. `by_mx` where MX records count.

    `text` is how it was written.
    """

    host: str
    port: int
    by_mx: bool
    text: str = field(default="", compare=False)


@frozen
class Host:
    """One address to try: an IP address, or a socket's path with port 0. `is_best`: of the lowest preference."""

    name: str
    address: str
    port: int
    preference: int = 0
    is_best: bool = True

    @property
    def is_ipv6(self) -> bool:
        return ":" in self.address

    @property
    def named(self) -> str:
        """`NAME[ADDRESS]`, as error texts name a host."""
        return f"{self.name}[{self.address}]"

    @property
    def relay(self) -> str:
        """`NAME[ADDRESS]:PORT`, as `relay=` shows a host; a local socket has no port."""
        return f"{self.named}:{self.port}" if self.port else self.named


@frozen
class Failure:
    """Why there is no host, as status and text of the delivery status."""

    status: str
    reason: str

    @property
    def is_temporary(self) -> bool:
        return self.status.startswith("4")

    @property
    def is_loop(self) -> bool:
        return self.status.endswith(".4.6")

    def temporary(self) -> Failure:
        return replace(self, status="4" + self.status[1:])


@frozen
class HostRules:
    """The settings that decide about hosts; names are those of postconf(5) without `smtp_`.

    `inet_protocols` are `ipv4`, `ipv6` in any order. `host_lookup` lists `dns`, `native`. `own_addresses` are
    where mail to port 25 comes back to us: inet_interfaces and proxy_interfaces. `shuffle` puts a list in random
    order, in place.
    """

    shuffle: Callable[[list[Host]], None]
    own_addresses: Collection[str] = ()
    inet_protocols: Collection[str] = ("ipv4", "ipv6")
    host_lookup: Collection[str] = ("dns",)
    address_preference: str = "any"
    balance_inet_protocols: bool = True
    randomize_addresses: bool = True
    mx_address_limit: int = 5
    defer_if_no_mx_address_found: bool = False
    ignore_mx_lookup_error: bool = False


def split_destinations(nexthop: str) -> list[str]:
    """The destinations of a next hop that lists several (Postfix 3.5), separated by commas or blanks."""
    return nexthop.replace(",", " ").split()


def parse_destination(
    text: str, default_port: int, port_of: Callable[[str], int | None], by_mx: bool = True
) -> Destination | Failure:
    """Read one destination. `port_of` knows service names. What cannot be read is our configuration's fault: 4.3.5."""
    host, port_text, bracketed = text, "", text.startswith("[")
    if bracketed:
        host, closed, rest = text[1:].partition("]")
        if not closed or (rest and not rest.startswith(":")):
            return _bad_destination("missing `]` or text after it", text)
        port_text = rest[1:]
        host = host[5:] if host[:5].lower() == "ipv6:" else host
        if rest == ":":
            return _bad_destination("missing service name or port", text)
    elif text.count(":") == 1:
        host, _, port_text = text.partition(":")
        if not port_text:
            return _bad_destination("missing service name or port", text)
    if not host:
        return _bad_destination("missing host name", text)
    port = _port(port_text, port_of) if port_text else default_port
    if port is None:
        return _bad_destination(f"unknown service {port_text}", text)
    return Destination(host, port, by_mx and not bracketed, text)


def _port(text: str, port_of: Callable[[str], int | None]) -> int | None:
    if text.isascii() and text.isdecimal():
        number = int(text) if len(text) < 6 else 0
        return number if 0 < number < 65536 else None
    return port_of(text)


def _bad_destination(cause: str, text: str) -> Failure:
    return Failure("4.3.5", f"mail system configuration error: {cause} in destination: {text}")


async def find_hosts(destination: Destination, rules: HostRules, resolver: HostResolver) -> tuple[Host, ...] | Failure:
    """The hosts of `destination`, best first, at most `mx_address_limit`; or why there are none."""
    if destination.by_mx and "dns" in rules.host_lookup:
        return await _hosts_by_mx(destination, rules, resolver)
    return await _hosts_by_address(destination, rules, resolver)


async def _hosts_by_address(
    destination: Destination, rules: HostRules, resolver: HostResolver
) -> tuple[Host, ...] | Failure:
    found = await _addresses(destination.host, destination.port, 0, rules, resolver)
    if isinstance(found, Failure):
        return found
    if destination.port == SMTP_PORT and any(host.address in rules.own_addresses for host in found):
        return _loop(destination)
    return _in_order(found, rules)


async def _hosts_by_mx(
    destination: Destination, rules: HostRules, resolver: HostResolver
) -> tuple[Host, ...] | Failure:
    answer = await resolver.query(destination.host, "MX")
    if answer.status is Lookup.TRY_AGAIN and not rules.ignore_mx_lookup_error:
        return _put_off(answer)
    if answer.status is not Lookup.FOUND:
        return await _hosts_by_address(destination, rules, resolver)
    if all(not mx.host for mx in answer.mx):
        return Failure("5.1.0", f"Domain {destination.host} does not accept mail (nullMX)")
    records = sorted((mx for mx in answer.mx if mx.host), key=lambda mx: mx.preference)
    found = await _mx_addresses(records, destination, rules, resolver)
    if isinstance(found, Failure):
        return found.temporary() if rules.defer_if_no_mx_address_found else found
    usable = _before_ourselves(found, destination, rules, records[0].preference)
    return usable if isinstance(usable, Failure) else _in_order(usable, rules)


async def _mx_addresses(
    records: list[MX], destination: Destination, rules: HostRules, resolver: HostResolver
) -> list[Host] | Failure:
    """Addresses of all MX hosts. A failed lookup matters only when nothing is found; a temporary one matters most."""
    hosts: list[Host] = []
    failure: Failure | None = None
    for mx in records:
        found = await _addresses(mx.host, destination.port, mx.preference, rules, resolver)
        if isinstance(found, list):
            best = mx.preference == records[0].preference
            hosts += found if best else [replace(host, is_best=False) for host in found]
        elif failure is None or not failure.is_temporary:
            failure = found
    return hosts or failure or Failure("5.4.4", f"no MX host for {destination.host} has a valid address record")


def _before_ourselves(hosts: list[Host], destination: Destination, rules: HostRules, best: int) -> list[Host] | Failure:
    """Cut the list where we stand in it: mail never goes back to a host of our preference (RFC 5321 5.1)."""
    own = [host.preference for host in hosts if host.address in rules.own_addresses]
    if destination.port != SMTP_PORT or not own:
        return hosts
    better = [host for host in hosts if host.preference < min(own)]
    if better:
        return better
    if min(host.preference for host in hosts) != best:
        return Failure("4.4.4", f"unable to find primary relay for {destination.host}")
    return _loop(destination)


def _loop(destination: Destination) -> Failure:
    return Failure("5.4.6", f"mail for {destination.host} loops back to myself")


async def _addresses(
    name: str, port: int, preference: int, rules: HostRules, resolver: HostResolver
) -> list[Host] | Failure:
    literal = _literal(name)
    if literal is not None:
        if _family(literal) in rules.inet_protocols:
            return [Host(name, literal, port, preference)]
        return Failure("5.4.4", f"{name}: host not found")
    failure = Failure("5.4.4", f"{name}: host not found")
    if "dns" in rules.host_lookup:
        values, failure = await _dns_addresses(name, rules, resolver)
        if values:
            return [Host(name, value, port, preference) for value in values]
        if failure.is_temporary:
            return failure
    if "native" in rules.host_lookup:
        answer = await resolver.lookup_native(name)
        values = [value for value in answer.values if _family(value) in rules.inet_protocols]
        if values:
            return [Host(name, value, port, preference) for value in values]
        if answer.status is Lookup.FOUND:
            return Failure("5.4.4", f"{name}: host not found")
        return Failure("4.4.3" if answer.status is Lookup.TRY_AGAIN else "5.4.4", answer.reason)
    return failure


async def _dns_addresses(name: str, rules: HostRules, resolver: HostResolver) -> tuple[list[str], Failure]:
    """A and AAAA; the failure is a temporary one where there was any, else the last."""
    values: list[str] = []
    failure = Failure("5.4.4", f"{name}: host not found")
    for protocol, rdtype in (("ipv4", "A"), ("ipv6", "AAAA")):
        if protocol not in rules.inet_protocols:
            continue
        answer = await resolver.query(name, rdtype)
        values += answer.values
        if answer.status is Lookup.TRY_AGAIN:
            failure = _put_off(answer)
        elif answer.status is not Lookup.FOUND and not failure.is_temporary:
            failure = Failure("5.4.4", answer.reason)
    return values, failure


def _put_off(answer: Answer) -> Failure:
    return Failure("4.7.0" if answer.withheld else "4.4.3", answer.reason)


def _literal(name: str) -> str | None:
    try:
        return str(ipaddress.ip_address(name))
    except ValueError:
        return None


def _family(address: str) -> str:
    return "ipv6" if ":" in address else "ipv4"


def _in_order(hosts: list[Host], rules: HostRules) -> tuple[Host, ...]:
    """Equals shuffled, then by preference, then by `address_preference`."""
    if len(hosts) > 1:
        hosts = list(hosts)
        if rules.randomize_addresses:
            rules.shuffle(hosts)
        preferred = rules.address_preference
        hosts.sort(key=lambda host: (host.preference, preferred != "any" and _family(host.address) != preferred))
        if rules.balance_inet_protocols:
            hosts = _balanced(hosts, rules.mx_address_limit)
    return tuple(hosts[: rules.mx_address_limit] if rules.mx_address_limit > 0 else hosts)


def _balanced(hosts: list[Host], limit: int) -> list[Host]:
    """Drop late addresses of the larger family so that both are tried before `limit` (smtp_balance_inet_protocols)."""
    ipv6 = sum(host.is_ipv6 for host in hosts)
    ipv4 = len(hosts) - ipv6
    if limit < 2 or len(hosts) <= limit or not ipv4 or not ipv6:
        return hosts
    half = limit // 2
    if ipv6 <= half or ipv4 <= half:
        few = min(ipv4, ipv6)
        room = {True: few, False: limit - few} if ipv6 <= half else {True: limit - few, False: few}
    else:
        room = {hosts[0].is_ipv6: limit - half, not hosts[0].is_ipv6: half}
    kept = []
    for host in hosts:
        if room[host.is_ipv6] > 0:
            room[host.is_ipv6] -= 1
            kept.append(host)
    return kept
