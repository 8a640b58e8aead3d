"""From next hop to hosts; zones are values. Texts and codes are those that Postfix logs for the same zones."""

from __future__ import annotations

from typing import Any

import pytest

from pymta.delivery.hosts import Destination, Failure, Host, HostRules, find_hosts, parse_destination
from pymta.testing import FakeResolver

ZONES = {
    "one.test": {"MX": ["10 mx1.test"]},
    "many.test": {"MX": ["30 mx3.test", "10 mx1.test", "20 mx2.test"]},
    "equal.test": {"MX": ["10 mx1.test", "10 mx2.test", "10 mx3.test"]},
    "mx1.test": {"A": ["192.0.2.1"], "AAAA": ["2001:db8::1"]},
    "mx2.test": {"A": ["192.0.2.2"]},
    "mx3.test": {"A": ["192.0.2.3"]},
    "nomx.test": {"A": ["192.0.2.9"]},
    "alias.test": {"CNAME": ["mx2.test"]},
    "null.test": {"MX": ["0 ."]},
    "ghost.test": {"MX": ["10 nx.test"]},
    "half.test": {"MX": ["10 nx.test", "20 mx2.test"]},
    "softhard.test": {"MX": ["10 servfail.test", "20 nx.test"]},
    "hardsoft.test": {"MX": ["10 nx.test", "20 servfail.test"]},
    "nodata.test": {"TXT": ["x"]},
    "literal.test": {"MX": ["10 192.0.2.7"]},
    "loop.test": {"CNAME": ["loop2.test"]},
    "loop2.test": {"CNAME": ["loop.test"]},
    "wide.test": {"MX": ["10 wide-mx.test"]},
    "wide-mx.test": {"A": ["192.0.2.1"], "AAAA": [f"2001:db8::{number}" for number in range(1, 8)]},
}
FAILURES = ("servfail.test", ("mxfail.test", "MX"))


def _resolver() -> FakeResolver:
    return FakeResolver(
        {**ZONES, "mxfail.test": {"A": ["192.0.2.8"]}}, failures=FAILURES, native={"hosts.test": ["192.0.2.77"]}
    )


async def _walk(host: str, *, port: int = 25, by_mx: bool = True, **rules: Any) -> list[str] | Failure:
    settings = HostRules(**{"shuffle": lambda _: None, "inet_protocols": ("ipv4",), **rules})
    found = await find_hosts(Destination(host, port, by_mx), settings, _resolver())
    return found if isinstance(found, Failure) else [f"{each.name}[{each.address}]" for each in found]


_ERROR = "Host or domain name not found. Name service error for name={} type={}: "
_NX = _ERROR + "Host not found"
_NO_DATA = _ERROR + "Host found but no data record of requested type"
_AGAIN = _ERROR + "Host not found, try again"


@pytest.mark.parametrize(
    ("host", "expected"),
    [
        ("one.test", ["mx1.test[192.0.2.1]"]),
        ("many.test", ["mx1.test[192.0.2.1]", "mx2.test[192.0.2.2]", "mx3.test[192.0.2.3]"]),
        ("nomx.test", ["nomx.test[192.0.2.9]"]),
        ("alias.test", ["alias.test[192.0.2.2]"]),
        ("half.test", ["mx2.test[192.0.2.2]"]),
        ("literal.test", ["192.0.2.7[192.0.2.7]"]),
        ("192.0.2.5", ["192.0.2.5[192.0.2.5]"]),
        ("null.test", Failure("5.1.0", "Domain null.test does not accept mail (nullMX)")),
        ("nx.test", Failure("5.4.4", _NX.format("nx.test", "A"))),
        ("ghost.test", Failure("5.4.4", _NX.format("nx.test", "A"))),
        ("nodata.test", Failure("5.4.4", _NO_DATA.format("nodata.test", "A"))),
        ("servfail.test", Failure("4.4.3", _AGAIN.format("servfail.test", "MX"))),
        ("mxfail.test", Failure("4.4.3", _AGAIN.format("mxfail.test", "MX"))),
        ("softhard.test", Failure("4.4.3", _AGAIN.format("servfail.test", "A"))),
        ("hardsoft.test", Failure("4.4.3", _AGAIN.format("servfail.test", "A"))),
        ("loop.test", Failure("5.4.4", "Name server loop for loop.test")),
        ("2001:db8::5", Failure("5.4.4", "2001:db8::5: host not found")),
    ],
)
async def test_the_mx_walk(host: str, expected: list[str] | Failure) -> None:
    assert await _walk(host) == expected


