"""LMTP, and real servers: Debian's Postfix and its smtp-sink."""

from __future__ import annotations

import asyncio
import os
import re
from pathlib import Path

import pytest

from pymta.model.delivery import Outcome
from pymta.testing import Act, RecordingLog, ScriptedPeer
from tests.support.peers import RealPostfix, free_port, program, started
from tests.support.smtp_client import MESSAGE, BytesContent, lmtp_agent, open_folder, request, smtp_agent

SENT, DEFERRED, BOUNCED = Outcome.SENT, Outcome.DEFERRED, Outcome.BOUNCED
LARGE = BytesContent(b"Subject: large\r\n\r\n" + b"0123456789abcdef" * 4 + b"\r\n" * 1 + b"x" * 900 + b"\r\n" * 400_000)


# LMTP.


async def test_lmtp_over_a_local_socket(tmp_path: Path) -> None:
    (tmp_path / "private").mkdir()
    script = {".": ["250 2.0.0 <a> saved", "452 4.2.2 <c> full"], "RCPT": ["250 ok", "550 5.1.1 no", "250 ok"]}
    async with ScriptedPeer(script, lmtp=True, path=str(tmp_path / "private/lmtp")) as peer:
        agent = lmtp_agent(queue_directory=str(tmp_path))
        results = await agent.deliver(request("unix:private/lmtp", "a@x.org", "b@x.org", "c@x.org"), MESSAGE)
        assert peer.commands[0] == "LHLO mx.pymta.example"
    named = "mx.pymta.example[private/lmtp]"
    assert [(result.outcome, result.status, result.relay) for result in results] == [
        (SENT, "2.0.0", named),
        (BOUNCED, "5.1.1", named),
        (DEFERRED, "4.2.2", named),
    ]
    assert results[0].reason == "250 2.0.0 <a> saved" and results[0].action == "delivered"
    assert results[1].reason == f"host {named} said: 550 5.1.1 no (in reply to RCPT TO command)"
    assert results[2].reason == f"host {named} said: 452 4.2.2 <c> full (in reply to end of DATA command)"
    assert peer.messages[0].content == MESSAGE.data


async def test_lmtp_without_a_socket(tmp_path: Path) -> None:
    agent = lmtp_agent(queue_directory=str(tmp_path))
    (result,) = await agent.deliver(request("unix:private/lmtp"), MESSAGE)
    assert result.outcome is DEFERRED
    assert result.reason == "connect to mx.pymta.example[private/lmtp]: No such file or directory"


async def test_lmtp_that_answers_for_some_only() -> None:
    async with ScriptedPeer({".": ["250 2.0.0 one", Act.DROP]}, lmtp=True) as peer:
        agent = lmtp_agent()
        results = await agent.deliver(request(f"inet:[127.0.0.1]:{peer.port}", "a@x.org", "b@x.org"), MESSAGE)
    assert [result.outcome for result in results] == [SENT, DEFERRED]
    assert "while sending end of data -- message may be sent more than once" in results[1].reason


async def test_lmtp_does_not_ask_for_mx_and_a_plain_smtp_server_is_refused() -> None:
    async with ScriptedPeer() as peer:
        (result,) = await lmtp_agent().deliver(request(f"inet:127.0.0.1:{peer.port}"), MESSAGE)
    assert result.reason == "host 127.0.0.1[127.0.0.1] refused to talk to me: 500 5.5.1 Wrong protocol"


async def test_lmtp_says_goodbye_properly() -> None:
    async with ScriptedPeer(lmtp=True) as peer:
        await lmtp_agent().deliver(request(f"inet:[127.0.0.1]:{peer.port}"), MESSAGE)
        await asyncio.sleep(0.1)
        assert peer.verbs[-1] == "QUIT"


# smtp-sink.


def _sink(port: int, *options: str) -> tuple[str, ...]:
    # As root it wants to be somebody else.
    user = ("-u", "mail") if os.geteuid() == 0 else ()
    return (program("smtp-sink"), *user, *options, f"127.0.0.1:{port}", "100")


