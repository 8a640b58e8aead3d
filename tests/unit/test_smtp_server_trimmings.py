"""Received, reject footers, connection limits, and settings around the SMTP server."""

from __future__ import annotations

import re

import pytest

from pymta.config import Config, build
from pymta.errors import ConfigError
from pymta.model.address import Address
from pymta.model.envelope import Client
from pymta.model.reply import Reply
from pymta.protocol.smtp.server_options import BareNewline
from pymta.smtpd.footer import footer_values, with_footer
from pymta.smtpd.limits import ConnectionLimits
from pymta.smtpd.peer import client_from_socket, plain_address
from pymta.smtpd.received import received_header
from pymta.smtpd.settings import SmtpdSettings, session_options

CLIENT = Client(address="192.168.33.1", name="unknown", helo="there.example", protocol="ESMTP")
_DATE = re.compile(rb"[A-Z][a-z]{2}, \d{2} [A-Z][a-z]{2} \d{4} \d{2}:\d{2}:\d{2} [+-]\d{4} \(\S+\)")


def _received(client: Client = CLIENT, only: Address | None = None, smtputf8: bool = False) -> bytes:
    header = received_header(
        client, "mx.example.com", "Postfix", "Q1", 1_700_000_000.0, only_recipient=only, smtputf8=smtputf8
    )
    assert _DATE.search(header)
    return _DATE.sub(b"DATE", header)


def test_received_for_one_recipient_names_it() -> None:
    assert _received(only=Address("root")) == (
        b"Received: from there.example (unknown [192.168.33.1])\r\n"
        b"\tby mx.example.com (Postfix) with ESMTP id Q1\r\n"
        b"\tfor <root>; DATE\r\n"
    )


def test_received_for_many_names_none() -> None:
    assert _received().endswith(b"with ESMTP id Q1;\r\n\tDATE\r\n")


def test_received_quotes_the_recipient_and_knows_utf8_and_ipv6() -> None:
    assert b'for <"a b"@c>;' in _received(only=Address("a b", "c"))
    assert b" with UTF8SMTP id Q1" in _received(smtputf8=True)
    client = Client(address="2001:db8::1", name="h.example", protocol="SMTP")
    assert _received(client).startswith(b"Received: from h.example (h.example [IPv6:2001:db8::1])\r\n")


@pytest.mark.parametrize(
    ("template", "lines"),
    [
        (r"\c. Call $client_name", ("No. Call unknown",)),
        (r"Call 555\nat ${localtime}$$", ("No", "Call 555", "at NOW$")),
        (r"\c!\nsecond $(sender)$nothing", ("No!", "second a@b")),
    ],
)
def test_footers(template: str, lines: tuple[str, ...]) -> None:
    values = footer_values(CLIENT, 0.0, server_name="mx", sender="a@b", recipient="") | {"localtime": "NOW"}
    assert with_footer(Reply.of(554, "No", "5.7.1"), template, values) == Reply(554, "5.7.1", lines)


def test_limits_count_networks_and_forget() -> None:
    limits = ConnectionLimits(2, 3, 60.0, ipv4_prefix=24, ipv6_prefix=64)
    assert limits.opened("192.0.2.1", 0.0) == (1, 1)
    assert limits.opened("192.0.2.200", 1.0) == (2, 2)
    assert limits.opened("192.0.3.1", 1.0) == (1, 1)
    assert limits.opened("2001:db8::1", 1.0)[0] == 1 and limits.opened("2001:db8::ffff", 1.0)[0] == 2
    limits.closed("192.0.2.1")
    assert limits.opened("192.0.2.7", 59.0) == (2, 3)
    assert limits.opened("192.0.2.7", 60.0) == (3, 1)
    assert limits.exceeds_count(3) and not limits.exceeds_count(2)
    assert limits.exceeds_rate(4) and not limits.exceeds_rate(3)
    assert not ConnectionLimits(0, 0, 60.0).exceeds_count(10**6)


def test_addresses_of_clients() -> None:
    assert plain_address("::ffff:192.0.2.1") == "192.0.2.1"
    assert plain_address("fe80::1%eth0") == "fe80::1"
    assert client_from_socket("", "/run/smtp").address == "127.0.0.1"
    client = client_from_socket(("192.0.2.1", 4711), ("192.0.2.2", 25))
    assert (client.address, client.port, client.server_address, client.server_port) == (
        "192.0.2.1",
        "4711",
        "192.0.2.2",
        "25",
    )


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("yes", BareNewline.NORMALIZE),
        ("no", BareNewline.NO),
        ("reject", BareNewline.REJECT),
        ("note", BareNewline.NOTE),
    ],
)
def test_smtpd_forbid_bare_newline(text: str, expected: BareNewline) -> None:
    values = {"myhostname": "mx.example.com", "smtpd_forbid_bare_newline": text}
    settings = build(SmtpdSettings, Config.from_values(values))
    assert session_options(settings).forbid_bare_newline is expected
    assert session_options(settings, bare_newline_excluded=True).forbid_bare_newline is BareNewline.NO


def test_a_bad_value_names_its_parameter() -> None:
    values = {"myhostname": "mx.example.com", "smtpd_forbid_bare_newline": "maybe"}
    with pytest.raises(ConfigError, match=r"smtpd_forbid_bare_newline.*maybe"):
        session_options(build(SmtpdSettings, Config.from_values(values)))
