"""MAIL, RCPT and EHLO's answer as tables."""

from __future__ import annotations

from typing import Any

import pytest

from pymta.model.address import NULL_SENDER, Address
from pymta.model.envelope import Body, Client, Notify, Ret
from pymta.model.queue import QueuedRecipient
from pymta.protocol.smtp.client_capabilities import Capabilities, parse_capabilities
from pymta.protocol.smtp.client_commands import is_sendable, mail_command, rcpt_command
from pymta.protocol.smtp.client_replies import ServerReply
from pymta.protocol.smtp.client_xforward import xforward_commands
from tests.support.smtp_client import request

NOTHING = Capabilities()
ALL = Capabilities(pipelining=True, eight_bit_mime=True, smtputf8=True, dsn=True, size_limit=0)
DSN = Capabilities(dsn=True)


@pytest.mark.parametrize(
    ("offered", "changes", "expected"),
    [
        (NOTHING, {}, "MAIL FROM:<sender@example.com>"),
        (NOTHING, {"sender": NULL_SENDER}, "MAIL FROM:<>"),
        (NOTHING, {"sender": Address("a b", "x.org")}, 'MAIL FROM:<"a b"@x.org>'),
        (NOTHING, {"body": Body.EIGHT_BIT_MIME, "envid": "x", "ret": Ret.FULL}, "MAIL FROM:<sender@example.com>"),
        (ALL, {}, "MAIL FROM:<sender@example.com> SIZE=1000"),
        (ALL, {"body": Body.SEVEN_BIT}, "MAIL FROM:<sender@example.com> SIZE=1000 BODY=7BIT"),
        (
            ALL,
            {"body": Body.EIGHT_BIT_MIME, "envid": "QQ+2B1", "ret": Ret.HDRS, "smtputf8": True},
            "MAIL FROM:<sender@example.com> SIZE=1000 BODY=8BITMIME SMTPUTF8 ENVID=QQ+2B1 RET=HDRS",
        ),
    ],
)
def test_mail_carries_what_the_server_offers(offered: Capabilities, changes: dict[str, Any], expected: str) -> None:
    command = mail_command(request("x", **changes), offered, smtputf8=changes.get("smtputf8", False))
    assert command == f"{expected}\r\n".encode()


def _recipient(address: Address, **changes: Any) -> QueuedRecipient:
    return QueuedRecipient(1, address, changes.pop("original", address), **changes)


USER = Address("user", "x.org")


@pytest.mark.parametrize(
    ("offered", "recipient", "expected"),
    [
        (NOTHING, _recipient(USER, notify=Notify.NEVER, orcpt="rfc822;a@b"), "RCPT TO:<user@x.org>"),
        (DSN, _recipient(USER), "RCPT TO:<user@x.org> ORCPT=rfc822;user@x.org"),
        (DSN, _recipient(USER, notify=Notify.NEVER), "RCPT TO:<user@x.org> ORCPT=rfc822;user@x.org NOTIFY=NEVER"),
        (
            DSN,
            _recipient(USER, orcpt="rfc822;A+2Bb@C", notify=Notify.DELAY | Notify.FAILURE | Notify.SUCCESS),
            "RCPT TO:<user@x.org> ORCPT=rfc822;A+2Bb@C NOTIFY=SUCCESS,FAILURE,DELAY",
        ),
        (
            DSN,
            _recipient(USER, original=Address("a+b=c", "x.org")),
            "RCPT TO:<user@x.org> ORCPT=rfc822;a+2Bb+3Dc@x.org",
        ),
        (DSN, _recipient(USER, original=NULL_SENDER), "RCPT TO:<user@x.org>"),
        (ALL, _recipient(USER, original=Address("ü", "x.org")), "RCPT TO:<user@x.org> ORCPT=utf-8;ü@x.org"),
        (DSN, _recipient(USER, original=Address("ü", "x.org")), "RCPT TO:<user@x.org> ORCPT=utf-8;\\x{FC}@x.org"),
    ],
)
def test_rcpt_carries_what_the_server_offers(offered: Capabilities, recipient: QueuedRecipient, expected: str) -> None:
    assert rcpt_command(recipient, offered) == f"{expected}\r\n".encode()


@pytest.mark.parametrize(
    ("address", "sendable"),
    [
        (USER, True),
        (Address("a b", "x.org"), True),
        (Address("a\r\nRCPT TO:<b@y>", "x.org"), False),
        (Address("a", "x.org>\nDATA"), False),
        (Address("a\0", "x.org"), False),
        (Address("a\x7f", "x.org"), False),
    ],
)
def test_no_address_can_smuggle_a_command(address: Address, sendable: bool) -> None:
    assert is_sendable(address) is sendable


@pytest.mark.parametrize(
    ("lines", "expected"),
    [
        ("250 x", {}),
        ("250-x\n250-size 100\n250 Pipelining", {"size_limit": 100, "pipelining": True}),
        ("250-x\n250 SIZE", {"size_limit": 0}),
        ("250-x\n250 SIZE lots", {"size_limit": 0, "bad_size": "lots"}),
        ("250-x\n250 SIZE 10 20", {"size_limit": 10}),
        ("250-x\n250 SIZE ٣", {"size_limit": 0, "bad_size": "٣"}),
        ("250-x\n250-DSN\n250 8BITMIME", {"dsn": True, "eight_bit_mime": True}),
        ("250-x\n250-\n250  SMTPUTF8 ", {"smtputf8": True}),
        ("250-x\n250 XDSN", {"dsn": False}),
    ],
)
def test_capabilities(lines: str, expected: dict[str, Any]) -> None:
    offered = parse_capabilities(ServerReply(250, "2.0.0", lines))
    assert offered.name == "x"
    for name in ("size_limit", "pipelining", "dsn", "eight_bit_mime", "smtputf8", "bad_size"):
        default = {"size_limit": None, "bad_size": ""}.get(name, False)
        assert getattr(offered, name) == expected.get(name, default), name


def test_discarded_keywords_are_overlooked_and_old_auth_is_read() -> None:
    reply = ServerReply(250, "2.0.0", "250-x\n250-PIPELINING\n250-AUTH=LOGIN PLAIN\n250 DSN")
    offered = parse_capabilities(reply, {"dsn"})
    assert offered.pipelining and not offered.dsn
    assert offered.keywords["AUTH"] == "LOGIN PLAIN"


REMOTE = Client("2001:db8::1", "4025", "mx.x.org", helo="a b+c", protocol="ESMTPS")


@pytest.mark.parametrize(
    ("client", "offered", "first", "second"),
    [
        (REMOTE, "NAME ADDR PORT", "XFORWARD NAME=mx.x.org ADDR=IPv6:2001:db8::1 PORT=4025", ""),
        (REMOTE, "helo proto source ident", "", "XFORWARD PROTO=ESMTPS HELO=a+20b+2Bc IDENT=TESTID SOURCE=REMOTE"),
        (Client(), "NAME PORT HELO SOURCE", "XFORWARD NAME=localhost", "XFORWARD SOURCE=LOCAL"),
        (Client("192.0.2.1", name="unknown"), "NAME", "", ""),
        (Client("192.0.2.1", helo="x\r\nMAIL FROM:<>"), "HELO", "", "XFORWARD HELO=x+0D+0AMAIL+20FROM:<>"),
        (REMOTE, "", "", ""),
    ],
)
def test_xforward_tells_what_is_known_and_wanted(client: Client, offered: str, first: str, second: str) -> None:
    lines = xforward_commands(request("x", client=client), offered)
    assert [line.decode() for line in lines] == [f"{line}\r\n" if line else "" for line in (first, second)]