@pytest.mark.parametrize(
    ("options", "outcome", "reason"),
    [
        ((), SENT, "250 2.0.0 Ok"),
        (("-p",), SENT, "250 2.0.0 Ok"),
        (("-e",), SENT, "250"),
        (("-f", "RCPT"), BOUNCED, "in reply to RCPT TO command"),
        (("-f", "MAIL"), BOUNCED, "in reply to MAIL FROM command"),
        (("-f", "DATA"), BOUNCED, "in reply to DATA command"),
        (("-f", "."), BOUNCED, "in reply to end of DATA command"),
        (("-r", "RCPT"), DEFERRED, "in reply to RCPT TO command"),
        (("-r", "DATA"), DEFERRED, "in reply to DATA command"),
        (("-r", "."), DEFERRED, "in reply to end of DATA command"),
        (("-q", "MAIL"), DEFERRED, "lost connection with 127.0.0.1[127.0.0.1] while sending MAIL FROM"),
        (("-q", "RCPT"), DEFERRED, "lost connection with 127.0.0.1[127.0.0.1] while sending RCPT TO"),
        (("-q", "DATA"), DEFERRED, "lost connection with 127.0.0.1[127.0.0.1] while sending DATA command"),
        (("-q", "."), DEFERRED, "while sending end of data -- message may be sent more than once"),
        (("-Q", "MAIL"), DEFERRED, "said: 421 "),
        (("-8",), SENT, "250"),
    ],
)
async def test_smtp_sink(options: tuple[str, ...], outcome: Outcome, reason: str) -> None:
    port = free_port()
    with started(*_sink(port, *options), port=port):
        results = await smtp_agent().deliver(request(f"[127.0.0.1]:{port}", "a@x.org", "b@x.org"), MESSAGE)
    assert {result.outcome for result in results} == {outcome}, results
    assert all(reason in result.reason for result in results), results


async def test_smtp_sink_as_lmtp_server() -> None:
    port = free_port()
    with started(*_sink(port, "-L"), port=port):
        results = await lmtp_agent().deliver(request(f"inet:[127.0.0.1]:{port}", "a@x.org", "b@x.org"), MESSAGE)
    assert [result.outcome for result in results] == [SENT, SENT]


async def test_smtp_sink_takes_many_messages_over_few_sessions() -> None:
    port = free_port()
    with started(*_sink(port), port=port):
        agent = smtp_agent()
        nexthop = f"[127.0.0.1]:{port}"
        uses = []
        for _ in range(10):
            results = await asyncio.gather(*(agent.deliver(request(nexthop), MESSAGE) for _ in range(10)))
            uses += [result[0].connection_use for result in results]
            assert {result[0].outcome for result in results} == {SENT}
        agent.close()
    assert max(uses) >= 9


# Debian's Postfix.


@pytest.mark.parametrize(("discarded", "says"), [("", r"250 2.0.0 Ok: [0-9]+ bytes queued as "), ("chunking", None)])
async def test_postfix_takes_what_we_send(discarded: str, says: str | None) -> None:
    """By BDAT, in one piece and in many, and by DATA."""
    log = RecordingLog()
    with open_folder() as folder:
        postfix = RealPostfix(folder, {"default_transport": "discard", "message_size_limit": "20000000"})
        with postfix.running():
            agent = smtp_agent(log=log, smtp_discard_ehlo_keywords=(discarded,))
            nexthop = f"[127.0.0.1]:{postfix.port}"
            for content in (MESSAGE, LARGE, MESSAGE):
                to_them = request(nexthop, "user@far.example", size=content.size)
                (result,) = await agent.deliver(to_them, content)
                assert re.match(says or "250 2.0.0 Ok: queued as ", result.reason), result
                if says:
                    assert f" {content.size} bytes " in result.reason
            (result,) = await agent.deliver(request(nexthop, size=20_000_001), MESSAGE)
            expected = "message size 20000001 exceeds size limit 20000000 of server 127.0.0.1[127.0.0.1]"
            assert result.reason == expected
            agent.close()
    assert log.lines == []
