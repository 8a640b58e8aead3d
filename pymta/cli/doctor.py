"""`pymta-doctor DOMAIN`: one report about a domain's mail and this host, before a receiver complains."""

from __future__ import annotations

import argparse
import asyncio
import pwd
import sys
from collections.abc import Callable, Coroutine, Sequence
from typing import Any

from pymta.cli import doctor_host, doctor_names, doctor_policy
from pymta.cli.doctor_blocklists import check_blocklists
from pymta.cli.doctor_report import Finding, as_json, as_text, is_healthy, problem, unknown
from pymta.cli.doctor_subject import Subject, is_address, public_addresses
from pymta.cli.places import config_directory
from pymta.config import Config, Host, build
from pymta.dns.names import is_hostname, to_ascii
from pymta.dns.resolver import DnsResolver
from pymta.dns.settings import DnsSettings, make_resolver
from pymta.errors import ConfigError
from pymta.ports import Resolver
from pymta.runtime.clock import SystemClock
from pymta.runtime.loop import run

_CHECK_SECONDS = 60.0


class _Silent:
    """What the restrictions say while they are probed is for nobody."""

    def debug(self, line: str) -> None: ...

    info = warning = error = debug


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="pymta-doctor", description="Find out why mail lands in spam.")
    parser.add_argument("domain", metavar="DOMAIN", help="the domain in your mail addresses")
    parser.add_argument("-c", dest="config", metavar="DIR", help="configuration directory (main.cf, master.cf)")
    parser.add_argument("--address", action="append", default=[], help="an address the world sees this host under")
    parser.add_argument("--json", action="store_true", help="a report for programs")
    parser.add_argument("--no-network", action="store_true", help="DNS only: no connection to any port")
    parser.add_argument("--color", choices=("auto", "always", "never"), default="auto")
    return parser


def main(arguments: Sequence[str] | None = None, resolver: Resolver | None = None, host: Host | None = None) -> int:
    """Entry of `pymta-doctor`; exit status 0 healthy, 1 with problems, 2 wrong usage."""
    parser = _parser()
    options = parser.parse_args(sys.argv[1:] if arguments is None else arguments)
    try:
        domain = to_ascii(options.domain.removesuffix(".")).lower()
    except ValueError:
        domain = ""
    if not is_hostname(domain) or (bad := [one for one in options.address if not is_address(one)]):
        parser.error(f"not a domain: {options.domain}" if not is_hostname(domain) else f"not an address: {bad[0]}")
    try:
        findings = run(examine(domain, options, resolver, host or Host()))
    except KeyboardInterrupt:
        return 130
    if options.json:
        sys.stdout.write(as_json(domain, findings))
    else:
        colour = options.color == "always" or (options.color == "auto" and sys.stdout.isatty())
        sys.stdout.write(as_text(findings, colour=colour))
    return 0 if is_healthy(findings) else 1


async def examine(domain: str, options: argparse.Namespace, resolver: Resolver | None, host: Host) -> list[Finding]:
    """All findings, in the order of the report."""
    config, findings = _read(options.config)
    hostname = config.text("myhostname") if config is not None else host.name
    addresses = tuple(options.address) or public_addresses(config, host)
    own = None if resolver else _resolver(config)
    asked = resolver or own
    assert asked is not None
    subject = Subject(domain, hostname, addresses, asked, config)
    try:
        done = await asyncio.gather(*(_limited(topic, check) for topic, check in _checks(subject, options)))
    finally:
        if own is not None:
            own.close()
    return [*findings, *(finding for group in done for finding in group)]


def _resolver(config: Config | None) -> DnsResolver:
    return make_resolver(build(DnsSettings, config), SystemClock()) if config else DnsResolver(SystemClock())


def _read(directory: str | None) -> tuple[Config | None, list[Finding]]:
    path = config_directory(directory)
    try:
        config = Config.load(path)
        for name in ("myhostname", "mydomain", "mynetworks"):
            config.text(name)
    except ConfigError as error:
        return None, [
            problem("configuration", str(error), "only DNS can be examined without it", f"pymta -c {path} check")
        ]
    return config, []


def _checks(subject: Subject, options: argparse.Namespace) -> list[tuple[str, Coroutine[Any, Any, list[Finding]]]]:
    zones = subject.config.items("doctor_dns_blocklists") if subject.config else []
    checks = [
        ("hostname", doctor_names.check_hostname(subject)),
        ("PTR", doctor_names.check_reverse(subject)),
        ("MX", doctor_names.check_mx(subject)),
        ("SPF", doctor_policy.check_spf(subject)),
        ("DKIM", doctor_policy.check_dkim(subject)),
        ("DMARC", doctor_policy.check_dmarc(subject)),
        ("blocklists", check_blocklists(subject, zones)),
    ]
    config = subject.config
    if config is None:
        return checks
    if not options.no_network:
        checks.append(("port 25 in", doctor_host.check_listening(config)))
        if target := config.text("doctor_outbound_probe"):
            checks.append(("port 25 out", doctor_host.check_outbound(subject, target)))
    checks += [
        ("open relay", doctor_host.check_relaying(subject, config, _Silent())),
        ("certificate", _at_once(lambda: doctor_host.check_certificate(config, subject.hostname))),
        ("clock", _at_once(lambda: doctor_host.check_clock(doctor_host.clock_is_synchronised()))),
        ("mailboxes", _at_once(lambda: doctor_host.check_mailboxes(config, pwd.getpwall()))),
    ]
    return checks


async def _at_once(check: Callable[[], list[Finding]]) -> list[Finding]:
    return check()


async def _limited(topic: str, check: Coroutine[Any, Any, list[Finding]]) -> list[Finding]:
    """One check, within its time; what goes wrong with it must not take the others away."""
    try:
        async with asyncio.timeout(_CHECK_SECONDS):
            return await check
    except TimeoutError:
        return [unknown(topic, f"no result within {_CHECK_SECONDS:.0f} seconds")]
    except ConfigError as error:
        return [problem(topic, str(error), "the configuration cannot be used as it is")]
    except OSError as error:
        return [unknown(topic, str(error))]
