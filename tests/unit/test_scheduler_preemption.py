"""Small messages step in front of large ones, at the price that the parameters name; tables computed by hand."""

from dataclasses import dataclass, replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pymta.model.address import Address
from pymta.model.queue import QueuedRecipient
from pymta.qmgr.feedback import ConcurrencyLimits, Feedback
from pymta.qmgr.scheduler import Entry, Problem, Scheduler, SlotRules, TransportLimits

ONE = Feedback(1.0)
# One delivery at a time, one recipient each: the order of deliveries is the order of the scheduler's decisions.
SERIAL = TransportLimits(ConcurrencyLimits(1000, 1000, ONE, ONE, 1), recipients=1, processes=1)
BOB = Address("bob", "example.com")


@dataclass(eq=False)
class Letter:
    queue_id: str
    since: float = 0.0
    unread: int = 0


def scheduler_with(**rules: int) -> Scheduler:
    return Scheduler(lambda name: replace(SERIAL, slots=replace(SlotRules(), **rules)), 300.0)


def submit(scheduler: Scheduler, message: Letter | str, entries: int, site: str = "a", now: float = 0.0) -> None:
    letter = Letter(message, since=now) if isinstance(message, str) else message
    recipients = [QueuedRecipient(number, BOB, BOB) for number in range(entries)]
    assert scheduler.submit(letter, "smtp", site, site, recipients, now) == entries


def serve(scheduler: Scheduler, count: int = 1_000_000, now: float = 0.0) -> list[str]:
    order = []
    while len(order) < count and (entry := scheduler.next(now)) is not None:
        order.append(entry.queue_id)
        scheduler.finished(entry, now, True)
    return order


def runs(order: list[str]) -> list[tuple[str, int]]:
    """`aab` as `[(a, 2), (b, 1)]`."""
    found: list[tuple[str, int]] = []
    for name in order:
        if found and found[-1][0] == name:
            found[-1] = (name, found[-1][1] + 1)
        else:
            found.append((name, 1))
    return found


ORDERS = [
    # The first delivery of the list earns its first slot, and the loan makes that enough; the other four deliveries
    # of the price follow before the next letter.
    ({}, [100, 1, 1, 1], [("0", 1), ("1", 1), ("0", 5), ("2", 1), ("0", 5), ("3", 1), ("0", 89)]),
    # Without loan and discount the whole price comes first.
    ({"loan": 0, "discount": 0}, [100, 1, 1], [("0", 5), ("1", 1), ("0", 5), ("2", 1), ("0", 90)]),
    # Half of what 4 entries need is 2 slots: 10 deliveries; then 4 slots are paid for, so 10 deliveries are owed.
    ({"loan": 0}, [100, 4, 1], [("0", 5), ("2", 1), ("0", 10), ("1", 4), ("0", 85)]),
    ({"loan": 0}, [100, 4], [("0", 10), ("1", 4), ("0", 90)]),
    ({"loan": 0, "discount": 100}, [100, 4], [("0", 1), ("1", 4), ("0", 99)]),
    ({"cost": 10, "loan": 0, "discount": 0}, [100, 1], [("0", 10), ("1", 1), ("0", 90)]),
    # A cost of 1 or 0 is none: first come, first served.
    ({"cost": 1}, [30, 1], [("0", 30), ("1", 1)]),
    ({"cost": 0}, [30, 1], [("0", 30), ("1", 1)]),
    # 14 entries can never earn 3 slots of 5, 15 can; 14 can earn 2.
    ({}, [14, 1], [("0", 14), ("1", 1)]),
    ({}, [15, 1], [("0", 1), ("1", 1), ("0", 14)]),
    ({"minimum": 2}, [14, 1], [("0", 1), ("1", 1), ("0", 13)]),
    # What needs more slots than the list can still earn waits: 100 entries are 20 slots.
    ({}, [100, 21], [("0", 100), ("1", 21)]),
    ({"discount": 100}, [100, 20], [("0", 1), ("1", 20), ("0", 99)]),
]


@pytest.mark.parametrize(("rules", "sizes", "expected"), ORDERS)
def test_order(rules: dict[str, int], sizes: list[int], expected: list[tuple[str, int]]) -> None:
    scheduler = scheduler_with(**rules)
    for number, entries in enumerate(sizes):
        submit(scheduler, str(number), entries)
    assert runs(serve(scheduler)) == expected


def test_a_letter_passes_a_list_of_fifty_thousand() -> None:
    scheduler = Scheduler(lambda name: replace(SERIAL, recipients=50), 300.0)
    everyone = [QueuedRecipient(number, BOB, BOB) for number in range(50_000)]
    assert scheduler.submit(Letter("list"), "smtp", "a", "a", everyone, 0.0) == 1000
    assert serve(scheduler, 300) == ["list"] * 300
    submit(scheduler, "letter", 1)
    assert serve(scheduler, 1) == ["letter"]


