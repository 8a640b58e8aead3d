"""Our notices beside those of a real Postfix about the same mail: the same parts, fields and words."""

from __future__ import annotations

import re
import smtplib
import socketserver
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from pymta.model.envelope import Notify, Ret
from tests.support.notices import MESSAGE, Notices, StoredContent, bounced, entry, recipient
from tests.support.peers import RealPostfix


class Sink(socketserver.ThreadingTCPServer):
    """A mail server that keeps the notices it is sent."""

    allow_reuse_address = True
    daemon_threads = True

    def __init__(self) -> None:
        self.messages: list[str] = []
        super().__init__(("127.0.0.1", 0), _Session)

    def wait(self, count: int) -> list[str]:
        deadline = time.monotonic() + 20
        while len(self.messages) < count and time.monotonic() < deadline:
            time.sleep(0.05)
        return self.messages


_REPLIES = {b"EHLO": b"250-sink\r\n250 8BITMIME\r\n", b"QUIT": b"221 bye\r\n"}


class _Session(socketserver.StreamRequestHandler):
    server: Sink

    def handle(self) -> None:
        self.wfile.write(b"220 sink\r\n")
        while line := self.rfile.readline():
            verb = line[:4].upper()
            if verb == b"DATA":
                self.wfile.write(b"354 go\r\n")
                body = b"".join(iter(self.rfile.readline, b".\r\n"))
                self.server.messages.append(body.decode().replace("\r\n", "\n"))
            self.wfile.write(_REPLIES.get(verb, b"250 ok\r\n"))
            if verb == b"QUIT":
                return


@pytest.fixture
def sink() -> Iterator[Sink]:
    with Sink() as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield server
        server.shutdown()


def normal(text: str) -> list[str]:
    """A notice without what differs from run to run, and without the fields that intake adds."""
    text = re.sub(r"[A-Z][a-z]{2}, +\d\d? [A-Z][a-z]{2} \d{4} [\d:]{8} [+-]\d{4} \(\S+\)", "DATE", text)
    text = re.sub(r"(?m)^Message-Id: .*\n", "", text, flags=re.IGNORECASE)
    text = re.sub(r"[0-9A-Z]+\.\d{10}/", "BOUNDARY/", text)
    text = re.sub(r"(X-Postfix-Queue-ID:|\tid) [0-9A-Z]+", r"\1 QID", text)
    # What cleanup put on top of, and into, the message that is returned; SMTP's dot.
    text = re.sub(r"(Return-Path: .*\n)Received: (?:.*\n)(?:\t.*\n)+", r"\1", text)
    head, returned, tail = text.partition("Return-Path: ")
    tail = tail.replace("Date: DATE\n", "").replace("\n..dot", "\n.dot")
    return (head + returned + tail).rstrip("\n").split("\n")


PLAIN: tuple[str, str, Ret | None] = ("", "", None)
WITH_DSN = (" RET=HDRS ENVID=QQ+2B314", " NOTIFY=FAILURE ORCPT=rfc822;orig+2Bx@o.example", Ret.HDRS)


async def test_a_bounce_reads_like_postfix_own(tmp_path: Path, sink: Sink) -> None:
    routes = f"sender.example smtp:[127.0.0.1]:{sink.server_address[1]}\nfail.example error:5.1.1 no such place\n"
    (tmp_path / "transport").write_text(routes)
    postfix = RealPostfix(
        tmp_path,
        {
            "transport_maps": f"texthash:{tmp_path}/transport",
            "relay_domains": "fail.example sender.example",
            "myorigin": "$myhostname",
            "smtpd_reject_unlisted_recipient": "no",
        },
    )
    with postfix.running(), smtplib.SMTP("127.0.0.1", postfix.port) as client:
        client.ehlo("c")
        for count, (mail, rcpt, ret) in enumerate((PLAIN, WITH_DSN), 1):
            client.docmd(f"MAIL FROM:<a@sender.example>{mail}")
            for name in "xy":
                client.docmd(f"RCPT TO:<{name}@fail.example>{rcpt}")
            assert client.data(MESSAGE)[0] == 250
            theirs = sink.wait(count)[count - 1]
            assert normal(await our_bounce(mail, rcpt, ret)) == normal(theirs)


async def our_bounce(mail: str, rcpt: str, ret: Ret | None) -> str:
    notices = Notices(myhostname="postfix.example.com", myorigin="postfix.example.com")
    named: dict[str, Any] = {"orcpt": "rfc822;orig+2Bx@o.example", "notify": Notify.FAILURE} if rcpt else {}
    both = entry(recipient(1, "x@fail.example", **named), recipient(2, "y@fail.example", **named))
    ours = replace(both, ret=ret, envid="QQ+2B314" if mail else "")
    await notices.service.failed(ours, [bounced(1), bounced(2)], StoredContent())
    return notices.sent[0].text
