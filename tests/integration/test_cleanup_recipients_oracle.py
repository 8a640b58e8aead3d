"""Recipient by recipient, whom Debian's Postfix knows, we know; and refusals read the same."""

from __future__ import annotations

import smtplib
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from pymta.model.address import Address
from tests.support.peers import RealPostfix
from tests.support.rewriting import Parts

VALUES = {
    "myhostname": "mx.example.com",
    "mydomain": "example.com",
    "local_recipient_maps": "inline:{joe=x, {kate@mx.example.com=x}}",
    "virtual_mailbox_domains": "m.example",
    "virtual_mailbox_maps": "inline:{joe@m.example=x, @catch.m.example=x}",
    "relay_domains": "r.example",
    "relay_recipient_maps": "inline:{joe@r.example=x, @all.r.example=x}",
    "virtual_alias_domains": "v.example",
    "virtual_alias_maps": "inline:{joe@v.example=joe, @all.example=joe, alias=joe, aliased@m.example=joe}",
    "recipient_canonical_maps": "inline:{old@mx.example.com=joe}",
    "sender_canonical_maps": "inline:{sender@mx.example.com=joe}",
    "recipient_delimiter": "+",
    "transport_maps": "inline:{ {closed.example=error:5.7.1 closed for good} {later.example=retry:4.7.1 later}"
    " {odd.example=error} {soft.example=error:4.2.0 soft} {joe@t.example=smtp:x} }",
    "relocated_maps": "inline:{ {moved@mx.example.com=new@else.example} {moved@m.example=new@else.example} }",
    "unknown_relay_recipient_reject_code": "450",
}
RECIPIENTS = [
    "joe@mx.example.com", "JOE@localhost", "joe+ext@mx.example.com", "joe", "kate@mx.example.com", "kate@localhost",
    "kate+x@mx.example.com", "nobody@mx.example.com", "nobody", "Postmaster@mx.example.com", "postmaster",
    "postmaster+x@mx.example.com", "MAILER-DAEMON@localhost", "double-bounce@mx.example.com", "alias@mx.example.com",
    "alias@localhost", "alias+x@localhost", "old@mx.example.com", "sender@mx.example.com", "joe@[127.0.0.1]",
    "nobody@[127.0.0.1]", "joe@m.example", "JOE+x@M.example", "nobody@m.example", "postmaster@m.example",
    "aliased@m.example", "x@catch.m.example", "joe@r.example", "nobody@r.example", "any@all.r.example",
    "nobody@sub.r.example", "joe@v.example", "nobody@v.example", "joe+x@v.example", "who@else.example",
    "x@closed.example", "x@later.example", "x@odd.example", "x@soft.example", "moved@mx.example.com",
    "moved@m.example", "joe%else.example@mx.example.com", "nobody%mx.example.com@localhost", "a%b",
    "else.example!joe",
]  # fmt: skip


@pytest.fixture(scope="module")
def session() -> Iterator[smtplib.SMTP]:
    values = {
        **VALUES,
        "smtpd_hard_error_limit": "1000",
        "smtpd_soft_error_limit": "1000",
        "smtpd_error_sleep_time": "0",
        "smtpd_reject_unlisted_sender": "yes",
        "smtpd_relay_restrictions": "permit_mynetworks, reject",
    }
    with (
        tempfile.TemporaryDirectory() as folder,
        RealPostfix(Path(folder), values).running() as postfix,
        smtplib.SMTP("127.0.0.1", postfix.port, timeout=10) as client,
    ):
        client.helo("x")
        yield client


@pytest.fixture(scope="module")
def parts() -> Parts:
    return Parts(**VALUES)


def _ask(session: smtplib.SMTP, sender: str, recipient: str) -> str:
    session.docmd("RSET")
    session.docmd(f"MAIL FROM:<{sender}>")
    code, text = session.docmd(f"RCPT TO:<{recipient}>")
    return f"{code} {text.decode()}"


@pytest.mark.parametrize("recipient", RECIPIENTS)
async def test_recipients_are_known_as_postfix_knows_them(session: smtplib.SMTP, parts: Parts, recipient: str) -> None:
    theirs = _ask(session, "", recipient)
    ours = await parts.recipients.check_recipient(parts.rewriter.rewrite(Address.from_internal(recipient)))
    # Our check gets the completed address, Postfix shows what the client said.
    shown = str(ours).partition(": ")[2] if ours else "250 2.1.5 Ok"
    assert shown == (theirs.partition(": ")[2] or theirs)
    assert theirs.startswith(str(ours)[:9] if ours else "250")


@pytest.mark.parametrize("sender", [recipient for recipient in RECIPIENTS if "!" not in recipient])
async def test_senders_are_known_as_postfix_knows_them(session: smtplib.SMTP, parts: Parts, sender: str) -> None:
    theirs = _ask(session, sender, "joe")
    ours = await parts.recipients.check_sender(parts.rewriter.rewrite(Address.from_internal(sender)))
    shown = str(ours).partition(": ")[2] if ours else "250 2.1.5 Ok"
    assert shown == (theirs.partition(": ")[2] or theirs)
    assert theirs.startswith(str(ours)[:9] if ours else "250")
