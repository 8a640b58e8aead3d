"""Deliveries that the queue manager's process makes itself, and those that it passes on."""

from collections.abc import Callable, Sequence
from typing import Any

import pytest

from pymta.app.own_first import Hands, OwnFirst
from pymta.model.delivery import DeliveryRequest, DeliveryResult
from pymta.ports import Content
from pymta.spool.content import MemoryContent
from tests.support.smtp_client import request

CONTENT = MemoryContent(b"x\r\n")
ANSWER: list[DeliveryResult] = []


class Agent:
    """Notes what it is asked for; `kept` says whether it takes a message without a task."""

    def __init__(self, *, kept: bool = True) -> None:
        self.kept = kept
        self.begun: list[Callable[[Any], None]] = []
        self.delivered = 0

    async def deliver(self, request: DeliveryRequest, content: Content) -> Sequence[DeliveryResult]:
        self.delivered += 1
        return ANSWER

    def begin(self, request: DeliveryRequest, content: Content, done: Callable[[Any], None]) -> bool:
        if self.kept:
            self.begun.append(done)
        return self.kept


def both(limit: int, own: Agent, others: Agent) -> OwnFirst:
    return OwnFirst(own, others, Hands(limit))  # type: ignore[arg-type]


def test_what_finds_hands_full_goes_to_others_until_one_is_free() -> None:
    own, others, answers = Agent(), Agent(), []
    agent = both(2, own, others)
    for _ in range(4):
        assert agent.begin(request("r@example.net"), CONTENT, answers.append)
    assert (len(own.begun), len(others.begun)) == (2, 2)
    others.begun[0](ANSWER)
    assert agent.begin(request("r@example.net"), CONTENT, answers.append)
    assert (len(own.begun), len(others.begun)) == (2, 3)
    own.begun[1](ANSWER)
    assert agent.begin(request("r@example.net"), CONTENT, answers.append)
    assert (len(own.begun), len(others.begun)) == (3, 3)
    assert answers == [ANSWER, ANSWER]


async def test_without_a_kept_session_a_delivery_takes_a_hand_as_long_as_it_lasts() -> None:
    own, others = Agent(kept=False), Agent(kept=False)
    hands = Hands(1)
    agent = OwnFirst(own, others, hands)  # type: ignore[arg-type]
    assert not agent.begin(request("r@example.net"), CONTENT, lambda answer: None) and hands.used == 0
    await agent.deliver(request("r@example.net"), CONTENT)
    assert (own.delivered, others.delivered, hands.used) == (1, 0, 0)
    hands.used = 1
    await agent.deliver(request("r@example.net"), CONTENT)
    assert (own.delivered, others.delivered, hands.used) == (1, 1, 1)


async def test_a_delivery_that_fails_gives_its_hand_back() -> None:
    class Broken(Agent):
        def begin(self, request: DeliveryRequest, content: Content, done: Callable[[Any], None]) -> bool:
            raise OSError("broken")

        async def deliver(self, request: DeliveryRequest, content: Content) -> Sequence[DeliveryResult]:
            raise OSError("broken")

    hands = Hands(1)
    agent = OwnFirst(Broken(kept=False), Agent(), hands)  # type: ignore[arg-type]
    with pytest.raises(OSError, match="broken"):
        agent.begin(request("r@example.net"), CONTENT, lambda answer: None)
    with pytest.raises(OSError, match="broken"):
        await agent.deliver(request("r@example.net"), CONTENT)
    assert hands.used == 0
