"""The SMTP agent over loopback, against servers that follow a script; on asyncio and on uvloop."""

from __future__ import annotations

import asyncio
import hashlib
from typing import Any

import pytest
import uvloop

from pymta.delivery.hosts import Host
from pymta.errors import ConfigError
from pymta.model.address import Address
from pymta.model.delivery import DeliveryResult, Outcome
from pymta.model.envelope import Body, Trace
from pymta.testing import Act, FakeResolver, RecordingLog, ScriptedPeer
from tests.support.smtp_client import MESSAGE, BytesContent, lmtp_agent, recipients, request, smtp_agent

SENT, DEFERRED, BOUNCED = Outcome.SENT, Outcome.DEFERRED, Outcome.BOUNCED
NAMED = "127.0.0.1[127.0.0.1]"


pytestmark = pytest.mark.filterwarnings("ignore:Overriding the:DeprecationWarning")


@pytest.fixture(params=["asyncio", "uvloop"])
def event_loop_policy(request: pytest.FixtureRequest) -> asyncio.AbstractEventLoopPolicy:
    policy: asyncio.AbstractEventLoopPolicy = (
        uvloop.EventLoopPolicy() if request.param == "uvloop" else asyncio.DefaultEventLoopPolicy()
    )
    return policy


def _at(*peers: ScriptedPeer) -> str:
    return ", ".join(f"[127.0.0.1]:{peer.port}" for peer in peers)


def _outcomes(results: Any) -> list[tuple[Outcome, str]]:
    return [(result.outcome, result.status) for result in results]


async def test_a_message_arrives_as_it_is() -> None:
    async with ScriptedPeer() as peer:
        (result,) = await smtp_agent().deliver(request(_at(peer)), MESSAGE)
    assert result == DeliveryResult(
        number=1,
        outcome=SENT,
        status="2.0.0",
        reason="250 2.0.0 Ok: queued as PEER",
        relay=f"{NAMED}:{peer.port}",
        remote_mta="127.0.0.1",
        diagnostic="smtp; 250 2.0.0 Ok: queued as PEER",
        action="relayed",
        dsn_relayed=True,
        connect_seconds=result.connect_seconds,
        transfer_seconds=result.transfer_seconds,
    )
    assert result.connect_seconds > 0 and result.transfer_seconds > 0
    assert peer.messages[0].content == MESSAGE.data
    assert peer.messages[0].rcpt == ["<user@example.org> ORCPT=rfc822;user@example.org"]


STEPS = ["GREETING", "EHLO", "MAIL", "RCPT", "DATA", "BODY", "."]


@pytest.mark.parametrize("step", STEPS)
@pytest.mark.parametrize("act", [Act.DROP, Act.RESET, Act.SILENCE, "421 4.3.2 bye", "nonsense"])
@pytest.mark.parametrize("pipelining", [True, False])
async def test_a_host_that_fails_at_any_step_defers_and_the_next_one_gets_it(
    step: str, act: Act | str, pipelining: bool
) -> None:
    if step == "BODY" and isinstance(act, str):
        pytest.skip("nobody waits for a reply there")
    extensions = ["PIPELINING"] if pipelining else ["8BITMIME"]
    limits = {f"smtp_{name}_timeout": 0.3 for name in ("helo", "mail", "rcpt", "data_init", "data_xfer", "data_done")}
    if step == "BODY":
        limits["smtp_data_xfer_timeout"], limits["smtp_data_done_timeout"] = 0.5, 10.0
    # More than socket buffers hold, so that the body is still under way when the host is gone.
    content = (
        BytesContent(b"x" * 70 + b"\r\n" + (b"line of content " * 6 + b"\r\n") * 100_000, streamed=True)
        if step == "BODY"
        else MESSAGE
    )
    to = ("a@x.org", "b@x.org")
    async with ScriptedPeer({step: act}, extensions=extensions) as bad, ScriptedPeer() as good:
        alone = await smtp_agent(**limits).deliver(request(_at(bad), *to), content)
        assert [result.number for result in alone] == [1, 2]
        assert {(result.outcome, result.status[0]) for result in alone} == {(DEFERRED, "4")}
        assert bad.messages == []
        log = RecordingLog()
        both = await smtp_agent(log=log, **limits).deliver(request(_at(bad, good), *to), content)
        assert _outcomes(both) == [(SENT, "2.0.0")] * 2
        assert {result.relay for result in both} == {f"{NAMED}:{good.port}"}
        assert len(good.messages) == 1 and good.messages[0].content == content._data
        assert any(line.startswith("TESTID: ") for line in log.lines)


