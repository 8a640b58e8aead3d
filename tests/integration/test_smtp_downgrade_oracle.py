"""8-bit messages to a server without 8BITMIME, from Debian's Postfix and from us: the same octets."""

from __future__ import annotations

import asyncio
import re
import smtplib
from collections.abc import Mapping
from typing import Any

from pymta.protocol.mime_downgrade import MimeDowngrade
from pymta.testing import ScriptedPeer
from tests.support.peers import RealPostfix
from tests.support.smtp_client import open_folder

_UTF8 = "Grüße = aus Köln, \t".encode()
_MIME = b"MIME-Version: 1.0\r\nFrom: <a@example.com>\r\nSubject: x\r\n"
_8BIT = b"Content-Transfer-Encoding: 8bit\r\n"
_TEXT = b'Content-Type: text/plain; charset="utf-8"\r\n'


def _multipart(kind: bytes, *parts: bytes, boundary: bytes = b"B=_1", label: bytes = _8BIT) -> bytes:
    head = b'Content-Type: multipart/%s;\r\n boundary="%s"\r\n' % (kind, boundary) + label + b"\r\npre\xe4mble\r\n"
    return (
        head
        + b"".join(b"--%s\r\n%s\r\n" % (boundary, part) for part in parts)
        + b"--%s--\r\nepil\xf6gue\r\n" % boundary
    )


MESSAGES: Mapping[str, bytes] = {
    "text": _MIME + _TEXT + _8BIT + b"\r\n" + _UTF8 + b"\r\n" + b"plain\r\n",
    "binary": _MIME + _TEXT + b"Content-transfer-encoding:   BINARY (yes)\r\n\r\n" + _UTF8 + b"\r\n",
    "ascii": _MIME + _TEXT + _8BIT + b"\r\nnothing=special \r\n.dot\r\n..\r\nFrom here\r\n",
    "unlabelled": _MIME + b"\r\n" + _UTF8 + b"\r\n",
    "sevenbit": _MIME + _TEXT + b"Content-Transfer-Encoding: 7bit\r\n\r\n" + _UTF8 + b"\r\n",
    "base64": _MIME + _TEXT + b"Content-Transfer-Encoding: base64\r\n\r\nR3LDvMOfZQ==\r\n",
    "nomime": b"From: <a@example.com>\r\n" + _8BIT + b"\r\n" + _UTF8 + b"\r\n",
    "long": _MIME
    + _TEXT
    + _8BIT
    + b"\r\n"
    + b"".join(b"a" * n + b"\r\n" + "ü".encode() * n + b"\r\n" + b"=" * n + b"\r\n" for n in range(20, 80))
    + b"".join(b"x" * n + b" \r\n" + b"x" * n + b"\t\t\r\n" for n in range(68, 78)),
    "controls": _MIME + _TEXT + _8BIT + b'\r\n\x01\x7f\x0c ~!"#$@[\\]^`{|}\r\n',
    "multipart": _MIME
    + _multipart(
        b"mixed",
        _TEXT + _8BIT + b"\r\n" + _UTF8,
        _TEXT + b"\r\n" + _UTF8,
        b"\r\n" + _UTF8,
        _TEXT + b"Content-Transfer-Encoding: quoted-printable\r\n\r\n=C3=BC",
    ),
    "multipart7": _MIME + _multipart(b"mixed", _TEXT + _8BIT + b"\r\n" + _UTF8, label=b""),
    "signed": _MIME
    + _multipart(b"signed", _TEXT + _8BIT + b"\r\n" + _UTF8, b"Content-Type: application/pgp-signature\r\n\r\nsig"),
    "nested": _MIME
    + _multipart(
        b"mixed",
        _multipart(b"alternative", _TEXT + _8BIT + b"\r\n" + _UTF8, boundary=b"B=_1inner"),
        _multipart(b"alternative", _TEXT + _8BIT + b"\r\n" + _UTF8, boundary=b"other"),
        _TEXT + _8BIT + b"\r\nlast " + _UTF8,
    ),
    "twice": _MIME
    + b"Content-Type: multipart/mixed; boundary=one; boundary=two\r\n\r\n"
    + b"".join(b"--%s\r\n" % name + _TEXT + _8BIT + b"\r\n" + _UTF8 + b"\r\n" for name in (b"one", b"two", b"one"))
    + b"--two--\r\n",
    "oddtype": _MIME
    + b'Content-Type: Multipart / mixed (a comment) ;\r\n x="; boundary=no"; Boundary = "o;\\ne"\r\n\r\n'
    + b"".join(b"--%s\r\n" % name + _TEXT + _8BIT + b"\r\n" + _UTF8 + b"\r\n" for name in (b"no", b"o;ne")),
    "unclosed": _MIME
    + b"Content-Type: multipart/mixed; boundary=out\r\n\r\n--out\r\nContent-Type: multipart/mixed; boundary=in\r\n"
    + _8BIT
    + b"\r\n--in\r\n"
    + _TEXT
    + _8BIT
    + b"\r\n"
    + _UTF8
    + b"\r\n--out\r\n"
    + _TEXT
    + _8BIT
    + b"\r\n"
    + _UTF8
    + b"\r\n--in\r\nnot a boundary any more\r\n--out--\r\n",
    "rfc822": _MIME
    + b"Content-Type: message/rfc822\r\n"
    + _8BIT
    + b"\r\nSubject: inner \xfc\r\n"
    + _TEXT
    + _8BIT
    + b"\r\n"
    + _UTF8
    + b"\r\n",
    "rfc822multipart": _MIME
    + _multipart(
        b"mixed",
        b"Content-Type: Message/RFC822\r\n"
        + _8BIT
        + b"\r\nSubject: inner\r\n"
        + _multipart(b"mixed", _TEXT + _8BIT + b"\r\n" + _UTF8, boundary=b"deep"),
        _TEXT + _8BIT + b"\r\n" + _UTF8,
    ),
    "rfc822base64": _MIME
    + b"Content-Type: message/rfc822\r\nContent-Transfer-Encoding: base64\r\n\r\nU3ViamVjdDogeA==\r\n",
    "partial": _MIME + b"Content-Type: message/partial; id=x; number=1\r\n" + _8BIT + b"\r\n" + _UTF8 + b"\r\n",
    "digest": _MIME
    + _multipart(b"digest", b"\r\nSubject: one\r\n" + _TEXT + _8BIT + b"\r\n" + _UTF8, _TEXT + _8BIT + b"\r\n" + _UTF8),
    "folded": _MIME
    + b"Content-Type: multipart/mixed;\r\n\tcharset=x; (a comment)\r\n boundary=unquoted_token ; x=y\r\n"
    + b"Content-Transfer-Encoding:\r\n 8bit\r\n"
    + b"\r\n--unquoted_token  \r\n"
    + _TEXT
    + _8BIT
    + b"\r\n"
    + _UTF8
    + b"\r\n--unquoted_token-- \r\n",
    "emptypart": _MIME + _multipart(b"mixed", _TEXT + _8BIT, b"", _TEXT + _8BIT + b"\r\n"),
    "headerless": _MIME
    + _multipart(b"mixed", b"no header \xe4", _TEXT + b"no blank line \xe4", _TEXT + _8BIT + b"no blank line \xe4"),
    "nobody": _MIME + _TEXT + _8BIT,
    "twolabels": _MIME + _TEXT + _8BIT + b"Content-Transfer-Encoding: 7bit\r\n\r\n" + _UTF8 + b"\r\n",
    "typelast": _MIME
    + _8BIT
    + b"X-Other: \xfc\r\nContent-Type: multipart/mixed; boundary=z\r\n\r\n--z\r\n\r\n"
    + _UTF8
    + b"\r\n--z--\r\n",
    "badtype": _MIME + b"Content-Type: nonsense\r\n" + _8BIT + b"\r\n" + _UTF8 + b"\r\n",
    "blanks": _MIME + _TEXT + _8BIT + b"\r\n\r\n\r\n \r\n\t\r\n\r\n",
}


