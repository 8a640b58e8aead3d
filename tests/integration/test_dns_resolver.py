"""The resolver against a real server on loopback."""

from __future__ import annotations

import asyncio
import os
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from pymta.dns.resolver import MAXIMUM_RECORDS, DnsResolver
from pymta.model.dns import MX, Answer, Lookup
from pymta.testing import ManualClock
from tests.support.dns_server import DnsServer

LONG_TXT = '"' + '" "'.join(["y" * 250] * 250) + '"'
ZONES = {
    "a.test": {"A": ["192.0.2.1", "192.0.2.2"], "AAAA": ["2001:db8::1"]},
    "mx.test": {"MX": ["20 b.test.", "10 A.test."]},
    "null.test": {"MX": ["0 ."]},
    "badmx.test": {"MX": ["10 a\\032b.test.", "20 a.test."]},
    "onlybadmx.test": {"MX": ["10 a\\032b.test."]},
    "txt.test": {"TXT": ['"v=spf1 " "-all"', '"other"']},
    "longtxt.test": {"TXT": [LONG_TXT]},
    "many.test": {"A": [f"198.51.100.{number}" for number in range(200)]},
    "alias.test": {"CNAME": ["middle.test."]},
    "middle.test": {"CNAME": ["a.test."]},
    "deaf.test": {"CNAME": ["nx.test."]},
    "loop.test": {"CNAME": ["loop2.test."]},
    "loop2.test": {"CNAME": ["loop.test."]},
    "chase.test": {"CNAME": ["chase2.test."]},
    "chase2.test": {"CNAME": ["a.test."]},
    "ring.test": {"CNAME": ["ring2.test."]},
    "ring2.test": {"CNAME": ["ring.test."]},
    "secure.test": {"A": ["192.0.2.1"]},
    "late.test": {"A": ["192.0.2.1"]},
    "_25._tcp.a.test": {"TLSA": ["3 1 1 " + "0f" * 32]},
    "_smtp._tcp.test": {"SRV": ["10 20 25 a.test."]},
    "xn--bcher-kva.test": {"A": ["192.0.2.3"]},
    "1.2.0.192.in-addr.arpa": {"PTR": ["host.test."]},
    "1.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.8.b.d.0.1.0.0.2.ip6.arpa": {"PTR": ["six.test."]},
    "2.2.0.192.in-addr.arpa": {"PTR": ["bad\\010name.test."]},
    "empty.test": {"TXT": ['"x"']},
}
BEHAVIOURS = {
    "servfail.test": "servfail",
    "refused.test": "refused",
    "timeout.test": "timeout",
    "garbage.test": "garbage",
    "longtxt.test": "truncate",
    "chase.test": "no-chase",
    "chase2.test": "no-chase",
    "ring.test": "no-chase",
    "ring2.test": "no-chase",
    "late.test": "late",
    "secure.test": "ad",
}


async def _ask(name: str, rdtype: str, **options: Any) -> Answer:
    async with DnsServer(ZONES, BEHAVIOURS) as server:
        resolver = DnsResolver(ManualClock(), [server.address], **{"timeout": 0.2, "attempts": 2, **options})
        return await resolver.query(name, rdtype)


@pytest.mark.parametrize(
    ("name", "rdtype", "values"),
    [
        ("a.test", "A", ("192.0.2.1", "192.0.2.2")),
        ("A.Test.", "A", ("192.0.2.1", "192.0.2.2")),
        ("a.test", "AAAA", ("2001:db8::1",)),
        ("txt.test", "TXT", ("v=spf1 -all", "other")),
        ("alias.test", "A", ("192.0.2.1", "192.0.2.2")),
        ("alias.test", "CNAME", ("middle.test",)),
        ("chase.test", "A", ("192.0.2.1", "192.0.2.2")),
        ("192.0.2.1", "PTR", ("host.test",)),
        ("2001:db8::1", "PTR", ("six.test",)),
        ("_25._tcp.a.test", "TLSA", ("3 1 1 " + "0f" * 32,)),
        ("_smtp._tcp.test", "SRV", ("10 20 25 a.test.",)),
        ("bücher.test", "A", ("192.0.2.3",)),
        ("BÜCHER。test", "A", ("192.0.2.3",)),
        ("longtxt.test", "TXT", ("y" * 62_500,)),
    ],
)
async def test_records_are_values(name: str, rdtype: str, values: tuple[str, ...]) -> None:
    answer = await _ask(name, rdtype)
    assert answer.status is Lookup.FOUND, answer.reason
    assert sorted(answer.values) == sorted(values)
    assert answer.ttl == 300.0


@pytest.mark.parametrize(
    ("name", "mx"),
    [
        ("mx.test", {MX(10, "a.test"), MX(20, "b.test")}),
        ("null.test", {MX(0, "")}),
        ("badmx.test", {MX(20, "a.test")}),
    ],
)
async def test_mx_records(name: str, mx: set[MX]) -> None:
    answer = await _ask(name, "MX")
    assert answer.status is Lookup.FOUND
    assert {MX(each.preference, each.host.lower()) for each in answer.mx} == mx