async def test_only_who_was_put_off_is_tried_at_the_next_host() -> None:
    script = {"RCPT": ["250 ok", "450 4.2.1 busy", "550 5.1.1 no"]}
    async with ScriptedPeer(script) as first, ScriptedPeer() as second:
        results = await smtp_agent().deliver(request(_at(first, second), "a@x.org", "b@x.org", "c@x.org"), MESSAGE)
    assert _outcomes(results) == [(SENT, "2.0.0"), (SENT, "2.0.0"), (BOUNCED, "5.1.1")]
    assert results[0].relay.endswith(f":{first.port}") and results[1].relay.endswith(f":{second.port}")
    assert [message.rcpt[0].split(" ")[0] for message in second.messages] == ["<b@x.org>"]


async def test_a_permanent_refusal_of_the_message_is_final_at_once() -> None:
    async with ScriptedPeer({"MAIL": "550 5.7.1 no"}) as first, ScriptedPeer() as second:
        (result,) = await smtp_agent().deliver(request(_at(first, second)), MESSAGE)
    assert (result.outcome, result.reason) == (
        BOUNCED,
        f"host {NAMED} said: 550 5.7.1 no (in reply to MAIL FROM command)",
    )
    assert (result.remote_mta, result.diagnostic) == ("127.0.0.1", "smtp; 550 5.7.1 no")
    assert second.sessions == 0


@pytest.mark.parametrize(("skip", "outcome", "status"), [(True, DEFERRED, "4.7.1"), (False, BOUNCED, "5.7.1")])
async def test_a_greeting_that_refuses_everybody(skip: bool, outcome: Outcome, status: str) -> None:
    async with ScriptedPeer({"GREETING": "554 5.7.1 go away"}) as bad, ScriptedPeer() as good:
        agent = smtp_agent(smtp_skip_5xx_greeting=skip)
        assert _outcomes(await agent.deliver(request(_at(bad)), MESSAGE)) == [(outcome, status)]
        assert _outcomes(await agent.deliver(request(_at(bad, good)), MESSAGE)) == [(SENT, "2.0.0")]


async def test_nobody_listens() -> None:
    async with ScriptedPeer() as peer:
        nexthop = _at(peer)
    log = RecordingLog()
    (result,) = await smtp_agent(log=log).deliver(request(nexthop), MESSAGE)
    reason = f"connect to {NAMED}:{peer.port}: Connection refused"
    assert (result.outcome, result.status, result.reason) == (DEFERRED, "4.4.1", reason)
    assert (result.relay, result.host_unreachable) == ("none", True)
    assert log.lines == [reason]


async def test_a_refused_recipient_does_not_make_the_host_unreachable() -> None:
    async with ScriptedPeer({"RCPT": "450 4.2.0 later"}) as peer:
        (result,) = await smtp_agent().deliver(request(_at(peer)), MESSAGE)
    assert not result.host_unreachable


async def test_mx_hosts_are_tried_in_order_until_the_session_limit() -> None:
    resolver = FakeResolver(
        {
            "x.test": {"MX": ["10 a.test", "20 b.test", "30 c.test"]},
            "a.test": {"A": ["127.0.0.2"]},
            "b.test": {"A": ["127.0.0.1"]},
            "c.test": {"A": ["127.0.0.1"]},
        }
    )
    async with ScriptedPeer({"MAIL": "451 4.3.0 not now"}) as peer:
        log = RecordingLog()
        agent = smtp_agent(resolver, log, smtp_mx_session_limit=1)
        (result,) = await agent.deliver(request(f"x.test:{peer.port}"), MESSAGE)
        assert result.reason == "host b.test[127.0.0.1] said: 451 4.3.0 not now (in reply to MAIL FROM command)"
        assert log.lines == [f"connect to a.test[127.0.0.2]:{peer.port}: Connection refused"]
        assert peer.sessions == 1
        await smtp_agent(resolver, smtp_mx_session_limit=2).deliver(request(f"x.test:{peer.port}"), MESSAGE)
        assert peer.sessions == 3