@pytest.mark.parametrize(
    ("host", "rules", "expected"),
    [
        ("one.test", {"inet_protocols": ("ipv6",)}, ["mx1.test[2001:db8::1]"]),
        ("one.test", {"inet_protocols": ("ipv4", "ipv6")}, ["mx1.test[192.0.2.1]", "mx1.test[2001:db8::1]"]),
        (
            "one.test",
            {"inet_protocols": ("ipv4", "ipv6"), "address_preference": "ipv6"},
            ["mx1.test[2001:db8::1]", "mx1.test[192.0.2.1]"],
        ),
        ("mx2.test", {"inet_protocols": ("ipv6",)}, Failure("5.4.4", _NO_DATA.format("mx2.test", "AAAA"))),
        ("nx.test", {"inet_protocols": ("ipv4", "ipv6")}, Failure("5.4.4", _NX.format("nx.test", "AAAA"))),
        ("many.test", {"mx_address_limit": 2}, ["mx1.test[192.0.2.1]", "mx2.test[192.0.2.2]"]),
        ("many.test", {"mx_address_limit": 0}, ["mx1.test[192.0.2.1]", "mx2.test[192.0.2.2]", "mx3.test[192.0.2.3]"]),
        ("ghost.test", {"defer_if_no_mx_address_found": True}, Failure("4.4.4", _NX.format("nx.test", "A"))),
        ("mxfail.test", {"ignore_mx_lookup_error": True}, ["mxfail.test[192.0.2.8]"]),
        ("hosts.test", {"host_lookup": ("native",)}, ["hosts.test[192.0.2.77]"]),
        ("hosts.test", {"host_lookup": ("dns", "native")}, ["hosts.test[192.0.2.77]"]),
        ("one.test", {"host_lookup": ("dns", "native")}, ["mx1.test[192.0.2.1]"]),
        (
            "nx.test",
            {"host_lookup": ("native",)},
            Failure("5.4.4", "unable to look up host nx.test: Name or service not known"),
        ),
        (
            "hosts.test",
            {"host_lookup": ("native",), "inet_protocols": ("ipv6",)},
            Failure("5.4.4", "hosts.test: host not found"),
        ),
    ],
)
async def test_settings_of_the_walk(host: str, rules: dict[str, Any], expected: list[str] | Failure) -> None:
    assert await _walk(host, **rules) == expected


@pytest.mark.parametrize(
    ("host", "own", "port", "by_mx", "expected"),
    [
        ("many.test", "192.0.2.3", 25, True, ["mx1.test[192.0.2.1]", "mx2.test[192.0.2.2]"]),
        ("many.test", "192.0.2.2", 25, True, ["mx1.test[192.0.2.1]"]),
        ("many.test", "192.0.2.1", 25, True, Failure("5.4.6", "mail for many.test loops back to myself")),
        ("equal.test", "192.0.2.2", 25, True, Failure("5.4.6", "mail for equal.test loops back to myself")),
        ("half.test", "192.0.2.2", 25, True, Failure("4.4.4", "unable to find primary relay for half.test")),
        ("nomx.test", "192.0.2.9", 25, True, Failure("5.4.6", "mail for nomx.test loops back to myself")),
        ("mx2.test", "192.0.2.2", 25, False, Failure("5.4.6", "mail for mx2.test loops back to myself")),
        ("mx2.test", "192.0.2.2", 10025, False, ["mx2.test[192.0.2.2]"]),
        ("many.test", "192.0.2.1", 587, True, ["mx1.test[192.0.2.1]", "mx2.test[192.0.2.2]", "mx3.test[192.0.2.3]"]),
    ],
)
async def test_mail_never_goes_back_to_ourselves(
    host: str, own: str, port: int, by_mx: bool, expected: list[str] | Failure
) -> None:
    assert await _walk(host, port=port, by_mx=by_mx, own_addresses={own}) == expected


async def test_brackets_skip_mx() -> None:
    assert await _walk("one.test", by_mx=False) == Failure("5.4.4", _NO_DATA.format("one.test", "A"))


async def test_equals_are_shuffled_and_preferences_kept() -> None:
    def backwards(hosts: list[Host]) -> None:
        hosts.reverse()

    assert await _walk("equal.test", shuffle=backwards) == [
        "mx3.test[192.0.2.3]",
        "mx2.test[192.0.2.2]",
        "mx1.test[192.0.2.1]",
    ]
    assert await _walk("equal.test", shuffle=backwards, randomize_addresses=False) == [
        "mx1.test[192.0.2.1]",
        "mx2.test[192.0.2.2]",
        "mx3.test[192.0.2.3]",
    ]
    assert (await _walk("many.test", shuffle=backwards))[0] == "mx1.test[192.0.2.1]"  # type: ignore[index]


async def test_both_families_come_before_the_address_limit() -> None:
    found = await _walk("wide.test", inet_protocols=("ipv4", "ipv6"), address_preference="ipv6")
    assert isinstance(found, list) and len(found) == 5
    assert found[-1] == "wide-mx.test[192.0.2.1]"
    unbalanced = await _walk(
        "wide.test", inet_protocols=("ipv4", "ipv6"), address_preference="ipv6", balance_inet_protocols=False
    )
    assert isinstance(unbalanced, list) and "wide-mx.test[192.0.2.1]" not in unbalanced


async def test_only_the_lowest_preference_is_best() -> None:
    rules = HostRules(shuffle=lambda _: None, inet_protocols=("ipv4",))
    found = await find_hosts(Destination("many.test", 25, True), rules, _resolver())
    assert not isinstance(found, Failure)
    assert [host.is_best for host in found] == [True, False, False]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("example.com", Destination("example.com", 25, True)),
        ("example.com:587", Destination("example.com", 587, True)),
        ("example.com:submission", Destination("example.com", 587, True)),
        ("[mail.example.com]", Destination("mail.example.com", 25, False)),
        ("[192.0.2.1]:26", Destination("192.0.2.1", 26, False)),
        ("[2001:db8::1]", Destination("2001:db8::1", 25, False)),
        ("[IPv6:2001:db8::1]:26", Destination("2001:db8::1", 26, False)),
        ("2001:db8::1", Destination("2001:db8::1", 25, True)),
        ("[x]:0", None),
        ("[x]:65536", None),
        ("x:nosuchservice", None),
        ("[x", None),
        ("[x]y", None),
        ("[x]:", None),
        ("x:", None),
        (":25", None),
        ("[]", None),
    ],
)
def test_destinations(text: str, expected: Destination | None) -> None:
    parsed = parse_destination(text, 25, {"submission": 587}.get)
    if expected is None:
        assert isinstance(parsed, Failure) and parsed.is_temporary and text in parsed.reason
    else:
        assert parsed == expected
