"""Header by header, what Debian's Postfix makes of odd messages is what we make of them."""

from __future__ import annotations

import re
import socket
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from pymta.model.envelope import Client, Origin
from tests.support.peers import RealPostfix
from tests.support.rewriting import LOCAL, REMOTE, Parts

MESSAGES = {
    "complete": b"From: a@b.example\r\nTo: c@d.example\r\nMessage-ID: <1@b>\r\nDate: x\r\nSubject: s\r\n\r\nbody\r\n",
    "nothing": b"",
    "only a body": b"just text\r\nmore\r\n",
    "empty line first": b"\r\nbody\r\n",
    "header only": b"Subject: x\r\n",
    "header, then text without empty line": b"Subject: x\r\nno header\r\nTo: y\r\n\r\nbody\r\n",
    "blanks before the colon": b"Subject : x\r\nFrom\t: joe\r\n\r\nbody\r\n",
    "incomplete addresses": b"From: joe\r\nTo: Kate <kate>, sub@host, other@x.example\r\nCc: a!b, c%d\r\n\r\n",
    "comments and phrases": b'From: "Joe Q. Public" <joe> (home)\r\nTo: (first) kate, "a b" <ab>\r\n\r\n',
    "groups": b"To: Friends: a, b@c.example; , d\r\n\r\n",
    "undisclosed": b"To: undisclosed-recipients:;\r\n\r\n",
    "undisclosed without end": b"To: undisclosed-recipients:\r\n\r\n",
    "source route": b"To: <@a.example,@b.example:c@d.example>\r\n\r\n",
    "long list": b"To: " + b", ".join(b"user%d" % n for n in range(30)) + b"\r\n\r\n",
    "long list that is complete": b"To: " + b",\r\n  ".join(b"user%d@x.example" % n for n in range(9)) + b"\r\n\r\n",
    "folded and incomplete": b"To: a@x.example,\r\n  b,\r\n\t  c@x.example\r\n\r\n",
    "dropped": b"Bcc: secret\r\nResent-Bcc: x\r\nReturn-Path: <a@b>\r\nContent-Length: 5\r\nSubject: x\r\n\r\nbody\r\n",
    "bcc in capitals, folded": b"BCC: secret,\r\n more\r\nX: y\r\n\r\nbody\r\n",
    "resent": b"Resent-To: joe\r\nFrom: a@b.example\r\n\r\nbody\r\n",
    "resent with id": b"Resent-Message-Id: <9@x>\r\nResent-From: joe\r\n\r\nbody\r\n",
    "other sender fields": b"Reply-To: a\r\nSender: b\r\nErrors-To: c\r\nReturn-Receipt-To: d\r\n"
    b"Disposition-Notification-To: e\r\nMail-Followup-To: f\r\nResent-Reply-To: g\r\nApparently-To: h\r\n\r\n",
    "trailing dots": b"From: a@b.example.\r\nTo: c@d., e@f..\r\n\r\n",
    "broken addresses": b'From: <>\r\nTo: a@, @b, @, <c, d>, "e, f\r\n\r\n',
    "quoted": b'From: "a b"@c\r\nTo: a\\ b, "x@y", "q\\"r"@s\r\n\r\n',
    "literals": b"To: a@[192.0.2.1], b@[x\r\n\r\n",
    "eight bits": "From: Jörg <joerg>\r\nTo: müller\r\nSubject: ä\r\n\r\nö\r\n".encode(),
    "stray carriage returns": b"Subject: a\rb\r\n\r\nline\rline\r\r\nx\r\n",
    "multiline message-id": b"Message-ID:\r\n <1@b>\r\n\r\nbody\r\n",
    "empty field": b"Subject:\r\nTo:\r\nFrom:\r\n\r\n",
    "two froms": b"From: a\r\nFrom: b\r\n\r\n",
    "blank continuation": b"Subject: a\r\n \r\nTo: b\r\n\r\nbody\r\n",
    "many comments": b"To: (" + b"x" * 300 + b") joe, kate\r\n\r\n",
    "mime": b"Content-Type: multipart/mixed; boundary=x\r\n\r\n--x\r\nTo: not-a-header\r\n\r\nz\r\n--x--\r\n",
    "long line": b"Subject: " + b"x" * 1500 + b"\r\n\r\n" + b"y" * 900 + b"\r\n",
}
_VARIABLE = re.compile(rb"(?m)^((?:Resent-)?(?:Date|Message-Id): ).*\r\n", re.ASCII)
_RECEIVED = re.compile(rb"\AReceived: [^\n]*\n(?:[ \t][^\n]*\n)*")