@pytest.mark.parametrize("how", ["connect", "greeting"])
@pytest.mark.parametrize("backoff", [60.0, 0.0])
async def test_a_host_that_failed_is_tried_after_the_others(how: str, backoff: float) -> None:
    resolver = FakeResolver(
        {
            "x.test": {"MX": ["10 a.test", "20 b.test"]},
            "a.test": {"A": ["127.0.0.2"]},
            "b.test": {"A": ["127.0.0.1"]},
        }
    )
    log = RecordingLog()
    async with ScriptedPeer() as peer:
        agent = smtp_agent(resolver, log, smtp_host_backoff_time=backoff, smtp_connection_cache_on_demand=False)
        busy = None
        if how == "greeting":
            busy = await asyncio.start_server(lambda _, writer: writer.write(b"421 busy\r\n"), "127.0.0.2", peer.port)
        for _ in range(3):
            (result,) = await agent.deliver(request(f"x.test:{peer.port}"), MESSAGE)
            assert result.outcome is SENT
        if busy:
            busy.close()
    assert len([line for line in log.lines if "a.test" in line]) == (1 if backoff else 3)


async def test_lookup_failures_are_results() -> None:
    resolver = FakeResolver({"null.test": {"MX": ["0 ."]}}, failures=["dead.test"])
    agent = smtp_agent(resolver)
    for nexthop, expected in [("nx.test", "5.4.4"), ("null.test", "5.1.0"), ("dead.test", "4.4.3"), ("[x", "4.3.5")]:
        (result,) = await agent.deliver(request(nexthop), MESSAGE)
        assert (result.status, result.relay) == (expected, "none"), result
    (result,) = await agent.deliver(request(""), MESSAGE)
    assert (result.outcome, result.status) == (DEFERRED, "4.3.5")


async def test_a_broken_relayhost_or_fallback_never_bounces_mail() -> None:
    log = RecordingLog()
    (result,) = await smtp_agent(log=log, relayhost="nx.test").deliver(request("nx.test"), MESSAGE)
    assert (result.outcome, result.status) == (DEFERRED, "4.3.5")
    assert log.lines == ["relayhost configuration problem"]
    agent = smtp_agent(smtp_fallback_relay=("[nx2.test]",))
    (result,) = await agent.deliver(request("nx.test"), MESSAGE)
    assert (result.outcome, result.status) == (DEFERRED, "4.3.5")
    assert "nx2.test" in result.reason


async def test_the_fallback_relay_takes_what_nobody_else_does() -> None:
    async with ScriptedPeer() as relay:
        agent = smtp_agent(smtp_fallback_relay=(f"[127.0.0.1]:{relay.port}",))
        (result,) = await agent.deliver(request("nx.test"), MESSAGE)
    assert result.outcome is SENT


async def test_mail_that_loops_does_not_go_to_the_fallback_relay() -> None:
    resolver = FakeResolver({"own.test": {"MX": ["10 me.test"]}, "me.test": {"A": ["192.0.2.1"]}})
    async with ScriptedPeer() as relay:
        agent = smtp_agent(resolver, own=["192.0.2.1"], smtp_fallback_relay=(f"[127.0.0.1]:{relay.port}",))
        (result,) = await agent.deliver(request("own.test"), MESSAGE)
        assert relay.sessions == 0
    assert result.reason == "mail for own.test loops back to myself"


async def test_our_own_name_in_greeting_and_hello_is_noticed() -> None:
    log = RecordingLog()
    script = {"GREETING": "220 MX.pymta.example ESMTP", "EHLO": "250 mx.pymta.example"}
    async with ScriptedPeer(script) as peer:
        await smtp_agent(log=log).deliver(request(_at(peer)), MESSAGE)
    assert log.lines == [
        f"host {NAMED}:{peer.port} replied to HELO/EHLO with my own hostname mx.pymta.example",
    ]


# Sessions that are kept.


async def test_dense_mail_shares_a_session_and_single_messages_do_not() -> None:
    async with ScriptedPeer() as peer:
        agent = smtp_agent(smtp_connection_cache_time_limit=0.3)
        uses = [(await agent.deliver(request(_at(peer)), MESSAGE))[0].connection_use for _ in range(4)]
        assert (uses, peer.sessions) == ([1, 1, 2, 3], 2)
        assert peer.verbs.count("RSET") == 0
        await asyncio.sleep(0.7)
        assert peer.verbs.count("QUIT") == 2
        (result,) = await agent.deliver(request(_at(peer)), MESSAGE)
        assert result.connection_use == 1
        agent.close()


