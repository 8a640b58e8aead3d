"""The scheduler's choices against Postfix's rule in its plain form (`tests/support/job_list.py`)."""

from __future__ import annotations

import heapq
import random
from collections import Counter, defaultdict
from dataclasses import dataclass
from statistics import mean

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pymta.model.address import Address
from pymta.model.queue import QueuedRecipient
from pymta.qmgr.feedback import ConcurrencyLimits, Feedback
from pymta.qmgr.lanes import lane_of
from pymta.qmgr.scheduler import Entry, Scheduler, SlotRules, TransportLimits
from tests.support.job_list import JobList

BOB = QueuedRecipient(0, Address("bob", "example.com"), Address("bob", "example.com"))
NONE = Feedback(0.0)


@dataclass(eq=False)
class Letter:
    queue_id: str
    since: float
    unread: int = 0


class Ours:
    """The scheduler, asked like a `JobList`."""

    def __init__(self, rules: SlotRules, window: int) -> None:
        limits = TransportLimits(ConcurrencyLimits(window, window, NONE, NONE, 0), recipients=1, slots=rules)
        self._scheduler = Scheduler(lambda name: limits, 300.0)
        self._busy: dict[str, list[Entry]] = defaultdict(list)
        self.now = 0.0

    def submit(self, name: str, waiting: dict[str, int], now: float) -> None:
        letter = Letter(name, now)
        for site, count in waiting.items():
            assert self._scheduler.submit(letter, "t", site, site, [BOB] * count, now) == count

    def next(self, now: float) -> tuple[str, str] | None:
        self.now = now
        entry = self._scheduler.next(now)
        if entry is None:
            return None
        self._busy[entry.nexthop].append(entry)
        return entry.queue_id, entry.nexthop

    def finished(self, site: str) -> None:
        self._scheduler.finished(self._busy[site].pop(), self.now, True)


def spread(entries: int, sites: int, chance: random.Random) -> dict[str, int]:
    return dict(Counter(f"s{chance.randrange(sites)}" for _ in range(entries)))


RULES = st.builds(
    SlotRules, cost=st.integers(0, 6), loan=st.integers(0, 4), discount=st.integers(0, 100), minimum=st.integers(0, 4)
)
SIZES = st.lists(st.integers(1, 15), min_size=1, max_size=40)


@settings(max_examples=100, deadline=None)
@given(SIZES, RULES, st.integers(1, 8), st.integers(1, 10), st.integers())
def test_jobs_of_up_to_fifteen_entries_go_in_the_order_of_postfix(
    sizes: list[int], rules: SlotRules, processes: int, sites: int, seed: int
) -> None:
    chance = random.Random(seed)
    ours, plain = Ours(rules, 1000), JobList(rules, 1000)
    running: list[str] = []
    now = 0.0
    while sizes or running or plain.jobs:
        now += chance.random()
        if sizes and chance.random() < 0.4:
            name, waiting = f"m{len(sizes)}", spread(sizes.pop(), sites, chance)
            ours.submit(name, waiting, now)
            plain.submit(name, waiting, now)
        while len(running) < processes and (delivery := ours.next(now)) is not None:
            assert delivery == plain.next(now)
            running.append(delivery[1])
        if running:
            site = running.pop(chance.randrange(len(running)))
            ours.finished(site)
            plain.finished(site)


def waits(scheduler: Ours | JobList, sites: int, processes: int, seed: int) -> dict[str, float]:
    """How long messages take on average, where letters, middling ones and lists are nearly too much."""
    chance = random.Random(seed)
    kinds = [*["letter"] * 16, *["middling"] * 3, "list"]
    sizes = {"letter": (1, 1), "middling": (2, 20), "list": (20, 300)}
    stream = [(kind, chance.randint(*sizes[kind])) for kind in chance.choices(kinds, k=500)]
    rate = 0.95 * processes * len(stream) / sum(size for _, size in stream)
    came: dict[str, float] = {}
    left: dict[str, int] = {}
    took: dict[str, list[float]] = defaultdict(list)
    events: list[tuple[float, int, str, str]] = []
    now, busy, number = 0.0, 0, len(stream)
    for place in range(len(stream)):
        now += chance.expovariate(rate)
        events.append((now, place, "", ""))
    while events:
        now, place, name, site = heapq.heappop(events)
        if name:
            busy -= 1
            scheduler.finished(site)
            left[name] -= 1
            if not left[name]:
                took[stream[int(name)][0]].append(now - came[name])
        else:
            name = str(place)
            came[name], left[name] = now, stream[place][1]
            scheduler.submit(name, spread(stream[place][1], sites, random.Random(place)), now)
        while busy < processes and (delivery := scheduler.next(now)) is not None:
            busy += 1
            number += 1
            heapq.heappush(events, (now + 0.5 + number * 7 % 10 / 10, number, *delivery))
    return {kind: mean(times) for kind, times in took.items()}


@pytest.mark.parametrize(("window", "sites"), [(1000, 1), (1000, 50), (2, 6)])
def test_messages_take_as_long_as_by_postfix_s_rule(window: int, sites: int) -> None:
    plain = waits(JobList(SlotRules(), window), sites, 10, 4)
    ours = waits(Ours(SlotRules(), window), sites, 10, 4)
    assert ours == pytest.approx(plain, rel=0.02)
    assert plain["letter"] * 3 < plain["list"]


def test_sizes_of_a_lane_are_equal_or_alike() -> None:
    first: dict[int, int] = {}
    for entries in range(1, 50_001):
        lane = lane_of(entries)
        assert entries < first.setdefault(lane, entries) * 1.125
        assert lane <= 15 or entries > 15
    assert len(first) == 108
