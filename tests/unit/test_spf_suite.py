"""SPF as the openspf.org suite has it, through our own asynchronous path (RFC 7208)."""

from __future__ import annotations

import ipaddress

import pytest

from pymta.auth.spf import check_host
from pymta.model.authentication import SpfIdentity
from pymta.model.dns import Answer
from pymta.testing import FakeResolver
from tests.support.spf_suite import ABSENT, Case, Scenario, load

CASES = load("rfc7208-tests.yml")
OLD_CASES = load("rfc4408-tests.yml")


class SuiteResolver(FakeResolver):
    """The zones of one scenario; addresses are looked up under their reverse names, as the suite writes them."""

    def __init__(self, scenario: Scenario) -> None:
        super().__init__(scenario.zones, failures=scenario.failures)

    async def query(self, name: str, rdtype: str) -> Answer:
        if rdtype == "PTR":
            name = ipaddress.ip_address(name).reverse_pointer
        return await super().query(name, rdtype)


def identity(case: Case) -> SpfIdentity:
    return SpfIdentity.MAIL_FROM if case.mail_from else SpfIdentity.HELO


@pytest.mark.skipif(not CASES, reason=ABSENT)
@pytest.mark.parametrize("case", CASES, ids=str)
async def test_rfc7208_suite(case: Case) -> None:
    resolver = SuiteResolver(case.scenario)
    result = await check_host(
        resolver.query, case.host, identity(case), case.mail_from, case.helo, receiver="mx.example.com"
    )
    assert result.result.value in case.results, result
    if case.explanation is not None and result.result.value == "fail":
        assert result.explanation == case.explanation.replace("DEFAULT", "")


def test_the_suite_is_whole() -> None:
    if not CASES:
        pytest.skip(ABSENT)
    assert len(CASES) == 203