async def test_listed_destinations_are_always_kept_and_the_switch_turns_the_rest_off() -> None:
    async with ScriptedPeer() as peer:
        listed = smtp_agent(smtp_connection_cache_destinations=("127.0.0.1",), smtp_connection_cache_on_demand=False)
        never = smtp_agent(smtp_connection_cache_on_demand=False)
        for agent, expected in ((listed, [1, 2, 3]), (never, [1, 1, 1])):
            uses = [(await agent.deliver(request(_at(peer)), MESSAGE))[0].connection_use for _ in range(3)]
            assert uses == expected
            agent.close()


async def test_reuse_ends_after_its_count() -> None:
    async with ScriptedPeer() as peer:
        agent = smtp_agent(smtp_connection_cache_destinations=("127.0.0.1",), smtp_connection_reuse_count_limit=2)
        uses = [(await agent.deliver(request(_at(peer)), MESSAGE))[0].connection_use for _ in range(5)]
        assert uses == [1, 2, 1, 2, 1]
        agent.close()


def _keeping(log: RecordingLog | None = None, **changes: Any) -> Any:
    return smtp_agent(log=log, smtp_connection_cache_destinations=("127.0.0.1",), **changes)


@pytest.mark.parametrize("step", ["MAIL", "RCPT", "DATA", "."])
async def test_a_kept_session_that_broke_is_replaced_by_a_new_one(step: str) -> None:
    script = {"." if step == "." else step: ["354 go" if step == "DATA" else "250 ok", Act.DROP, "250 ok"]}
    if step == "DATA":
        script["DATA"][-1] = "354 go"
    async with ScriptedPeer(script) as peer:
        agent = _keeping()
        for use in (1, 1, 2):
            (result,) = await agent.deliver(request(_at(peer)), MESSAGE)
            assert (result.outcome, result.connection_use) == (SENT, use)
        assert peer.sessions == 2
        agent.close()


async def test_a_kept_session_that_the_server_ended_is_not_used() -> None:
    async with ScriptedPeer() as peer:
        agent = _keeping()
        await agent.deliver(request(_at(peer)), MESSAGE)
        for task in list(peer._tasks):
            task.cancel()
        await asyncio.sleep(0.05)
        assert len(agent._pool) == 0
        (result,) = await agent.deliver(request(_at(peer)), MESSAGE)
        assert (result.outcome, result.connection_use) == (SENT, 1)
        agent.close()


async def test_a_refused_message_leaves_a_clean_session_for_the_next() -> None:
    async with ScriptedPeer({"RCPT": ["550 5.1.1 no", "250 ok"], "DATA": "354 go"}) as peer:
        agent = _keeping()
        assert _outcomes(await agent.deliver(request(_at(peer)), MESSAGE)) == [(BOUNCED, "5.1.1")]
        assert _outcomes(await agent.deliver(request(_at(peer)), MESSAGE)) == [(SENT, "2.0.0")]
        # The peer wanted the content although nobody was left: the lone dot ended that transaction, no RSET is due.
        assert peer.sessions == 1 and peer.verbs.count("RSET") == 0
        agent.close()
    async with ScriptedPeer({"MAIL": ["550 5.1.1 no", "250 ok"]}) as peer:
        agent = _keeping()
        await agent.deliver(request(_at(peer)), MESSAGE)
        await agent.deliver(request(_at(peer)), MESSAGE)
        assert peer.sessions == 1 and peer.verbs.count("RSET") == 1
        agent.close()


async def test_a_server_that_takes_recipients_of_nobody_gets_no_empty_message() -> None:
    async with ScriptedPeer({"MAIL": "550 5.7.1 no", "RCPT": "250 ok", "DATA": "354 go"}) as peer:
        (result,) = await smtp_agent().deliver(request(_at(peer)), MESSAGE)
        await asyncio.sleep(0.05)
        assert (result.outcome, peer.messages) == (BOUNCED, [])


@pytest.mark.parametrize("script", [{".": "421 4.3.2 closing"}, {"RCPT": "nonsense"}, {"MAIL": "421 4.3.2 closing"}])
async def test_a_session_in_doubt_is_not_kept(script: dict[str, str]) -> None:
    async with ScriptedPeer(script) as peer:
        agent = _keeping()
        for _ in range(2):
            await agent.deliver(request(_at(peer)), MESSAGE)
        assert (peer.sessions, len(agent._pool)) == (2, 0)


