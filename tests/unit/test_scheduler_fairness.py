"""Who is served when: turns, limits, delays, dead destinations, and a simulated day."""

from dataclasses import dataclass, replace

from pymta.model.address import Address
from pymta.model.queue import QueuedRecipient
from pymta.qmgr.feedback import ConcurrencyLimits, Feedback
from pymta.qmgr.scheduler import Entry, Problem, Scheduler, TransportLimits

ONE = Feedback(1.0)
LIMITS = TransportLimits(ConcurrencyLimits(5, 20, ONE, ONE, 1), recipients=50)
REFUSED = Problem("4.4.1", "Connection refused")


def limited(limit: int, **changes: object) -> TransportLimits:
    concurrency = ConcurrencyLimits(min(5, limit), limit, ONE, ONE, 1)
    return replace(LIMITS, concurrency=concurrency, **changes)  # type: ignore[arg-type]


def people(count: int) -> list[QueuedRecipient]:
    return [QueuedRecipient(n, Address(f"u{n}", "example.com"), Address(f"u{n}", "example.com")) for n in range(count)]


@dataclass
class Letter:
    """What the scheduler sees of a message."""

    queue_id: str
    unread: int = 0


LIST = Letter("list")


def submit(
    scheduler: Scheduler, message: str, site: str, count: int = 1, transport: str = "smtp", now: float = 0.0
) -> int | Problem:
    return scheduler.submit(Letter(message), transport, site, site, people(count), now)


def drain(scheduler: Scheduler, now: float = 0.0) -> list[Entry]:
    found = []
    while (entry := scheduler.next(now)) is not None:
        found.append(entry)
    return found


def names(entries: list[Entry]) -> list[str]:
    return [entry.queue_id for entry in entries]


def test_recipients_share_deliveries_up_to_the_limit() -> None:
    scheduler = Scheduler(lambda name: LIMITS, 300.0)
    assert submit(scheduler, "m", "a", 120) == 3
    assert [len(entry.recipients) for entry in drain(scheduler)] == [50, 50, 20]


def test_no_recipient_limit_is_one_delivery() -> None:
    scheduler = Scheduler(lambda name: replace(LIMITS, recipients=0), 300.0)
    assert submit(scheduler, "m", "a", 120) == 1


def test_a_destination_gets_no_more_than_its_window() -> None:
    scheduler = Scheduler(lambda name: LIMITS, 300.0)
    for number in range(10):
        submit(scheduler, f"m{number}", "a")
    first = drain(scheduler)
    assert len(first) == 5
    scheduler.finished(first[0], 0.0, True)
    assert len(drain(scheduler)) == 2, "one for the end of a delivery, one for the window that grew"


def test_messages_go_in_order_of_age_past_destinations_that_are_full() -> None:
    scheduler = Scheduler(lambda name: limited(2), 300.0)
    for number in range(3):
        submit(scheduler, f"a{number}", "a")
    submit(scheduler, "b", "b")
    first = drain(scheduler)
    assert names(first) == ["a0", "a1", "b"]
    submit(scheduler, "c", "c")
    scheduler.finished(first[1], 0.0, False)
    assert names(drain(scheduler)) == ["a2", "c"]


def test_the_destinations_of_a_message_take_turns() -> None:
    scheduler = Scheduler(lambda name: limited(20), 300.0)
    for site in ("a", "b", "c"):
        scheduler.submit(LIST, "smtp", site, site, people(100), 0.0)
    assert [entry.nexthop for entry in drain(scheduler)] == ["a", "b", "c", "a", "b", "c"]


def test_transports_take_turns() -> None:
    scheduler = Scheduler(lambda name: LIMITS, 300.0)
    for number in range(3):
        submit(scheduler, f"s{number}", f"s{number}")
    submit(scheduler, "l", "home", transport="local")
    assert names(drain(scheduler)) == ["s0", "l", "s1", "s2"]


def test_messages_take_turns_within_a_destination() -> None:
    scheduler = Scheduler(lambda name: limited(1), 300.0)
    submit(scheduler, "list", "a", 5000)
    submit(scheduler, "letter", "a")
    order = []
    for _ in range(4):
        entry = scheduler.next(0.0)
        assert entry is not None
        order.append(entry.queue_id)
        scheduler.finished(entry, 0.0, True)
    assert order == ["list", "letter", "list", "list"]


def test_a_transport_runs_no_more_than_its_processes() -> None:
    scheduler = Scheduler(lambda name: replace(LIMITS, processes=3), 300.0)
    for number in range(10):
        submit(scheduler, f"m{number}", f"site{number}")
    running = drain(scheduler)
    assert len(running) == 3
    scheduler.finished(running[0], 0.0, False)
    assert len(drain(scheduler)) == 1


