"""Match lists: domains, networks, strings, files in lists, negation, errors."""

import os
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pymta.errors import ConfigError, TableError
from pymta.tables import TableFactory
from pymta.tables.network import Packed, pack, parse_network


@pytest.fixture
def tables(tmp_path: Path) -> TableFactory:
    return TableFactory(tmp_path)


NETWORKS = [
    ("127.0.0.0/8 [::ffff:127.0.0.0]/104 [::1]/128 192.168.33.11", "127.0.0.1", "", True),
    ("127.0.0.0/8 [::ffff:127.0.0.0]/104 [::1]/128 192.168.33.11", "192.168.33.11", "", True),
    ("127.0.0.0/8 [::ffff:127.0.0.0]/104 [::1]/128 192.168.33.11", "192.168.33.12", "", False),
    ("127.0.0.0/8 [::ffff:127.0.0.0]/104 [::1]/128 192.168.33.11", "::1", "", True),
    ("127.0.0.0/8 [::ffff:127.0.0.0]/104 [::1]/128 192.168.33.11", "0:0:0:0:0:0:0:1", "", True),
    ("127.0.0.0/8 [::ffff:127.0.0.0]/104 [::1]/128 192.168.33.11", "::ffff:127.1.2.3", "", True),
    ("[fe80::]/64", "fe80::1", "", True),
    ("[FE80::]/64", "fe80:0:0:1::1", "", False),
    ("!168.100.3.2 168.100.3.0/28", "168.100.3.2", "", False),
    ("!168.100.3.2 168.100.3.0/28", "168.100.3.3", "", True),
    ("!!168.100.3.2", "168.100.3.2", "", True),
    ("[168.100.3.2]", "168.100.3.2", "", True),
    ("0.0.0.0/0", "8.8.8.8", "", True),
    ("0.0.0.0/0", "::1", "", False),
    ("localhost", "127.0.0.1", "localhost", True),
    ("mail.example.com", "1.2.3.4", "Mail.Example.COM", True),
    (".example.com", "1.2.3.4", "mail.example.com", True),
    ("example.com", "1.2.3.4", "mail.example.com", False),
    (".example.com", "1.2.3.4", "example.com", False),
    ("be.be", "127.0.0.1", "x.x.x", False),
    ("168.100.589.0", "168.100.589.0", "", False),
    ("127.0.0.0/8, inline:{192.0.2.7=x}", "192.0.2.7", "unknown", True),
    ("127.0.0.0/8, inline:{192.0.2=x}", "192.0.2.7", "unknown", False),
    ("inline:{mail.example.com=x}", "1.2.3.4", "mail.example.com", True),
    ("inline:{.example.com=x}", "1.2.3.4", "mail.example.com", True),
    ("!inline:{192.0.2.7=x} 192.0.2.0/24", "192.0.2.7", "unknown", False),
    ("cidr:{{192.0.2.0/24 x}}", "192.0.2.9", "unknown", True),
    ("", "127.0.0.1", "localhost", False),
]


@pytest.mark.parametrize(("text", "address", "name", "expected"), NETWORKS)
async def test_networks(tables: TableFactory, text: str, address: str, name: str, expected: bool) -> None:
    assert await tables.network_list(text).matches(address, name) is expected


async def test_mynetworks_of_the_guides_with_a_table_among_networks(tables: TableFactory, tmp_path: Path) -> None:
    (tmp_path / "access").write_text("120.114.141.60 OK\n.edu.cn OK\nban.com REJECT\n")
    networks = tables.network_list(f"127.0.0.0/8, 192.168.1.0/24, hash:{tmp_path}/access")
    assert await networks.matches("120.114.141.60", "unknown")
    assert await networks.matches("1.2.3.4", "www.tsinghua.edu.cn")
    assert await networks.matches("192.168.1.77", "unknown")
    assert not await networks.matches("192.168.2.77", "unknown")


BAD_NETWORKS = [
    ("1.2.3.4/24", 'non-null host address bits in "1.2.3.4/24", perhaps you should use "1.2.3.0/24" instead'),
    ("[2001:db8::1]/64", 'in "2001:db8::1/64", perhaps you should use "2001:db8::/64" instead'),
    ("168.100.3.0/98", 'bad mask length in "168.100.3.0/98"'),
    ("168.100.589.0/28", 'bad network value in "168.100.589.0/28"'),
    ("be/be", 'bad mask value in "be/be"'),
    ("10.0.0.0/-1", 'bad mask value in "10.0.0.0/-1"'),
    ("10.0.0.0/99999999999", "bad mask length"),
    ("[be:be]", 'bad address pattern: "be:be"'),
    ("[1234", "missing ']' character after \"[1234\""),
    ("[::1]junk", 'garbage after "[::1]"'),
    ("2001:db8::1", 'unsupported table type: "2001"'),
    ("!", "no pattern after '!'"),
    ("/no/such/file", "No such file"),
    ("hash:/no/such/file", "No such file"),
    ("ldap:x", "not built in"),
]


@pytest.mark.parametrize(("text", "reason"), BAD_NETWORKS)
def test_a_list_that_cannot_be_used_stops_the_start(tables: TableFactory, text: str, reason: str) -> None:
    with pytest.raises(ConfigError) as caught:
        tables.network_list(f"127.0.0.0/8 {text}", title="mynetworks")
    assert reason in str(caught.value)


@pytest.mark.parametrize("text", ["fail:1", "!fail:1", "127.0.0.0/8 fail:1"])
async def test_a_table_that_cannot_tell_is_an_error_not_an_answer(tables: TableFactory, text: str) -> None:
    with pytest.raises(TableError):
        await tables.network_list(text).matches("192.0.2.1", "bar")
    assert not await tables.string_list(text).matches("")