async def test_many_sessions_at_once() -> None:
    async with ScriptedPeer() as peer:
        agent = smtp_agent()
        nexthop = _at(peer)
        results = await asyncio.gather(*(agent.deliver(request(nexthop), MESSAGE) for _ in range(200)))
        assert {result[0].outcome for result in results} == {SENT}
        assert len(peer.messages) == 200
        agent.close()


# Content.


@pytest.mark.parametrize("streamed", [False, True])
async def test_a_large_message_arrives_whole(streamed: bool) -> None:
    data = b"".join(b".%d %s\r\n" % (number, b"x" * (number % 80)) for number in range(200_000))
    async with ScriptedPeer() as peer:
        (result,) = await smtp_agent().deliver(request(_at(peer)), BytesContent(data, streamed=streamed))
        assert result.outcome is SENT
        assert hashlib.sha256(peer.messages[0].content).digest() == hashlib.sha256(data).digest()


@pytest.mark.parametrize("broken_at", [0, 1, 2])
async def test_half_a_message_is_never_taken_for_a_whole_one(broken_at: int) -> None:
    content = BytesContent(b"0123456789abcdef\r\n" * 40_000, broken_at=broken_at)
    log = RecordingLog()
    async with ScriptedPeer() as peer:
        (result,) = await smtp_agent(log=log).deliver(request(_at(peer)), content)
        await asyncio.sleep(0.05)
        assert peer.messages == []
    assert (result.outcome, result.status) == (DEFERRED, "4.3.0")
    assert result.reason == f"local data error while talking to {NAMED}"
    assert "spool is gone" in log.lines[0]


_EIGHT = b"Content-Type: text/plain\r\nContent-Transfer-Encoding: 8bit\r\n\r\n\xe4\r\n"
_SEVEN = b"Content-Type: text/plain\r\nContent-Transfer-Encoding: quoted-printable\r\n\r\n=E4\r\n"


@pytest.mark.parametrize("streamed", [False, True])
@pytest.mark.parametrize(
    ("offered", "body", "disabled", "expected"),
    [
        (False, Body.EIGHT_BIT_MIME, False, _SEVEN),
        (False, None, False, _SEVEN),
        (False, Body.SEVEN_BIT, False, _EIGHT),
        (False, Body.EIGHT_BIT_MIME, True, _EIGHT),
        (True, Body.EIGHT_BIT_MIME, False, _EIGHT),
    ],
)
async def test_eight_bits_go_only_where_they_are_welcome(
    offered: bool, body: Body | None, disabled: bool, expected: bytes, streamed: bool
) -> None:
    extensions = ("PIPELINING", "8BITMIME") if offered else ("PIPELINING",)
    async with ScriptedPeer(extensions=extensions) as peer:
        agent = smtp_agent(disable_mime_output_conversion=disabled)
        to_them = request(_at(peer), body=body)
        (result,) = await agent.deliver(to_them, BytesContent(_EIGHT, streamed=streamed))
        assert result.outcome is SENT
        assert peer.messages[0].content == expected


async def test_a_long_line_is_broken_and_that_is_logged() -> None:
    log = RecordingLog()
    async with ScriptedPeer() as peer:
        agent = smtp_agent(log=log, smtp_line_length_limit=10)
        await agent.deliver(request(_at(peer)), BytesContent(b"0123456789ABCDEF\r\nok\r\n"))
        assert peer.messages[0].content == b"0123456789\r\n ABCDEF\r\nok\r\n"
    assert log.lines == ["TESTID: breaking line > 10 bytes with <CR><LF>SPACE"]


# What the server does not offer.


async def test_a_message_larger_than_the_server_takes_is_not_offered() -> None:
    async with ScriptedPeer(extensions=["SIZE 999"]) as peer:
        (result,) = await smtp_agent().deliver(request(_at(peer)), MESSAGE)
        assert "MAIL" not in peer.verbs
    assert (result.outcome, result.status) == (BOUNCED, "5.3.4")
    assert result.reason == f"message size 1000 exceeds size limit 999 of server {NAMED}"


