"""Deliveries that nobody waits for: a kept session takes the message at once, and the results come later."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

import pytest

from pymta.model.delivery import DeliveryResult, Outcome
from pymta.ports import Content
from pymta.testing import Act, FakeResolver, RecordingLog, ScriptedPeer
from tests.support.smtp_client import MESSAGE, BytesContent, request, smtp_agent

SENT = Outcome.SENT


def _keeping(resolver: FakeResolver | None = None, **changes: Any) -> Any:
    return smtp_agent(resolver, RecordingLog(), smtp_connection_cache_destinations=("127.0.0.1",), **changes)


def _at(*peers: ScriptedPeer) -> str:
    return ", ".join(f"[127.0.0.1]:{peer.port}" for peer in peers)


async def _first(agent: Any, nexthop: str) -> None:
    """One message, so that a session is kept."""
    (result,) = await agent.deliver(request(nexthop), MESSAGE)
    assert result.outcome is SENT
    await asyncio.sleep(0.01)


async def _begun(agent: Any, nexthop: str, *to: str, content: Content = MESSAGE) -> Sequence[DeliveryResult]:
    answers: list[Any] = []
    there = asyncio.Event()

    def done(answer: Sequence[DeliveryResult] | Exception) -> None:
        answers.append(answer)
        there.set()

    assert agent.begin(request(nexthop, *to), content, done)
    assert not answers
    async with asyncio.timeout(5):
        await there.wait()
    await asyncio.sleep(0.05)
    (answer,) = answers
    assert isinstance(answer, list)
    return answer


async def test_without_a_kept_session_it_must_be_waited_for() -> None:
    async with ScriptedPeer() as peer:
        agent = _keeping()
        assert not agent.begin(request(_at(peer)), MESSAGE, print)
        await _first(agent, _at(peer))
        assert not agent.begin(request(_at(peer), "line\r\nbreak@x.org"), MESSAGE, print)
        assert not agent.begin(request(_at(peer), smtputf8=True), MESSAGE, print)
        agent.close()


async def test_a_kept_session_takes_one_message_after_the_other() -> None:
    async with ScriptedPeer({"RCPT": ["250 ok", "250 ok", "550 5.1.1 no", "250 ok"]}) as peer:
        agent = _keeping()
        await _first(agent, _at(peer))
        results = [*await _begun(agent, _at(peer), "a@x.org", "b@x.org"), *await _begun(agent, _at(peer))]
        assert [(one.number, one.status, one.connection_use) for one in results] == [
            (1, "2.0.0", 2),
            (2, "5.1.1", 2),
            (1, "2.0.0", 3),
        ]
        assert peer.sessions == 1 and len(peer.messages) == 3
        agent.close()


@pytest.mark.parametrize("step", ["MAIL", "RCPT", "DATA", "."])
async def test_where_the_kept_session_breaks_a_new_one_takes_over(step: str) -> None:
    good = "354 go" if step == "DATA" else "250 ok"
    async with ScriptedPeer({step: [good, Act.DROP, good]}) as peer:
        agent = _keeping()
        await _first(agent, _at(peer))
        (result,) = await _begun(agent, _at(peer))
        assert (result.outcome, result.connection_use, peer.sessions) == (SENT, 1, 2)
        agent.close()


async def test_who_is_put_off_goes_to_the_next_host() -> None:
    async with ScriptedPeer({"RCPT": ["250 ok", "250 ok", "450 4.2.1 busy"]}) as first, ScriptedPeer() as second:
        agent = _keeping()
        await _first(agent, _at(first, second))
        results = await _begun(agent, _at(first, second), "a@x.org", "b@x.org")
        # The same host is asked once more, over a new session: the kept one may have been the reason.
        assert [one.outcome for one in results] == [SENT, SENT]
        assert results[0].relay.endswith(f":{first.port}")
        assert [one.rcpt[0].partition(" ")[0] for one in second.messages] == ["<b@x.org>"]
        agent.close()


async def test_long_content_comes_whole_and_half_of_it_is_none() -> None:
    data = b"0123456789abcdef\r\n" * 40_000
    async with ScriptedPeer() as peer:
        agent = _keeping()
        await _first(agent, _at(peer))
        (result,) = await _begun(agent, _at(peer), content=BytesContent(data, streamed=True))
        assert result.outcome is SENT and peer.messages[-1].content == data
        (result,) = await _begun(agent, _at(peer), content=BytesContent(data, broken_at=1))
        assert (result.outcome, result.status) == (Outcome.DEFERRED, "4.3.0")
        assert len(peer.messages) == 2
        agent.close()


async def test_abandoned_deliveries_leave_no_connection() -> None:
    async with ScriptedPeer({".": ["250 ok", Act.SILENCE]}) as peer:
        agent = _keeping(smtp_connect_timeout=0.3, smtp_helo_timeout=0.3)
        await _first(agent, _at(peer))
        assert agent.begin(request(_at(peer)), MESSAGE, lambda answer: None)
        await asyncio.sleep(0.05)
        (connection,) = agent._occupied
        agent.abandon()
        await asyncio.sleep(0.05)
        assert not connection.is_alive and not agent._occupied
        agent.abandon()


async def test_a_bug_of_ours_before_the_message_is_in_line_leaves_it_to_another_session() -> None:
    async with ScriptedPeer() as peer:
        agent = _keeping()
        await _first(agent, _at(peer))
        calls = []

        def checks(content: Content, queue_id: str) -> Content:
            calls.append(queue_id)
            if len(calls) == 1:
                raise RuntimeError("broken")
            return content

        agent.checks = checks
        (result,) = await _begun(agent, _at(peer))
        assert result.outcome is SENT and peer.sessions == 2
        assert any(level == "error" and "broken" in line for level, line in agent.log.records)
        agent.close()