async def test_what_stands_before_a_broken_table_still_answers(tables: TableFactory) -> None:
    assert await tables.network_list("192.0.2.0/24 fail:1").matches("192.0.2.1")


DOMAINS = [
    ("example.com", True, "example.com", True),
    ("example.com", True, "a.b.example.com", True),
    ("example.com", True, "notexample.com", False),
    ("example.com", False, "a.example.com", False),
    (".example.com", False, "a.b.example.com", True),
    (".example.com", False, "example.com", False),
    (".example.com", True, "a.example.com", False),
    ("Example.COM", True, "eXample.com", True),
    ("!bad.example.com example.com", True, "x.bad.example.com", False),
    ("!bad.example.com example.com", True, "x.good.example.com", True),
    ("qq.example, 126,com", True, "anything.com", True),
    ("qq.example, 126,com", True, "126", True),
    ("qq.example, 126,com", False, "126.com", False),
    ("inline:{example.com=x}", True, "a.example.com", True),
    ("inline:{example.com=x}", False, "a.example.com", False),
    ("inline:{.example.com=x}", False, "a.example.com", True),
    ("regexp:{{/^example/ x}}", True, "a.example.com", False),
    ("example.com", True, "", False),
]


@pytest.mark.parametrize(("text", "parents", "domain", "expected"), DOMAINS)
async def test_domains(tables: TableFactory, text: str, parents: bool, domain: str, expected: bool) -> None:
    assert await tables.domain_list(text, parents).matches(domain) is expected


async def test_strings_are_compared_whole(tables: TableFactory) -> None:
    names = tables.string_list("$bar, Example.com .example.com static:{}".replace("static:{}", "inline:{t=x}"))
    assert await names.matches("example.COM")
    assert await names.matches("T")
    assert not await names.matches("a.example.com")
    assert not await names.matches("a.t")


async def test_addresses_without_names(tables: TableFactory) -> None:
    addresses = tables.address_list("10.0.0.0/8 inline:{192.0.2.1=x} host")
    assert await addresses.matches("10.1.2.3")
    assert await addresses.matches("192.0.2.1")
    assert not await addresses.matches("host")


async def test_a_file_in_a_list(tables: TableFactory, tmp_path: Path) -> None:
    (tmp_path / "inner").write_text("inner.example\n")
    (tmp_path / "hosts").write_text(f"# comment\nfoo !bar\n  baz\n{tmp_path}/inner\n")
    plain = tables.network_list(f"{tmp_path}/hosts")
    negated = tables.network_list(f"!{tmp_path}/hosts")
    for name, expected in (("dummy", False), ("foo", True), ("bar", False), ("baz", True), ("inner.example", True)):
        assert await plain.matches("168.100.3.3", name) is expected
    for name, expected in (("dummy", False), ("foo", False), ("bar", True), ("baz", False)):
        assert await negated.matches("168.100.3.3", name) is expected


def test_a_bad_pattern_in_a_file_names_the_file(tables: TableFactory, tmp_path: Path) -> None:
    (tmp_path / "nets").write_text("10.0.0.1/8\n")
    with pytest.raises(ConfigError, match=r"nets: non-null host address bits"):
        tables.network_list(f"{tmp_path}/nets")


def test_a_file_that_names_itself_is_refused(tables: TableFactory, tmp_path: Path) -> None:
    (tmp_path / "loop").write_text(f"{tmp_path}/loop\n")
    with pytest.raises(ConfigError, match="files inside files"):
        tables.domain_list(f"{tmp_path}/loop")


def test_a_list_does_not_look_at_files_for_each_question(tables: TableFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    networks = tables.network_list("127.0.0.0/8 [::1]/128 host.example")
    monkeypatch.setattr(os, "stat", lambda *_: pytest.fail("asked the file system"))
    step = networks.matches("192.0.2.1", "unknown")
    with pytest.raises(StopIteration):
        step.send(None)


@given(st.integers(0, 2**32 - 1), st.integers(0, 32), st.integers(0, 2**32 - 1))
@settings(max_examples=200)
def test_a_network_covers_what_agrees_in_its_prefix(value: int, prefix: int, other: int) -> None:
    base = value >> (32 - prefix) << (32 - prefix)
    network = parse_network(f"{base >> 24}.{base >> 16 & 255}.{base >> 8 & 255}.{base & 255}/{prefix}")
    assert network.covers(Packed(32, value))
    assert network.covers(Packed(32, other)) is (value >> (32 - prefix) == other >> (32 - prefix))
    assert not network.covers(Packed(128, value))


@pytest.mark.parametrize(
    "text", ["1.2.3", "1.2.3.4.5", "01.2.3.256", "host", "", "unknown", "::g", "1.2.3.4\0", "١.2.3.4"]
)
def test_what_is_no_address(text: str) -> None:
    assert pack(text) is None


async def test_a_list_of_networks_answers_each_client_alike_however_often_and_whoever_came_between(
    tables: TableFactory,
) -> None:
    networks = tables.network_list("192.0.2.0/24, !10.0.0.1, 10.0.0.0/8, .example.com")
    clients = [
        ("192.0.2.7", ""),
        ("192.0.3.7", "a.example.com"),
        ("192.0.3.7", "b.test"),
        ("10.0.0.1", ""),
        ("10.0.0.2", ""),
    ]
    expected = [True, True, False, False, True]
    for number in range(3):
        assert [await networks.matches(*client) for client in clients] == expected
        for host in range(5000 * number):
            await networks.matches(f"172.16.{host >> 8}.{host & 255}")
    assert len(networks._known) <= 4096
