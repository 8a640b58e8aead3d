"""The SMTP service on loopback: what aiosmtpd alone gets wrong, hostile clients, orderly ends."""

from __future__ import annotations

import asyncio
import gc
import resource
import socket
import struct
from pathlib import Path

import pytest

from pymta.model.access import PERMIT, AccessContext, Effect, EffectKind, Stage, Verdict
from pymta.model.address import Address
from pymta.protocol.smtp.server import ServerSession
from pymta.smtpd.connection import Connection
from pymta.testing import FakeResolver
from tests.support.smtpd import Dialogue, MemoryIntake, Rules, running

pytestmark = pytest.mark.filterwarnings("ignore:Overriding the .event_loop_policy. fixture")


@pytest.fixture(params=["asyncio", "uvloop"])
def event_loop_policy(request: pytest.FixtureRequest) -> asyncio.AbstractEventLoopPolicy:
    if request.param == "asyncio":
        return asyncio.DefaultEventLoopPolicy()
    policy: asyncio.AbstractEventLoopPolicy = pytest.importorskip("uvloop").EventLoopPolicy()
    return policy


def _resident() -> int:
    """Peak resident memory in bytes."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


async def test_one_endless_line_costs_no_memory() -> None:
    """Defect 1: 100 MB in one line against a 1 MB limit."""
    async with running(message_size_limit="1000000") as server:
        talk = await server.talk()
        await talk.begin()
        before = _resident()
        piece = b"x" * (1 << 20)
        for _ in range(100):
            talk.send(piece)
            await talk.writer.drain()
        talk.send(b"\r\n.\r\n")
        assert await talk.reply() == "552 5.3.4 Error: message file too big"
        assert _resident() - before < 12_000_000
        assert server.intake.aborted == ["Q1"] and not server.intake.committed
        assert (await talk.ask("MAIL FROM:<a@b>")).startswith("250")


async def test_an_endless_command_line_costs_no_memory() -> None:
    async with running() as server:
        talk = await server.talk()
        await talk.reply()
        before = _resident()
        for _ in range(30):
            talk.send(b"NOOP " + b"x" * (1 << 20))
            await talk.writer.drain()
        assert await talk.ask("") == "250 2.0.0 Ok"
        assert _resident() - before < 8_000_000


async def test_an_endless_recipient_list_ends() -> None:
    async with running(smtpd_recipient_limit="100", smtpd_recipient_overshoot_limit="50") as server:
        talk = await server.talk()
        await talk.reply()
        await talk.ask("EHLO x")
        await talk.ask("MAIL FROM:<a@b>")
        talk.send(b"".join(b"RCPT TO:<u%d@example.com>\r\n" % number for number in range(1000)))
        replies = []
        while reply := await talk.reply():
            replies.append(reply)
        assert replies.count("250 2.1.5 Ok") == 100
        assert replies.count("452 4.5.3 Error: too many recipients") == 50 + 20
        assert replies[-1] == "421 4.7.0 mx.example.com Error: too many errors"


async def test_long_lines_are_mail_like_any_other() -> None:
    """Defect 2."""
    async with running() as server:
        talk = await server.talk()
        await talk.begin()
        talk.send(b"Subject: x\r\n\r\n" + b"y" * 5000 + b"\r\n.\r\n")
        assert await talk.reply() == "250 2.0.0 Ok: queued as Q1"
        assert b"y" * 5000 + b"\r\n" in server.intake.committed[0].content


async def test_a_transfer_may_last_longer_than_the_timeout_of_a_command() -> None:
    """Defect 3."""
    async with running(smtpd_timeout=0.5) as server:
        talk = await server.talk()
        await talk.begin()
        for _ in range(7):
            talk.send(b"line\r\n")
            await asyncio.sleep(0.1)
        talk.send(b".\r\n")
        assert (await talk.reply()).startswith("250")


async def test_silence_is_answered_with_421_and_told() -> None:
    async with running(smtpd_timeout=0.3) as server:
        talk = await server.talk()
        await talk.begin()
        talk.send(b"half a mess")
        assert await talk.reply() == "421 4.4.2 mx.example.com Error: timeout exceeded"
        assert await talk.reply() == ""
        await server.until(lambda: server.server.connection_count == 0)
        assert "Q1: timeout after DATA (11 bytes) from localhost[127.0.0.1]" in server.log.lines
        assert server.intake.aborted == ["Q1"]


async def test_with_a_request_deadline_a_trickle_is_cut_off() -> None:
    async with running(smtpd_timeout=0.5, smtpd_per_request_deadline="yes", smtpd_min_data_rate="500") as server:
        talk = await server.talk()
        await talk.begin()
        for _ in range(7):
            talk.send(b"x\r\n")
            await asyncio.sleep(0.1)
        await server.until(lambda: server.server.connection_count == 0)
        assert any(line.startswith("Q1: timeout after DATA (") for line in server.log.lines)


@pytest.mark.parametrize("stage", [Stage.CONNECT, Stage.HELO, Stage.MAIL, Stage.RCPT, Stage.DATA, Stage.END_OF_DATA])
async def test_our_failures_are_temporary_and_tell_nothing(stage: Stage) -> None:
    """Defects 4 and 14."""

    def fail(context: AccessContext) -> Verdict:
        if context.stage is stage:
            raise KeyError("secret-internal-thing")
        return PERMIT

    async with running(Rules(verdict=fail)) as server:
        talk = await server.talk()
        talk.send(b"EHLO x\r\n" if stage is not Stage.CONNECT else b"")
        replies = [await talk.reply()]
        if stage is not Stage.CONNECT:
            replies.append(await talk.reply())
        for line in ("MAIL FROM:<a@b>", "RCPT TO:<u@example.com>", "DATA", "Subject: x\r\n."):
            if replies[-1].startswith("4"):
                break
            replies.append(await talk.ask(line))
        assert replies[-1] == "451 4.3.0 Temporary lookup failure"
        assert any("secret-internal-thing" in line for line in server.log.lines)
        if stage is not Stage.CONNECT:
            await talk.ask("RSET")
            assert await talk.ask("MAIL FROM:<a@b>") == replies[-1] if stage is Stage.MAIL else "250 2.1.0 Ok"


async def test_a_commit_that_fails_is_temporary_and_leaves_a_clean_session() -> None:
    intake = MemoryIntake(failure=OSError("disk on fire"))
    async with running(intake=intake) as server:
        talk = await server.talk()
        await talk.begin()
        assert await talk.ask("x\r\n.") == "451 4.3.0 Error: queue file write error"
        assert await talk.ask("MAIL FROM:<a@b>") == "250 2.1.0 Ok"


@pytest.mark.parametrize("leaves", ["half-close", "close", "reset"])
async def test_a_commit_outlives_its_client(leaves: str) -> None:
    """Defect 5."""
    intake = MemoryIntake(gate=asyncio.Event())
    async with running(intake=intake) as server:
        talk = await server.talk()
        await talk.begin()
        talk.send(b"Subject: x\r\n\r\n.\r\n")
        await asyncio.sleep(0.1)
        if leaves == "half-close":
            talk.writer.write_eof()
        elif leaves == "close":
            talk.close()
        else:
            linger = struct.pack("ii", 1, 0)
            talk.writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
            talk.writer.transport.abort()
        await asyncio.sleep(0.1)
        assert intake.gate and not intake.committed
        intake.gate.set()
        await server.until(lambda: intake.committed)
        await server.until(lambda: server.server.connection_count == 0)
        assert not intake.aborted
        if leaves == "half-close":
            assert await talk.reply() == "250 2.0.0 Ok: queued as Q1"


async def test_a_whole_session_from_a_pipe() -> None:
    """`printf ... | nc`: everything at once, then end of file."""
    async with running(smtpd_forbid_unauth_pipelining="no") as server:
        talk = await server.talk()
        talk.send(b"EHLO x\r\nMAIL FROM:<a@b>\r\nRCPT TO:<u@example.com>\r\nDATA\r\nhello\r\n.\r\nQUIT\r\n")
        talk.writer.write_eof()
        answers = (await talk.reader.read()).decode()
        assert "queued as Q1" in answers and answers.endswith("221 2.0.0 Bye\r\n")


async def test_smuggled_mail_stays_inside() -> None:
    """Defect 8."""
    async with running() as server:
        talk = await server.talk()
        await talk.begin()
        talk.send(b"a\n.\nMAIL FROM:<evil@example.net>\r\n\r.\r\r\n\n.\r\nb\r\n.\r\n")
        assert (await talk.reply()).startswith("250")
        content = server.intake.committed[0].content
        assert content.count(b"\n") == content.count(b"\r\n")
        assert content.endswith(b"a\r\n\r\nMAIL FROM:<evil@example.net>\r\n\r.\r\r\n\r\n\r\nb\r\n")


async def test_bare_newlines_can_be_refused() -> None:
    """Defect 9."""
    async with running(smtpd_forbid_bare_newline="reject") as server:
        talk = await server.talk()
        await talk.reply()
        talk.send(b"NOOP\n")
        assert await talk.reply() == "550 5.5.2 mx.example.com Error: bare <LF> received"
        assert await talk.reply() == ""
        await server.until(lambda: server.server.connection_count == 0)
        expected = "NOQUEUE: reject: CONNECT from localhost[127.0.0.1]: bare <LF> received; proto=SMTP"
        assert expected in server.log.lines


async def test_clients_excluded_from_the_ban_on_bare_newlines() -> None:
    values = {"smtpd_forbid_bare_newline": "reject", "smtpd_forbid_bare_newline_exclusions": "127.0.0.0/8"}
    async with running(**values) as server:
        talk = await server.talk()
        await talk.begin()
        talk.send(b"hi\n.\n")
        assert (await talk.reply()).startswith("250")


async def test_the_null_sender_is_no_string() -> None:
    """Defect 11."""
    async with running() as server:
        talk = await server.talk()
        await talk.reply()
        await talk.ask("EHLO x")
        for line in ("MAIL FROM:<>", "RCPT TO:<u@example.com>", "DATA", "x\r\n."):
            reply = await talk.ask(line)
        assert reply.startswith("250")
        assert server.intake.committed[0].envelope.sender.is_null


async def test_sessions_share_nothing() -> None:
    """Defect 12."""
    async with running() as server:
        first, second = await server.talk(), await server.talk()
        for talk in (first, second):
            await talk.reply()
        await first.ask("EHLO one")
        await first.ask("MAIL FROM:<a@b> SIZE=1000")
        await second.ask("HELO two")
        assert await second.ask("MAIL FROM:<c@d>") == "250 2.1.0 Ok"
        assert await first.ask("RCPT TO:<u@example.com>") == "250 2.1.5 Ok"


async def test_the_answers_to_a_burst_come_in_one_piece() -> None:
    """Defect 13."""
    async with running() as server:
        talk = await server.talk()
        await talk.reply()
        talk.send(b"EHLO x\r\n")
        assert (await talk.reader.read(4096)).endswith(b"250 CHUNKING\r\n")
        talk.send(b"MAIL FROM:<a@b>\r\nRCPT TO:<u@example.com>\r\nRCPT TO:<v@example.com>\r\nDATA\r\n")
        burst = await talk.reader.read(4096)
        assert burst == b"250 2.1.0 Ok\r\n" + b"250 2.1.5 Ok\r\n" * 2 + b"354 End data with <CR><LF>.<CR><LF>\r\n"


async def test_a_connection_asks_nobody_for_our_own_name(monkeypatch: pytest.MonkeyPatch) -> None:
    """Defect 15."""
    monkeypatch.setattr(socket, "getfqdn", lambda *_: pytest.fail("asked for our own name"))
    async with running() as server:
        talk = await server.talk()
        assert await talk.reply() == "220 mx.example.com ESMTP pymta"


async def test_large_content_streams() -> None:
    """Defect 16: 30 MB through a few pieces."""
    intake = MemoryIntake(keeps_content=False)
    async with running(intake=intake, message_size_limit="50000000") as server:
        talk = await server.talk()
        await talk.begin()
        gc.collect()
        before = _resident()
        piece = (b"z" * 70 + b"\r\n") * 4096
        for _ in range(100):
            talk.send(piece)
            await talk.writer.drain()
        talk.send(b".\r\n")
        assert (await talk.reply()).startswith("250")
        assert intake.committed[0].size > 29_000_000
        assert _resident() - before < 12_000_000


async def test_starttls_and_auth_are_not_offered_without_settings_for_them() -> None:
    async with running() as server:
        talk = await server.talk()
        await talk.reply()
        assert "STARTTLS" not in await talk.ask("EHLO x")
        assert await talk.ask("STARTTLS") == "502 5.5.1 Error: command not implemented"
        assert (await talk.ask("AUTH PLAIN AGEAYg==")).startswith("50")


async def test_a_client_that_never_reads_is_cut_off() -> None:
    async with running(
        smtpd_timeout=0.5, smtpd_forbid_unauth_pipelining="no", smtpd_junk_command_limit="999999999"
    ) as server:
        client = socket.socket()
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        client.setblocking(False)
        loop = asyncio.get_running_loop()
        await loop.sock_connect(client, ("127.0.0.1", server.port))
        before = _resident()
        with pytest.raises((ConnectionError, TimeoutError)):
            async with asyncio.timeout(15):
                while True:
                    await loop.sock_sendall(client, b"NOOP\r\n" * 20000)
        await server.until(lambda: server.server.connection_count == 0)
        assert _resident() - before < 20_000_000
        client.close()


async def test_what_a_client_sends_ahead_of_a_slow_decision_is_bounded() -> None:
    gate = asyncio.Event()

    async def slowly() -> Verdict:
        await gate.wait()
        return PERMIT

    rules = Rules(verdict=lambda context: slowly() if context.stage is Stage.MAIL else PERMIT)
    async with running(rules, smtpd_forbid_unauth_pipelining="no", smtpd_junk_command_limit="99999999") as server:
        talk = await server.talk()
        await talk.reply()
        await talk.ask("EHLO x")
        before = _resident()
        talk.send(b"MAIL FROM:<a@b>\r\n")
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.3):
                while True:
                    talk.send(b"RSET\r\n" * 10000)
                    await talk.writer.drain()
        assert _resident() - before < 20_000_000
        gate.set()
        assert await talk.reply() == "250 2.1.0 Ok"
        talk.writer.transport.abort()  # the rest is work for nothing


async def test_connections_of_one_client_are_counted() -> None:
    async with running(smtpd_client_connection_count_limit="2") as server:
        talks = [await server.talk() for _ in range(3)]
        greetings = sorted([await talk.reply() for talk in talks])
        assert greetings[0].startswith("220") and greetings[1].startswith("220")
        assert greetings[2] == "421 4.7.0 mx.example.com Error: too many connections from 127.0.0.1"
        warning = "Connection concurrency limit exceeded: 3 from localhost[127.0.0.1] for service smtp"
        assert ("warning", warning) in server.log.records
        for talk in talks:
            talk.close()
        await server.until(lambda: server.server.connection_count == 0)
        assert (await (await server.talk()).reply()).startswith("220")


async def test_exceptions_from_the_limits() -> None:
    values = {"smtpd_client_connection_count_limit": "1", "smtpd_client_event_limit_exceptions": "127.0.0.1"}
    async with running(**values) as server:
        for _ in range(3):
            assert (await (await server.talk()).reply()).startswith("220")


async def test_connections_per_time_are_counted() -> None:
    async with running(smtpd_client_connection_rate_limit="2") as server:
        for _ in range(2):
            talk = await server.talk()
            assert (await talk.reply()).startswith("220")
            await talk.ask("QUIT")
        assert (await (await server.talk()).reply()).startswith("421 4.7.0")


@pytest.mark.parametrize(
    ("zones", "failures", "label", "status"),
    [
        ({"127.0.0.1": {"PTR": ["h.example"]}, "h.example": {"A": ["127.0.0.1"]}}, [], "h.example[127.0.0.1]", 2),
        ({"127.0.0.1": {"PTR": ["h.example"]}, "h.example": {"A": ["192.0.2.1"]}}, [], "unknown[127.0.0.1]", 5),
        ({"127.0.0.1": {"PTR": ["h.example"]}}, ["h.example"], "unknown[127.0.0.1]", 4),
        ({}, ["127.0.0.1"], "unknown[127.0.0.1]", 4),
        ({}, [], "unknown[127.0.0.1]", 5),
        ({"127.0.0.1": {"PTR": ["192.0.2.1"]}}, [], "unknown[127.0.0.1]", 5),
        ({"127.0.0.1": {"PTR": ["a b"]}}, [], "unknown[127.0.0.1]", 5),
    ],
)
async def test_a_client_has_the_name_that_dns_proves(
    zones: dict[str, dict[str, list[str]]], failures: list[str], label: str, status: int
) -> None:
    seen: list[AccessContext] = []
    rules = Rules(verdict=lambda context: seen.append(context) or PERMIT)  # type: ignore[func-returns-value]
    async with running(rules, resolver=FakeResolver(zones, failures=failures)) as server:
        await (await server.talk()).reply()
        assert server.log.lines[0] == f"connect from {label}"
        assert seen[0].client.name_status == status


async def test_a_client_over_a_unix_socket_is_this_host(tmp_path: Path) -> None:
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(str(tmp_path / "smtp"))
    async with running(listener=listener) as server:
        reader, writer = await asyncio.open_unix_connection(str(tmp_path / "smtp"))
        talk = Dialogue(reader, writer)
        assert (await talk.reply()).startswith("220")
        assert server.log.lines[0] == "connect from localhost[127.0.0.1]"
        assert await talk.ask("QUIT") == "221 2.0.0 Bye"


async def test_ipv6_clients() -> None:
    try:
        listener = socket.create_server(("::1", 0), family=socket.AF_INET6)
    except OSError:
        pytest.skip("no IPv6 on this host's loopback")
    async with running(listener=listener, resolver=FakeResolver({})) as server:
        talk = Dialogue(*await asyncio.open_connection("::1", server.port))
        await talk.begin()
        assert (await talk.ask("x\r\n.")).startswith("250")
        assert b"(unknown [IPv6:::1])" in server.intake.committed[0].content
        assert server.log.lines[0] == "connect from unknown[::1]"


async def test_rewriting_and_effects_reach_the_queue() -> None:
    effects = (Effect(EffectKind.PREPEND, "X-One: 1"), Effect(EffectKind.HOLD))
    hold = "hold: RCPT from localhost[127.0.0.1]: <a@b>: held; from=<a@b> proto=ESMTP helo=<x>"

    def verdict(context: AccessContext) -> Verdict:
        return Verdict(None, effects, log=(hold,)) if context.stage is Stage.RCPT else PERMIT

    rules = Rules(verdict, lambda address: address if address.domain else Address(address.local_part, "example.com"))
    async with running(rules) as server:
        talk = await server.talk()
        await talk.begin("root")
        assert (await talk.ask("Subject: x\r\n.")).startswith("250")
        message = server.intake.committed[0]
        assert str(message.envelope.recipients[0].address) == "root@example.com"
        assert str(message.envelope.recipients[0].original) == "root@example.com"
        assert message.effects == (Effect(EffectKind.HOLD),)
        lines = message.content.split(b"\r\n")
        assert lines[0] == b"X-One: 1"
        assert lines[1] == b"Received: from client.example.net (localhost [127.0.0.1])"
        assert lines[3].startswith(b"\tfor <root>; ")
        assert f"NOQUEUE: {hold}" in server.log.lines


async def test_vrfy_asks_the_directory() -> None:
    async with running(Rules(unknown=frozenset({"nobody@example.com"}))) as server:
        talk = await server.talk()
        await talk.reply()
        assert (await talk.ask("VRFY nobody@example.com")).startswith("550 5.1.1")
        assert await talk.ask("VRFY somebody@example.com") == "252 2.0.0 somebody@example.com"


async def test_closing_waits_for_a_commit_and_says_goodbye_to_the_idle() -> None:
    intake = MemoryIntake(gate=asyncio.Event())
    async with running(intake=intake) as server:
        idle, busy = await server.talk(), await server.talk()
        await idle.reply()
        await busy.begin()
        busy.send(b"x\r\n.\r\n")
        await asyncio.sleep(0.05)
        closing = asyncio.create_task(server.server.close(0.2))
        assert await idle.reply() == "421 4.3.2 mx.example.com Service shutting down"
        await asyncio.sleep(0.4)
        assert not closing.done() and intake.gate
        intake.gate.set()
        await closing
        assert [draft.queue_id for draft in intake.committed] == ["Q1"]


async def test_closing_does_not_wait_for_a_decision_that_never_comes() -> None:
    async def never() -> Verdict:
        await asyncio.Event().wait()
        return PERMIT

    async with running(Rules(verdict=lambda context: never())) as server:
        talk = await server.talk()
        await asyncio.sleep(0.05)
        async with asyncio.timeout(3):
            await server.server.close(0.1)
        assert server.server.connection_count == 0
        talk.close()


async def test_closing_finds_connections_at_any_moment_of_their_beginning() -> None:
    async with running() as server:
        for turns in range(8):
            clients = [await server.talk() for _ in range(5)]
            for _ in range(turns):
                await asyncio.sleep(0)
            assert len(clients) == 5
        async with asyncio.timeout(5.0):
            await server.server.close(0.0)
        assert server.server.connection_count == 0


async def test_a_session_that_is_over_leaves_nothing_for_the_garbage_collector() -> None:
    gc.collect()
    gc.disable()
    try:
        async with running() as server:
            for _ in range(3):
                talk = await server.talk()
                await talk.begin()
                talk.send(b"x\r\n.\r\nQUIT\r\n")
                assert [(await talk.reply())[:3], (await talk.reply())[:3]] == ["250", "221"]
                talk.writer.close()
            await server.until(lambda: not server.server.connection_count)
            await asyncio.sleep(0.05)
            assert not [one for one in gc.get_objects() if isinstance(one, (Connection, ServerSession))]
    finally:
        gc.enable()


async def test_stop_listening_lets_sessions_go_on() -> None:
    async with running() as server:
        talk = await server.talk()
        await talk.begin()
        server.server.stop_listening()
        assert (await talk.ask("x\r\n.")).startswith("250")
        with pytest.raises(ConnectionError):
            await server.talk()


async def test_errors_slow_a_client_down() -> None:
    async with running(smtpd_error_sleep_time=0.4, smtpd_soft_error_limit="2") as server:
        talk = await server.talk()
        await talk.reply()
        started = asyncio.get_running_loop().time()
        for _ in range(2):
            await talk.ask("FOO")
        assert asyncio.get_running_loop().time() - started < 0.4
        await talk.ask("FOO")
        assert asyncio.get_running_loop().time() - started >= 0.39


async def test_idle_connections_are_small() -> None:
    """1,000 idle connections cost less than 100 KB each (both ends are counted here)."""
    async with running(smtpd_client_connection_count_limit="0") as server:
        talks = []
        gc.collect()
        before = _resident()
        for _ in range(300):
            talk = await server.talk()
            await talk.reply()
            talks.append(talk)
        assert (_resident() - before) / 300 < 100_000
        for talk in talks:
            talk.close()


async def test_a_bug_of_ours_is_answered_with_421_and_told(monkeypatch: pytest.MonkeyPatch) -> None:
    """Also where it shows while the client's bytes arrive, outside of any task."""
    async with running() as server:
        talk = await server.talk()
        await talk.reply()
        await talk.ask("EHLO x")
        monkeypatch.setattr(ServerSession, "_read_command", lambda session, line: 1 / 0)
        assert await talk.ask("NOOP") == "421 4.3.0 mx.example.com Error: internal error, try again later"
        assert await talk.reply() == ""
        await server.until(lambda: server.server.connection_count == 0)
        assert "session with localhost[127.0.0.1]: ZeroDivisionError: division by zero" in server.log.lines