@pytest.mark.parametrize(
    ("changes", "content", "needed"),
    [
        ({"sender": Address("дом", "x.org")}, MESSAGE, True),
        ({"recipients": recipients("ü@x.org")}, MESSAGE, True),
        ({}, BytesContent("Subject: grüß\r\n\r\nx\r\n".encode()), True),
        ({}, BytesContent("Subject: grüß\r\n\r\nx\r\n".encode(), streamed=True), True),
        ({}, BytesContent("Subject: x\r\n\r\ngrüß\r\n".encode()), False),
        ({}, BytesContent("Subject: x\r\n\r\ngrüß\r\n".encode(), streamed=True), False),
    ],
)
async def test_smtputf8_is_asked_for_where_it_is_needed(
    changes: dict[str, Any], content: BytesContent, needed: bool
) -> None:
    async with ScriptedPeer(extensions=["8BITMIME"]) as without, ScriptedPeer() as with_it:
        (result,) = await smtp_agent().deliver(request(_at(without), smtputf8=True, **changes), content)
        if needed:
            reason = f"SMTPUTF8 is required, but was not offered by host {NAMED}"
            assert (result.outcome, result.status, result.reason) == (BOUNCED, "5.6.7", reason)
        else:
            assert result.outcome is SENT
        await smtp_agent().deliver(request(_at(with_it), smtputf8=True, **changes), content)
        assert ("SMTPUTF8" in with_it.messages[0].mail) is needed


async def test_an_address_with_a_line_break_never_reaches_the_wire() -> None:
    bad = Address("a\r\nRCPT TO:<evil@x.org>", "x.org")
    to = (*recipients("ok@x.org"), *(each for each in recipients("-", "bad@x.org")[1:]))
    to = (to[0], type(to[1])(2, bad, bad))
    async with ScriptedPeer() as peer:
        results = await smtp_agent().deliver(request(_at(peer), recipients=to), MESSAGE)
        assert _outcomes(results) == [(SENT, "2.0.0"), (BOUNCED, "5.1.3")]
        assert not any("evil" in command for command in peer.commands)
        (result,) = await smtp_agent().deliver(request(_at(peer), sender=bad), MESSAGE)
        assert (result.outcome, result.status) == (BOUNCED, "5.1.7")


# Leaving, time and addresses.


@pytest.mark.parametrize("skip", [True, False])
async def test_quit_is_said_and_its_answer_not_waited_for(skip: bool) -> None:
    async with ScriptedPeer({"QUIT": Act.SILENCE}) as peer:
        agent = smtp_agent(smtp_skip_quit_response=skip, smtp_quit_timeout=0.2)
        (result,) = await asyncio.wait_for(agent.deliver(request(_at(peer)), MESSAGE), 1.0)
        assert result.outcome is SENT
        await asyncio.sleep(0.3)
        assert peer.verbs[-1] == "QUIT"


