"""Perl's Mail::SPF judges the suites' cases beside us, from the same name servers."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
from collections.abc import Sequence

import pytest

from pymta.auth.spf import check_host
from pymta.dns.resolver import DnsResolver
from pymta.model.authentication import SpfIdentity
from pymta.runtime.clock import SystemClock
from tests.integration.test_auth_spf_suite import CASES, SuiteServer, scenarios
from tests.support.peers import ROOT, missing
from tests.support.spf_suite import ABSENT, Case

pytestmark = pytest.mark.skipif(not CASES, reason=ABSENT)

_PERL = r"""
use strict; use warnings;
use JSON; use Mail::SPF; use Net::DNS::Resolver;
$| = 1;
while (my $line = <STDIN>) {
    my $case = decode_json($line);
    my $dns = Net::DNS::Resolver->new(
        nameservers => ["127.0.0.1"], port => $case->{port}, recurse => 1, retry => 1, retrans => 1, udp_timeout => 2,
    );
    my $server = Mail::SPF::Server->new(dns_resolver => $dns, default_authority_explanation => "DEFAULT");
    my $code = eval {
        my $request = Mail::SPF::Request->new(
            versions => [1], scope => $case->{scope}, identity => $case->{identity},
            ip_address => $case->{host}, helo_identity => $case->{helo},
        );
        $server->process($request)->code;
    };
    print defined($code) ? $code : "error", "\n";
}
"""


def _environment() -> dict[str, str]:
    perl, library = ROOT / "usr/share/perl5", ROOT / "usr/lib/x86_64-linux-gnu"
    if not (perl / "Mail/SPF.pm").exists() or not shutil.which("perl"):
        missing("Mail::SPF is not here: run `make peers` (needs apt-get and Debian's packages)")
    paths = (perl, library / "perl5/5.36", library / "perl5")
    return {**os.environ, "PERL5LIB": ":".join(map(str, paths)), "LD_LIBRARY_PATH": str(library)}


def _question(case: Case, port: int) -> str:
    scope = "mfrom" if case.mail_from else "helo"
    helo = case.helo or "none"
    return json.dumps(
        {"port": port, "scope": scope, "identity": case.mail_from or helo, "host": case.host, "helo": helo}
    )


async def _their_results(cases: Sequence[Case], port: int) -> list[str]:
    judge = await asyncio.create_subprocess_exec(
        *("perl", "-e", _PERL), stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE, env=_environment()
    )
    questions = "".join(f"{_question(case, port)}\n" for case in cases)
    output, _ = await asyncio.wait_for(judge.communicate(questions.encode()), 100)
    return output.decode().split()


async def test_mail_spf_agrees_wherever_it_follows_the_rfc() -> None:
    """It may differ where the suite allows several results, and where its own is none of them."""
    differences, agreed, total = [], 0, 0
    for scenario in scenarios():
        # What only answers after its time limit would cost minutes.
        cases = [case for case in CASES if case.scenario is scenario and not scenario.failures and case.helo]
        async with SuiteServer(scenario) as server:
            resolver = DnsResolver(SystemClock(), [server.address], timeout=2, attempts=1)
            theirs = await _their_results(cases, server.address[1])
            assert len(theirs) == len(cases)
            for case, their in zip(cases, theirs, strict=True):
                identity = SpfIdentity.MAIL_FROM if case.mail_from else SpfIdentity.HELO
                found = await check_host(
                    resolver.query_any, case.host, identity, case.mail_from, case.helo, receiver="mx"
                )
                our = found.result.value
                agreed += our == their
                total += 1
                if our != their and their in case.results and our not in case.results:
                    differences.append((case.name, our, their, case.results))
            resolver.close()
    assert not differences
    assert total > 130
    assert agreed / total > 0.9
