"""TLS policies by destination, and names of certificates, as TLS_README has them."""

from __future__ import annotations

from pathlib import Path

import pytest

from pymta.config import Config, build
from pymta.delivery.hosts import Destination, Failure, Host, parse_destination
from pymta.delivery.smtp_security import CLEARTEXT, SecurityPolicy, TlsLevel
from pymta.delivery.smtp_tls_names import certificate_names, names_match, wanted_names
from pymta.delivery.smtp_tls_policy import TlsPolicies
from pymta.delivery.smtp_tls_settings import LmtpTlsSettings, SmtpTlsSettings
from pymta.errors import ConfigError, TableError
from pymta.tables import Maps, TableFactory
from pymta.testing import RecordingLog

POLICY = """\
example.com secure
.example.com verify match=hostname:.mx.example.net ciphers=high protocols=>=TLSv1.3
none.example none
may.example may exclude=MD5:RC4
[mx.example.org]:587 encrypt servername=hostname
fp.example fingerprint match=AA:BB|cc:dd match=EE:FF
anchors.example secure tafile=/a.pem tafile=/b.pem match=nexthop
"""


def _policies(tmp_path: Path, log: RecordingLog | None = None, text: str = POLICY, **values: str) -> TlsPolicies:
    table = tmp_path / "policy"
    table.write_text(text)
    maps = TableFactory(base=tmp_path).maps(f"texthash:{table}", "smtp_tls_policy_maps")
    settings = build(SmtpTlsSettings, Config.from_values({"smtp_tls_security_level": "may", **values}))
    return TlsPolicies(settings, maps, log or RecordingLog(), "smtp")


def _destination(text: str) -> Destination:
    found = parse_destination(text, 25, lambda name: None)
    assert isinstance(found, Destination)
    return found


async def _policy(policies: TlsPolicies, text: str) -> SecurityPolicy:
    found = await policies.policy_for(_destination(text))
    assert isinstance(found, SecurityPolicy), found
    return found


@pytest.mark.parametrize(
    ("nexthop", "level", "match"),
    [
        ("example.com", TlsLevel.SECURE, ("nexthop", "dot-nexthop")),
        ("EXAMPLE.com", TlsLevel.SECURE, ("nexthop", "dot-nexthop")),
        ("a.b.example.com", TlsLevel.VERIFY, ("hostname", ".mx.example.net")),
        ("other.example", TlsLevel.MAY, ()),
        ("none.example", TlsLevel.NONE, ()),
        ("[mx.example.org]:587", TlsLevel.ENCRYPT, ()),
        ("[mx.example.org]", TlsLevel.MAY, ()),
        ("[example.com]", TlsLevel.MAY, ()),
        ("example.com:26", TlsLevel.MAY, ()),
        ("fp.example", TlsLevel.FINGERPRINT, ("AA:BB", "cc:dd", "EE:FF")),
        ("anchors.example", TlsLevel.SECURE, ("nexthop",)),
    ],
)
async def test_the_entry_for_a_next_hop(tmp_path: Path, nexthop: str, level: TlsLevel, match: tuple[str, ...]) -> None:
    found = await _policy(_policies(tmp_path), nexthop)
    assert (found.level, found.match) == (level, match)


async def test_what_an_entry_does_not_say_comes_from_main_cf(tmp_path: Path) -> None:
    policies = _policies(
        tmp_path,
        smtp_tls_exclude_ciphers="DES",
        smtp_tls_mandatory_exclude_ciphers="RC2",
        smtp_tls_mandatory_protocols=">=TLSv1.2",
        smtp_tls_servername="nexthop",
    )
    secure = await _policy(policies, "example.com")
    assert (secure.protocols, secure.ciphers, secure.excluded) == (">=TLSv1.2", "medium", ("DES", "RC2", "aNULL"))
    assert (await _policy(policies, "may.example")).excluded == ("MD5", "RC4")
    assert (await _policy(policies, "other.example")).excluded == ("DES",)
    verify = await _policy(policies, "x.example.com")
    assert (verify.protocols, verify.ciphers) == (">=TLSv1.3", "high")
    assert (await _policy(policies, "[mx.example.org]:587")).server_name == "hostname"
    assert verify.server_name == "nexthop"
    assert (await _policy(policies, "anchors.example")).anchors == ("/a.pem", "/b.pem")


@pytest.mark.parametrize(
    ("entry", "why"),
    [
        ("perhaps", 'invalid security level "perhaps"'),
        ("dane", 'security level "dane" is not there yet'),
        ("dane-only", 'security level "dane-only" is not there yet'),
        ("encrypt match=nexthop", 'attribute "match" invalid at security level "encrypt"'),
        ("encrypt color=blue", 'invalid attribute name: "color"'),
        ("encrypt ciphers", 'attribute "ciphers" has empty value'),
        ("encrypt ciphers=", 'attribute "ciphers" has empty value'),
        ("encrypt ciphers=best", 'invalid TLS cipher grade "best"'),
        ("encrypt protocols=TLSv9", 'invalid TLS protocol "TLSv9"'),
        ("encrypt ciphers=high ciphers=medium", 'attribute "ciphers" is specified multiple times'),
        ("fingerprint", "no fingerprints to match"),
    ],
)
async def test_an_entry_that_cannot_be_used_defers(tmp_path: Path, entry: str, why: str) -> None:
    log = RecordingLog()
    found = await _policies(tmp_path, log, f"example.com {entry}\n").policy_for(_destination("example.com"))
    assert found == Failure("4.7.5", "client TLS configuration problem")
    (line,) = log.lines
    assert line.startswith(f'TLS policy table, next-hop destination "example.com": {why}')