_ERROR = "Host or domain name not found. Name service error for name={} type={}: {}"


@pytest.mark.parametrize(
    ("name", "rdtype", "status", "reason"),
    [
        ("nx.test", "A", Lookup.NOT_FOUND, _ERROR.format("nx.test", "A", "Host not found")),
        ("deaf.test", "A", Lookup.NOT_FOUND, _ERROR.format("deaf.test", "A", "Host not found")),
        ("empty.test", "MX", Lookup.NO_DATA, "no data record of requested type"),
        ("servfail.test", "MX", Lookup.TRY_AGAIN, _ERROR.format("servfail.test", "MX", "Host not found, try again")),
        ("refused.test", "A", Lookup.TRY_AGAIN, "try again"),
        ("timeout.test", "A", Lookup.TRY_AGAIN, "try again"),
        ("garbage.test", "A", Lookup.TRY_AGAIN, "try again"),
        ("loop.test", "A", Lookup.NOT_FOUND, "Name server loop for loop.test"),
        ("ring.test", "A", Lookup.NOT_FOUND, "Name server loop for ring.test"),
        ("onlybadmx.test", "MX", Lookup.TRY_AGAIN, "Malformed or unexpected name server reply"),
        ("192.0.2.2", "PTR", Lookup.TRY_AGAIN, "Malformed or unexpected name server reply"),
        ("192.0.2.99", "PTR", Lookup.NOT_FOUND, "Host not found"),
        ("not an address", "PTR", Lookup.NOT_FOUND, "invalid host or domain name"),
        ("a..test", "A", Lookup.NOT_FOUND, "invalid host or domain name"),
        ("x" * 64 + ".test", "A", Lookup.NOT_FOUND, "invalid host or domain name"),
        (".".join(["x" * 60] * 5), "A", Lookup.NOT_FOUND, "invalid host or domain name"),
        ("a b.test", "A", Lookup.NOT_FOUND, "invalid host or domain name"),
        ("", "A", Lookup.NOT_FOUND, "invalid host or domain name"),
        ("1.2.3.4", "A", Lookup.NOT_FOUND, "invalid host or domain name"),
        ("☃ .test", "A", Lookup.NOT_FOUND, "invalid host or domain name"),
    ],
)
async def test_what_is_not_there_or_cannot_be_known(name: str, rdtype: str, status: Lookup, reason: str) -> None:
    answer = await _ask(name, rdtype)
    assert (answer.status, answer.values, answer.mx) == (status, (), ())
    assert reason in answer.reason


async def test_an_answer_has_at_most_a_hundred_records() -> None:
    assert len((await _ask("many.test", "A")).values) == MAXIMUM_RECORDS


@pytest.mark.parametrize(("trust", "secure"), [(None, True), (False, False), (True, True)])
async def test_the_ad_bit_counts_where_the_server_is_trusted(trust: bool | None, secure: bool) -> None:
    assert (await _ask("secure.test", "A", trust_ad=trust)).secure is secure
    assert (await _ask("a.test", "A", trust_ad=trust)).secure is False


async def test_equal_questions_under_way_are_asked_once() -> None:
    async with DnsServer(ZONES, BEHAVIOURS) as server:
        resolver = DnsResolver(ManualClock(), [server.address])
        answers = await asyncio.gather(*(resolver.query(name, "A") for name in ["late.test", "LATE.test"] * 20))
        assert {answer.status for answer in answers} == {Lookup.FOUND}
        assert server.queries == [("late.test", "A")]


async def test_one_caller_that_leaves_does_not_take_the_answer_along() -> None:
    async with DnsServer(ZONES, BEHAVIOURS) as server:
        resolver = DnsResolver(ManualClock(), [server.address])
        impatient = asyncio.create_task(resolver.query("late.test", "A"))
        patient = asyncio.create_task(resolver.query("late.test", "A"))
        await asyncio.sleep(0.02)
        impatient.cancel()
        assert (await patient).status is Lookup.FOUND


async def test_answers_are_kept_for_their_time_and_failures_are_not() -> None:
    clock = ManualClock()
    async with DnsServer(ZONES, BEHAVIOURS) as server:
        resolver = DnsResolver(clock, [server.address])
        for _ in range(3):
            await resolver.query("a.test", "A")
            await resolver.query("nx.test", "A")
            await resolver.query("servfail.test", "A")
        assert [server.queries.count((name, "A")) for name in ("a.test", "nx.test", "servfail.test")] == [1, 1, 3]
        clock.advance(39)
        await resolver.query("nx.test", "A")
        assert server.queries.count(("nx.test", "A")) == 1
        clock.advance(2)
        # The zone's SOA says 40 seconds for what is not there.
        await resolver.query("nx.test", "A")
        assert server.queries.count(("nx.test", "A")) == 2
        clock.advance(300)
        await resolver.query("a.test", "A")
        assert server.queries.count(("a.test", "A")) == 2


