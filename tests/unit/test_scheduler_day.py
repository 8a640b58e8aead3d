"""A simulated day: a thousand destinations, some dead, some slow, some that come and go; nobody starves."""

from __future__ import annotations

import heapq
import random
from collections import Counter
from dataclasses import dataclass, field, replace

import pytest

from pymta.model.address import Address
from pymta.model.queue import QueuedRecipient
from pymta.qmgr.feedback import ConcurrencyLimits, Feedback
from pymta.qmgr.scheduler import Entry, Problem, Scheduler, TransportLimits

REFUSED = Problem("4.4.1", "Connection refused")
DAY = 86400.0
SITES = 1000
PROCESSES = 40
BOB = QueuedRecipient(0, Address("bob", "example.com"), Address("bob", "example.com"))

DEAD = frozenset(range(0, SITES, 10))
SLOW = frozenset(range(1, SITES, 10))
TURNING = frozenset(range(3, SITES, 10))
# These have a transport of their own, with a pause after each delivery.
PACED = frozenset(range(4, SITES, 10))
PAUSE = 0.25
BULK = 2


@dataclass(eq=False)
class Letter:
    queue_id: str
    site: int
    recipients: int
    since: float
    unread: int = 0


@dataclass
class Day:
    """`waits` are from arrival to the first delivery, in seconds; `lost` were given back with their destination."""

    scheduler: Scheduler
    waits: dict[Letter, float] = field(default_factory=dict)
    lost: Counter[int] = field(default_factory=Counter)
    deliveries: Counter[int] = field(default_factory=Counter)
    busy: Counter[int] = field(default_factory=Counter)
    widest: Counter[int] = field(default_factory=Counter)
    unpaced: int = 0
    ended: dict[int, float] = field(default_factory=dict)
    events: list[tuple[float, int, Letter | Entry | None]] = field(default_factory=list)
    serial: int = 0

    def at(self, when: float, what: Letter | Entry | None) -> None:
        self.serial += 1
        heapq.heappush(self.events, (when, self.serial, what))

    def run(self) -> None:
        while self.events:
            now, _, what = heapq.heappop(self.events)
            if isinstance(what, Letter):
                self.arrive(what, now)
            elif isinstance(what, Entry):
                self.end(what, now)
            while (started := self.scheduler.next(now)) is not None:
                self.begin(started, now)
            wakeup = self.scheduler.next_wakeup()
            if wakeup is not None and (not self.events or self.events[0][0] > wakeup):
                self.at(wakeup, None)

    def arrive(self, letter: Letter, now: float) -> None:
        site = str(letter.site)
        transport = "paced" if letter.site in PACED else "smtp"
        if isinstance(self.scheduler.submit(letter, transport, site, site, [BOB] * letter.recipients, now), Problem):
            self.lost[letter.site] += 1

    def begin(self, entry: Entry, now: float) -> None:
        letter = entry.message
        assert isinstance(letter, Letter)
        self.waits.setdefault(letter, now - letter.since)
        self.deliveries[letter.site] += 1
        self.busy[letter.site] += 1
        self.widest[letter.site] = max(self.widest[letter.site], self.busy[letter.site])
        if letter.site in PACED:
            assert self.busy[letter.site] == 1
            assert now >= self.ended.get(letter.site, -PAUSE) + PAUSE
        else:
            self.unpaced += 1
            assert self.unpaced <= PROCESSES
        self.at(now + (30.0 if self.is_down(letter.site, now) else 60.0 if letter.site in SLOW else 0.5), entry)

    def end(self, entry: Entry, now: float) -> None:
        letter = entry.message
        assert isinstance(letter, Letter)
        self.busy[letter.site] -= 1
        self.unpaced -= letter.site not in PACED
        self.ended[letter.site] = now
        for given_back in self.scheduler.finished(entry, now, REFUSED if self.is_down(letter.site, now) else True):
            assert isinstance(given_back.message, Letter)
            self.lost[given_back.message.site] += 1

    def is_down(self, site: int, now: float) -> bool:
        """Some are down for every second hour."""
        return site in DEAD or (site in TURNING and int(now / 3600) % 2 == 1)