def test_a_destination_delay_spaces_deliveries_to_it_only() -> None:
    scheduler = Scheduler(lambda name: replace(LIMITS, destination_delay=0.5), 300.0)
    for number in range(3):
        submit(scheduler, f"a{number}", "a")
    submit(scheduler, "b", "b")
    first = drain(scheduler)
    assert names(first) == ["a0", "b"]
    for entry in first:
        scheduler.finished(entry, 10.0, True)
    assert drain(scheduler, 10.4) == []
    assert scheduler.next_wakeup() == 10.5
    (second,) = drain(scheduler, 10.5)
    assert second.queue_id == "a1"
    scheduler.finished(second, 11.0, True)
    assert submit(scheduler, "b2", "b", now=11.0) == 1
    assert names(drain(scheduler, 11.0)) == ["b2"]
    assert names(drain(scheduler, 11.5)) == ["a2"]


def test_a_transport_delay_spaces_all_its_deliveries() -> None:
    scheduler = Scheduler(lambda name: replace(LIMITS, transport_delay=2.0 if name == "slow" else 0.0), 300.0)
    submit(scheduler, "a", "a", transport="slow")
    submit(scheduler, "b", "b", transport="slow")
    submit(scheduler, "c", "c")
    first = drain(scheduler)
    assert names(first) == ["a", "c"]
    scheduler.finished(first[0], 1.0, True)
    assert drain(scheduler, 2.9) == []
    assert names(drain(scheduler, 3.0)) == ["b"]


def test_a_destination_that_fails_too_often_gives_back_what_waits() -> None:
    scheduler = Scheduler(lambda name: limited(1), 300.0)
    for number in range(4):
        submit(scheduler, f"m{number}", "a")
    submit(scheduler, "other", "b")
    entry, other = drain(scheduler)
    assert names(scheduler.finished(entry, 0.0, REFUSED)) == ["m1", "m2", "m3"]
    assert scheduler._transports["smtp"].recipients == 1, "only the other one is still in memory"
    assert submit(scheduler, "late", "a", now=299.9) == REFUSED
    assert submit(scheduler, "late", "a", now=300.0) == 1
    assert scheduler.finished(other, 300.0, True) == []
    assert names(drain(scheduler, 300.0)) == ["late"]


def test_success_of_a_delivery_under_way_revives_a_dead_destination() -> None:
    limits = replace(LIMITS, concurrency=ConcurrencyLimits(2, 20, ONE, Feedback(0.0), 1))
    scheduler = Scheduler(lambda name: limits, 300.0)
    for number in range(2):
        submit(scheduler, f"m{number}", "a")
    running = drain(scheduler)
    scheduler.finished(running[0], 0.0, REFUSED)
    submit(scheduler, "m2", "a")
    more = drain(scheduler)
    scheduler.finished(more[0], 0.0, REFUSED)
    assert submit(scheduler, "m3", "a") == REFUSED
    scheduler.finished(running[1], 1.0, True)
    assert submit(scheduler, "m3", "a", now=1.0) == 1
    assert len(drain(scheduler, 1.0)) == 1


def test_a_stale_timer_does_not_revive_a_destination_that_died_again() -> None:
    scheduler = Scheduler(lambda name: limited(1), 300.0)
    submit(scheduler, "m0", "a")
    scheduler.finished(drain(scheduler)[0], 0.0, REFUSED)
    scheduler.revive(100.0)
    submit(scheduler, "m1", "a", now=100.0)
    scheduler.finished(drain(scheduler, 100.0)[0], 100.0, REFUSED)
    assert submit(scheduler, "m2", "a", now=301.0) == REFUSED
    assert submit(scheduler, "m2", "a", now=400.0) == 1


def test_an_agent_failure_says_nothing_about_the_destination() -> None:
    scheduler = Scheduler(lambda name: limited(1), 300.0)
    submit(scheduler, "m0", "a")
    submit(scheduler, "m1", "a")
    assert scheduler.finished(drain(scheduler)[0], 0.0, False) == []
    assert names(drain(scheduler)) == ["m1"]


def test_idle_destinations_are_forgotten() -> None:
    scheduler = Scheduler(lambda name: replace(LIMITS, destination_delay=1.0), 300.0)
    for number in range(1000):
        submit(scheduler, f"m{number}", f"site{number}")
    for entry in drain(scheduler):
        scheduler.finished(entry, 0.0, REFUSED if entry.queue_id.endswith("7") else True)
    for now in (1.0, 300.0, 601.0):
        scheduler.next(now)
    assert scheduler._transports["smtp"].destinations == {}
    assert scheduler.next_wakeup() is None