async def test_a_table_that_cannot_tell_defers() -> None:
    class Broken:
        name = "broken:table"

        async def lookup(self, key: str) -> str | None:
            raise TableError(self.name, "down")

    settings = build(SmtpTlsSettings, Config.from_values({}))
    found = await TlsPolicies(settings, Maps([Broken()]), RecordingLog(), "smtp").policy_for(_destination("a.example"))
    assert isinstance(found, Failure) and found.status == "4.7.5"


@pytest.mark.parametrize(
    ("values", "level"),
    [
        ({}, TlsLevel.NONE),
        ({"compatibility_level": "3.11"}, TlsLevel.MAY),
        ({"smtp_use_tls": "yes"}, TlsLevel.MAY),
        ({"smtp_enforce_tls": "yes"}, TlsLevel.VERIFY),
        ({"smtp_enforce_tls": "yes", "smtp_tls_enforce_peername": "no"}, TlsLevel.ENCRYPT),
        ({"smtp_tls_security_level": "none", "smtp_enforce_tls": "yes"}, TlsLevel.NONE),
        ({"smtp_tls_security_level": "Secure"}, TlsLevel.SECURE),
        ({"smtp_tls_wrappermode": "yes", "smtp_tls_security_level": "encrypt"}, TlsLevel.ENCRYPT),
    ],
)
async def test_levels_of_main_cf(values: dict[str, str], level: TlsLevel) -> None:
    settings = build(SmtpTlsSettings, Config.from_values(values))
    policies = TlsPolicies(settings, None, RecordingLog(), "smtp")
    assert (await _policy(policies, "example.com")).level is level


@pytest.mark.parametrize(
    "values",
    [
        {"smtp_tls_security_level": "dane"},
        {"smtp_tls_security_level": "always"},
        {"smtp_tls_security_level": "may", "smtp_tls_protocols": "TLSv9"},
        {"smtp_tls_security_level": "encrypt", "smtp_tls_mandatory_ciphers": "best"},
        {"smtp_tls_security_level": "fingerprint"},
        {"smtp_tls_wrappermode": "yes", "smtp_tls_security_level": "may"},
        {"smtp_tls_per_site": "hash:/x"},
    ],
)
def test_main_cf_that_cannot_work_stops_the_start(values: dict[str, str]) -> None:
    with pytest.raises(ConfigError):
        TlsPolicies(build(SmtpTlsSettings, Config.from_values(values)), None, RecordingLog(), "smtp")


async def test_lmtp_has_its_own_names_and_no_opportunism_on_a_socket() -> None:
    settings = build(LmtpTlsSettings, Config.from_values({"lmtp_tls_security_level": "may"}))
    policies = TlsPolicies(settings, None, RecordingLog(), "lmtp")
    assert (await _policy(policies, "host.example")).level is TlsLevel.MAY
    assert await policies.policy_for(Host("me", "private/lmtp", 0)) is CLEARTEXT


@pytest.mark.parametrize(
    ("name", "wanted", "deep", "matches"),
    [
        ("mx.example.com", "mx.example.com", True, True),
        ("mx.example.com", "example.com", True, False),
        ("mx.example.com", ".example.com", True, True),
        ("example.com", ".example.com", True, False),
        ("a.b.example.com", ".example.com", True, True),
        ("notexample.com", ".example.com", True, False),
        ("*.example.com", "mx.example.com", True, True),
        ("*.example.com", "a.mx.example.com", True, True),
        ("*.example.com", "a.mx.example.com", False, False),
        ("*.example.com", "mx.example.com", False, True),
        ("*.example.com", "example.com", True, False),
        ("*.example.com", ".example.com", True, True),
        ("*", "example.com", True, False),
        ("mx.example.com", ".", True, False),
    ],
)
def test_names(name: str, wanted: str, deep: bool, matches: bool) -> None:
    assert names_match([name], [wanted], deep_wildcards=deep) is matches


def test_names_of_a_certificate() -> None:
    subject = ((("commonName", "CN.example.com"),),)
    assert certificate_names({"subject": subject}) == ["cn.example.com"]
    both = {"subject": subject, "subjectAltName": (("DNS", "MX.example.com."), ("IP Address", "192.0.2.1"))}
    assert certificate_names(both) == ["mx.example.com"]
    assert certificate_names({}) == []
    assert wanted_names(["hostname", "dot-nexthop", "X.org"], "mx.a.example", "a.example") == [
        "mx.a.example",
        ".a.example",
        "x.org",
    ]
