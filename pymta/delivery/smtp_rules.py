"""What the settings of smtp(8) and lmtp(8) mean for host lists, sessions, time limits and our own address."""

from __future__ import annotations

import ipaddress
import socket
from collections.abc import Callable, Collection

from pymta.delivery.connection import TimeLimits
from pymta.delivery.hosts import Host, HostRules
from pymta.delivery.smtp_settings import AgentSettings
from pymta.errors import ConfigError
from pymta.protocol.smtp.client_events import Phase
from pymta.protocol.smtp.client_options import ClientOptions


def service_port(name: str) -> int | None:
    """The TCP port of a service, by number or by its name in services(5)."""
    if name.isascii() and name.isdecimal():
        return int(name)
    try:
        return socket.getservbyname(name, "tcp")
    except OSError:
        return {"smtp": 25, "lmtp": 24, "submission": 587, "submissions": 465, "smtps": 465}.get(name)


def host_rules(settings: AgentSettings, own: Collection[str], shuffle: Callable[[list[Host]], None]) -> HostRules:
    protocols = set(settings.inet_protocols)
    families = {"ipv4", "ipv6"} if "all" in protocols else protocols & {"ipv4", "ipv6"}
    without_dns = settings.disable_dns_lookups or settings.dns_support_level == "disabled"
    return HostRules(
        shuffle=shuffle,
        own_addresses=frozenset(own),
        inet_protocols=frozenset(families),
        host_lookup=("native",) if without_dns else settings.host_lookup,
        address_preference=settings.address_preference,
        balance_inet_protocols=settings.balance_inet_protocols,
        randomize_addresses=settings.randomize_addresses,
        mx_address_limit=settings.mx_address_limit,
        defer_if_no_mx_address_found=settings.defer_if_no_mx_address_found,
        ignore_mx_lookup_error=settings.ignore_mx_lookup_error,
    )


def client_options(settings: AgentSettings) -> ClientOptions:
    return ClientOptions(
        helo_name=settings.helo_name,
        lmtp=settings.lmtp,
        always_ehlo=settings.always_send_ehlo,
        never_ehlo=settings.never_send_ehlo,
        discarded_keywords=frozenset(word.lower() for word in settings.discard_ehlo_keywords),
        line_limit=settings.line_length_limit,
        send_xforward=settings.send_xforward_command,
        probe=_probe(settings),
    )


def _probe(settings: AgentSettings) -> Phase:
    target = settings.address_verify_target
    if target not in ("rcpt", "data"):
        name = f"{'lmtp' if settings.lmtp else 'smtp'}_address_verify_target"
        raise ConfigError(f'bad protocol stage "{target}": need "rcpt" or "data"', name=name)
    return Phase.DATA if target == "data" else Phase.RCPT


def time_limits(settings: AgentSettings) -> TimeLimits:
    return TimeLimits(
        connect=settings.connect_timeout,
        phases={
            Phase.GREETING: settings.helo_timeout,
            Phase.EHLO: settings.helo_timeout,
            Phase.HELO: settings.helo_timeout,
            Phase.LHLO: settings.helo_timeout,
            Phase.AUTH: settings.helo_timeout,
            Phase.STARTTLS: settings.helo_timeout,
            Phase.XFORWARD: settings.xforward_timeout,
            Phase.XFORWARD_PROTO: settings.xforward_timeout,
            Phase.MAIL: settings.mail_timeout,
            Phase.RCPT: settings.rcpt_timeout,
            Phase.DATA: settings.data_init_timeout,
            Phase.BODY: settings.data_xfer_timeout,
            Phase.CHUNK: settings.data_xfer_timeout,
            Phase.END_OF_DATA: settings.data_done_timeout,
            Phase.RSET: settings.rset_timeout,
            Phase.QUIT: settings.quit_timeout,
        },
        per_request=settings.per_request_deadline,
        data_rate=settings.min_data_rate,
    )


def source_addresses(settings: AgentSettings) -> tuple[str, str]:
    """The addresses to connect from, IPv4 and IPv6: set, or the only one that inet_interfaces has of its family."""
    source = [settings.bind_address, settings.bind_address6]
    listed: tuple[list[str], list[str]] = ([], [])
    for text in settings.inet_interfaces:
        try:
            address = ipaddress.ip_address(text.strip("[]"))
        except ValueError:
            # A word or a name (`all`, `loopback-only`): the system picks the address.
            return source[0], source[1]
        listed[address.version == 6].append(str(address))
    for number, addresses in enumerate(listed):
        if not source[number] and len(addresses) == 1 and not ipaddress.ip_address(addresses[0]).is_loopback:
            source[number] = addresses[0]
    return source[0], source[1]
