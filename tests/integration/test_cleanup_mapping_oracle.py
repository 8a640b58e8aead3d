"""Envelope by envelope, what Debian's Postfix queues is what we queue."""

from __future__ import annotations

import re
import socket
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.peers import RealPostfix
from tests.support.rewriting import Parts

VIRTUAL = """
one@v.example           b@d.example
list@v.example          a, b@d.example, "c d"@e.example
@all.example            everyone@d.example
@other.example          @d.example
name@other.example      x@d.example
plain                   p@d.example
self@v.example          self@v.example, copy@d.example
first@v.example         second@v.example
second@v.example        third@d.example, one@v.example
deep@v.example          list@v.example, plain@mx.example.com
"quo ted"@v.example     q@d.example
full+ext@v.example      f@d.example
phrase@v.example        Joe <j@d.example> (comment), k@d.example
dup@v.example           x@d.example, X@D.example, x@d.example
loop1@v.example         loop2@v.example
loop2@v.example         loop1@v.example
percent@v.example       a%b.example@mx.example.com, c!d
dot@v.example           a@d.example.
short@v.example         a@host
canon2@x.example        final@d.example
"""
CANONICAL = """
old@c.example           new@c.example
new@c.example           newest@c.example
@can.example            @canonical.example
to@can.example          special@d.example
login                   First.Last@d.example
canon1@x.example        canon2@x.example
from@c.example          sender@d.example
selfc@c.example         selfc@c.example
"""
RECIPIENTS = [
    "one@v.example", "ONE@V.example", "one+ext@v.example", "list@v.example", "list+x@v.example", "any@all.example",
    "any+x@all.example", "any+x@other.example", "name@other.example", "name+y@other.example", "plain", "plain+z",
    "plain@localhost", "plain@elsewhere.example", "self@v.example", "first@v.example", "first+x@v.example",
    "deep@v.example", "quo ted@v.example", "full+ext@v.example", "full+other@v.example", "phrase@v.example",
    "dup@v.example", "percent@v.example", "dot@v.example", "short@v.example", "old@c.example", "old+x@c.example",
    "any@can.example", "to@can.example", "to+x@can.example", "login", "login+x", "login@localhost", "canon1@x.example",
    "selfc@c.example", "u@host.masq.example", "u@masq.example", "root@host.masq.example", "bcc@b.example",
    "nobody@v.example", "a%b@localhost", "sub@host", "loop1@v.example",
]  # fmt: skip
SENDERS = ["from@c.example", "any@can.example", "login", "u@host.masq.example", "root@host.masq.example", "joe", "x@y."]


def _values(folder: Path) -> dict[str, str]:
    return {
        "myhostname": "mx.example.com",
        "mydomain": "example.com",
        "smtpd_client_restrictions": "static:hold",
        "smtpd_reject_unlisted_recipient": "no",
        "append_dot_mydomain": "yes",
        "recipient_delimiter": "+",
        "virtual_alias_maps": f"texthash:{folder}/virtual",
        "canonical_maps": f"texthash:{folder}/canonical",
        "masquerade_domains": "masq.example",
        "masquerade_exceptions": "root",
        "masquerade_classes": "envelope_sender, envelope_recipient",
        "recipient_bcc_maps": "inline:{bcc@b.example=login}",
        "virtual_alias_recursion_limit": "100",
    }


@pytest.fixture(scope="module")
def folder() -> Iterator[Path]:
    with tempfile.TemporaryDirectory() as name:
        path = Path(name)
        (path / "virtual").write_text(VIRTUAL)
        (path / "canonical").write_text(CANONICAL)
        yield path


@pytest.fixture(scope="module")
def postfix(folder: Path) -> Iterator[RealPostfix]:
    with RealPostfix(folder, _values(folder)).running() as running:
        yield running


@pytest.fixture(scope="module")
def parts(folder: Path) -> Parts:
    return Parts(folder, **_values(folder))


def _quoted(text: str) -> str:
    return f'"{text.rpartition("@")[0]}"@{text.rpartition("@")[2]}' if " " in text else text


def _send(port: int, sender: str, recipient: str) -> str:
    """The reply to the end of a message."""
    with socket.create_connection(("127.0.0.1", port), 10) as connection:
        replies = connection.makefile("rb")
        replies.readline()
        for command in ("HELO x", f"MAIL FROM:<{sender}>", f"RCPT TO:<{_quoted(recipient)}>", "DATA"):
            connection.sendall(command.encode() + b"\r\n")
            reply = replies.readline()
            assert reply[:1] in b"23", (command, reply)
        connection.sendall(b"\r\nbody\r\n.\r\nQUIT\r\n")
        return replies.readline().decode().strip()


def _envelope(postfix: RealPostfix, reply: str) -> tuple[str, list[str]]:
    shown = postfix.run("postcat", "-e", "-q", reply.split()[-1]).stdout
    sender = re.search(r"^sender: (.*)$", shown, re.MULTILINE)
    assert sender, shown
    return sender[1], re.findall(r"^recipient: (.*)$", shown, re.MULTILINE)


@pytest.mark.parametrize("recipient", RECIPIENTS)
async def test_recipients_as_postfix_queues_them(postfix: RealPostfix, parts: Parts, recipient: str) -> None:
    theirs = _send(postfix.port, "s@d.example", recipient)
    ours = await parts.take(b"\r\nbody\r\n", recipient, sender="s@d.example")
    assert str(ours)[:9] == theirs[:9]
    if ours.code == 250:
        queued = [str(queued.address) for queued in parts.queue.entry.recipients]
        assert queued == _envelope(postfix, theirs)[1]


@pytest.mark.parametrize("sender", SENDERS)
async def test_senders_as_postfix_queues_them(postfix: RealPostfix, parts: Parts, sender: str) -> None:
    theirs = _send(postfix.port, sender, "r@d.example")
    assert (await parts.take(b"\r\nbody\r\n", "r@d.example", sender=sender)).code == 250
    assert str(parts.queue.entry.sender) == _envelope(postfix, theirs)[0]