async def test_a_slow_trickle_is_patience_unless_the_whole_request_has_a_deadline() -> None:
    async def trickle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            for _ in range(8):
                writer.write(b"220-still here\r\n")
                await asyncio.sleep(0.1)
            writer.write(b"554 no\r\n")
            await reader.read()
        except ConnectionError:
            pass
        writer.close()

    server = await asyncio.start_server(trickle, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    reasons = []
    for deadline in (False, True):
        agent = smtp_agent(smtp_helo_timeout=0.4, smtp_per_request_deadline=deadline)
        reasons.append((await agent.deliver(request(f"[127.0.0.1]:{port}"), MESSAGE))[0].reason)
    server.close()
    assert "refused to talk to me" in reasons[0]
    assert reasons[1] == f"conversation with {NAMED} timed out while receiving the initial server greeting"


async def test_a_cancelled_delivery_leaves_no_connection() -> None:
    async with ScriptedPeer({".": Act.SILENCE}) as peer:
        delivery = asyncio.create_task(smtp_agent().deliver(request(_at(peer)), MESSAGE))
        while "DATA" not in peer.verbs:
            await asyncio.sleep(0.01)
        delivery.cancel()
        with pytest.raises(asyncio.CancelledError):
            await delivery
        await asyncio.sleep(0.05)
        assert peer.messages == []


async def test_the_source_address() -> None:
    async with ScriptedPeer() as peer:
        (result,) = await smtp_agent(smtp_bind_address="127.0.0.1").deliver(request(_at(peer)), MESSAGE)
        assert result.outcome is SENT
        log = RecordingLog()
        (result,) = await smtp_agent(log=log, smtp_bind_address="192.0.2.1").deliver(request(_at(peer)), MESSAGE)
        assert result.outcome is SENT
        assert log.lines == ["bind 192.0.2.1: Cannot assign requested address"]
        agent = smtp_agent(smtp_bind_address="192.0.2.1", smtp_bind_address_enforce=True)
        (result,) = await agent.deliver(request(_at(peer)), MESSAGE)
        assert (result.outcome, result.status) == (DEFERRED, "4.4.1")


def test_the_only_interface_is_where_we_come_from() -> None:
    def source(**changes: Any) -> tuple[str, str]:
        return smtp_agent(**changes)._source

    assert source(inet_interfaces=("192.0.2.1", "[2001:db8::1]")) == ("192.0.2.1", "2001:db8::1")
    assert source(inet_interfaces=("192.0.2.1", "192.0.2.2")) == ("", "")
    assert source(inet_interfaces=("127.0.0.1",)) == ("", "")
    assert source(inet_interfaces=("all",)) == ("", "")
    assert source(inet_interfaces=("192.0.2.1",), smtp_bind_address="192.0.2.9") == ("192.0.2.9", "")


async def test_without_dns_names_come_from_the_hosts_file() -> None:
    async with ScriptedPeer() as peer:
        resolver = FakeResolver(native={"far.test": ["127.0.0.1"]})
        for changes in ({"disable_dns_lookups": True}, {"smtp_dns_support_level": "disabled"}):
            (result,) = await smtp_agent(resolver, **changes).deliver(request(f"far.test:{peer.port}"), MESSAGE)
            assert result.relay == f"far.test[127.0.0.1]:{peer.port}"
        assert {rdtype for _, rdtype in resolver.queries} == {"native"}


def test_hosts_are_named_as_in_postfix_logs() -> None:
    assert Host("mx.test", "2001:db8::1", 25).relay == "mx.test[2001:db8::1]:25"
    assert Host("me.test", "private/lmtp", 0).relay == "me.test[private/lmtp]"


# --- probes ---


@pytest.mark.parametrize("lmtp", [False, True])
async def test_a_probe_asks_and_delivers_nothing(lmtp: bool) -> None:
    script = {"RCPT": ["250 2.1.5 Ok", "550 5.1.1 no such user", "450 4.2.1 busy"]}
    async with ScriptedPeer(script, lmtp=lmtp) as peer:
        agent = lmtp_agent() if lmtp else smtp_agent()
        probe = request(_at(peer), "a@x.org", "b@x.org", "c@x.org", trace=Trace.VERIFY)
        results = await agent.deliver(probe, MESSAGE)
        agent.close()
    assert _outcomes(results) == [(SENT, "2.1.5"), (BOUNCED, "5.1.1"), (DEFERRED, "4.2.1")]
    assert results[0].reason == "250 2.1.5 Ok"
    assert results[0].diagnostic == "smtp; 250 2.1.5 Ok"
    assert results[1].reason == f"host {NAMED} said: 550 5.1.1 no such user (in reply to RCPT TO command)"
    assert peer.messages == []


async def test_a_probe_asks_the_next_host_where_the_first_one_puts_it_off() -> None:
    async with ScriptedPeer({"RCPT": "450 4.2.1 busy"}) as first, ScriptedPeer() as second:
        probe = request(_at(first, second), trace=Trace.VERIFY)
        (result,) = await smtp_agent().deliver(probe, MESSAGE)
    assert result.outcome is SENT and result.relay.endswith(f":{second.port}")
    assert first.messages == second.messages == []


async def test_a_probe_goes_up_to_data_where_that_is_asked_for() -> None:
    async with ScriptedPeer({"DATA": ["354 go ahead", "550 5.7.1 not here"]}) as peer:
        agent = smtp_agent(smtp_address_verify_target="data")
        probe = request(_at(peer), trace=Trace.VERIFY)
        (taken,) = await agent.deliver(probe, MESSAGE)
        (refused,) = await agent.deliver(probe, MESSAGE)
    assert (taken.outcome, taken.status, taken.reason) == (SENT, "2.0.0", "354 go ahead")
    assert (refused.outcome, refused.reason) == (
        BOUNCED,
        f"host {NAMED} said: 550 5.7.1 not here (in reply to DATA command)",
    )
    assert peer.messages == []


async def test_an_unknown_stage_for_probes_stops_the_start() -> None:
    with pytest.raises(ConfigError, match='smtp_address_verify_target: bad protocol stage "mail"'):
        smtp_agent(smtp_address_verify_target="mail")
