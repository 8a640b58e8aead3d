"""smtp_dns_reply_filter: Debian's Postfix and our client over the same zones."""

from __future__ import annotations

import re
import smtplib
from collections.abc import Sequence
from pathlib import Path

import pytest

from pymta.app.dns_filter import FilteredResolver
from pymta.config import Config, build
from pymta.delivery.smtp import SmtpAgent
from pymta.delivery.smtp_settings import SmtpSettings
from pymta.dns.resolver import DnsResolver
from pymta.model.delivery import DeliveryResult
from pymta.runtime.clock import SystemClock
from pymta.tables import TableFactory
from pymta.testing import FakeResolver, RecordingLog
from tests.support.name_servers import NameServers
from tests.support.peers import RealPostfix
from tests.support.smtp_client import MESSAGE, request
from tests.support.system import eventually

ZONES = {
    "f.example": """all MX 10 a.f.example.
some MX 10 bad.f.example.
some MX 20 good.f.example.
addr MX 10 badaddr.f.example.
alias CNAME some
nomx A 127.0.0.200
null MX 0 .
two MX 10 badaddr.f.example.
two MX 20 good.f.example.
a A 127.0.0.200
bad A 127.0.0.201
good A 127.0.0.202
badaddr A 127.0.0.203
""",
    "g.example": "@ MX 10 a.f.example.\n",
}
TABLE = r"""/^all\.f\.example\. \d+ IN MX 10 a\.f\.example\.$/ IGNORE
/ IN MX 10 bad\.f/ IGNORE
/^badaddr\.f\.example\. \d+ IN A 127\.0\.0\.203$/ ignore it
/^g\.example\. .* MX/ WHAT
/^nomx\./ IGNORE
/^null/ IGNORE
"""
HOSTS = ("all.f.example", "some.f.example", "addr.f.example", "alias.f.example", "nomx.f.example", "null.f.example",
         "two.f.example", "g.example", "no.f.example")  # fmt: skip


def _said(lines: Sequence[str]) -> list[str]:
    """About the filter alone, once each, whatever the time to live."""
    kept = {re.sub(r" \d+ IN ", " TTL IN ", line) for line in lines if "DNS" in line and "status=" not in line}
    return sorted(line for line in kept if "Name service error" not in line)


async def _ours(servers: NameServers, table: str) -> tuple[dict[str, str], list[str]]:
    log = RecordingLog()
    resolver = DnsResolver(SystemClock(), [servers.address])
    maps = TableFactory(Path("/")).maps(table, "smtp_dns_reply_filter")
    settings = build(SmtpSettings, Config.from_values({"smtp_host_lookup": "dns", "inet_protocols": "ipv4"}))
    agent = SmtpAgent(settings, FilteredResolver(resolver, maps, log, "smtp_dns_reply_filter"), SystemClock(), log)
    found = {}
    for host in HOSTS:
        result: DeliveryResult = (await agent.deliver(request(host, f"u@{host}"), MESSAGE))[0]
        found[host] = f"{result.status} {result.reason}"
    resolver.close()
    return found, _said(log.lines)


def _theirs(servers: NameServers, table: str, folder: Path) -> tuple[dict[str, str], list[str]]:
    parameters = {
        "mydestination": "x.example",
        "disable_dns_lookups": "no",
        "smtp_host_lookup": "dns",
        "smtp_dns_reply_filter": table,
        "smtpd_peername_lookup": "no",
    }
    postfix = RealPostfix(folder / "postfix", parameters, wrapper=servers.mounting)
    with postfix.running():
        with smtplib.SMTP("127.0.0.1", postfix.port, timeout=30) as session:
            for host in HOSTS:
                session.sendmail("s@x.example", [f"u@{host}"], "Subject: x\r\n\r\nbody\r\n")
        pattern = r"to=<u@([^>]*)>,.* dsn=(\S+), status=\w+ \((.*)\)$"
        eventually(lambda: len(re.findall(pattern, postfix.log.read_text(), re.MULTILINE)) == len(HOSTS))
        text = postfix.log.read_text()
    found = {host: f"{dsn} {reason}" for host, dsn, reason in re.findall(pattern, text, re.MULTILINE)}
    return found, _said(re.findall(r"/smtp\[\d+\]: (.*)", text))


async def test_the_same_records_are_left(tmp_path: Path) -> None:
    (tmp_path / "table").write_text(TABLE.replace(r"\d", "[0-9]"))
    with NameServers(tmp_path, ZONES, port_53=True).running() as servers:
        for place in (tmp_path, *tmp_path.parents[:2]):
            place.chmod(place.stat().st_mode | 0o055)
        table = f"regexp:{tmp_path}/table"
        theirs, their_lines = _theirs(servers, table, tmp_path)
        ours, our_lines = await _ours(servers, table)
    assert ours == theirs
    assert our_lines == [line.removeprefix("warning: ") for line in their_lines]


@pytest.mark.parametrize("zones", [{"x.test": {"MX": ["10 mx.test"]}, "mx.test": {"A": ["192.0.2.1"]}}])
async def test_a_filter_that_cannot_be_asked_puts_mail_off(zones: dict[str, dict[str, list[str]]]) -> None:
    log = RecordingLog()
    maps = TableFactory(Path("/")).maps("fail:x", "smtp_dns_reply_filter")
    found = await FilteredResolver(FakeResolver(zones), maps, log, "smtp_dns_reply_filter").query("x.test", "MX")
    assert found.reason == "Error looking up name=x.test type=MX: Invalid DNS reply filter syntax"
    assert not found.withheld