def good(site: int) -> bool:
    return site not in DEAD | SLOW | TURNING | PACED


FEEDBACK = ["1", "1/concurrency", "1/sqrt_concurrency"]


@pytest.mark.parametrize("feedback", FEEDBACK)
def test_a_day_with_a_thousand_destinations_starves_nobody(feedback: str) -> None:
    chance = random.Random(feedback)
    parsed = Feedback.parse(feedback)
    limits = TransportLimits(ConcurrencyLimits(5, 20, parsed, parsed, 1), recipients=50, processes=PROCESSES)
    paced = replace(limits, concurrency=ConcurrencyLimits(5, 1, parsed, parsed, 1), destination_delay=PAUSE)
    day = Day(Scheduler(lambda name: paced if name == "paced" else limits, 300.0))
    for number in range(30_000):
        site = BULK if number % 2 else chance.randrange(SITES)
        came = chance.uniform(0, DAY)
        day.at(came, Letter(f"m{number}", site, 1 + 200 * (number % 100 == 0), came))
    for hour in range(24):
        # Lists: 400 deliveries for the site that gets half of all mail, 100 for one that is dead and one that turns.
        for site, recipients in ((BULK, 20_000), (min(DEAD), 5_000), (min(TURNING), 5_000)):
            day.at(hour * 3600.0 + 60, Letter(f"{site}-{hour}", site, recipients, hour * 3600.0 + 60))
    day.run()

    assert len(day.waits) + day.lost.total() >= 30_072, "everything was tried or given back"
    assert not any(transport.jobs for transport in day.scheduler._transports.values())
    assert all(day.deliveries[site] for site in range(SITES))
    assert max(day.widest.values()) == 20
    # Dead sites cost a few tries of each list only; those that come and go get their mail while they are there.
    assert all(day.deliveries[site] <= 24 * 10 for site in DEAD)
    assert day.deliveries[min(TURNING)] >= 12 * 100
    assert sum(day.lost[site] for site in range(SITES) if good(site) or site in PACED) == 0
    assert all(day.deliveries[site] >= 3 for site in TURNING)
    waits = sorted(wait for letter, wait in day.waits.items() if good(letter.site) and letter.site != BULK)
    assert waits[len(waits) // 2] == 0.0
    assert waits[int(len(waits) * 0.99)] < 1.0
    assert waits[-1] < 30.0, "the longest wait of a site that works, whatever the others do"
    letters = sorted(w for letter, w in day.waits.items() if letter.site == BULK and letter.recipients == 1)
    assert letters[int(len(letters) * 0.99)] < 1.5 and letters[-1] < 5.0, "letters pass the lists of their own site"


# How many of 2,000 deliveries the server may refuse: without feedback it is more than twice as many.
REFUSALS = {"1": 950, "1/concurrency": 400, "1/sqrt_concurrency": 800}


@pytest.mark.parametrize("feedback", FEEDBACK)
def test_a_server_with_room_for_five_is_kept_busy_and_seldom_asked_for_more(feedback: str) -> None:
    """The experiment of Postfix's SCHEDULER_README: the client's limit is 20, the server's 5."""
    parsed = Feedback.parse(feedback)
    limits = TransportLimits(ConcurrencyLimits(5, 20, parsed, parsed, 1), recipients=1)
    scheduler = Scheduler(lambda name: limits, 300.0)
    for number in range(2000):
        assert scheduler.submit(Letter(f"m{number}", 0, 1, 0.0), "smtp", "a", "a", [BOB], 0.0) == 1
    running: list[tuple[float, int, bool, Entry]] = []
    now, started, refused = 0.0, 0, 0
    while started < 2000 or running:
        while (entry := scheduler.next(now)) is not None:
            started += 1
            is_taken = sum(taken for _, _, taken, _ in running) < 5
            heapq.heappush(running, (now + (1.0 if is_taken else 0.1), started, is_taken, entry))
        now, _, is_taken, entry = heapq.heappop(running)
        refused += not is_taken
        assert scheduler.finished(entry, now, True if is_taken else REFUSED) == [], "it is busy, not dead"
    assert refused <= REFUSALS[feedback]
    assert 2000 - refused >= now * 4.9, "five a second"
