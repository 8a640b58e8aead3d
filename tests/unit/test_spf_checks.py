"""SPF checks of what goes wrong, and who is checked at all (RFC 7208 4.6.4, 11.1)."""

from __future__ import annotations

import asyncio
import time
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pymta.auth.inbound import InboundAuthentication
from pymta.auth.inbound_settings import InboundSettings
from pymta.auth.spf import check_host
from pymta.config import Config, build
from pymta.errors import ConfigError, TableError
from pymta.model.address import NULL_SENDER, Address
from pymta.model.authentication import Result, SpfIdentity, SpfResult
from pymta.model.dns import Answer
from pymta.model.envelope import Client
from pymta.tables import TableFactory
from pymta.testing import FakeResolver, ManualClock, RecordingLog

MAIL_FROM = SpfIdentity.MAIL_FROM


async def check(
    resolver: FakeResolver, sender: str = "u@e.example", address: str = "192.0.2.1", **more: float
) -> SpfResult:
    return await check_host(resolver.query, address, MAIL_FROM, sender, "helo.example", receiver="mx", **more)  # type: ignore[arg-type]


def record(text: str, **more: list[str]) -> FakeResolver:
    return FakeResolver({"e.example": {"TXT": [text], **more}})


@pytest.mark.parametrize(
    ("text", "result", "problem"),
    [
        ("v=spf1 " + "a " * 30, Result.PERMERROR, "Too many DNS lookups"),
        ("v=spf1 include:e.example -all", Result.PERMERROR, "include has trivial recursion"),
        ("v=spf1 redirect=e.example", Result.PERMERROR, "Too many DNS lookups"),
        ("v=spf1 a:x1.test a:x2.test a:x3.test -all", Result.PERMERROR, "Void lookup limit of 2 exceeded"),
        ("v=spf1 " + "ip4:192.0.2.2 " * 5000 + "-all", Result.PERMERROR, "SPF record of 70011 bytes is too long"),
        ("v=spf1 a:" + "x" * 600 + ".test -all", Result.PERMERROR, "SPF record of 619 bytes is too long"),
        ("x" * 64_000, Result.NONE, ""),
        ("v=spf10 -all", Result.NONE, ""),
        ("v=spf1 ip4:192.0.2.300", Result.PERMERROR, "Invalid IP4 address"),
        ("v=spf1 exists:%{q}.test", Result.PERMERROR, "Unknown Macro Encountered"),
        ("v=spf1 \u00e9", Result.PERMERROR, None),
    ],
)
async def test_records_that_go_too_far(text: str, result: Result, problem: str | None) -> None:
    found = await check(record(text, A=["192.0.2.9"]))
    assert found.result is result, found
    assert problem is None or found.problem == problem


async def test_no_answer_is_a_temperror() -> None:
    found = await check(FakeResolver({}, failures=["e.example"]))
    assert (found.result, found.problem) == (Result.TEMPERROR, "DNS TXT e.example: no answer")
    found = await check(FakeResolver({"e.example": {"TXT": ["v=spf1 a:down.test -all"]}}, failures=["down.test"]))
    assert found.problem == "DNS A down.test: no answer"


async def test_all_lookups_together_have_a_time_limit() -> None:
    class Slow(FakeResolver):
        async def query(self, name: str, rdtype: str) -> Answer:
            await asyncio.sleep(0.03)
            return await super().query(name, rdtype)

    slow = Slow({"e.example": {"TXT": ["v=spf1 a:a.test a:b.test a:c.test a:d.test -all"]}})
    start = time.monotonic()
    found = await check(slow, time_limit=0.05)
    assert (found.result, found.problem) == (Result.TEMPERROR, "DNS took longer than 0.05s")
    assert time.monotonic() - start < 2


async def test_a_resolver_that_raises_is_a_result_too() -> None:
    async def query(name: str, rdtype: str) -> Answer:
        raise TableError("dns", "a bug")

    found = await check_host(query, "192.0.2.1", MAIL_FROM, "u@e.example", "h", receiver="mx")
    assert (found.result, found.problem) == (Result.PERMERROR, "TableError: dns: a bug")


async def test_checks_at_the_same_time_do_not_mix_their_answers() -> None:
    class Turns(FakeResolver):
        async def query(self, name: str, rdtype: str) -> Answer:
            await asyncio.sleep(0)
            return await super().query(name, rdtype)

    zones = {f"d{n}.example": {"TXT": [f"v=spf1 a:host.d{n}.example -all"]} for n in range(40)}
    hosts = {f"host.d{n}.example": {"A": [f"192.0.2.{n}"]} for n in range(40)}
    turns = Turns({**zones, **hosts})
    found = await asyncio.gather(
        *(check(turns, f"u@d{n}.example", f"192.0.2.{n if n % 2 else n + 1}") for n in range(40))
    )
    assert [one.result for one in found] == [Result.FAIL, Result.PASS] * 20


async def test_answers_at_hand_are_not_asked_for() -> None:
    resolver = record("v=spf1 a -all", A=["192.0.2.1"])
    answers = {("e.example", rdtype): await resolver.query("e.example", rdtype) for rdtype in ("TXT", "A")}
    resolver.queries.clear()
    found = await check_host(
        resolver.query,
        "192.0.2.1",
        MAIL_FROM,
        "u@e.example",
        "h",
        receiver="mx",
        at_hand=lambda n, t: answers.get((n, t)),
    )
    assert found.result is Result.PASS
    assert resolver.queries == []


