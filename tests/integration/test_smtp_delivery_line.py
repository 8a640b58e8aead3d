"""Messages one behind the other in a session: the next envelope goes out with the end of the content before it."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from pymta.delivery import smtp as smtp_module
from pymta.model.delivery import DeliveryResult, Outcome
from pymta.testing import Act, RecordingLog, ScriptedPeer
from tests.support.smtp_client import MESSAGE, BytesContent, request, smtp_agent


@pytest.fixture(autouse=True)
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """A busy machine makes no server slow."""
    monkeypatch.setattr(smtp_module, "_QUICK", 60.0)


def _at(peer: ScriptedPeer) -> str:
    return f"[127.0.0.1]:{peer.port}"


def _keeping(**changes: Any) -> Any:
    return smtp_agent(log=RecordingLog(), smtp_connection_cache_destinations=("127.0.0.1",), **changes)


async def _deliver(agent: Any, peer: ScriptedPeer, count: int) -> list[DeliveryResult]:
    answers = await asyncio.gather(*[agent.deliver(request(_at(peer)), MESSAGE) for _ in range(count)])
    return [result for (result,) in answers]


async def test_where_all_sessions_are_busy_the_next_message_goes_behind_another() -> None:
    async with ScriptedPeer() as peer:
        agent = _keeping()
        await _deliver(agent, peer, 1)
        results = await _deliver(agent, peer, 2)
        assert [result.outcome for result in results] == [Outcome.SENT] * 2
        assert sorted(result.connection_use for result in results) == [2, 3]
        assert peer.sessions == 1
        assert [message.content for message in peer.messages] == [MESSAGE.data] * 3
        assert len(agent._pool) == 1 and not agent._quick
        agent.close()


async def test_the_line_is_short_and_all_that_is_more_gets_sessions_of_its_own() -> None:
    async with ScriptedPeer() as peer:
        agent = _keeping()
        await _deliver(agent, peer, 1)
        results = await _deliver(agent, peer, 20)
        assert [result.outcome for result in results] == [Outcome.SENT] * 20
        assert len(peer.messages) == 21
        assert 2 < peer.sessions < 20
        agent.close()


async def test_who_was_slow_before_gets_nobody_in_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(smtp_module, "_QUICK", 0.0)
    async with ScriptedPeer() as peer:
        agent = _keeping()
        await _deliver(agent, peer, 1)
        await _deliver(agent, peer, 2)
        assert peer.sessions == 2
        agent.close()


async def test_who_does_not_pipeline_gets_nobody_in_line() -> None:
    async with ScriptedPeer(extensions=("SIZE 1000000",)) as peer:
        agent = _keeping()
        await _deliver(agent, peer, 1)
        await _deliver(agent, peer, 2)
        assert peer.sessions == 2
        agent.close()


async def test_the_limit_of_uses_counts_those_in_line() -> None:
    async with ScriptedPeer() as peer:
        agent = _keeping(smtp_connection_reuse_count_limit=2)
        await _deliver(agent, peer, 1)
        results = await _deliver(agent, peer, 2)
        assert sorted(result.connection_use for result in results) == [1, 2]
        agent.close()


@pytest.mark.parametrize(
    ("script", "taken"),
    [
        ({".": ["250 ok", Act.DROP, "250 ok"]}, 3),
        ({".": ["250 ok", "421 4.3.2 going down", "250 ok"]}, 3),
        ({"MAIL": ["250 ok", "250 ok", Act.DROP, "250 ok"]}, 3),
        ({"RCPT": ["250 ok", "250 ok", Act.RESET, "250 ok"]}, 3),
        ({"DATA": ["354 go", Act.DROP, "354 go"]}, 3),
    ],
)
async def test_what_breaks_for_one_goes_out_again_for_all(script: dict[str, Any], taken: int) -> None:
    async with ScriptedPeer(script) as peer:
        agent = _keeping()
        await _deliver(agent, peer, 1)
        results = await _deliver(agent, peer, 2)
        assert [result.outcome for result in results] == [Outcome.SENT] * 2
        assert len(peer.messages) == taken
        assert not agent._quick
        agent.close()


async def test_a_refused_message_is_no_matter_to_the_one_behind_it() -> None:
    async with ScriptedPeer({"RCPT": ["250 ok", "550 5.1.1 no", "250 ok"], "DATA": "354 go"}) as peer:
        agent = _keeping()
        await _deliver(agent, peer, 1)
        results = await _deliver(agent, peer, 2)
        assert [result.status for result in results] == ["5.1.1", "2.0.0"]
        assert len(peer.messages) == 2
        agent.close()


async def test_content_that_cannot_be_read_stops_no_other_message() -> None:
    async with ScriptedPeer() as peer:
        agent = _keeping()
        await _deliver(agent, peer, 1)
        broken = BytesContent(b"0123456789abcdef\r\n" * 40_000, broken_at=1)
        (first,), (second,) = await asyncio.gather(
            agent.deliver(request(_at(peer)), broken), agent.deliver(request(_at(peer)), MESSAGE)
        )
        assert (first.status, second.status) == ("4.3.0", "2.0.0")
        assert [message.content for message in peer.messages] == [MESSAGE.data] * 2
        agent.close()