@pytest.mark.parametrize(("ttl", "fresh", "stale"), [(0, 4, 6), (1_000_000, 86_399, 86_401)])
async def test_times_to_live_have_a_floor_and_a_ceiling(ttl: int, fresh: float, stale: float) -> None:
    clock = ManualClock()
    async with DnsServer(ZONES, ttl=ttl) as server:
        resolver = DnsResolver(clock, [server.address])
        await resolver.query("a.test", "A")
        clock.advance(fresh)
        await resolver.query("a.test", "A")
        assert len(server.queries) == 1
        clock.advance(stale - fresh)
        await resolver.query("a.test", "A")
        assert len(server.queries) == 2


async def test_the_next_server_is_asked_when_the_first_fails() -> None:
    async with DnsServer(ZONES, {"a.test": "servfail"}) as bad, DnsServer(ZONES) as good:
        answer = await DnsResolver(ManualClock(), [bad.address, good.address]).query("a.test", "A")
        assert answer.status is Lookup.FOUND


async def test_a_dead_server_costs_no_more_than_its_time() -> None:
    started = time.monotonic()
    await _ask("timeout.test", "A", timeout=0.1, attempts=2)
    assert time.monotonic() - started < 2.0


async def test_at_most_so_many_queries_are_under_way() -> None:
    zones = {f"n{number}.test": {"A": ["192.0.2.1"]} for number in range(30)}
    async with DnsServer(zones, dict.fromkeys(zones, "late"), delay=0.05) as server:
        resolver = DnsResolver(ManualClock(), [server.address], max_queries=10)
        started = time.monotonic()
        answers = await asyncio.gather(*(resolver.query(name, "A") for name in zones))
        assert time.monotonic() - started >= 0.14
        assert all(answer.status is Lookup.FOUND for answer in answers)


async def test_resolv_conf_is_read_again_when_it_changes(tmp_path: Path) -> None:
    conf = tmp_path / "resolv.conf"
    conf.write_text("options timeout:1 attempts:1\nnameserver 192.0.2.53\n")
    resolver = DnsResolver(ManualClock(), resolv_conf=conf)
    first = resolver._current_stub()
    assert [str(server) for server in first.nameservers] == ["192.0.2.53"]
    assert not resolver._stub_trusted and resolver._stub_lifetime == 1.0
    assert resolver._current_stub() is first
    conf.write_text("nameserver 192.0.2.54\noptions trust-ad\n")
    os.utime(conf, (1, 1))
    assert [str(server) for server in resolver._current_stub().nameservers] == ["192.0.2.54"]
    assert resolver._stub_trusted
    conf.unlink()
    assert [str(server) for server in resolver._current_stub().nameservers] == ["127.0.0.1"]


async def test_native_lookups_know_the_hosts_file() -> None:
    resolver = DnsResolver(ManualClock(), [("127.0.0.1", 1)])
    try:
        answer = await resolver.lookup_native("localhost")
        assert answer.status is Lookup.FOUND and "127.0.0.1" in answer.values
        assert (await resolver.lookup_native("a..b")).status is not Lookup.FOUND
    finally:
        resolver.close()


# A child that may import nothing any more, as when the program runs from root's folder under an account of its own.
_WITHOUT_IMPORTS = """
import asyncio, sys
from pymta.dns.resolver import DnsResolver, load_late_modules
from pymta.testing import ManualClock

class Closed:
    def find_spec(self, name, path=None, target=None):
        raise ImportError(f"{name} is imported late")

async def main(port):
    resolver = DnsResolver(ManualClock(), [("127.0.0.1", port)])
    for name, kind in [pair.split("/") for pair in sys.argv[2:]]:
        answer = await resolver.query(name, kind)
        print(kind, answer.status.value, answer.values or answer.mx)
    resolver.close()

load_late_modules()
sys.meta_path.insert(0, Closed())
asyncio.run(main(int(sys.argv[1])))
"""


async def test_nothing_is_imported_late() -> None:
    asked = ["a.test/A", "a.test/AAAA", "mx.test/MX", "txt.test/TXT", "alias.test/A", "_25._tcp.a.test/TLSA",
             "_smtp._tcp.test/SRV", "192.0.2.1/PTR", "nothing.test/A"]  # fmt: skip
    async with DnsServer(ZONES) as server:
        child = await asyncio.create_subprocess_exec(
            *(sys.executable, "-c", _WITHOUT_IMPORTS, str(server.port), *asked),
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
        )
        output, _ = await asyncio.wait_for(child.communicate(), 30)
    assert child.returncode == 0, output.decode()
    said = [line.split()[:2] for line in output.decode().splitlines()]
    assert said == [[one.split("/")[1], "found"] for one in asked[:-1]] + [["A", "not"]]