CONTEXTS = {
    "local": {"local_header_rewrite_clients": "permit_inet_interfaces"},
    "remote": {"local_header_rewrite_clients": ""},
    "remote with a domain": {"local_header_rewrite_clients": "", "remote_header_rewrite_domain": "domain.invalid"},
    "local with maps": {
        "sender_canonical_maps": "static:{Sender <s@from.example>}",
        "sender_canonical_classes": "header_sender",
        "recipient_canonical_maps": "inline:{ {@x.example=@rcpt.example}, {kate=Kate.User@example.com}, {joe=Joe} }",
        "recipient_canonical_classes": "header_recipient",
        "masquerade_domains": "d.example",
        "masquerade_classes": "header_recipient",
    },
    "remote with maps": {
        "local_header_rewrite_clients": "",
        "canonical_maps": "static:{s@from.example}",
        "canonical_classes": "header_sender, header_recipient",
    },
}


@pytest.fixture(scope="module", params=list(CONTEXTS))
def setup(request: pytest.FixtureRequest) -> Iterator[tuple[RealPostfix, str]]:
    values = {
        "myhostname": "mx.example.com",
        "mydomain": "example.com",
        "smtpd_client_restrictions": "static:hold",
        "append_dot_mydomain": "yes",
        **CONTEXTS[request.param],
    }
    # Not below pytest's folder: a later run makes that unreadable for Postfix's own user.
    with tempfile.TemporaryDirectory() as folder, RealPostfix(Path(folder), values).running() as postfix:
        yield postfix, request.param


def _send(port: int, content: bytes) -> str:
    """Hand one message over; the queue id it got."""
    stuffed = re.sub(rb"(?m)^\.", b"..", content)
    with socket.create_connection(("127.0.0.1", port), 10) as connection:
        replies = connection.makefile("rb")
        replies.readline()
        for command in (b"HELO x", b"MAIL FROM:<from@example.net>", b"RCPT TO:<to@example.org>", b"DATA"):
            connection.sendall(command + b"\r\n")
            assert replies.readline()[:1] in b"23", command
        connection.sendall(stuffed + b".\r\nQUIT\r\n")
        reply = replies.readline().decode()
    assert reply.startswith("250 2.0.0 Ok: queued as "), reply
    return reply.split()[-1]


def _normal(content: bytes) -> bytes:
    """Without our own date and message id, and with LF line ends."""
    return _VARIABLE.sub(rb"\1\r\n", content).replace(b"\r\n", b"\n")


@pytest.mark.parametrize("name", list(MESSAGES))
async def test_header_as_postfix_writes_it(setup: tuple[RealPostfix, str], name: str, tmp_path: Path) -> None:
    postfix, context = setup
    content = MESSAGES[name]
    queue_id = _send(postfix.port, content)
    shown = postfix.run("postcat", "-h", "-b", "-q", queue_id).stdout.encode("utf-8", "surrogateescape")
    expected = _normal(_RECEIVED.sub(b"", shown).replace(b"\n", b"\r\n"))
    parts = Parts(append_dot_mydomain="yes", **CONTEXTS[context])
    client: Client = LOCAL if context.startswith("local") else REMOTE
    assert (await parts.take(b"Received: us\r\n" + content, client=client, origin=Origin.SMTP)).code == 250
    assert _normal(parts.queue.content.removeprefix(b"Received: us\r\n")) == expected