async def test_an_explanation_is_only_asked_for_where_it_is_said() -> None:
    resolver = record("v=spf1 ip4:192.0.2.1 -all exp=why.test")
    resolver.zones["why.test"] = {"TXT": ["%{i} may not,\r\nsays %{d}"]}
    assert (await check(resolver)).result is Result.PASS
    assert ("why.test", "TXT") not in resolver.queries
    found = await check(resolver, address="192.0.2.2")
    assert (found.result, found.explanation) == (Result.FAIL, "192.0.2.2 may not,??says e.example")


@pytest.mark.parametrize(
    ("address", "result"),
    [
        ("192.0.2.1", Result.PASS),
        ("::ffff:192.0.2.1", Result.PASS),
        ("2001:db8::1", Result.PASS),
        ("fe80::1%eth0", Result.FAIL),
        ("unknown", Result.NONE),
        ("", Result.NONE),
    ],
)
async def test_addresses(address: str, result: Result) -> None:
    found = await check(record("v=spf1 ip4:192.0.2.0/24 ip6:2001:db8::/32 -all"), address=address)
    assert found.result is result


@pytest.mark.parametrize(
    ("sender", "domain"),
    [("u@bücher.example", "xn--bcher-kva.example"), ("ü@e.example", "e.example"), ("U@E.Example.", "E.Example")],
)
async def test_names_go_to_dns_as_it_takes_them(sender: str, domain: str) -> None:
    resolver = FakeResolver({domain.lower(): {"TXT": ["v=spf1 +all"]}})
    found = await check(resolver, sender)
    assert (found.result, found.domain) == (Result.PASS, domain)


@settings(max_examples=150, deadline=None)
@given(st.text(max_size=60), st.text(max_size=30), st.text(max_size=30))
async def test_whatever_comes_there_is_a_result(text: str, local_part: str, helo: str) -> None:
    resolver = record("v=spf1 " + text)
    found = await check_host(resolver.query, "192.0.2.1", MAIL_FROM, f"{local_part}@e.example", helo, receiver="mx")
    assert isinstance(found.result, Result)
    await check_host(resolver.query, "192.0.2.1", SpfIdentity.HELO, "", helo, receiver="mx")


# Who is checked, and how often


def service(
    folder: Path, resolver: FakeResolver, clock: ManualClock | None = None, **values: str
) -> InboundAuthentication:
    config = Config.from_values(
        {"myhostname": "mx.example.net", "mynetworks": "198.51.100.0/24", "spf_enable": "yes", **values}
    )
    settings_ = build(InboundSettings, config)
    return InboundAuthentication(settings_, TableFactory(folder), resolver, clock or ManualClock(), RecordingLog())


OUTSIDE = Client(address="192.0.2.1", name="unknown", name_status=5)
SENDER = Address("u", "e.example")


@pytest.mark.parametrize(
    ("client", "values", "checked"),
    [
        (OUTSIDE, {}, True),
        (replace(OUTSIDE, address="198.51.100.7"), {}, False),
        (replace(OUTSIDE, sasl_username="joe"), {}, False),
        (OUTSIDE, {"spf_exempt_networks": "192.0.2.0/30"}, False),
    ],
)
async def test_who_is_checked(tmp_path: Path, client: Client, values: dict[str, str], checked: bool) -> None:
    found = await service(tmp_path, record("v=spf1 -all"), **values).check_spf(client, "h.example", SENDER)
    assert bool(found) is checked


@pytest.mark.parametrize(
    ("sender", "identities", "expected"),
    [
        (SENDER, "mailfrom, helo", ["helo", "mailfrom"]),
        (SENDER, "mailfrom", ["mailfrom"]),
        (SENDER, "helo", ["helo"]),
        (NULL_SENDER, "mailfrom", ["helo"]),
    ],
)
async def test_which_identities_are_checked(
    tmp_path: Path, sender: Address, identities: str, expected: list[str]
) -> None:
    inbound = service(tmp_path, record("v=spf1 -all"), spf_identities=identities)
    found = await inbound.check_spf(OUTSIDE, "h.example", sender)
    assert [one.identity.value for one in found] == expected


async def test_recipients_of_one_message_share_a_check(tmp_path: Path) -> None:
    resolver, clock = record("v=spf1 -all"), ManualClock()
    inbound = service(tmp_path, resolver, clock)
    first = await inbound.check_spf(OUTSIDE, "h.example", SENDER)
    asked = len(resolver.queries)
    assert await inbound.check_spf(OUTSIDE, "H.example", SENDER) is first
    assert len(resolver.queries) == asked
    clock.advance(61)
    await inbound.check_spf(OUTSIDE, "h.example", SENDER)
    assert len(resolver.queries) > asked


async def test_what_dns_did_not_answer_is_asked_again(tmp_path: Path) -> None:
    resolver = FakeResolver({"e.example": {"TXT": ["v=spf1 +all"]}}, failures=["e.example"])
    inbound = service(tmp_path, resolver, spf_identities="mailfrom")
    assert (await inbound.check_spf(OUTSIDE, "h", SENDER))[0].result is Result.TEMPERROR
    resolver.failures.clear()
    assert (await inbound.check_spf(OUTSIDE, "h", SENDER))[0].result is Result.PASS


async def test_only_so_many_checks_are_kept(tmp_path: Path) -> None:
    inbound = service(tmp_path, record("v=spf1 -all"), spf_identities="mailfrom")
    for number in range(1200):
        await inbound.check_spf(OUTSIDE, "h", Address(f"u{number}", "e.example"))
    assert len(inbound._kept) == 1000


def test_an_identity_that_there_is_not(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match='spf_identities: found "from", expected helo or mailfrom'):
        service(tmp_path, record(""), spf_identities="from")
