"""smtp_header_checks and smtp_body_checks: Debian's Postfix and we send the same octets and write the same lines."""

from __future__ import annotations

import asyncio
import re
import smtplib
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

from pymta.delivery.smtp import SmtpAgent
from pymta.delivery.smtp_checks import SmtpCheckSettings, delivery_checks
from pymta.model.delivery import Outcome
from pymta.runtime.clock import SystemClock
from pymta.tables import TableFactory
from pymta.testing import FakeResolver, RecordingLog, ScriptedPeer
from tests.integration.test_header_checks_oracle import BODY, HEADER, MESSAGES
from tests.support.peers import RealPostfix
from tests.support.smtp_client import BytesContent, open_folder, request, smtp_settings
from tests.support.smtpd import running
from tests.support.system import PymtaSystem, eventually

_LABELLED = (
    "From: a@b.example\r\nMIME-Version: 1.0\r\nContent-Type: text/plain; charset=utf-8\r\n"
    "Content-Transfer-Encoding: 8bit\r\n\r\nGr\u00fc\u00dfe bodywarn\r\nbodyreplace, \u00fc\r\nplain\r\n"
)
SENT: Mapping[str, str] = {**MESSAGES, "labelled": _LABELLED}
LABELS = "/^Content-Transfer-Encoding: quoted/ PREPEND X-Quoted: yes\n/^Content-Transfer-Encoding: 8bit/ WARN eight\n"
KINDS = ("header", "mime_header", "nested_header", "body")


def _send(port: int) -> None:
    with smtplib.SMTP("127.0.0.1", port, local_hostname="client.example.com", timeout=30) as session:
        for name, text in SENT.items():
            session.sendmail(f"{name.replace(' ', '_')}@a.example", ["u@x.example"], text.encode())


def _by_sender(peer: ScriptedPeer) -> dict[str, bytes]:
    """Without the fields that differ from run to run: the trace, and what is made of the queue id and the time."""
    varying = rb"^(?:Received|Message-Id|Date):[^\n]*\n(?:[ \t][^\n]*\n)*"
    return {one.mail: re.sub(varying, b"", one.content, flags=re.MULTILINE) for one in peer.messages}


def _lines(log: str) -> dict[str, list[str]]:
    """What was said of each message, the messages by their sender; the client's lines without queue id in one."""
    senders = dict(re.findall(r"qmgr\[\d+\]: (\w+): from=<([^>]*)>", log))
    said: dict[str, list[str]] = {}
    for line in re.findall(r"/smtp\[\d+\]: (.*)", log):
        queue_id, _, rest = line.partition(": ")
        if not re.match("to=|breaking line", rest):
            said.setdefault(senders.get(queue_id, "?"), []).append(rest if queue_id in senders else line)
    return {sender: sorted(lines) if sender == "?" else lines for sender, lines in said.items()}


async def _run(peer: ScriptedPeer, start: type[RealPostfix] | type[PymtaSystem], parameters: Mapping[str, str]) -> str:
    with open_folder() as folder, start(folder / "mta", parameters).running() as system:  # type: ignore[arg-type]
        await asyncio.to_thread(_send, system.port)
        async with asyncio.timeout(30):
            while len(peer.messages) < len(SENT):
                await asyncio.sleep(0.05)
        await asyncio.sleep(0.2)
        log = system.log
        return log if isinstance(log, str) else log.read_text()


@pytest.mark.parametrize(
    ("extensions", "kinds"), [(("8BITMIME", "PIPELINING"), ("header", "body")), (("PIPELINING",), KINDS)]
)
async def test_the_same_is_sent_and_said(extensions: tuple[str, ...], kinds: tuple[str, ...], tmp_path: Path) -> None:
    (tmp_path / "header").write_text(HEADER + LABELS if "mime_header" in kinds else HEADER)
    (tmp_path / "body").write_text(BODY)
    tmp_path.chmod(0o755)
    found = []
    for start in (RealPostfix, PymtaSystem):
        async with ScriptedPeer(extensions=extensions) as peer:
            parameters = {
                "relayhost": f"[127.0.0.1]:{peer.port}",
                "mydestination": "y.example",
                "smtpd_client_message_rate_limit": "0",
                "always_add_missing_headers": "yes",
                **{
                    f"smtp_{kind}_checks": f"regexp:{tmp_path}/{'body' if kind == 'body' else 'header'}"
                    for kind in kinds
                },
            }
            log = await _run(peer, start, parameters)
            found.append((_by_sender(peer), _lines(log)))
    (their_mail, their_lines), (our_mail, our_lines) = found
    assert our_mail == their_mail
    assert our_lines == their_lines


async def test_a_table_that_cannot_be_asked_puts_the_delivery_off(pymta_system: Callable[..., PymtaSystem]) -> None:
    async with ScriptedPeer() as peer:
        system = pymta_system({"relayhost": f"[127.0.0.1]:{peer.port}", "smtp_header_checks": "fail:x"})
        await asyncio.to_thread(system.send, "user@elsewhere.example")
        await asyncio.to_thread(eventually, lambda: "status=deferred" in system.log)
        assert "(local data error while talking to 127.0.0.1[127.0.0.1])" in system.log
        assert peer.messages == []


async def test_lmtp_has_tables_of_its_own(pymta_system: Callable[..., PymtaSystem]) -> None:
    async with ScriptedPeer(lmtp=True) as peer:
        tables = {"lmtp_header_checks": "pcre:{{/^Subject:/ REPLACE Subject: new}}", "smtp_header_checks": "fail:x"}
        system = pymta_system({"default_transport": f"lmtp:inet:127.0.0.1:{peer.port}", "relayhost": "", **tables})
        await asyncio.to_thread(system.send, "user@elsewhere.example")
        await asyncio.to_thread(eventually, lambda: "status=sent" in system.log)
        assert b"\r\nSubject: new\r\n" in peer.messages[0].content


@pytest.mark.parametrize("discarded", ["", "chunking", "chunking, 8bitmime"])
async def test_a_large_message_streams_through(discarded: str) -> None:
    """In pieces, by DATA and by BDAT, with what was taken out in neither."""
    lines = b"".join(b"%06d .line%s\r\n" % (number, b" gone" * (number % 7 == 0)) for number in range(60_000))
    content = BytesContent(b"Subject: x\r\n\r\n" + lines, streamed=True)
    settings = SmtpCheckSettings("", "", "", "pcre:{{/gone/ IGNORE}}", 2048, 102400)
    log = RecordingLog()
    async with running(smtpd_discard_ehlo_keywords=discarded) as server:
        checks = delivery_checks(settings, TableFactory(Path("/")), log)
        agent = SmtpAgent(smtp_settings(), FakeResolver(), SystemClock(), log, checks=checks)
        (result,) = await agent.deliver(request(f"[127.0.0.1]:{server.port}", "u@example.com"), content)
        agent.close()
    assert result.outcome is Outcome.SENT
    kept = b"".join(line for line in lines.splitlines(keepends=True) if b"gone" not in line)
    assert server.intake.committed[0].content.endswith(b"\r\nSubject: x\r\n\r\n" + kept)