def _without_trace(content: bytes) -> bytes:
    """The content without the Received field that Postfix put on top: it has the time and the queue id."""
    return re.sub(rb"\AReceived:[^\n]*\n(?:[ \t][^\n]*\n)*", b"", content)


def _send(port: int) -> None:
    with smtplib.SMTP("127.0.0.1", port) as client:
        client.ehlo("client.example.com")
        for name, message in MESSAGES.items():
            client.mail(f"{name}@example.com", ["BODY=8BITMIME"])
            client.rcpt("user@eight.test")
            client.rcpt("user@seven.test")
            code, text = client.data(message)
            assert code == 250, text


def _by_name(peer: ScriptedPeer) -> dict[str, bytes]:
    return {message.mail[1:].partition("@")[0]: _without_trace(message.content) for message in peer.messages}


async def _relayed() -> tuple[dict[str, bytes], dict[str, bytes]]:
    """What Postfix had in its queue, and what it made of that for a server without 8BITMIME."""
    async with ScriptedPeer() as eight, ScriptedPeer(extensions=("PIPELINING",)) as seven:
        with open_folder() as folder:
            transports = f"eight.test smtp:[127.0.0.1]:{eight.port}, seven.test smtp:[127.0.0.1]:{seven.port}"
            transports = transports.replace(".test ", ".test=")
            parameters = {"transport_maps": f"inline:{{{{{transports.replace(', ', '}, {')}}}}}"}
            with RealPostfix(folder, parameters).running() as postfix:
                await asyncio.to_thread(_send, postfix.port)
                async with asyncio.timeout(60):
                    while min(len(eight.messages), len(seven.messages)) < len(MESSAGES):
                        await asyncio.sleep(0.1)
        return _by_name(eight), _by_name(seven)


def _ours(content: bytes, size: int) -> bytes:
    downgrade = MimeDowngrade()
    pieces = [downgrade.feed(content[start : start + size]) for start in range(0, len(content), size)]
    return b"".join([*pieces, downgrade.finish()])


async def test_we_convert_as_postfix_does() -> None:
    queued, converted = await _relayed()
    differences: dict[str, Any] = {}
    for name, content in queued.items():
        for size in (1, 7, 1_000_000):
            ours = _ours(content, size)
            if ours != converted[name]:
                differences[name] = (ours, converted[name])
    assert not differences