def test_the_longest_wait_for_its_size_goes_first() -> None:
    scheduler = scheduler_with(loan=0, discount=0)
    submit(scheduler, "list", 1000, now=0.0)
    submit(scheduler, "four", 4, now=10.0)
    submit(scheduler, "one", 1, now=30.0)
    # At 60, four has waited 51/4 seconds per entry, one 31/1; later it is the other way round only for an older four.
    assert runs(serve(scheduler, 26, now=60.0)) == [("list", 5), ("one", 1), ("list", 20)]
    assert serve(scheduler, 4, now=60.0) == ["four"] * 4


def test_a_message_on_disk_counts_with_all_its_recipients() -> None:
    scheduler = scheduler_with()
    submit(scheduler, Letter("long", unread=10_000), 1)
    submit(scheduler, "short", 1)
    # One entry in memory earns no slot for sure, so nothing steps in front; and `long` itself is never small.
    assert serve(scheduler, 2) == ["long", "short"]
    submit(scheduler, "list", 100)
    submit(scheduler, Letter("other", unread=10_000), 1)
    assert runs(serve(scheduler)) == [("list", 100), ("other", 1)]


def test_slots_that_were_paid_and_not_used_come_back() -> None:
    scheduler = scheduler_with(loan=0, discount=50)
    submit(scheduler, "list", 200)
    submit(scheduler, "four", 4, site="dying")
    assert runs(serve(scheduler, 10)) == [("list", 10)]
    first = scheduler.next(0.0)
    assert first is not None and first.queue_id == "four"
    dead = Problem("4.4.1", "refused")
    # Four slots, 20 deliveries, were paid; three of four entries go away with their destination.
    scheduler._transports["smtp"].destinations["dying"].window.size = 1
    assert len(scheduler.finished(first, 0.0, dead)) == 3
    submit(scheduler, "late", 1)
    # 10 earned - 20 paid + 15 back = 5: half of one slot is there.
    assert serve(scheduler, 1) == ["late"]


def test_jobs_in_front_of_jobs_in_front() -> None:
    scheduler = scheduler_with(loan=0, discount=100)
    submit(scheduler, "list", 1000)
    submit(scheduler, "middle", 100)
    assert serve(scheduler, 3) == ["list", "middle", "middle"]
    submit(scheduler, "small", 1)
    assert serve(scheduler, 1) == ["small"]
    assert runs(serve(scheduler)) == [("middle", 98), ("list", 999)]


def test_a_job_whose_destinations_are_full_steps_in_front_of_nobody() -> None:
    concurrency = ConcurrencyLimits(1, 1, ONE, ONE, 1)
    scheduler = Scheduler(lambda name: replace(SERIAL, processes=2, concurrency=concurrency), 300.0)
    submit(scheduler, "first", 1, site="slow")
    slow = scheduler.next(0.0)
    assert slow is not None
    submit(scheduler, "list", 100)
    submit(scheduler, "stuck", 1, site="slow")
    submit(scheduler, "free", 1, site="quick")
    assert runs(serve(scheduler, 8)) == [("list", 1), ("free", 1), ("list", 6)]
    scheduler.finished(slow, 0.0, True)
    assert "stuck" in serve(scheduler, 2)


SIZES = st.lists(st.integers(1, 60), min_size=1, max_size=40)


@settings(max_examples=150, deadline=None)
@given(SIZES, st.integers(0, 8), st.integers(0, 5), st.integers(0, 100), st.integers(0, 5))
def test_every_entry_is_served_once_whatever_the_rules(
    sizes: list[int], cost: int, loan: int, discount: int, minimum: int
) -> None:
    scheduler = scheduler_with(cost=cost, loan=loan, discount=discount, minimum=minimum)
    for number, entries in enumerate(sizes):
        submit(scheduler, str(number), entries, site=f"s{number % 3}")
    order = serve(scheduler)
    assert {str(number): entries for number, entries in enumerate(sizes)} == {
        name: order.count(name) for name in set(order)
    }
    assert not scheduler._transports["smtp"].jobs


@pytest.mark.parametrize("cost", [2, 5, 10])
def test_letters_without_end_slow_a_list_down_by_no_more_than_the_price(cost: int) -> None:
    scheduler = scheduler_with(cost=cost)
    submit(scheduler, "list", 1000)
    taken: list[Entry] = []
    number = 0
    while sum(entry.queue_id == "list" for entry in taken) < 1000:
        number += 1
        submit(scheduler, f"letter{number}", 1)
        entry = scheduler.next(0.0)
        assert entry is not None
        taken.append(entry)
        scheduler.finished(entry, 0.0, True)
    assert len(taken) <= 1000 + 1000 // cost + 3
