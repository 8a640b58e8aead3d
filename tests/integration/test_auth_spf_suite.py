"""The openspf.org suite over the wire: a name server on loopback, our resolver, and an SMTP session for each sender."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import dns.message
import dns.rcode
import dns.rdatatype
import dns.rrset
import pytest

from pymta.auth.spf import check_host
from pymta.dns.resolver import DnsResolver
from pymta.model.authentication import SpfIdentity
from pymta.model.envelope import Client
from pymta.runtime.clock import SystemClock
from tests.support.authentication import fields, receiver
from tests.support.dns_server import DnsServer
from tests.support.spf_suite import ABSENT, Scenario, load

CASES = load("rfc7208-tests.yml")
RESULTS = "Authentication-Results"
pytestmark = pytest.mark.skipif(not CASES, reason=ABSENT)


class SuiteServer(DnsServer):
    """Answers with one scenario's zones; where the suite says TIMEOUT it says SERVFAIL, which takes less time."""

    def __init__(self, scenario: Scenario) -> None:
        super().__init__({})
        self.scenario = scenario

    def answer(self, wire: bytes, tcp: bool) -> bytes | None:
        query = dns.message.from_wire(wire)
        question = query.question[0]
        name = question.name.to_text(omit_final_dot=True).lower()
        rdtype = dns.rdatatype.to_text(question.rdtype)
        response = dns.message.make_response(query)
        self.queries.append((name, rdtype))
        target = question.name
        for _ in range(12):
            key = b".".join(target.labels[:-1]).decode("utf-8").lower()
            zone = self.scenario.zones.get(key)
            if (key, rdtype) in self.scenario.failures:
                response.set_rcode(dns.rcode.SERVFAIL)
                break
            if zone is None:
                response.set_rcode(dns.rcode.NXDOMAIN)
                break
            if rdtype in zone:
                response.answer.append(dns.rrset.from_rdata_list(target, 60, [_rdata(rdtype, v) for v in zone[rdtype]]))
                break
            if "CNAME" not in zone:
                break
            alias = _rdata("CNAME", zone["CNAME"][0])
            response.answer.append(dns.rrset.from_rdata(target, 60, alias))
            target = alias.target
        return response.to_wire(max_size=65535)


def _rdata(rdtype: str, value: str) -> Any:
    if rdtype == "TXT":
        raw = value.encode("latin-1")
        strings = [raw[start : start + 255] for start in range(0, len(raw), 255)] or [b""]
        text = " ".join('"' + "".join(f"\\{byte:03d}" for byte in part) + '"' for part in strings)
        return dns.rdata.from_text("IN", "TXT", text)
    if rdtype == "MX":
        preference, _, host = value.partition(" ")
        return dns.rdata.from_text("IN", "MX", f"{preference} {host.rstrip('.')}.")
    return dns.rdata.from_text("IN", rdtype, f"{value.rstrip('.')}." if rdtype in ("CNAME", "PTR") else value)


def scenarios() -> list[Scenario]:
    return list({case.scenario.title: case.scenario for case in CASES}.values())


# Senders that smtpd itself refuses, since they are no addresses.
NOT_OVER_SMTP = {"emptylabel", "toolonglabel", "dorky-sentinel"}


@pytest.mark.parametrize("scenario", scenarios(), ids=lambda scenario: scenario.title)
async def test_every_case_in_an_smtp_session(
    scenario: Scenario, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The client's address is the case's; the result is what the reply and the header say."""
    host = ""
    monkeypatch.setattr(
        "pymta.smtpd.service.client_from_socket",
        lambda *addresses: Client(address=host, port="1025", name="unknown", name_status=5),
    )
    wrong, number = [], 0
    options = {"spf_enable": "yes", "spf_identities": "mailfrom", "mynetworks": "203.0.113.250"}
    async with receiver(tmp_path, monkeypatch, SuiteServer(scenario), **options) as mx:
        for case in (case for case in CASES if case.scenario is scenario and case.name not in NOT_OVER_SMTP):
            host = case.host
            code, text = await mx.send(b"Subject: x\r\n\r\nx\r\n", case.mail_from, case.helo)
            if code == 250:
                number += 1
                found = re.findall(r"\bspf=(\w+)", "".join(fields(await mx.delivered(number), [RESULTS])))
            else:
                found = re.findall(r"SPF (\w+)", text)
            if len(found) != 1 or found[0] not in case.results:
                wrong.append((case.name, code, text, found, case.results))
    assert not wrong, "\n".join(map(str, wrong))


@pytest.fixture
async def servers() -> AsyncIterator[dict[str, tuple[SuiteServer, DnsResolver]]]:
    """One name server and resolver for each scenario, kept while the cases run."""
    kept: dict[str, tuple[SuiteServer, DnsResolver]] = {}
    yield kept
    for server, resolver in kept.values():
        resolver.close()
        await server.__aexit__(None, None, None)


@pytest.mark.timeout(120)
async def test_every_case_over_the_wire(servers: dict[str, tuple[SuiteServer, DnsResolver]]) -> None:
    wrong = []
    for case in CASES:
        if case.scenario.title not in servers:
            server = SuiteServer(case.scenario)
            await server.__aenter__()
            servers[case.scenario.title] = (server, DnsResolver(SystemClock(), [server.address], timeout=2, attempts=1))
        _, resolver = servers[case.scenario.title]
        identity = SpfIdentity.MAIL_FROM if case.mail_from else SpfIdentity.HELO
        result = await check_host(
            resolver.query_any, case.host, identity, case.mail_from, case.helo, receiver="mx", at_hand=resolver.at_hand
        )
        if result.result.value not in case.results:
            wrong.append((case.name, result.result.value, case.results, result.problem, result.explanation))
        elif case.explanation not in (None, "DEFAULT", result.explanation) and result.result.value == "fail":
            wrong.append((case.name, result.explanation, case.explanation))
    assert not wrong, "\n".join(map(str, wrong))
